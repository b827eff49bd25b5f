"""The built-in shapes: their geometry, the mugs' hollows, and how they stand."""

import mujoco
import numpy as np
import pytest
from mujoco import mjtGeom as Geom

from tasks.scene import objects, shapes
from tasks.scene.hand import use_paper_collisions

# Unscaled bounding boxes of the scanned objects in the body frame, metres.
BOUNDS = {
    "foam_brick": ((-0.0261, -0.0390, -0.0172), (0.0266, 0.0389, 0.0339)),
    "large_clamp": ((-0.0704, -0.0839, -0.0191), (0.0496, 0.0874, 0.0200)),
    "mustard_bottle": ((-0.0498, -0.0358, -0.0839), (0.0473, 0.0309, 0.1075)),
    "potted_meat_can": ((-0.0534, -0.0309, -0.0498), (0.0487, 0.0294, 0.0339)),
    "sugar_box": ((-0.0239, -0.0484, -0.0924), (0.0256, 0.0456, 0.0836)),
    "tomato_soup_can": ((-0.0342, -0.0323, -0.0593), (0.0336, 0.0354, 0.0427)),
    "mug": ((-0.0502, -0.0459, -0.0390), (0.0668, 0.0471, 0.0424)),
    "pouring_mug": ((-0.0502, -0.0459, -0.0390), (0.0668, 0.0471, 0.0424)),
    "banana": ((-0.0358, -0.1014, -0.0169), (0.0731, 0.0770, 0.0198)),
}
TOLERANCE = 0.002
# Its released walls are thicker than the scanned mug's.
POURING_MUG_TOLERANCE = 0.0032
THINGS = {
    thing.name: thing
    for thing in (
        objects.FOAM_BRICK,
        objects.LARGE_CLAMP,
        objects.MUSTARD_BOTTLE,
        objects.POTTED_MEAT_CAN,
        objects.SUGAR_BOX,
        objects.TOMATO_SOUP_CAN,
        objects.MUG,
        objects.POURING_MUG,
        objects.BANANA,
    )
}
# Height in metres at which the body's frame comes to rest: the official meshes in the same simulation.
SETTLED = {
    "foam_brick": 0.0169,
    "large_clamp": 0.0187,
    "potted_meat_can": 0.0430,
    "tomato_soup_can": 0.0508,
    "mug": 0.0344,
    "mustard_bottle": 0.0705,
    "sugar_box": 0.0774,
}
PARTICLE = 0.01
MOST_CORNERS = 64


def scene(parts, scale=1.0, free=False):
    """A table and a body of these pieces, with collisions as the paper's scenes have them."""
    spec = mujoco.MjSpec()
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.solver = mujoco.mjtSolver.mjSOL_PGS
    spec.option.iterations = spec.option.noslip_iterations = 20
    use_paper_collisions(spec)
    table = spec.worldbody.add_body(pos=[0.0, 0.0, -0.025])
    table.add_geom(type=Geom.mjGEOM_BOX, size=[0.6, 0.6, 0.025], friction=[1.0, 0.5, 0.01], margin=0.00025)
    body = spec.worldbody.add_body(name="thing")
    if free:
        body.add_joint(type=mujoco.mjtJoint.mjJNT_FREE, armature=0.001, frictionloss=0.001)
    for number, piece in enumerate(parts):
        options = {"type": piece.kind, "pos": piece.position, "quat": piece.quaternion}
        if piece.vertices is not None:
            spec.add_mesh(name=f"hull_{number}", uservert=(piece.vertices * scale).ravel())
            options["meshname"] = f"hull_{number}"
        options["pos"] = np.multiply(piece.position, scale)
        size = np.multiply(piece.size, scale)
        geom = body.add_geom(**options, size=[*size, *[0.0] * (3 - len(size))], density=1000.0)
        geom.contype = geom.conaffinity = int(piece.collides)
        geom.solref, geom.friction, geom.condim, geom.margin = [-6000.0, -300.0], [1.0, 0.5, 0.01], 4, 0.00275
    return spec, body


def corners(piece):
    """Points that span a piece's convex hull, in the body frame."""
    if piece.vertices is not None:
        return piece.vertices
    if piece.kind == Geom.mjGEOM_BOX:
        points = np.stack(np.meshgrid(*[(-half, half) for half in piece.size]), axis=-1).reshape(-1, 3)
    else:
        assert piece.kind == Geom.mjGEOM_CYLINDER
        radius, half = piece.size
        angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        circle = np.stack([radius * np.cos(angles), radius * np.sin(angles), 0 * angles], axis=1)
        lift = np.array([0.0, 0.0, half])
        points = np.concatenate([circle + lift, circle - lift])
    rotation = np.zeros(9)
    mujoco.mju_quat2Mat(rotation, np.array(piece.quaternion))
    return points @ rotation.reshape(3, 3).T + piece.position


def everything():
    return [(name, piece) for name in BOUNDS for piece in shapes.pieces(name)] + [
        (name, piece) for name in ("box_mug", "mug_lining") for piece in getattr(shapes, name)()
    ]


def test_numbers_are_finite_and_rotations_are_rotations():
    for name, piece in everything():
        assert np.isfinite(corners(piece)).all(), name
        assert np.linalg.norm(piece.quaternion) == pytest.approx(1.0), name
        assert min(piece.size, default=1.0) > 0, name


@pytest.mark.parametrize("name", BOUNDS)
def test_extents_are_the_scanned_objects(name):
    points = np.concatenate([corners(piece) for piece in shapes.pieces(name) if piece.collides])
    low, high = BOUNDS[name]
    tolerance = POURING_MUG_TOLERANCE if name == "pouring_mug" else TOLERANCE
    np.testing.assert_allclose(points.min(axis=0), low, atol=tolerance)
    np.testing.assert_allclose(points.max(axis=0), high, atol=tolerance)


@pytest.mark.parametrize("name", BOUNDS)
def test_hulls_are_closed_and_have_few_corners(name):
    for piece in shapes.pieces(name):
        if piece.vertices is None:
            continue
        model = scene([piece])[0].compile()
        vertices, faces = model.mesh_graph[:2]
        assert faces == 2 * vertices - 4  # Euler's formula for a closed surface of triangles
        assert vertices <= MOST_CORNERS
        # The volume of a convex body with its centre inside: every face looks away from it.
        points, normals = model.mesh_vert, np.cross(*np.diff(model.mesh_vert[model.mesh_face], axis=1).swapaxes(0, 1))
        heights = (normals * points[model.mesh_face[:, 0]]).sum(axis=1)
        assert (heights > 0).all()
        reach = points @ normals.T - heights
        assert (reach < 1e-9).all()


@pytest.mark.parametrize("name", BOUNDS)
def test_pieces_are_the_same_every_time(name):
    for first, second in zip(shapes.pieces(name), shapes.pieces(name), strict=True):
        assert (first.kind, first.size, first.position, first.quaternion) == (
            second.kind,
            second.size,
            second.position,
            second.quaternion,
        )
        np.testing.assert_array_equal(corners(first), corners(second))


def test_unknown_shape_is_refused():
    with pytest.raises(KeyError):
        shapes.pieces("teapot")


def test_lining_is_red_and_does_not_collide():
    for parts in (shapes.mug_lining(), shapes.pieces("mug"), shapes.pieces("pouring_mug")):
        lining = [piece for piece in parts if not piece.collides]
        assert lining
        assert {piece.rgba for piece in lining} == {objects.MUG_RED}
    assert all(piece.collides and piece.rgba is None for piece in shapes.box_mug())


@pytest.mark.parametrize("name", ["mug", "pouring_mug", "box_mug"])
def test_mugs_hold_a_particle(name):
    """Dropped into the mouth and pushed sideways, it comes to rest on the bottom, within the walls."""
    parts = shapes.box_mug() if name == "box_mug" else shapes.pieces(name)
    spec, body = scene(parts)
    body.pos = [0.0, 0.0, 0.045]
    particle = spec.worldbody.add_body(name="particle", pos=[0.0, 0.0, 0.11])
    particle.add_freejoint()
    particle.add_geom(type=Geom.mjGEOM_SPHERE, size=[PARTICLE, 0, 0], condim=1, priority=1, density=1000.0)
    model = spec.compile()
    data = mujoco.MjData(model)
    for push in ([0.01, 0, 0], [0, 0.01, 0], [-0.01, -0.01, 0]):
        data.xfrc_applied[-1, :3] = push
        mujoco.mj_step(model, data, nstep=250)
        x, y, z = data.body("particle").xpos - data.body("thing").xpos
        assert np.hypot(x, y) < 0.035
        assert -0.035 < z - PARTICLE < -0.02


@pytest.mark.parametrize("name", ["mug", "pouring_mug", "box_mug"])
def test_mugs_have_a_handle_to_put_a_finger_through(name):
    """A ray across the gap between wall and handle meets nothing, and one through the handle's post does."""
    parts = shapes.box_mug() if name == "box_mug" else shapes.pieces(name)
    spec, body = scene(parts)
    body.pos = [0.0, 0.0, 0.2]
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    hit = np.zeros(1, np.int32)

    def distance(x):
        return mujoco.mj_ray(model, data, np.array([x, 0.2, 0.205]), np.array([0.0, -1.0, 0.0]), None, 1, -1, hit)

    assert distance(0.0535) == -1
    assert 0 < distance(0.0625) < 0.21


@pytest.mark.parametrize("name", SETTLED)
def test_objects_rest_at_the_official_height_and_stay_upright(name):
    thing = THINGS[name]
    spec, body = scene(shapes.pieces(name), thing.scale, free=True)
    body.pos, body.quat = [0.0, 0.0, thing.height / 2], thing.quaternion
    body.explicitinertial = True
    body.mass, body.inertia = thing.inertial.mass, thing.inertial.moments
    body.ipos, body.iquat = thing.inertial.position, thing.inertial.quaternion
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_step(model, data, nstep=600)
    assert data.qpos[2] == pytest.approx(SETTLED[name], abs=0.0006)
    assert data.body("thing").xmat[8] > np.cos(np.radians(1.0))


def test_clamp_has_jaws_and_grips_apart():
    """Seen from above there is free table between the jaws and between the grips."""
    spec, body = scene(shapes.pieces("large_clamp"))
    body.pos = [0.0, 0.0, 0.05]
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    hit = np.zeros(1, np.int32)
    down = np.array([0.0, 0.0, -1.0])

    def covered(x, y):
        mujoco.mj_ray(model, data, np.array([x, y, 0.2]), down, None, 1, -1, hit)
        return bool(model.geom_bodyid[hit[0]] == model.body("thing").id)

    hinge, jaws, grips = [(0.0, 0.0)], [(-0.060, 0.060), (0.042, 0.078)], [(-0.025, -0.040), (0.025, -0.050)]
    assert all(covered(x, y) for x, y in hinge + jaws + grips)
    assert not any(covered(x, y) for x, y in [(-0.010, 0.060), (0.003, -0.035)])
