"""Adroit's relocate, of which nothing is recorded: against the packaged scene in plain MuJoCo, step by step.

Rewards and goals are computed anew from the poses there, with the numbers of the specification written out.
"""

import importlib.util
from pathlib import Path

import mujoco
import numpy as np
import pytest
from records import FULL, HAVE_FULL
from scipy import stats

import tasks
from tasks.demonstrations.rollout import evaluate
from tasks.experts import Expert

EPISODES, STEPS = 6, 120
RESETS = 2_000
needs_policies = pytest.mark.skipif(not HAVE_FULL, reason="no shared/golden beside the checkout")


def authors_policy():
    prefix = "relocate-v0|"
    with np.load(FULL / "policies.npz") as file:
        return Expert.from_arrays({key.removeprefix(prefix): file[key] for key in file if key.startswith(prefix)})


class Reference:
    """One episode in the packaged scene: margins of 0.00025 m, one contact a convex pair, 5 substeps of 2 ms."""

    def __init__(self):
        package = Path(importlib.util.find_spec("gymnasium_robotics").submodule_search_locations[0])
        spec = mujoco.MjSpec.from_file(str(package / "envs" / "assets" / "adroit_hand" / "adroit_relocate.xml"))
        for geom in spec.geoms:
            geom.margin = 0.00025
        off = mujoco.mjtDisableBit
        spec.option.disableflags |= off.mjDSBL_MULTICCD | off.mjDSBL_NATIVECCD
        spec.option.ccd_iterations = 50
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)

    def begin(self, state):
        self.model.body("Object").pos[:] = state["obj_pos"]
        self.model.site("target").pos[:] = state["target_pos"]
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[:], self.data.qvel[:] = state["qpos"], state["qvel"]
        mujoco.mj_forward(self.model, self.data)

    def step(self, action):
        low, high = self.model.actuator_ctrlrange.T
        self.data.ctrl[:] = (low + high) / 2 + (high - low) / 2 * np.clip(action, -1, 1)
        mujoco.mj_step(self.model, self.data, 5)

    def poses(self):
        return self.data.site("S_grasp").xpos, self.data.body("Object").xpos, self.data.site("target").xpos

    def observation(self):
        palm, ball, target = self.poses()
        return np.concatenate([self.data.qpos[:-6], palm - ball, palm - target, ball - target])

    def rewards(self):
        """Dense and sparse."""
        palm, ball, target = self.poses()
        distance = np.linalg.norm(ball - target)
        sparse = 10.0 * (distance < 0.1) + 20.0 * (distance < 0.05)
        dense = -0.1 * np.linalg.norm(palm - ball)
        if ball[2] > 0.04:
            dense += 1.0 - 0.5 * np.linalg.norm(palm - target) - 0.5 * distance
        return dense + sparse, sparse, distance


@pytest.mark.parametrize("kind", ["random actions", pytest.param("authors' policy", marks=needs_policies)])
def test_steps_rewards_and_goals_are_those_of_the_packaged_scene(kind):
    """Rows under random actions, and rows in contact, up to the goal, of the authors' policy."""
    both = {reward: tasks.make("relocate", slots=EPISODES, reward=reward) for reward in ("dense", "sparse")}
    reference, generator, lifted, near = Reference(), np.random.default_rng(0), 0, 0
    policy = authors_policy() if kind == "authors' policy" else None
    readings = {reward: task.reset(range(EPISODES)) for reward, task in both.items()}
    for slot in range(EPISODES):
        reference.begin(both["dense"].initial_state(slot))
        np.testing.assert_array_equal(readings["dense"].observation[slot], reference.observation())
    actions = generator.uniform(-1.2, 1.2, (STEPS, EPISODES, 30))
    taken, rows = [], {reward: [] for reward in both}
    states = [both["dense"].initial_state(slot) for slot in range(EPISODES)]
    for step in range(STEPS):
        taken.append(policy.mean(readings["dense"].observation) if policy else actions[step])
        readings = {reward: task.step(taken[-1]) for reward, task in both.items()}
        for reward, reading in readings.items():
            rows[reward].append(reading)
    for slot in range(EPISODES):
        reference.begin(states[slot])
        for step in range(STEPS):
            reference.step(taken[step][slot])
            dense, sparse, distance = reference.rewards()
            ours = rows["dense"][step]
            np.testing.assert_allclose(ours.observation[slot], reference.observation(), rtol=0, atol=1e-9)
            np.testing.assert_allclose(ours.reward[slot], dense, rtol=0, atol=1e-9)
            assert rows["sparse"][step].reward[slot] == sparse
            assert ours.goal[slot] == (distance < 0.1)
            np.testing.assert_allclose(ours.goal_measurement[slot], distance, rtol=0, atol=1e-9)
            assert not ours.terminated[slot]
            lifted += reference.poses()[1][2] > 0.04
            near += distance < 0.05
    if policy:
        assert min(lifted, near) > EPISODES * STEPS / 10


def test_resets_draw_ball_and_target_in_the_order_of_the_release():
    """It draws one number after the other: x and y of the ball, x and y of the target."""
    task = tasks.make("relocate")
    for seed in range(20):
        ours, stream = task.draw(np.random.RandomState(seed)).field, np.random.RandomState(seed)
        bounds = ((-0.15, 0.15), (-0.15, 0.3), (-0.2, 0.2), (-0.2, 0.2))
        ball_x, ball_y, target_x, target_y = (stream.uniform(low, high) for low, high in bounds)
        np.testing.assert_array_equal(ours, [ball_x, ball_y, 0.035, target_x, target_y, 0.25])


def test_resets_are_distributed_as_the_releases():
    """Two samples, theirs from draws of its kind, and ours from the poses after a reset."""
    task = tasks.make("relocate", slots=RESETS)
    task.reset(range(RESETS))
    ours = np.concatenate([task.batch.body("Object").xpos[:, :2], task.batch.site("target").xpos[:, :2]], axis=1)
    theirs = np.random.RandomState(0).uniform((-0.15, -0.15, -0.2, -0.2), (0.15, 0.3, 0.2, 0.2), (RESETS, 4))
    for one, other in zip(ours.T, theirs.T, strict=True):
        assert stats.ks_2samp(one, other).pvalue > 0.01
    np.testing.assert_array_equal(task.batch.body("Object").xpos[:, 2], 0.035)
    np.testing.assert_array_equal(task.batch.site("target").xpos[:, 2], 0.25)


@needs_policies
@pytest.mark.parametrize(("episodes", "least"), [(8, 7), pytest.param(100, 95, marks=pytest.mark.slow)])
def test_the_authors_policy_succeeds(episodes, least):
    task = tasks.make("relocate", slots=min(episodes, 50), threads=2)
    returns, successes = evaluate(task, authors_policy(), episodes=episodes, first_seed=1000)
    assert successes.sum() >= least
    assert returns.mean() > 3500
