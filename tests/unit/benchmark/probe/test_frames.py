"""The probe's frames: what is read is what is drawn, episodes differ, and the same seed gives the same frames."""

import mujoco
import numpy as np
import pytest

import tasks
from benchmark.probe import frames as probe_frames
from benchmark.probe.frames import NOISE_STEPS, collect, exploration, split
from benchmark.probe.quantities import QUANTITIES, quantities
from tasks import experts


@pytest.fixture(scope="module")
def pen():
    return collect("pen", episodes=6, frames=3, seed=0)


def values(name, task, data):
    return {quantity.name: quantity.read(data) for quantity in quantities(task)}


def test_a_row_is_a_frame_in_order_of_episode_and_step(pen):
    assert pen.images.shape == (18, 224, 224, 3)
    assert len({image.tobytes() for image in pen.images}) == 18
    assert {name: values.shape for name, values in pen.targets.items()} == {
        "hand joints": (18, 24),
        "palm position": (18, 3),
        "fingertips": (18, 15),
        "object position": (18, 3),
        "object orientation": (18, 3),
        "target position": (18, 3),
        "target orientation": (18, 3),
        "contact": (18, 1),
    }
    assert all(len(pen.dimensions[name]) == values.shape[1] for name, values in pen.targets.items())
    np.testing.assert_array_equal(pen.episode, np.repeat(np.arange(6), 3))
    for episode in range(6):
        clock = pen.clock[pen.episode == episode]
        np.testing.assert_allclose(np.diff(clock), 1 / 3, atol=0.011)
    assert len(np.unique(pen.clock[::3])) > 1


def test_targets_differ_between_episodes_and_stay_within_one(pen):
    axes = pen.targets["target orientation"].reshape(6, 3, 3)
    np.testing.assert_allclose(axes, np.repeat(axes[:, :1], 3, axis=1), atol=1e-12)
    assert len(np.unique(axes[:, 0].round(6), axis=0)) == 6
    assert pen.targets["target position"].std(axis=0).max() < 1e-12


def test_an_episode_is_the_same_whatever_runs_beside_it(pen, monkeypatch):
    monkeypatch.setattr(probe_frames, "SLOTS", 2)
    again = collect("pen", episodes=3, frames=3, seed=0)
    np.testing.assert_array_equal(again.images, pen.images[:9])
    for name, read in again.targets.items():
        np.testing.assert_array_equal(read, pen.targets[name][:9])


def test_another_seed_gives_other_frames(pen):
    other = collect("pen", episodes=2, frames=3, seed=1)
    assert not (other.images == pen.images[:6]).all(axis=(1, 2, 3)).any()


def test_held_out_are_the_last_third():
    assert split(60) == list(range(40, 60))
    assert split(6) == [4, 5]


def test_noise_lasts_and_every_episode_has_its_own_strength():
    spread = np.array([0.5, 2.0])
    made = np.stack([exploration(seed, 400, spread) for seed in range(200)])
    np.testing.assert_allclose(made.std((0, 1)), spread / np.sqrt(3), rtol=0.1)  # of a uniform strength
    strengths = made[..., 0].std(axis=1)
    assert strengths.min() < 0.05 < 0.4 < strengths.max()
    later = (made[:, :-NOISE_STEPS] * made[:, NOISE_STEPS:]).mean() / (made**2).mean()
    assert later == pytest.approx(np.exp(-1), abs=0.1)


@pytest.mark.parametrize("name", tasks.names())
def test_every_task_has_its_quantities(name):
    task = tasks.make(name)
    found = quantities(task)
    names = [quantity.name for quantity in found]
    assert names == [each for each in QUANTITIES if each in names]
    assert {"hand joints", "palm position", "fingertips", "object position", "target position", "contact"} <= {*names}
    assert ("arm joints" in names) == (name != "pen")
    assert ("object joints" in names) == (name in ("door", "hammer"))
    assert ("target orientation" in names) == (name == "pen")
    assert ("object orientation" in names) == (name not in ("door", "relocate"))
    data = mujoco.MjData(task.model)
    task.load_data(0, data)
    for quantity in found:
        assert quantity.read(data).shape == (len(quantity.dimensions),)
    card = task.card
    joints = values(name, task, data)
    robot = np.concatenate([joints.get("arm joints", []), joints["hand joints"]])
    reading = task.read(slice(None))
    np.testing.assert_array_equal(robot[-card.proprioception_dim :], reading.proprioception[0])


def test_the_door_is_where_its_observation_says():
    task = tasks.make("door")
    task.reset([5])
    for _ in range(3):
        observation = task.step(np.full((1, 28), 0.3)).observation[0]
    data = mujoco.MjData(task.model)
    task.load_data(0, data)
    read = values("door", task, data)
    np.testing.assert_array_equal(read["palm position"], observation[29:32])
    np.testing.assert_array_equal(read["object position"], observation[32:35])
    np.testing.assert_array_equal(read["object joints"], observation[[28, 27]])
    np.testing.assert_array_equal(read["target position"], task.initial_state(0)["door_body_pos"])


def test_the_ball_and_its_target_are_where_the_observation_says():
    task = tasks.make("relocate")
    task.reset([5])
    for _ in range(3):
        observation = task.step(np.full((1, 30), 0.3)).observation[0]
    data = mujoco.MjData(task.model)
    task.load_data(0, data)
    palm, ball, target = (values("relocate", task, data)[f"{thing} position"] for thing in ("palm", "object", "target"))
    np.testing.assert_array_equal(np.concatenate([palm - ball, palm - target, ball - target]), observation[30:39])
    np.testing.assert_array_equal(target, task.initial_state(0)["target_pos"])


def test_contact_is_the_hand_on_the_thing():
    task = tasks.make("relocate-mug")
    data = mujoco.MjData(task.model)

    def touches(shift):
        qpos = task.model.qpos0.copy()
        data.qpos[:] = qpos
        mujoco.mj_kinematics(task.model, data)
        palm = data.site("S_grasp").xpos
        data.qpos[30:33] = palm + shift
        mujoco.mj_forward(task.model, data)
        return values("relocate-mug", task, data)["contact"][0]

    assert touches((0.0, 0.0, 0.0)) == 1.0
    assert touches((0.0, 0.0, 0.5)) == 0.0
    data.qpos[:] = task.model.qpos0
    data.qpos[32] -= 0.01  # in the table: a contact, but not the hand's
    mujoco.mj_forward(task.model, data)
    assert data.ncon > 0
    assert values("relocate-mug", task, data)["contact"][0] == 0.0


def test_near_is_not_contact():
    task, expert = tasks.make("place_inside"), experts.shipped("place_inside")
    model, data = task.model, mujoco.MjData(task.model)  # contacts are seen from 3 cm on, for the reward
    hand = [geom for geom in range(model.ngeom) if model.geom(geom).name.startswith("C_")]
    thing = [geom for geom in range(model.ngeom) if model.body(model.geom_bodyid[geom]).name == "banana"]
    observation = task.reset([0]).observation
    for _ in range(20):
        observation = task.step(expert.mean(observation)).observation
    task.load_data(0, data)
    read, near = [], 0
    for _ in range(40):
        gap = min(mujoco.mj_geomDistance(model, data, a, b, 1.0, None) for a in hand for b in thing)
        if not 0.0 < gap < 0.003:  # the two ways of measuring differ by a millimetre or two
            read.append(values("place_inside", task, data)["contact"][0])
            assert read[-1] == (gap < 0.001)
        near += 0.003 < gap < 0.025 and data.ncon > 0
        data.qpos[32] -= 0.003  # the banana sinks away from the hand
        mujoco.mj_forward(model, data)
    assert set(read) == {0.0, 1.0}
    assert near > 0
