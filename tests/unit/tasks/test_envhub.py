"""The example for LeRobot's EnvHub, held to its contract without its package."""

import importlib.util
import inspect
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest

import tasks

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "envhub" / "env.py"


@pytest.fixture
def hub(monkeypatch):
    """The file as EnvHub loads it: by its path, and not among Python's modules."""
    monkeypatch.delenv("HINDEX_BENCH_TASKS", raising=False)
    specification = importlib.util.spec_from_file_location("hub_env_env_py", EXAMPLE)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def make(hub):
    """Make environments as EnvHub calls for them, and close them after the test."""
    made = []

    def make(**options):
        made.append(hub.make_env(**options))
        return made[-1]

    yield make
    for suites in made:
        for environment in (one for suite in suites.values() for one in suite.values()):
            environment.close()


def first(suites):
    """The suite's first environment, after a look at the shape of what was returned."""
    ((suite, environments),) = suites.items()
    assert suite == "hindex_bench"
    assert list(environments) == list(range(len(environments)))
    assert all(isinstance(one, gymnasium.vector.VectorEnv) for one in environments.values())
    return environments[0]


def one_rollout(environment, count):
    """Act as LeRobot's rollouts do until every episode has ended once; return who succeeded."""
    observation, _ = environment.reset(seed=list(range(count)), options={"lerobot_new_rollout": True})
    assert observation["pixels"].shape == (count, 224, 224, 3)
    assert (observation["pixels"].dtype, observation["agent_pos"].dtype) == (np.uint8, np.float32)
    assert observation in environment.observation_space
    limits, words = environment.call("_max_episode_steps"), environment.call("task_description")
    assert (set(limits), set(words)) == ({tasks.card("pen").horizon}, {tasks.card("pen").success_rule})
    done, success = np.zeros(count, bool), np.zeros(count, bool)
    environment.action_space.seed(0)
    for _ in range(limits[0]):
        _, _, terminated, truncated, info = environment.step(environment.action_space.sample())
        ended = (terminated | truncated) & ~done
        if ended.any():
            success[ended] = info["final_info"]["is_success"][ended]
        done |= ended
        if done.all():
            return success
    raise AssertionError("an episode has no end")


def test_the_signature_is_the_contracts(hub):
    parameters = inspect.signature(hub.make_env).parameters
    assert [parameters[name].default for name in ("n_envs", "use_async_envs")] == [1, False]
    assert len(EXAMPLE.read_text().splitlines()) < 80


def test_tasks_are_chosen_by_configuration_or_environment(make, monkeypatch):
    assert first(make()).call("task") == ("door",)
    assert first(make(cfg=SimpleNamespace(task="hammer"))).call("task") == ("hammer",)
    monkeypatch.setenv("HINDEX_BENCH_TASKS", "pen,door")
    suites = make(n_envs=2)
    assert [one.call("task") for one in suites["hindex_bench"].values()] == [("pen", "pen"), ("door", "door")]


def test_a_rollout_goes_as_lerobots_do(make):
    environment = first(make(n_envs=2, cfg=SimpleNamespace(task="pen")))
    assert not one_rollout(environment, 2).any()


@pytest.mark.slow
def test_environments_in_processes_of_their_own_do_the_same(make):
    environment = first(make(n_envs=2, use_async_envs=True, cfg=SimpleNamespace(task="pen")))
    assert not one_rollout(environment, 2).any()
