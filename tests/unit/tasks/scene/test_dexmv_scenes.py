"""The DexMV scenes as the specification gives them, with the built-in shapes: sizes, poses, contacts, draws."""

from typing import NamedTuple

import mujoco
import numpy as np
import pytest
from scipy import stats

import tasks
from tasks.errors import TaskError
from tasks.pour import above_tank, inside_mug, inside_tank, pour_reward

RELOCATE = [name for name in tasks.names() if name.startswith("relocate-")]
NAMES = ["pour", "place_inside", *RELOCATE]
THINGS = {"pour": "mug", "place_inside": "banana", **dict.fromkeys(RELOCATE, "object")}
ARM = ["ARTx", "ARTy", "ARTz", "ARRx", "ARRy", "ARRz"]
HAND = [
    *("WRJ1", "WRJ0", "FFJ3", "FFJ2", "FFJ1", "FFJ0", "MFJ3", "MFJ2", "MFJ1", "MFJ0", "RFJ3", "RFJ2", "RFJ1", "RFJ0"),
    *("LFJ4", "LFJ3", "LFJ2", "LFJ1", "LFJ0", "THJ4", "THJ3", "THJ2", "THJ1", "THJ0"),
]
TIPS = ["C_ffdistal", "C_mfdistal", "C_rfdistal", "C_lfdistal", "C_thdistal"]
BASE_BOXES = ["V_thbase", "V_thhub"]
RESETS = 10_000
PARTICLES = 12
IN_THE_PALM = (0.0, -0.25, 0.19)


@pytest.fixture(scope="module")
def made():
    return {name: tasks.make(name, slots=3) for name in NAMES}


def moved(task, steps=6):
    task.reset(range(task.slots))
    for actions in np.random.default_rng(0).uniform(-1, 1, (steps, task.slots, task.card.action_dim)):
        reading = task.step(actions)
    return reading


# Sizes and order.


@pytest.mark.parametrize("name", NAMES)
def test_sizes(made, name):
    task = made[name]
    sizes = (73, 72, 30) if name == "pour" else (37, 36, 30)
    observation_dim = 39 if name in RELOCATE else 43
    reading = task.reset(range(3))
    assert (task.model.nq, task.model.nv, task.model.nu) == sizes
    assert (task.card.observation_dim, task.card.action_dim) == (observation_dim, 30)
    assert reading.observation.shape == (3, observation_dim)
    np.testing.assert_array_equal(reading.proprioception, task.batch.bind("qpos")[:, :30])
    for column in (reading.reward, reading.goal_measurement, reading.goal, reading.terminated, reading.unstable):
        assert column.shape == (3,)


@pytest.mark.parametrize("name", NAMES)
def test_joints_and_actuators_stand_in_the_specified_order(made, name):
    model = made[name].model
    assert [model.joint(i).name for i in range(30)] == [*ARM, *HAND]
    assert [model.actuator(i).name for i in range(model.nu)] == [f"A_{joint}" for joint in [*ARM, *HAND]]
    types = [mujoco.mjtJoint.mjJNT_FREE] + [mujoco.mjtJoint.mjJNT_SLIDE] * (3 * PARTICLES if name == "pour" else 0)
    assert model.jnt_type[30:].tolist() == types
    assert not model.jnt_limited[30:].any()
    free = slice(30, 36)
    np.testing.assert_array_equal(model.dof_damping[free], 0)
    np.testing.assert_array_equal(model.dof_armature[free], 0.001)
    np.testing.assert_array_equal(model.dof_frictionloss[free], 0.001)
    np.testing.assert_array_equal(model.dof_damping[36:], 0.01)
    np.testing.assert_array_equal(model.dof_armature[36:], 0)
    np.testing.assert_array_equal(model.dof_frictionloss[36:], 0)


@pytest.mark.parametrize("name", NAMES)
def test_solver_options(made, name):
    option = made[name].model.opt
    assert option.timestep == 0.002
    assert (option.iterations, option.noslip_iterations) == (20, 20)
    assert option.cone == mujoco.mjtCone.mjCONE_ELLIPTIC
    assert option.solver == mujoco.mjtSolver.mjSOL_PGS
    assert option.integrator == mujoco.mjtIntegrator.mjINT_EULER
    off = mujoco.mjtDisableBit.mjDSBL_NATIVECCD | mujoco.mjtDisableBit.mjDSBL_MULTICCD
    assert option.disableflags & off == off
    assert not tasks.make(name, physics="native").model.opt.disableflags & off


# Poses, cameras, actions.


@pytest.mark.parametrize("name", NAMES)
def test_palm_after_reset(made, name):
    task = made[name]
    task.reset(range(3))
    np.testing.assert_allclose(task.batch.site("S_grasp").xpos, [(-0.0069, -0.2, 0.1504)] * 3, atol=1e-4)


@pytest.mark.parametrize("name", ["pour", "place_inside", "relocate-foam_brick"])
@pytest.mark.parametrize(
    ("camera", "position", "quaternion"),
    [
        ("backview", (0, 0.6, 0.9), (0, 0, 0.281517, 0.959556)),
        ("frontview", (0, -1, 0.9), (0.923195, 0.384331, 0, 0)),
        ("sideview", (-1.3, -0.5, 0.5), (0.678112, 0.516470, -0.329027, -0.406404)),
    ],
)
def test_cameras(made, name, camera, position, quaternion):
    view = made[name].model.camera(camera)
    np.testing.assert_allclose(view.pos, position, atol=1e-4)
    np.testing.assert_allclose(view.quat, quaternion, atol=1e-4)
    assert view.fovy == 45


def test_each_task_sees_through_its_own_camera():
    others = {"relocate-foam_brick": "frontview", "relocate-large_clamp": "frontview", "relocate-sugar_box": "sideview"}
    assert {name: tasks.card(name).camera for name in NAMES} == {name: others.get(name, "backview") for name in NAMES}


@pytest.mark.parametrize("name", ["pour", "place_inside", "relocate-mug"])
@pytest.mark.parametrize(("action", "end"), [(0.0, None), (-1.0, 0), (1.0, 1), (-3.7, 0), (1e9, 1)])
def test_actions_map_onto_the_control_ranges_and_are_clipped(made, name, action, end):
    task = made[name]
    task.reset(range(3))
    task.step(np.full((3, 30), action))
    ranges = task.model.actuator_ctrlrange
    expected = ranges.mean(axis=1) if end is None else ranges[:, end]
    np.testing.assert_allclose(task.batch.bind("ctrl"), np.tile(expected, (3, 1)), rtol=1e-15, atol=1e-15)
    np.testing.assert_allclose(ranges[:6, 0], (-0.25, 0, -0.3, -0.75, -0.75, -0.75))
    np.testing.assert_allclose(ranges[:6, 1], (0.25, 0.2, 0.5, 0.75, 0.75, 0.75))
    np.testing.assert_allclose(task.batch.bind("time"), 0.01)


# The three hands.


@pytest.mark.parametrize(
    ("name", "forearm", "wrist", "edge", "margin", "gap"),
    [
        ("relocate-mug", (0.06, 0.043), (0.015, 0.01), False, 0.00025, 0.0),
        ("pour", (0.08, 0.053), (0.025, 0.02), True, 0.0005, 0.0),
        ("place_inside", (0.05, 0.06), (0.015, 0.01), False, 0.0, 0.03),
    ],
)
def test_hand_differs_from_adroits_as_specified(made, name, forearm, wrist, edge, margin, gap):
    model = made[name].model
    geoms = {model.geom(i).name: model.geom(i) for i in range(model.ngeom)}
    capsules = {name: geom for name, geom in geoms.items() if name.startswith("C_")}
    for joint, armature, damping in (("WRJ0", 0.001, 0.05), ("WRJ1", 0.005, 0.5), ("FFJ0", 0.001, 0.05)):
        dof = model.joint(joint).dofadr
        assert (model.dof_armature[dof], model.dof_damping[dof]) == (armature, damping)
    np.testing.assert_allclose(geoms["C_palm0"].size, (0.052, 0.015, 0.06))
    np.testing.assert_allclose(geoms["C_palm0"].pos, (-0.008, 0, 0.038))
    np.testing.assert_allclose(geoms["C_forearm1"].size[:2], forearm)
    np.testing.assert_allclose(geoms["C_wrist"].size[:2], wrist)
    assert "C_lfmetacarpal" not in geoms
    assert ("C_palm1" in geoms) == edge
    for box in ("V_thbase", "V_thhub"):
        np.testing.assert_allclose(geoms[box].friction, (1, 0.005, 0.0001))
    for label, geom in capsules.items():
        np.testing.assert_allclose((geom.margin[0], geom.gap[0]), (margin, gap), atol=1e-12)
        np.testing.assert_allclose(geom.friction, (1, 0.5, 0.01))
        assert geom.condim == [4 if label in TIPS else 3]
        soft = name == "place_inside"
        assert geom.priority == [10 if soft else 0]
        np.testing.assert_allclose(geom.solref, (0.02, 20) if soft else (0.02, 1))
        np.testing.assert_allclose(geom.solimp, (0.9, 0.95, 0.001, 0.1 if soft else 0.5, 2))
    assert (model.geom_group[[geom.id for geom in capsules.values()]] == 4).all()
    assert model.ntendon == 44
    assert model.npair >= 19


# Contacts.


class Contact(NamedTuple):
    """What is kept of MuJoCo's, which is gone with its simulation."""

    dim: int
    includemargin: float
    solref: np.ndarray
    dist: float
    acts: bool


def contacts(task, at=None):
    """What touches what, thing or particle or hand or the rest, after a reset, with the thing at a place."""
    task.reset(range(task.slots))
    model, data = task.model, mujoco.MjData(task.model)
    task.load_data(0, data)
    if at is not None:
        data.qpos[30:33] = at
    mujoco.mj_forward(model, data)
    thing, hand = model.body(THINGS[task.card.name]).id, model.body("forearm").id
    found = {}
    for contact in data.contact:
        sides = [model.geom_bodyid[geom] for geom in contact.geom]
        kinds = sorted(_kind(model, body, thing, hand) for body in sides)
        geoms = {model.geom(geom).name for geom in contact.geom}
        margin, acts = float(contact.includemargin), contact.efc_address >= 0
        kept = Contact(contact.dim, margin, contact.solref.copy(), float(contact.dist), acts)
        found.setdefault(" ".join(kinds), []).append((kept, geoms))
    return found


def _kind(model, body, thing, hand):
    if body == thing:
        return "thing"
    if model.body_rootid[body] == hand:
        return "hand"
    particle = model.body_weldid[body] and model.body_dofnum[body] == 3
    return "particle" if particle else model.body(body).name


@pytest.mark.parametrize("name", RELOCATE)
def test_contacts_of_relocate(made, name):
    lying = contacts(made[name], (-0.0625, 0.0, 0.0))["table thing"]
    held = contacts(made[name], IN_THE_PALM)["hand thing"]
    for contact, _ in lying + held:
        assert contact.dim == 4
        assert contact.includemargin == pytest.approx(0.003)
        np.testing.assert_array_equal(contact.solref, (-6000, -300))


def test_contacts_of_pour(made):
    at_first = contacts(made["pour"])
    held = contacts(made["pour"], IN_THE_PALM)["hand thing"]
    lying = contacts(made["pour"], (0.14, 0.1, 0.0))["table thing"]
    for contact, _ in held + lying:
        assert contact.dim == 4
        assert contact.includemargin == pytest.approx(0.003)
    kinds = [kind for kind in at_first if "particle" in kind]
    assert "particle particle" in kinds
    for kind in kinds:
        for contact, _ in at_first[kind]:
            assert contact.dim == 1
            np.testing.assert_array_equal(contact.solref, (0.02, 1))


def test_every_part_of_the_hand_is_paired_with_every_piece_of_the_mug(made):
    """The pairs keep MuJoCo 2's margin between them, the larger of the two."""
    model = made["pour"].model
    collides = (model.geom_contype | model.geom_conaffinity) != 0
    hand = np.flatnonzero(collides & (model.body_rootid[model.geom_bodyid] == model.body("forearm").id))
    mug = np.flatnonzero(collides & (model.geom_bodyid == model.body("mug").id))
    pairs = [frozenset(pair) for pair in zip(model.pair_geom1.tolist(), model.pair_geom2.tolist(), strict=True)]
    for part in hand:
        for piece in mug:
            assert pairs.count(frozenset((int(part), int(piece)))) == 1
    assert model.npair == 19 + len(hand) * len(mug)


def test_contacts_of_place_inside(made):
    """The capsules' own parameters win in each of their contacts; those within 3 cm are seen and make no force."""
    held = contacts(made["place_inside"], IN_THE_PALM)["hand thing"]
    assert {contact.acts for contact, _ in held} == {True, False}
    for contact, geoms in held:
        assert contact.includemargin == 0
        assert contact.dist < 0.03
        assert contact.acts == (contact.dist < 0)
        if geoms.isdisjoint(BASE_BOXES):
            assert contact.dim == (3 if geoms.isdisjoint(TIPS) else 4)
            np.testing.assert_array_equal(contact.solref, (0.02, 20))
    for contact, _ in contacts(made["place_inside"], (0.1, 0.2, 0.0))["table thing"]:
        assert (contact.dim, contact.includemargin) == (4, 0)


@pytest.mark.parametrize(("away", "contact"), [(0.0, True), (0.6, False)])
@pytest.mark.parametrize("name", ["pour", "place_inside", "relocate-foam_brick"])
def test_contact_is_worth_something(made, name, away, contact):
    task = made[name]
    task.reset(range(3))
    state = task.initial_state(0)
    state["qpos"][30:33] = np.array(IN_THE_PALM) + np.array((0, away, 0))
    reading = task.restore([state], [0])
    reach = np.sqrt((reading.observation[0, 30:33] ** 2).sum())
    assert (reading.reward[0] + 0.1 * reach > 0.05) == contact


@pytest.mark.parametrize(("distance", "seen"), [(-0.02, True), (0.031, False)])
def test_place_inside_sees_no_contact_beyond_three_centimetres(made, distance, seen):
    """The banana over the palm, at a height that gives the wanted distance.

    Nothing is tested between: the old algorithm for convex contacts measures distances along directions of its own.
    """
    task = made["place_inside"]
    task.reset(range(3))
    model, data = task.model, mujoco.MjData(task.model)
    task.load_data(0, data)
    banana = [geom for geom in range(model.ngeom) if model.geom_bodyid[geom] == model.body("banana").id]
    hand = [geom for geom in range(model.ngeom) if model.geom(geom).name.startswith("C_")]

    def nearest(height):
        data.qpos[30:33] = (0.0, -0.25, height)
        mujoco.mj_forward(model, data)
        solid = [geom for geom in banana if model.geom_contype[geom]]
        return min(mujoco.mj_geomDistance(model, data, one, other, 1.0, None) for one in solid for other in hand)

    low, high = IN_THE_PALM[2], 0.4
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if nearest(middle) < distance else (low, middle)
    state = task.initial_state(0)
    state["qpos"][30:33] = (0.0, -0.25, low)
    reading = task.restore([state], [0])
    reach = np.sqrt((reading.observation[0, 30:33] ** 2).sum())
    assert (reading.reward[0] + 0.1 * reach > 0.1) == seen


# Observations and rewards, computed again from the simulation.


@pytest.mark.parametrize("name", NAMES)
def test_observation_holds_what_the_specification_lists(made, name):
    task = made[name]
    reading, data = moved(task), mujoco.MjData(task.model)
    for slot in range(task.slots):
        task.load_data(slot, data)
        palm, thing = data.site("S_grasp").xpos, data.body(THINGS[name]).xpos
        if name == "pour":
            goal = np.array([-0.03, -0.1, 0.24])
        else:
            goal = data.body("mug" if name == "place_inside" else "target").xpos
        parts = [data.qpos[:30], palm - thing, palm - goal, thing - goal]
        if name not in RELOCATE:
            parts.append(data.body(THINGS[name]).xquat)
        np.testing.assert_array_equal(reading.observation[slot], np.concatenate(parts))
        np.testing.assert_array_equal(reading.proprioception[slot], data.qpos[:30])
        if name in RELOCATE:
            measured = np.linalg.norm(thing - goal)
        elif name == "place_inside":
            measured = np.linalg.norm((thing - goal)[:2])
        else:
            measured = inside_tank(data.xpos[None, -PARTICLES:], 0.12).mean()
        assert reading.goal_measurement[slot] == pytest.approx(measured, abs=1e-15)
        within = measured >= 0.3 if name == "pour" else measured <= 0.1
        assert reading.goal[slot] == within


def test_pour_reward_of_the_task_is_that_of_the_function_on_the_simulation(made):
    reading, data = moved(made["pour"]), mujoco.MjData(made["pour"].model)
    for slot in range(3):
        made["pour"].load_data(slot, data)
        mug, rotation = data.body("mug").xpos[None], data.body("mug").xmat.reshape(1, 3, 3)
        particles, palm = data.xpos[None, -PARTICLES:], data.site("S_grasp").xpos[None]
        kept = (inside_mug(particles, mug, rotation) | above_tank(particles)).mean(axis=1)
        in_tank, contact = inside_tank(particles, 0.12).mean(axis=1), np.zeros(1, bool)
        goal = np.array([-0.03, -0.1, 0.24])
        expected = pour_reward(palm, mug, rotation[:, 2, 2], goal, contact, in_tank, 1 - kept)
        np.testing.assert_allclose(reading.reward[slot], expected[0], rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_dense_reward_is_the_papers(name):
    paper, dense = tasks.make(name), tasks.make(name, reward="dense")
    np.testing.assert_array_equal(moved(paper, 3).reward, moved(dense, 3).reward)


# Resets.


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("relocate-mug", (-0.0375, -0.30, -0.15, 0.15), (0.0375, 0.10, 0.15, 0.25)),
        ("relocate-sugar_box", (-0.0375, -0.30, -0.15, 0.15), (0.0375, 0.10, 0.15, 0.25)),
        ("pour", (0.14 - 0.06, -0.1), (0.14 + 0.04, 0.0)),
        ("place_inside", (-0.15, 0.1), (0.15, 0.2)),
    ],
)
def test_resets_stay_inside_the_ranges_and_fill_them(made, name, low, high):
    starts = [made[name].draw(np.random.default_rng(seed)) for seed in range(RESETS)]
    qpos, fields = np.stack([start.qpos for start in starts]), np.stack([start.field for start in starts])
    if name in RELOCATE:
        assert (qpos[:, 30] == -0.0625).all()
        values = np.column_stack([qpos[:, 31], fields])
    else:
        assert fields.shape == (RESETS, 0)
        values = qpos[:, 30:32]
    low, high = np.array(low), np.array(high)
    assert (values >= low - 1e-12).all()
    assert (values <= high + 1e-12).all()
    uniform = (values - low) / (high - low)
    assert (uniform.min(axis=0) < 0.002).all()
    assert (uniform.max(axis=0) > 0.998).all()
    for column in uniform.T:
        assert stats.kstest(column, "uniform").pvalue > 0.01
    assert np.abs(np.corrcoef(uniform.T) - np.eye(len(low))).max() < 0.04
    fixed = np.delete(qpos, [30, 31], axis=1)
    if name == "pour":
        slides = qpos[:, 37:].reshape(RESETS, PARTICLES, 3)
        offset = qpos[:, None, 30:32] - made[name].model.qpos0[30:32]
        np.testing.assert_allclose(slides[:, :, :2], np.broadcast_to(offset, (RESETS, PARTICLES, 2)), atol=1e-15)
        assert not slides[:, :, 2].any()
        fixed = fixed[:, :35]
    assert not np.ptp(fixed, axis=0).any()


@pytest.mark.parametrize("name", NAMES)
def test_resets_put_things_where_they_were_drawn(name):
    task = tasks.make(name, slots=50)
    task.reset(range(1000, 1050))
    starts = [task.draw(np.random.default_rng(seed)) for seed in range(1000, 1050)]
    qpos = np.stack([start.qpos for start in starts])
    np.testing.assert_array_equal(task.batch.bind("qpos"), qpos)
    assert not task.batch.bind("qvel").any()
    assert not qpos[:, :30].any()
    np.testing.assert_allclose(task.batch.body(THINGS[name]).xpos, qpos[:, 30:33], atol=1e-15)
    if name in RELOCATE:
        drawn = np.stack([start.field for start in starts])
        np.testing.assert_allclose(task.batch.body("target").xpos, drawn, atol=1e-15)


def test_heights_and_orientations_after_a_reset(made):
    tall = {"foam_brick": 0.051131, "large_clamp": 0.0364, "mustard_bottle": 0.1913, "potted_meat_can": 0.0835}
    tall |= {"sugar_box": 0.176, "tomato_soup_can": 0.1018, "mug": 0.0813}
    turned = {"large_clamp": (0, 0, 0, 1), "mustard_bottle": (0.5, 0, 0, 0.866), "mug": (0.7071, 0, 0, 0.7071)}
    for name in RELOCATE:
        thing = name.removeprefix("relocate-")
        start = made[name].model.qpos0[30:]
        assert start[2] == pytest.approx(tall[thing] / 2)
        np.testing.assert_allclose(start[3:], turned.get(thing, (1, 0, 0, 0)), atol=1e-4)
        np.testing.assert_array_equal(made[name].model.body("target").quat, made[name].model.body("object").quat)
    for name, height in (("pour", 0.04065), ("place_inside", 0.01464)):
        start = made[name].model.qpos0[30:37]
        assert start[2] == pytest.approx(height)
        np.testing.assert_allclose(start[3:], (0.7071, 0, 0, 0.7071), atol=1e-4)


def test_particles_start_in_the_mug(made):
    task = made["pour"]
    task.reset(range(3))
    particles, mug = task.batch.bind("xpos")[:, -PARTICLES:], task.batch.body("mug")
    assert inside_mug(particles, mug.xpos, mug.xmat.reshape(-1, 3, 3)).all()
    assert not above_tank(particles).any()
    offsets = particles[0] - mug.xpos[0]
    np.testing.assert_allclose(np.unique(offsets[:, 0].round(6)), (-0.012, 0))
    np.testing.assert_allclose(np.unique(particles[0, :, 2].round(6)), (0.08265, 0.09465, 0.10665))
    assert (np.diff(particles[0, :3, 2]) > 0).all()


# Options of the scenes.


@pytest.mark.parametrize("height", [0.08, 0.12])
def test_tank_height(height):
    task = tasks.make("pour", tank_height=height)
    assert task.scene == {"physics": "paper", "objects": "builtin", "tank_height": height}
    np.testing.assert_allclose(task.goal, (-0.03, -0.1, height + 0.12))
    tank = task.model.geom_bodyid == task.model.body("tank").id
    tops = (task.model.geom_pos + task.model.geom_size)[tank, 2]
    np.testing.assert_allclose(tops.max(), height)


@pytest.mark.parametrize("scale", [1.5, 1.7])
def test_mug_scale(scale):
    task = tasks.make("place_inside", mug_scale=scale)
    assert task.scene["mug_scale"] == scale
    np.testing.assert_allclose(task.model.body("mug").pos, (0, 0, 0.04065 * scale))


def test_scene_options_are_the_rollouts_by_default(made):
    assert made["pour"].scene["tank_height"] == 0.12
    assert made["place_inside"].scene["mug_scale"] == 1.7
    assert made["relocate-mug"].scene == {"physics": "paper", "objects": "builtin"}


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("pour", {"tank_height": 0.0}, "tank_height is between"),
        ("place_inside", {"mug_scale": 0.5}, "mug_scale is between"),
        ("pour", {"objects": "real"}, "pour: objects are"),
        ("relocate-mug", {"background": 11}, "unknown background 11"),
    ],
)
def test_wrong_options_are_refused(name, options, says):
    with pytest.raises(TaskError, match=says) as refusal:
        tasks.make(name, **options)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["pour", "relocate-mug"])
def test_backgrounds_change_nothing_but_the_picture(name):
    plain, shifted = tasks.make(name), tasks.make(name, background=5)
    np.testing.assert_array_equal(moved(plain).observation, moved(shifted).observation)
