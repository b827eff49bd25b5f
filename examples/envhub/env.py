"""The tasks for LeRobot's EnvHub: a repository on the Hub needs this file, and its users `pip install hindex-bench`.

    from lerobot.envs.factory import make_env

    environments = make_env("you/hindex-bench", n_envs=4, trust_remote_code=True)["hindex_bench"]

`HINDEX_BENCH_TASKS=door,pen` in the environment chooses tasks, `all` stands for every one; `door` by default.
"""

import os
from functools import partial

import gymnasium
import numpy as np

import tasks

SUITE = "hindex_bench"
INITIAL_STATE = "initial_state_dict"  # the one option of a reset that the tasks know


class ForLeRobot(gymnasium.Wrapper):
    """A task with LeRobot's names: `pixels` and `agent_pos` of observations, `is_success` of an episode so far."""

    def __init__(self, environment, task):
        super().__init__(environment)
        self.task, self.task_description = task, tasks.card(task).success_rule
        self._max_episode_steps = tasks.card(task).horizon
        seen = environment.observation_space
        agent = gymnasium.spaces.Box(-np.inf, np.inf, seen["proprioception"].shape, np.float32)
        self.observation_space = gymnasium.spaces.Dict({"pixels": seen["pixels"], "agent_pos": agent})

    def reset(self, *, seed=None, options=None):
        known = {name: value for name, value in (options or {}).items() if name == INITIAL_STATE}
        observation, info = self.env.reset(seed=seed, options=known)
        return self._named(observation), info | {"is_success": info["success"]}

    def step(self, action):
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._named(observation), reward, terminated, truncated, info | {"is_success": info["success"]}

    def _named(self, observation):
        return {"pixels": observation["pixels"], "agent_pos": observation["proprioception"].astype(np.float32)}


def make_task(task):
    """Return one environment of a task, seen through its camera."""
    made = gymnasium.make(f"tasks.gymnasium_envs:{SUITE}/{task}", observation="pixels", render_mode="rgb_array")
    return ForLeRobot(made, task)


def make_env(n_envs=1, use_async_envs=False, cfg=None):
    """Return `{suite: {number of the task: VectorEnv}}`, as EnvHub asks for.

    Args:
        n_envs: environments of each task.
        use_async_envs: whether each has a process of its own, with an OpenGL context of its own.
        cfg: LeRobot's; its `task`, where it has one, is the only task.
    """
    chosen = getattr(cfg, "task", None) or os.environ.get("HINDEX_BENCH_TASKS", "door")
    names = tasks.names() if chosen == "all" else chosen.split(",")
    mode = gymnasium.vector.AutoresetMode.SAME_STEP  # the end of an episode is told as `final_info`
    vector = partial(gymnasium.vector.SyncVectorEnv, autoreset_mode=mode)
    if use_async_envs:
        vector = partial(gymnasium.vector.AsyncVectorEnv, autoreset_mode=mode, context="spawn")
    return {SUITE: {number: vector([partial(make_task, name)] * n_envs) for number, name in enumerate(names)}}
