"""Simulation and rendering in worker processes; frames come back through shared memory.

Slots are numbered through; each worker owns a contiguous share of them, one task and one OpenGL context. What a slot
computes does not depend on which worker owns it, so any number of workers gives the same bits.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

import tasks
from tasks.base import Reading, Task
from tasks.errors import TaskError
from tasks.rendering.qualities import Quality
from tasks.rendering.render import CROP, Device, Renderer, check_distinct

from .. import task_files
from ..errors import SimulationError
from .worker_pool import Worker
from .worker_pool import close as close_workers

RESUME = "start the same command again to resume"
DOING = {"begin": "beginning episodes", "step": "taking a step"}

Start = int | Mapping[str, npt.NDArray[np.float64]]
Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class SceneSettings:
    """The scene that every worker builds.

    Attributes:
        task: the task's name.
        options: options of the task, such as ``physics``.
        slots: simulations, over all workers.
        images: whether frames are drawn.
        quality: rendering quality.
        device: index of the EGL device, or None for any.
        camera: the camera that draws; None for the task's.
        source: where a worker process finds the task.
    """

    task: str
    options: dict[str, Any] = field(default_factory=dict)
    slots: int = 1
    images: bool = True
    quality: Quality = "fast"
    device: int | None = None
    camera: str | None = None
    source: task_files.Source | None = None


class SlotGroup:
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

    def begin(self, slots: Sequence[int], starts: Sequence[Start]) -> Reading:
        """Start episodes, from seeds or from given initial states, and draw their first frames."""
        seeds = [start for start in starts if isinstance(start, int)]
        states = [start for start in starts if not isinstance(start, int)]
        if seeds and states:
            raise TaskError("episodes that begin together must all start from seeds, or all from states")
        reading = self.task.reset(seeds, slots) if seeds else self.task.restore(states, slots)
        self._draw(slots)
        return reading

    def step(self, slots: Sequence[int], actions: npt.NDArray[np.floating], drawn: Sequence[int]) -> Reading:
        """Step slots, and draw those in ``drawn``."""
        everything = len(slots) == self.task.slots
        reading = self.task.step(actions, None if everything else slots)
        self._draw(drawn)
        return reading

    def close(self) -> None:
        """Release the OpenGL context."""
        if self.renderer:
            self.renderer.close()

    def _draw(self, slots: Sequence[int]) -> None:
        if self.renderer:
            for slot in slots:
                self.task.load_data(slot, self._data)
                self.renderer.render(self._data, self.frames[slot])


class Simulators:
    """All slots, in this process (``workers=0``) or divided among worker processes.

    Attributes:
        frames: (slots, 224, 224, 3) uint8, the latest drawn frame of every slot.
        device: the device that draws the frames, or None where none are drawn.

    Args:
        settings: the scene.
        workers: worker processes; never more than there are slots.

    Raises:
        SimulationError: a worker died, or did not answer.
        ConfigError: workers cannot be started from this process.
        TaskError, RenderError: what a worker raised.
    """

    def __init__(self, settings: SceneSettings, workers: int = 0) -> None:
        self.settings = settings = replace(settings, source=_source(settings.task, workers))
        shape = (settings.slots, CROP, CROP, 3)
        self._workers: list[_Worker] = []
        if workers <= 0:
            self.frames = np.zeros(shape if settings.images else (settings.slots, 0, 0, 3), np.uint8)
            self._local = SlotGroup(settings, settings.slots, self.frames, threads=os.cpu_count() or 1)
            self.device = self._local.device
            return
        # Memory of this kind has no name, so it vanishes with the processes that hold it, however they end.
        memory = multiprocessing.RawArray("B", int(np.prod(shape)))
        self.frames = np.frombuffer(memory, np.uint8).reshape(shape)
        bounds = np.linspace(0, settings.slots, min(workers, settings.slots) + 1).astype(int)
        try:
            for first, stop in pairwise(bounds):
                self._workers.append(_Worker(settings, int(first), int(stop), memory))
            devices = [worker.receive() for worker in self._workers]
            self.device = devices[0]
        except BaseException:
            self.close()
            raise

    def begin(self, slots: Sequence[int], starts: Sequence[Start]) -> Reading:
        """Start episodes and draw their first frames; rows follow ``slots``, which must ascend.

        Raises:
            RenderError: two environments that began differently show the same frame.
        """
        if not self._workers:
            reading = self._local.begin(slots, starts)
        else:
            reading = self._scatter("begin", slots, lambda chosen: ([starts[i] for i in chosen],))
        if self.settings.images and len(slots) > 1 and _differ(reading.observation):
            check_distinct(self.frames[list(slots)])
        return reading

    def step(self, slots: Sequence[int], actions: npt.NDArray[np.floating], drawn: Sequence[int]) -> Reading:
        """Step slots with actions (n, action_dim) and draw those in ``drawn``; rows follow ``slots``, ascending."""
        if not self._workers:
            return self._local.step(slots, actions, drawn)
        to_draw = set(drawn)
        return self._scatter(
            "step", slots, lambda chosen: (actions[chosen], [slots[i] for i in chosen if slots[i] in to_draw])
        )

    def _scatter(self, command: str, slots: Sequence[int], payload: Callable[[list[int]], tuple[Any, ...]]) -> Reading:
        asked = []
        for worker in self._workers:
            chosen = [i for i, slot in enumerate(slots) if worker.first <= slot < worker.stop]
            if chosen:
                first, *rest = payload(chosen)
                if rest:
                    rest = [[slot - worker.first for slot in rest[0]]]
                message = (command, [slots[i] - worker.first for i in chosen], first, *rest)
                worker.send(message, DOING[command])
                asked.append(worker)
        readings = [worker.receive() for worker in asked]
        return Reading(*(np.concatenate(column) for column in zip(*readings, strict=True)))

    def close(self) -> None:
        """Stop the workers, or release the OpenGL context."""
        close_workers(self._workers)
        if not self._workers and hasattr(self, "_local"):
            self._local.close()
        self._workers = []

    def __enter__(self) -> Simulators:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Worker(Worker):
    """A worker process that simulates the slots from ``first`` up to ``stop``."""

    def __init__(self, settings: SceneSettings, first: int, stop: int, memory: Any) -> None:
        self.first, self.stop = first, stop
        name = f"the simulation worker of slots {first} to {stop - 1}"
        super().__init__(name, RESUME, _serve, (settings, first, stop, memory))


def _source(task: str, workers: int) -> task_files.Source | None:
    """Where worker processes find a task; None without workers.

    Raises:
        TaskError: only this process has the task.
    """
    if workers <= 0:
        return None
    if not tasks.is_importable(task):
        raise TaskError(
            f"task '{task}': worker processes cannot import it from a script or notebook: put its class into a file "
            "and give path/to/file.py:Class, or set workers=0"
        )
    return task_files.source(task)


def _serve(pipe: Connection, settings: SceneSettings, first: int, stop: int, memory: Any) -> None:
    """A worker process: answer commands until the pipe closes."""
    os.environ.setdefault("LP_NUM_THREADS", "1")
    frames = np.frombuffer(memory, np.uint8).reshape(settings.slots, CROP, CROP, 3)[first:stop]
    try:
        group = SlotGroup(settings, stop - first, frames)
        pipe.send(group.device)
        while True:
            command, *arguments = pipe.recv()
            pipe.send(getattr(group, command)(*arguments))
    except (EOFError, OSError):
        return
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent has to hear of it
        pipe.send(error if isinstance(error, TaskError) else SimulationError(f"{type(error).__name__}: {error}"))


def _differ(observations: npt.NDArray[np.float64]) -> bool:
    return len(np.unique(observations, axis=0)) == len(observations)
