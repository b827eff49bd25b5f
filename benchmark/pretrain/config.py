"""Settings of a Stage 1 training, and how far it is."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from ..errors import ConfigError
from ..limits import LARGEST_IMAGE, LARGEST_SEED, MOST_PROCESSES

MOST = 1_000_000_000


@dataclass(frozen=True)
class PretrainConfig:
    """What to train.

    Attributes:
        steps: optimisation steps; None for as many as fit into ``minutes``.
        minutes: of training, evaluation included, start and end not; None for no limit.
        size: of the images in pixels.
        batch: images per step.
        seed: of everything.
        reuse: how often an image is trained on, on average, at most.
        held_out: images for evaluation.
        workers: rendering processes; None for all cores but two.
        device: auto, cuda or cpu.
        egl_device: the EGL device that draws; None for any.
        compile: whether torch compiles the network.
    """

    steps: int | None = None
    minutes: float | None = None
    size: int = 160
    batch: int = 256
    seed: int = 0
    reuse: float = 3.0
    held_out: int = 2048
    workers: int | None = None
    device: str = "auto"
    egl_device: int | None = None
    compile: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        if self.steps is None and self.minutes is None:
            raise ConfigError("give the length of the training: --minutes M, --steps N, or both")
        positive = {"steps": self.steps, "minutes": self.minutes, "batch": self.batch, "held-out": self.held_out}
        for name, value in positive.items():
            if value is not None and not 0 < value <= MOST:
                raise ConfigError(f"--{name} {value}: expected more than 0, and {MOST:,} at most")
        if self.reuse < 1:
            raise ConfigError(f"--reuse {self.reuse}: expected 1 or more")
        if not 32 <= self.size <= LARGEST_IMAGE:
            raise ConfigError(f"--size {self.size}: expected 32 to {LARGEST_IMAGE} pixels")
        if self.workers is not None and not 1 <= self.workers <= MOST_PROCESSES:
            raise ConfigError(f"--workers {self.workers}: expected 1 to {MOST_PROCESSES}")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise ConfigError(f"--seed {self.seed}: expected 0 to {LARGEST_SEED}")

    @property
    def identity(self) -> dict[str, Any]:
        """Settings that a checkpoint must match; the length may change."""
        return {name: getattr(self, name) for name in ("size", "batch", "seed", "held_out")}

    @property
    def processes(self) -> int:
        """Number of rendering processes."""
        return self.workers or max(1, len(os.sched_getaffinity(0)) - 2 if hasattr(os, "sched_getaffinity") else 2)

    def progress(self, steps: int, seconds: float) -> float:
        """Return how much of the training is done, 0 to 1."""
        shares = [steps / self.steps if self.steps else 0.0, seconds / 60.0 / self.minutes if self.minutes else 0.0]
        return min(max(shares), 1.0)


@dataclass
class Position:
    """How far a training is; part of the checkpoint."""

    step: int = 0
    seconds: float = 0.0
    images_seen: int = 0
    images_rendered: int = 0
    session: int = 0
    evaluations: list[dict[str, float]] = field(default_factory=list)
