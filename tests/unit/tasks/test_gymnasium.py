"""The tasks as gymnasium environments."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import tasks
import tasks.gymnasium_envs
from tasks.errors import TaskError

NAMES = tasks.names()
ROOT = Path(tasks.__file__).parents[1]


@pytest.fixture
def make():
    opened = []

    def build(name, **options):
        opened.append(gymnasium.make(f"hindex_bench/{name}", **options))
        return opened[-1]

    yield build
    for environment in opened:
        environment.close()


def in_a_new_process(code):
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("observation", ["state", "pixels"])
@pytest.mark.parametrize("name", NAMES)
def test_environment_checker_finds_nothing(make, name, observation):
    environment = make(name, observation=observation, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Joint positions and velocities have no bounds of their own.
        warnings.filterwarnings("ignore", message=".*Box observation space (minimum|maximum) value is -?infinity.*")
        check_env(environment.unwrapped)


@pytest.mark.parametrize("name", NAMES)
def test_horizon_truncates(make, name):
    environment = make(name)
    card = tasks.card(name)
    environment.reset(seed=0)
    idle = np.zeros(card.action_dim, np.float32)
    ends = [environment.step(idle)[2:4] for _ in range(card.horizon)]
    assert ends == [(False, False)] * (card.horizon - 1) + [(False, True)]


def test_dropped_pen_terminates(make):
    environment = make("pen")
    environment.reset(seed=0)
    generator = np.random.default_rng(0)
    for _ in range(100):
        *_, terminated, truncated, _ = environment.step(generator.uniform(-1, 1, 24).astype(np.float32))
        if terminated:
            break
    assert terminated
    assert not truncated


def test_steps_are_those_of_the_task(make):
    environment, task = make("door"), tasks.make("door")
    observation, info = environment.reset(seed=5)
    reading = task.reset([5])
    np.testing.assert_array_equal(observation, reading.observation[0])
    assert info == {"goal": False, "goal_measurement": 0.0, "success": False}
    for action in np.random.default_rng(0).uniform(-1, 1, (5, 28)).astype(np.float32):
        observation, reward, _, _, info = environment.step(action)
        reading = task.step(action[None])
        np.testing.assert_array_equal(observation, reading.observation[0])
        assert reward == reading.reward[0]
        assert info["goal_measurement"] == reading.goal_measurement[0]


def test_success_counts_the_goal_steps_of_the_episode(make):
    environment = make("door")
    environment.reset(seed=0)
    task, idle = environment.unwrapped.task, np.zeros(28, np.float32)
    opened = task.initial_state(0)
    opened["qpos"][task.model.joint("door_hinge").qposadr] = 1.55
    task.restore([opened])
    infos = [environment.step(idle)[-1] for _ in range(30)]
    assert all(info["goal"] for info in infos)
    assert [info["success"] for info in infos] == [count >= 26 for count in range(1, 31)]
    assert environment.reset(seed=0)[1]["success"] is False


def test_unseeded_resets_draw_from_the_environments_own_stream(make):
    def observations(environment):
        first = environment.reset(seed=3)[0]
        return [first, *(environment.reset()[0] for _ in range(3))]

    left, right = (observations(make("door")) for _ in range(2))
    np.testing.assert_array_equal(left, right)
    assert len(np.unique(left, axis=0)) == 4


@pytest.mark.parametrize("name", ["door", "hammer", "pen", "pour", "relocate-mug"])
def test_a_reset_starts_from_the_state_that_it_is_given(make, name):
    origin, environment = tasks.make(name), make(name)
    expected = origin.reset([7])
    state = origin.initial_state(0)
    observation, info = environment.reset(seed=3, options={"initial_state_dict": state | {"palm_pos": np.zeros(3)}})
    np.testing.assert_array_equal(observation, expected.observation[0])
    assert info["success"] is False
    action = np.full(environment.unwrapped.task.card.action_dim, 0.1, np.float32)
    np.testing.assert_array_equal(environment.step(action)[0], origin.step(action[None]).observation[0])
    assert not np.array_equal(environment.reset(seed=3, options={})[0], observation)


def test_a_vector_passes_the_state_on():
    door = tasks.make("door")
    door.reset([7])
    environments = gymnasium.make_vec("hindex_bench/door", num_envs=2, vectorization_mode="sync")
    observations, _ = environments.reset(options={"initial_state_dict": door.initial_state(0)})
    np.testing.assert_array_equal(observations[0], observations[1])
    environments.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"initial_state": {}}, "door: reset knows no option 'initial_state'; available: 'initial_state_dict'"),
        ({"initial_state_dict": None}, "door: 'initial_state_dict' must be a dict of arrays, .*, got NoneType"),
        ({"initial_state_dict": {}}, "door: initial state needs 'qpos' with 30 numbers, got 0"),
        ({"initial_state_dict": {"qpos": [0] * 30, "qvel": [0] * 29}}, "needs 'qvel' with 30 numbers, got 29"),
        ({"initial_state_dict": {"qpos": ["a"] * 30, "qvel": [0] * 30}}, "'qpos' of an initial state is no array"),
        ({"initial_state_dict": {"qpos": [np.nan] * 30, "qvel": [0] * 30}}, "'qpos' of an initial state is not finite"),
    ],
)
def test_an_option_of_reset_that_cannot_be_followed_is_refused(make, options, message):
    environment = make("door")
    with pytest.raises(TaskError, match=message) as caught:
        environment.reset(options=options)
    assert "\n" not in str(caught.value)


def test_pixels_and_rendering_agree(make):
    environment = make("hammer", observation="pixels", render_mode="rgb_array")
    observation, _ = environment.reset(seed=1)
    np.testing.assert_array_equal(observation["pixels"], environment.render())
    np.testing.assert_array_equal(observation["proprioception"], make("hammer").reset(seed=1)[0][2:26])
    moved, *_ = environment.step(np.ones(26, np.float32))
    assert not np.array_equal(moved["pixels"], observation["pixels"])


def test_options_reach_the_task(make):
    assert make("pen", physics="native", reward="dense").unwrapped.task.physics == "native"
    with pytest.raises(TaskError, match="'state' or 'pixels', got 'sound'"):
        make("pen", observation="sound")


def test_registering_imports_neither_mujoco_nor_torch():
    code = "import json, sys, tasks.gymnasium_envs; print(json.dumps(sorted({'mujoco', 'torch'} & set(sys.modules))))"
    assert in_a_new_process(code) == []


def test_make_imports_the_registration_by_itself():
    code = """
import gymnasium, json
environment = gymnasium.make("tasks.gymnasium_envs:hindex_bench/door")
print(json.dumps([environment.spec.max_episode_steps, *environment.observation_space.shape]))
"""
    assert in_a_new_process(code) == [200, 39]


def test_drawing_and_a_torch_optimiser_live_in_one_process():
    """Mesa's software driver and torch's compiler each bring an LLVM."""
    pytest.importorskip("torch")
    code = """
import gymnasium, tasks.gymnasium_envs
environment = gymnasium.make("hindex_bench/door", observation="pixels")
environment.reset(seed=0)
import torch
torch.optim.Adam([torch.zeros(1, requires_grad=True)])
print(int(environment.reset(seed=1)[0]["pixels"].any()))
"""
    assert in_a_new_process(code) == 1
