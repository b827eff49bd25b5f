"""The model that frames are drawn from: it looks like the simulated one, costs less, and leaves the physics alone."""

import mujoco
import numpy as np
import pytest
from skimage.metrics import structural_similarity

import tasks
from tasks import experts
from tasks.rendering.drawing_model import KEPT_FACES, drawing_model, simplified_meshes, vertex_normals
from tasks.rendering.qualities import DRAWINGS, VERSION_KEY, version_entry
from tasks.rendering.render import Renderer

QUALITIES = list(DRAWINGS)
STEPS = 15
LEAST_SIMILARITY = 0.965
"""Of `fast` frames with simplified meshes to those with the whole ones; the pen's, seen from near, are lowest."""


def arrays(model):
    return {name: getattr(model, name).copy() for name in dir(model) if isinstance(getattr(model, name), np.ndarray)}


def acted(task, actor):
    """The task after some steps of its expert or of random actions, with all that it read on the way."""
    reading = task.reset(range(task.slots))
    random, readings = np.random.default_rng(0), [reading]
    for _ in range(STEPS):
        if actor == "random":
            actions = random.uniform(-1, 1, (task.slots, task.card.action_dim))
        else:
            actions = experts.shipped(task.card.name).mean(reading.observation)
        reading = task.step(actions)
        readings.append(reading)
    return readings


def frame_of(task, quality, slot=0, camera=None):
    data = mujoco.MjData(task.model)
    task.load_data(slot, data)
    with Renderer(task.model, camera or task.card.camera, quality) as renderer:
        return renderer.render(data)


# The physics.


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("name", ["pen", "pour"])
def test_the_simulated_model_stays_as_it_is(name, quality):
    task = tasks.make(name)
    before = arrays(task.model)
    frame_of(task, quality)
    after = arrays(task.model)
    assert before.keys() == after.keys()
    for field, values in before.items():
        np.testing.assert_array_equal(after[field], values, err_msg=field)


@pytest.mark.parametrize("actor", ["random", "expert"])
@pytest.mark.parametrize("name", tasks.names())
def test_transitions_in_the_drawing_model_are_the_same_to_the_bit(name, actor, monkeypatch):
    """Stronger than what runs need, which simulate the original: nothing that moves or touches was changed."""
    task = tasks.make(name, slots=2)
    original, build = acted(task, actor), type(task).build

    class Drawn:
        def __init__(self, spec):
            self.spec = spec

        def compile(self):
            return drawing_model(self.spec.compile(), DRAWINGS["fast"])

    monkeypatch.setattr(type(task), "build", lambda self: Drawn(build(self)))
    other = tasks.make(name, slots=2)
    assert other.model.mesh_facenum.sum() < task.model.mesh_facenum.sum()
    for expected, reading in zip(original, acted(other, actor), strict=True):
        for left, right in zip(expected, reading, strict=True):
            np.testing.assert_array_equal(left, right)
    np.testing.assert_array_equal(other.get_state().rows, task.get_state().rows)


# What is simplified.


def test_the_hand_is_drawn_with_three_tenths_of_its_faces():
    model = tasks.make("door").model
    drawn = drawing_model(model, DRAWINGS["fast"])
    chosen = simplified_meshes(model)
    assert len(chosen) > 5
    faces = drawn.mesh_facenum[chosen] / model.mesh_facenum[chosen]
    np.testing.assert_allclose(faces, KEPT_FACES, atol=0.02)
    others = np.delete(np.arange(model.nmesh), chosen)
    np.testing.assert_array_equal(drawn.mesh_facenum[others], model.mesh_facenum[others])


def test_simplified_meshes_lie_where_the_whole_ones_did():
    model = tasks.make("door").model
    drawn = drawing_model(model, DRAWINGS["fast"])
    for mesh in simplified_meshes(model):
        first, last = model.mesh_vertadr[mesh], model.mesh_vertadr[mesh] + model.mesh_vertnum[mesh]
        before = model.mesh_vert[first:last]
        after = drawn.mesh_vert[first : first + drawn.mesh_vertnum[mesh]]
        size = np.ptp(before, axis=0).max()
        np.testing.assert_allclose(after.min(0), before.min(0), atol=0.05 * size)
        np.testing.assert_allclose(after.max(0), before.max(0), atol=0.05 * size)
        triangles = drawn.mesh_face[drawn.mesh_faceadr[mesh] :][: drawn.mesh_facenum[mesh]]
        assert triangles.max() < len(after)


def test_meshes_that_collide_and_small_ones_are_spared():
    """A box is 12 faces."""
    box = "-1 -1 -1 1 -1 -1 -1 1 -1 1 1 -1 -1 -1 1 1 -1 1 -1 1 1 1 1 1"
    ball = " ".join(f"{number:.5f}" for number in fibonacci(400).ravel())
    model = mujoco.MjModel.from_xml_string(
        f"""<mujoco><asset><mesh name="box" vertex="{box}"/><mesh name="seen" vertex="{ball}"/>
        <mesh name="touched" vertex="{ball}"/></asset><worldbody>
        <geom type="mesh" mesh="box" contype="0" conaffinity="0"/>
        <geom type="mesh" mesh="seen" contype="0" conaffinity="0"/>
        <geom type="mesh" mesh="touched"/></worldbody></mujoco>"""
    )
    assert [model.mesh(mesh).name for mesh in simplified_meshes(model)] == ["seen"]


def test_meshes_with_a_picture_are_spared(make_ycb):
    model = make_ycb("relocate-mug").model
    pictured = np.flatnonzero(model.mesh_texcoordnum)
    assert len(pictured)
    assert not set(pictured) & set(simplified_meshes(model))
    assert simplified_meshes(model)


def fibonacci(count):
    """Points on the unit sphere, (count, 3)."""
    height = 1 - 2 * (np.arange(count) + 0.5) / count
    angle, radius = np.pi * (1 + 5**0.5) * np.arange(count), np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1)


def test_normals_of_a_sphere_point_outwards():
    from scipy.spatial import ConvexHull

    points = fibonacci(400)
    hull = ConvexHull(points)
    edges = np.diff(points[hull.simplices], axis=1)
    outwards = np.einsum("fi,fi->f", np.cross(edges[:, 0], edges[:, 1]), hull.equations[:, :3]) > 0
    triangles = np.where(outwards[:, None], hull.simplices, hull.simplices[:, ::-1])
    normals = vertex_normals(points, triangles)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1)
    assert np.einsum("ni,ni->n", normals, points).min() > 0.99


def test_a_larger_triangle_weighs_more_and_a_point_of_none_has_no_normal():
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 2], [9, 9, 9]], float)
    normals = vertex_normals(points, np.array([[0, 1, 2], [0, 2, 3]]))  # areas 1/2 towards z, 1 towards x
    np.testing.assert_allclose(normals[0], np.array([2, 0, 1]) / 5**0.5)
    np.testing.assert_array_equal(normals[4], 0)


# What is seen.


@pytest.mark.parametrize("name", tasks.names())
def test_fast_frames_look_like_those_with_whole_meshes(name, monkeypatch):
    task = tasks.make(name, slots=2)
    acted(task, "expert")
    drawn = [frame_of(task, "fast", slot) for slot in range(2)]
    monkeypatch.setitem(DRAWINGS, "fast", DRAWINGS["fast"]._replace(simplified=False))
    whole = [frame_of(task, "fast", slot) for slot in range(2)]
    for left, right in zip(drawn, whole, strict=True):
        assert not np.array_equal(left, right)
        assert structural_similarity(left, right, channel_axis=2) > LEAST_SIMILARITY


@pytest.mark.parametrize("name", ["door", "relocate-mug"])
def test_shadows_look_more_like_the_paper_than_fast_frames(name):
    task = tasks.make(name)
    acted(task, "expert")
    paper = frame_of(task, "paper")
    shadows, fast = (
        structural_similarity(frame_of(task, quality), paper, channel_axis=2) for quality in ("shadows", "fast")
    )
    assert shadows > 0.9
    assert shadows > fast


# Versions.


def test_fast_frames_have_the_second_version_and_the_papers_keep_their_identity():
    assert {quality: version_entry(quality) for quality in QUALITIES} == {
        "paper": {},
        "shadows": {},
        "fast": {VERSION_KEY: 2},
    }
