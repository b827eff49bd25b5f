"""The simulations of one process: physics, observations and frames of some slots.

A slot is a place for one environment; neighbours form groups, which are encoded together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import tasks
from tasks.base import Reading, Task
from tasks.errors import TaskError
from tasks.rendering.qualities import Quality
from tasks.rendering.render import Device, Renderer

from .. import task_files

Start = int | Mapping[str, npt.NDArray[np.float64]]
Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class SceneSettings:
    """The scene that every worker builds.

    Attributes:
        task: the task's name.
        options: options of the task, such as ``physics``.
        slots: simulations over all workers.
        group: slots of a group, which are encoded together; the last group may be smaller.
        images: whether frames are drawn.
        quality: rendering quality.
        device: index of the EGL device, or None for any.
        camera: the camera that draws; None for the task's.
        source: where a worker process finds the task.
    """

    task: str
    options: dict[str, Any] = field(default_factory=dict)
    slots: int = 1
    group: int = 4
    images: bool = True
    quality: Quality = "fast"
    device: int | None = None
    camera: str | None = None
    source: task_files.Source | None = None

    @property
    def groups(self) -> list[range]:
        """The slots of each group."""
        return [range(first, min(first + self.group, self.slots)) for first in range(0, self.slots, self.group)]


class Answer(NamedTuple):
    """What slots read after a command, and the seconds that it took.

    Attributes:
        reading: a row a slot.
        physics: seconds of simulation.
        drawing: seconds of rendering.
    """

    reading: Reading
    physics: float
    drawing: float


class LocalSlots:
    """The simulations of one process, and their frames.

    Args:
        settings: the scene.
        slots: how many of its slots live here.
        frames: (slots, 224, 224, 3) uint8 to draw into.
        threads: threads that step them.
    """

    def __init__(self, settings: SceneSettings, slots: int, frames: Frames, threads: int = 1) -> None:
        if settings.source is not None:
            task_files.require(settings.source)
        self.task: Task = tasks.make(settings.task, slots=slots, threads=threads, **settings.options)
        self.frames = frames
        self.renderer: Renderer | None = None
        if settings.images:
            from tasks.engine import mujoco

            camera = settings.camera or self.task.card.camera
            self.renderer = Renderer(self.task.model, camera, settings.quality, settings.device)
            self._data = mujoco.MjData(self.task.model)

    @property
    def device(self) -> Device | None:
        """Return the device that draws the frames, or None where none are drawn."""
        return self.renderer.device if self.renderer else None

    def begin(self, slots: Sequence[int], starts: Sequence[Start]) -> Answer:
        """Start episodes, from seeds or from given initial states, and draw their first frames."""
        began = perf_counter()
        seeds = [start for start in starts if isinstance(start, int)]
        states = [start for start in starts if not isinstance(start, int)]
        if seeds and states:
            raise TaskError("episodes that begin together must all start from seeds, or all from states")
        reading = self.task.reset(seeds, slots) if seeds else self.task.restore(states, slots)
        return self._answer(reading, began, slots)

    def step(self, slots: Sequence[int], actions: npt.NDArray[np.floating], drawn: Sequence[int]) -> Answer:
        """Step slots, and draw those in ``drawn``."""
        began = perf_counter()
        everything = len(slots) == self.task.slots
        reading = self.task.step(actions, None if everything else slots)
        return self._answer(reading, began, drawn)

    def replay(self, slot: int, start: Start, actions: Sequence[npt.NDArray[np.floating]]) -> None:
        """Bring a slot to where its episode stands, without drawing."""
        if isinstance(start, int):
            self.task.reset([start], [slot])
        else:
            self.task.restore([start], [slot])
        for action in actions:
            self.task.step(action[None], [slot])

    def close(self) -> None:
        """Release the OpenGL context."""
        if self.renderer:
            self.renderer.close()

    def _answer(self, reading: Reading, began: float, drawn: Sequence[int]) -> Answer:
        simulated = perf_counter()
        self._draw(drawn)
        return Answer(reading, simulated - began, perf_counter() - simulated)

    def _draw(self, slots: Sequence[int]) -> None:
        if self.renderer:
            for slot in slots:
                self.task.load_data(slot, self._data)
                self.renderer.render(self._data, self.frames[slot])
