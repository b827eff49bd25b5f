"""Worker processes that render hands into shared memory, without end.

Each worker owns some blocks of images and labels; it fills one, says so, and waits until it gets one back. What a
worker draws depends on its number and seed alone; in which order workers deliver does not repeat.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from tasks.errors import TaskError
from tasks.hand_images.images import GRID, HandBatch, HandImages
from tasks.hand_images.scene import HAND_JOINTS, KEYPOINTS
from tasks.rendering.render import Device

from ..errors import SimulationError
from ..rollout.worker_pool import SLICE_SECONDS, Worker, close

LABEL_DIM = len(KEYPOINTS) * 3 + HAND_JOINTS + len(KEYPOINTS) * 2
BLOCK = GRID * GRID
BLOCKS_EACH = 3
HELD_OUT, TRAINING = 0, 1
HELD_OUT_CHUNK = 256
"""Held-out images that come from one seed, whichever worker draws them."""

MULTISAMPLING = 4
FILLING = "drawing images"
RESUME = "start the same command again to resume from the last checkpoint"

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ImageSettings:
    """Which images the workers draw.

    Attributes:
        size: height and width in pixels.
        seed: of everything.
        session: 0, and one more each time a training goes on: no session draws another's images.
        held_out: images for evaluation, the same in every session.
        device: index of the EGL device, or None for any.
    """

    size: int
    seed: int = 0
    session: int = 0
    held_out: int = 2048
    device: int | None = None


class Hello(NamedTuple):
    """A worker's first message: the device that draws, and the limits (24, 2) of the hand's joints in radians."""

    device: Device
    joint_ranges: npt.NDArray[np.float64]


class ImageBlock(NamedTuple):
    """A filled block: valid until it is given back.

    Attributes:
        images: (n, size, size, 3) uint8.
        labels: (n, 129) float32; see `label_rows`.
        held_out: where among the held-out images these begin; None for images to train on.
        worker: whose it is.
        number: which of its blocks.
    """

    images: Images
    labels: Labels
    held_out: int | None
    worker: int
    number: int


def label_rows(batch: HandBatch) -> Labels:
    """Return all labels of a batch as rows (n, 129): keypoints, angles, points."""
    n = len(batch.angles)
    return np.concatenate([batch.keypoints.reshape(n, -1), batch.angles, batch.points.reshape(n, -1)], axis=1)


class ImageWorkers:
    """The worker processes, from the side that uses their images.

    Args:
        settings: what they draw.
        workers: how many.

    Attributes:
        device: the device that draws.
        joint_ranges: (24, 2) limits of the hand's joints in radians.
        tolerant: whether the others go on when a worker is lost.
        lost: the reason for each lost worker.

    Raises:
        SimulationError: a worker died, or did not answer.
        ConfigError: workers cannot be started from this process.
        TaskError: what a worker raised.
    """

    def __init__(self, settings: ImageSettings, workers: int) -> None:
        self.settings = settings
        self.lost: list[str] = []
        self.tolerant = False
        self._workers: list[Worker] = []
        self._waiting: deque[tuple[int, tuple[int, int, int | None]]] = deque()
        shape = (workers, BLOCKS_EACH, BLOCK)
        # Memory of this kind has no name, so it vanishes with the processes that hold it, however they end.
        images = multiprocessing.RawArray("B", int(np.prod(shape)) * settings.size**2 * 3)
        labels = multiprocessing.RawArray("f", int(np.prod(shape)) * LABEL_DIM)
        self._images = np.frombuffer(images, np.uint8).reshape(*shape, settings.size, settings.size, 3)
        self._labels = np.frombuffer(labels, np.float32).reshape(*shape, LABEL_DIM)
        try:
            for number in range(workers):
                arguments = (settings, number, workers, images, labels)
                self._workers.append(Worker(f"image worker {number}", RESUME, _serve, arguments))
            hellos = [cast(Hello, worker.receive()) for worker in self._workers]
            for worker in self._workers:
                worker.doing = FILLING
        except BaseException:
            self.close()
            raise
        self._clock, self._polled = 0.0, time.monotonic()
        self._heard = [0.0] * workers
        self._held = [0] * workers
        self._living = set(range(workers))
        self.device, self.joint_ranges = hellos[0]

    def poll(self, timeout: float = 0.0) -> ImageBlock | None:
        """Return a filled block, or None if none comes within so many seconds."""
        if not self._waiting:
            pipes = {id(self._workers[number].pipe): number for number in self._living}
            ready = wait([self._workers[number].pipe for number in self._living], timeout)
            filled = {pipes[id(pipe)] for pipe in ready}
            for number in filled:
                try:
                    block = cast("tuple[int, int, int | None]", self._workers[number].receive())
                except (SimulationError, TaskError) as error:
                    self._bury(number, error)
                else:
                    self._waiting.append((number, block))
                    self._held[number] += 1
                    self._heard[number] = self._clock
            self._bury_silent(self._living - filled)
        if not self._waiting:
            return None
        worker, (number, count, held_out) = self._waiting.popleft()
        images, labels = self._images[worker, number, :count], self._labels[worker, number, :count]
        return ImageBlock(images, labels, held_out, worker, number)

    def give_back(self, block: ImageBlock) -> None:
        """Return a block to its worker, to be filled again."""
        self._held[block.worker] -= 1
        self._heard[block.worker] = self._clock
        try:
            self._workers[block.worker].send(block.number, FILLING)
        except SimulationError as error:
            if block.worker in self._living:
                self._bury(block.worker, error)

    def close(self) -> None:
        """Stop the workers."""
        close(self._workers)
        self._workers = []

    def __enter__(self) -> ImageWorkers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _bury(self, number: int, error: Exception) -> None:
        """Continue without a worker, if that is allowed and any is left."""
        self._living.discard(number)
        if not self.tolerant or not self._living:
            raise error
        self.lost.append(str(error))

    def _bury_silent(self, numbers: set[int]) -> None:
        """Continue without the workers that have had a block to fill for too long."""
        now = time.monotonic()
        # A machine that sleeps, or Ctrl-Z, stops the workers too.
        self._clock += min(now - self._polled, 2 * SLICE_SECONDS)
        self._polled = now
        for number in numbers:
            if self._clock - self._heard[number] > self._workers[number].patience and self._held[number] < BLOCKS_EACH:
                self._bury(number, self._workers[number].silent())


def _serve(
    pipe: Connection, settings: ImageSettings, number: int, workers: int, images_memory: Any, labels_memory: Any
) -> None:
    """Fill blocks in a worker process until the pipe closes."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.environ.setdefault("LP_NUM_THREADS", "1")
    size = settings.size
    shape = (workers, BLOCKS_EACH, BLOCK)
    images = np.frombuffer(images_memory, np.uint8).reshape(*shape, size, size, 3)[number]
    labels = np.frombuffer(labels_memory, np.float32).reshape(*shape, LABEL_DIM)[number]
    free = deque(range(BLOCKS_EACH))

    def deliver(generator: HandImages, count: int, held_out: int | None) -> None:
        block = free.popleft() if free else int(pipe.recv())
        batch = generator.batch(count, images[block, :count])
        labels[block, :count] = label_rows(batch)
        pipe.send((block, count, held_out))

    try:
        multisampling = MULTISAMPLING if number % 2 else 0
        seed = (settings.seed, TRAINING, number, settings.session)
        with HandImages(seed, size, settings.device, multisampling) as training:
            pipe.send(Hello(training.device, training.joint_ranges))
            starts = range(0, settings.held_out, HELD_OUT_CHUNK)
            for chunk in range(number, len(starts), workers):
                stop = min(starts[chunk] + HELD_OUT_CHUNK, settings.held_out)
                smooth = MULTISAMPLING if chunk % 2 else 0
                with HandImages((settings.seed, HELD_OUT, chunk), size, settings.device, smooth) as held_out:
                    for first in range(starts[chunk], stop, BLOCK):
                        deliver(held_out, min(BLOCK, stop - first), first)
            while True:
                deliver(training, BLOCK, None)
    except (EOFError, OSError):
        return
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent has to hear of it
        pipe.send(error if isinstance(error, TaskError) else SimulationError(f"{type(error).__name__}: {error}"))
