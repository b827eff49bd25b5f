"""Frames for the probe: a task's expert with exploration noise, drawn by the task's camera.

Noise that is new at every step leaves no trace in a pose: then the time in the episode tells most of what there is to
see. So the noise holds on for 0.2 s, and every episode has its own strength, from none to the expert's own spread.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

import tasks
from tasks.base import Task
from tasks.engine import mujoco
from tasks.experts import Actor
from tasks.rendering.qualities import Quality
from tasks.rendering.render import CROP, Renderer

from ..config import usable_cores
from .quantities import Quantity, Values, quantities

FIRST_SEED = 3_000_000_000
SEEDS_APART = 1_000_000
"""Resets of two seeds differ while each has fewer episodes; training, evaluation and demonstrations lie below."""

NOISE_STREAM, MOMENT_STREAM = 1, 2
NOISE_STEPS = 20
"""Control steps over which the noise's correlation falls to 1/e."""
LEAST_SPREAD = 0.2
"""Of the noise at full strength, in action units, where the expert's own standard deviation is smaller."""
SLOTS = 32
QUALITY: Quality = "fast"
HELD_OUT_SHARE = 1 / 3
CLOCK_KNOTS = 13

Images = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ProbeFrames:
    """Frames, and what is to be read off them; one row a frame, in order of episode and step.

    Attributes:
        images: (N, 224, 224, 3) uint8.
        targets: quantity to (N, d) float64.
        dimensions: quantity to the names of its d numbers.
        episode: (N,) the frame's episode.
        clock: (N,) the share of the horizon that has passed.
        held_out: the episodes that nothing is fitted to.
        record: how the frames were made, for the result's file.
    """

    images: Images
    targets: Mapping[str, Values]
    dimensions: Mapping[str, tuple[str, ...]]
    episode: npt.NDArray[np.intp]
    clock: Values
    held_out: Sequence[int]
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def training(self) -> npt.NDArray[np.bool_]:
        """(N,) whether a frame is of a training episode."""
        return ~np.isin(self.episode, self.held_out)

    @property
    def images_sha256(self) -> str:
        """Hash of the images."""
        return hashlib.sha256(np.ascontiguousarray(self.images).data).hexdigest()

    @property
    def sha256(self) -> str:
        """Hash of all that two encoders are compared on: images, targets, episodes and their split."""
        digest = hashlib.sha256(self.images_sha256.encode())
        for name, values in self.targets.items():
            digest.update(name.encode() + np.ascontiguousarray(values).tobytes())
        digest.update(self.episode.astype("<i8").tobytes() + str(list(self.held_out)).encode())
        return digest.hexdigest()


def split(episodes: int) -> list[int]:
    """The held-out ones of so many episodes: the last third. Each has a reset of its own, so their order is random."""
    return list(range(episodes - round(episodes * HELD_OUT_SHARE), episodes))


def collect(
    name: str,
    *,
    episodes: int,
    frames: int,
    seed: int,
    options: Mapping[str, Any] | None = None,
    on_frames: Callable[[int], None] = lambda _: None,
) -> ProbeFrames:
    """Roll out the expert of a task and keep some of what its camera sees.

    Args:
        name: of the task.
        episodes: one a reset seed.
        frames: of an episode, evenly spaced over the horizon from a random start; one that ends early gives fewer.
        seed: of resets, noise and the first moments.
        options: of the task.
        on_frames: called with the number of frames, as they are drawn.

    Raises:
        TaskError: the task has no expert, an option does not fit, or nothing can draw.
    """
    expert, card = tasks.expert(name), tasks.card(name)
    slots = min(SLOTS, episodes)
    task = tasks.make(name, slots=slots, threads=usable_cores(), **(options or {}))
    frames = min(frames, card.horizon)
    first = FIRST_SEED + SEEDS_APART * seed
    with Renderer(task.model, card.camera, QUALITY) as renderer:
        camera = _Camera(task, renderer, episodes * frames, quantities(task))
        successes = 0
        for begin in range(0, episodes, slots):
            seeds = [first + number for number in range(begin, min(begin + slots, episodes))]
            moments = [_moments(one, card.horizon, frames) for one in seeds]
            successes += _roll(task, expert, seeds, moments, camera, begin, on_frames)
        record = {
            "episodes": episodes,
            "successes": successes,
            "expert_sha256": expert.sha256,
            "scene": task.scene,
            "camera": card.camera,
            "quality": QUALITY,
            "renderer": renderer.device.name,
        }
    return camera.frames(split(episodes), card.horizon, record)


def _moments(seed: int, horizon: int, frames: int) -> set[int]:
    """Steps to draw: evenly spaced, the first one random."""
    apart = horizon / frames
    start = np.random.default_rng([seed, MOMENT_STREAM]).uniform(0.0, apart)
    return {int(start + apart * index) for index in range(frames)}


def exploration(seed: int, horizon: int, spread: Values) -> Values:
    """Noise of one episode, (horizon, action_dim): normal, lasting, its strength drawn from none to ``spread``.

    Args:
        seed: of the episode.
        horizon: control steps.
        spread: (action_dim,) standard deviation at full strength.
    """
    generator = np.random.default_rng([seed, NOISE_STREAM])
    strength, kept = generator.uniform(), math.exp(-1.0 / NOISE_STEPS)
    noise = generator.standard_normal((horizon, len(spread)))
    for step in range(1, horizon):
        noise[step] = kept * noise[step - 1] + math.sqrt(1.0 - kept**2) * noise[step]
    return strength * spread * noise


def _roll(
    task: Task,
    expert: Actor,
    seeds: Sequence[int],
    moments: Sequence[set[int]],
    camera: _Camera,
    first_episode: int,
    on_frames: Callable[[int], None],
) -> int:
    """Run one episode a seed, side by side, and draw each at its moments; how many succeeded."""
    horizon, running = task.card.horizon, list(range(len(seeds)))
    spread = np.maximum(np.exp(expert.log_std), LEAST_SPREAD)
    noise = np.stack([exploration(seed, horizon, spread) for seed in seeds])
    observations = task.reset(seeds, running).observation.copy()
    goals = np.zeros(len(seeds), int)
    for step in range(horizon):
        wanted = [slot for slot in running if step in moments[slot]]
        for slot in wanted:
            camera.take(slot, first_episode + slot, step)
        if wanted:
            on_frames(len(wanted))
        reading = task.step(expert.mean(observations[running]) + noise[running, step], running)
        observations[running] = reading.observation
        goals[running] += reading.goal
        running = [slot for slot, over in zip(running, reading.terminated, strict=True) if not over]
        if not running:
            break
    return int((goals >= task.card.goal_steps).sum())


class _Camera:
    """Draws slots of a task and keeps, of each frame, what is to be predicted."""

    def __init__(self, task: Task, renderer: Renderer, room: int, wanted: Sequence[Quantity]) -> None:
        self.task, self.renderer, self.wanted = task, renderer, wanted
        self.images = np.empty((room, CROP, CROP, 3), np.uint8)
        self.moments: list[tuple[int, int]] = []
        self.values: list[list[Values]] = []
        self._data = mujoco.MjData(task.model)

    def take(self, slot: int, episode: int, step: int) -> None:
        """Draw a slot."""
        self.task.load_data(slot, self._data)
        self.renderer.render(self._data, self.images[len(self.moments)])
        self.moments.append((episode, step))
        self.values.append([quantity.read(self._data) for quantity in self.wanted])

    def frames(self, held_out: Sequence[int], horizon: int, record: Mapping[str, Any]) -> ProbeFrames:
        """All that was taken, in order of episode and step."""
        episode, step = np.array(self.moments).T
        order = np.lexsort((step, episode))
        columns = zip(self.wanted, zip(*self.values, strict=True), strict=True)
        return ProbeFrames(
            self.images[order],
            {quantity.name: np.stack(values)[order] for quantity, values in columns},
            {quantity.name: quantity.dimensions for quantity in self.wanted},
            episode[order],
            step[order] / horizon,
            held_out,
            record,
        )


def clock_features(clock: Values) -> Values:
    """(N, 13) what a clock alone knows: hat functions over the episode, to say how much of a result is mere habit.

    Args:
        clock: (N,) in [0, 1].
    """
    knots = np.linspace(0.0, 1.0, CLOCK_KNOTS)
    return np.stack([np.interp(clock, knots, row) for row in np.eye(CLOCK_KNOTS)], axis=1)
