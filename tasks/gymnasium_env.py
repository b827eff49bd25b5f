"""One task as a ``gymnasium.Env``: the batch of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import gymnasium
import numpy as np
import numpy.typing as npt

from . import registry
from .base import Reading, Task
from .engine import mujoco
from .errors import TaskError
from .rendering.qualities import Quality
from .rendering.render import CROP, Renderer

INITIAL_STATE = "initial_state_dict"
"""Key of gymnasium-robotics for the state that `TaskEnv.reset` starts from."""

Observation = npt.NDArray[np.float64] | dict[str, npt.NDArray[Any]]


class TaskEnv(gymnasium.Env[Observation, npt.NDArray[np.float32]]):
    """A task with gymnasium's interface.

    Observations: with ``observation="state"`` (observation_dim,) float64; with ``"pixels"`` a dict of ``pixels``
    (224, 224, 3) uint8 and ``proprioception`` (proprioception_dim,) float64. Actions: (action_dim,) float32 in [-1, 1].
    The time limit truncates; a dropped pen terminates. ``info`` holds ``goal`` and ``goal_measurement`` of the step
    and ``success`` of the episode so far.

    Args:
        task: the task's name.
        observation: ``state`` or ``pixels``.
        render_mode: ``rgb_array`` or None.
        quality: rendering quality.
        **options: those of `tasks.base.Task`.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 100}  # noqa: RUF012 - gymnasium's own declaration

    def __init__(
        self,
        task: str,
        observation: Literal["state", "pixels"] = "state",
        render_mode: str | None = None,
        quality: Quality = "fast",
        **options: Any,
    ) -> None:
        if observation not in ("state", "pixels"):
            raise TaskError(f"{task}: observation is 'state' or 'pixels', got {observation!r}")
        self.task: Task = registry.make(task, **options)
        self.render_mode = render_mode
        self._observation = observation
        self._quality: Quality = quality
        self._renderer: Renderer | None = None
        self._goals = 0
        card = self.task.card
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (card.action_dim,), np.float32)
        space: gymnasium.Space[Any] = _unbounded(card.observation_dim)
        if observation == "pixels":
            pixels = gymnasium.spaces.Box(0, 255, (CROP, CROP, 3), np.uint8)
            proprioception = _unbounded(card.proprioception_dim)
            space = gymnasium.spaces.Dict({"pixels": pixels, "proprioception": proprioception})
        self.observation_space = space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; without a seed the next one is drawn from the environment's own stream.

        Args:
            seed: of the initial state and of the environment's stream.
            options: ``{"initial_state_dict": state}`` starts from a given state, as in gymnasium-robotics: ``qpos``,
                ``qvel`` and, where the task randomises one, the model's field, as `tasks.base.Task.initial_state`
                gives them and demonstration files hold them; other entries of the state are not needed.

        Raises:
            TaskError: an option that is not known, or a state that lacks an entry or has another size.
        """
        state = self._initial_state(options or {})
        super().reset(seed=seed)
        self._goals = 0
        if state is not None:
            reading = self.task.restore([state])
        else:
            reading = self.task.reset([int(self.np_random.integers(2**31)) if seed is None else seed])
        return self._observe(reading), self._info(reading)

    def step(self, action: npt.NDArray[np.float32]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Take one control step of 0.01 s."""
        reading = self.task.step(np.asarray(action)[None])
        self._goals += int(reading.goal[0])
        observation, info = self._observe(reading), self._info(reading)
        return observation, float(reading.reward[0]), bool(reading.terminated[0]), False, info

    def render(self) -> npt.NDArray[np.uint8] | None:
        """Draw the task's camera: (224, 224, 3) uint8 RGB."""
        return self._frame() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Release the OpenGL context."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None

    def _initial_state(self, options: Mapping[str, Any]) -> Mapping[str, npt.ArrayLike] | None:
        name = self.task.card.name
        unknown = [key for key in options if key != INITIAL_STATE]
        if unknown:
            raise TaskError(f"{name}: reset knows no option {unknown[0]!r}; available: {INITIAL_STATE!r}")
        if INITIAL_STATE not in options:
            return None
        state = options[INITIAL_STATE]
        if not isinstance(state, Mapping):
            raise TaskError(
                f"{name}: {INITIAL_STATE!r} must be a dict of arrays, such as environment.unwrapped.task."
                f"initial_state(0), got {type(state).__name__}"
            )
        return state

    def _observe(self, reading: Reading) -> Observation:
        if self._observation == "state":
            state: Observation = reading.observation[0]
            return state
        return {"pixels": self._frame(), "proprioception": reading.proprioception[0]}

    def _info(self, reading: Reading) -> dict[str, Any]:
        return {
            "goal": bool(reading.goal[0]),
            "goal_measurement": float(reading.goal_measurement[0]),
            "success": self._goals >= self.task.card.goal_steps,
        }

    def _frame(self) -> npt.NDArray[np.uint8]:
        if self._renderer is None:
            self._renderer = Renderer(self.task.model, self.task.card.camera, self._quality)
            self._data = mujoco.MjData(self.task.model)
        self.task.load_data(0, self._data)
        return self._renderer.render(self._data)


def _unbounded(size: int) -> gymnasium.spaces.Box:
    return gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float64)
