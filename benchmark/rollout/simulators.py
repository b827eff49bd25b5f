"""Simulation and rendering in worker processes; frames come back through shared memory.

Each worker owns whole groups, one task and one OpenGL context. What a slot computes does not depend on which worker
owns it, so any number of workers gives the same bits. Groups may be driven by threads of their own. A worker that dies
is started again and its episodes are replayed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

import tasks
from tasks.base import Reading
from tasks.errors import TaskError
from tasks.rendering.render import CROP, Device, check_distinct

from .. import task_files
from ..errors import SimulationError
from .slots import Answer, LocalSlots, SceneSettings, Start
from .worker_pool import Worker, WorkerDied
from .worker_pool import close as close_workers

RESUME = "start the same command again to resume"
DOING = {"begin": "beginning episodes", "step": "taking a step"}

MOST_DEATHS = 3
"""New workers that are tried in the place of one that died, before the run ends."""

ROOM = 256
"""Actions of an episode that there is room for at first."""

ASKED_TO_END = (-signal.SIGTERM, -signal.SIGINT)
"""Exit codes of a worker that got the signal which ends the whole run, maybe before the run itself did."""


class Simulators:
    """All slots, in this process (``workers=0``) or divided among worker processes.

    With workers, threads may call `begin` and `step` at the same time for different groups.

    Attributes:
        frames: (slots, 224, 224, 3) uint8, the latest drawn frame of every slot.
        device: what draws the frames, or None when no images are needed.

    Args:
        settings: the scene.
        workers: worker processes; at most one per group is started.
        on_loss: receives a line for every worker that died and was replaced.

    Raises:
        SimulationError: a worker did not answer, or died again and again.
        ConfigError: workers cannot be started from this process.
        TaskError, RenderError: what a worker raised.
    """

    def __init__(
        self, settings: SceneSettings, workers: int = 0, on_loss: Callable[[str], None] = lambda line: None
    ) -> None:
        self.settings = settings = replace(settings, source=_source(settings.task, workers))
        self.on_loss = on_loss
        shape = (settings.slots, CROP, CROP, 3)
        self._workers: list[_Worker] = []
        self._episodes = [_Episode() for _ in range(settings.slots)]
        if workers <= 0:
            self.frames = np.zeros(shape if settings.images else (settings.slots, 0, 0, 3), np.uint8)
            self._local = LocalSlots(settings, settings.slots, self.frames, threads=os.cpu_count() or 1)
            self.device = self._local.device
            return
        # Memory of this kind has no name, so it vanishes with the processes that hold it, however they end.
        self._memory = multiprocessing.RawArray("B", int(np.prod(shape)))
        self.frames = np.frombuffer(self._memory, np.uint8).reshape(shape)
        groups = settings.groups
        bounds = np.linspace(0, len(groups), min(workers, len(groups)) + 1).astype(int)
        try:
            for first, stop in pairwise(bounds):
                self._workers.append(_Worker(settings, groups[first].start, groups[stop - 1].stop, self._memory))
            devices = [self._device_of(number) for number in range(len(self._workers))]
            self.device = devices[0]
        except BaseException:
            self.close()
            raise

    @property
    def workers(self) -> int:
        """Worker processes; 0 where the slots live in this process."""
        return len(self._workers)

    def begin(self, slots: Sequence[int], starts: Sequence[Start]) -> Answer:
        """Start episodes and draw their first frames; rows follow ``slots``, which must ascend.

        Raises:
            RenderError: two environments that began differently show the same frame.
        """
        if not self._workers:
            answer = self._local.begin(slots, starts)
        else:
            answer = self._scatter("begin", slots, lambda chosen: ([starts[i] for i in chosen],))
            for slot, start in zip(slots, starts, strict=True):
                self._episodes[slot] = _Episode(start)
        if self.settings.images and len(slots) > 1 and _differ(answer.reading.observation):
            check_distinct(self.frames[list(slots)])
        return answer

    def step(self, slots: Sequence[int], actions: npt.NDArray[np.floating], drawn: Sequence[int]) -> Answer:
        """Step slots with actions (n, action_dim) and draw those in ``drawn``; rows follow ``slots``, ascending."""
        if not self._workers:
            return self._local.step(slots, actions, drawn)
        to_draw = set(drawn)
        answer = self._scatter(
            "step", slots, lambda chosen: (actions[chosen], [slots[i] for i in chosen if slots[i] in to_draw])
        )
        for slot, action in zip(slots, actions, strict=True):
            self._episodes[slot].record(action)
        return answer

    def _scatter(self, command: str, slots: Sequence[int], payload: Callable[[list[int]], tuple[Any, ...]]) -> Answer:
        """Send a command to the workers that own the slots, and return their answers as one."""
        messages = []
        for number, worker in enumerate(self._workers):
            chosen = [i for i, slot in enumerate(slots) if worker.first <= slot < worker.stop]
            if chosen:
                first, *rest = payload(chosen)
                if rest:
                    rest = [[slot - worker.first for slot in rest[0]]]
                messages.append((number, (command, [slots[i] - worker.first for i in chosen], first, *rest)))
        with ExitStack() as locked:
            for number, _ in messages:
                locked.enter_context(self._workers[number].lock)
            sent = [self._send(number, message) for number, message in messages]
            answers = [
                self._workers[number].receive_or_none() if arrived else None
                for (number, _), arrived in zip(messages, sent, strict=True)
            ]
            answers = [
                self._replace(number, partial(self._repeat, message)) if answer is None else answer
                for (number, message), answer in zip(messages, answers, strict=True)
            ]
        readings, physics, drawing = zip(*answers, strict=True)
        reading = Reading(*(np.concatenate(column) for column in zip(*readings, strict=True)))
        return Answer(reading, sum(physics), sum(drawing))

    def _send(self, number: int, message: tuple[Any, ...]) -> bool:
        """Send a message to a worker; return whether it was alive."""
        try:
            self._workers[number].send(message, DOING[message[0]])
        except WorkerDied:
            return False
        return True

    def _device_of(self, number: int) -> Device | None:
        """Return what a new worker draws with, its first answer; one that dies before is started again."""
        device: Device | None
        try:
            device = self._workers[number].receive()
        except WorkerDied:
            device = self._replace(number, _Worker.receive)
        return device

    def _replace(self, number: int, ask: Callable[[_Worker], Any]) -> Any:
        """Start a worker that died again, and return what ``ask`` gets from the new one.

        Raises:
            WorkerDied: it was asked to end, or the new one dies as well, several times.
        """
        for _ in range(MOST_DEATHS):
            lost = self._workers[number]
            error = lost.died()
            if lost.process.exitcode in ASKED_TO_END:
                raise error
            close_workers([lost])
            begun = any(episode.start is not None for episode in self._episodes[lost.first : lost.stop])
            repeated = ", and its episodes are repeated up to where they stood" if begun else ""
            self.on_loss(f"{error.what}; started again{repeated}")
            worker = self._workers[number] = _Worker(self.settings, lost.first, lost.stop, self._memory, lost.lock)
            try:
                return ask(worker)
            except WorkerDied as again:
                error = again
        raise error

    def _repeat(self, message: tuple[Any, ...], worker: _Worker) -> Answer:
        """Bring the slots of a new worker to where they stood, and send it the command that was lost."""
        worker.receive()
        for slot in range(worker.first, worker.stop):
            episode = self._episodes[slot]
            if episode.start is not None:
                worker.send(("replay", slot - worker.first, episode.start, episode.taken), "repeating steps")
                worker.receive()
        worker.send(message, DOING[message[0]])
        answer: Answer = worker.receive()
        return answer

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


@dataclass
class _Episode:
    """How to bring a slot to where it stands: the start of its episode and the actions since then."""

    start: Start | None = None
    steps: int = 0
    actions: npt.NDArray[np.floating] | None = None

    @property
    def taken(self) -> npt.NDArray[np.floating]:
        """The actions (steps, action_dim)."""
        return np.empty((0, 0)) if self.actions is None else self.actions[: self.steps]

    def record(self, action: npt.NDArray[np.floating]) -> None:
        """Add an action (action_dim,)."""
        # An array of its own for each step would stay where large buffers were freed, and break up the heap.
        if self.actions is None:
            self.actions = np.empty((ROOM, len(action)), action.dtype)
        elif self.steps == len(self.actions):
            self.actions = np.concatenate([self.actions, np.empty_like(self.actions)])
        self.actions[self.steps] = action
        self.steps += 1


class _Worker(Worker):
    """A worker process that simulates the slots from ``first`` up to ``stop``; one thread at a time talks to it."""

    def __init__(
        self, settings: SceneSettings, first: int, stop: int, memory: Any, lock: threading.Lock | None = None
    ) -> None:
        self.first, self.stop = first, stop
        self.lock = lock or threading.Lock()
        self.error: Exception | None = None
        name = f"the simulation worker of slots {first} to {stop - 1}"
        super().__init__(name, RESUME, _serve, (settings, first, stop, memory))

    def send(self, message: Any, doing: str) -> None:
        """Send a message, or raise again what the worker raised before it ended."""
        if self.error is not None:
            raise self.error
        super().send(message, doing)

    def receive(self) -> Any:
        """Return the worker's answer, and keep the error that it ends with."""
        try:
            return super().receive()
        except WorkerDied:
            raise
        except Exception as error:
            self.error = error
            raise

    def receive_or_none(self) -> Any:
        """Return the worker's answer, or None if it died."""
        try:
            return self.receive()
        except WorkerDied:
            return None


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
        local = LocalSlots(settings, stop - first, frames)
        pipe.send(local.device)
        while True:
            command, *arguments = pipe.recv()
            pipe.send(getattr(local, command)(*arguments))
    except (EOFError, OSError):
        return
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent must know
        pipe.send(error if isinstance(error, TaskError) else SimulationError(f"{type(error).__name__}: {error}"))


def _differ(observations: npt.NDArray[np.float64]) -> bool:
    return len(np.unique(observations, axis=0)) == len(observations)
