"""Settings and progress of a Stage 1 training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from ..bounded import Batch, DeviceNumber, Seed, Steps, Workers
from ..config import usable_cores
from ..device_names import device_name
from ..errors import ConfigError
from ..limits import LARGEST_IMAGE
from ..marks import IDENTITY, OPTION, OUTCOME, SPEED, Configuration, without


class PretrainConfig(Configuration):
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

    steps: Annotated[Steps | None, OUTCOME, OPTION] = None
    minutes: Annotated[float | None, Field(gt=0, le=1_000_000_000), OUTCOME, OPTION] = None
    size: Annotated[int, Field(ge=32, le=LARGEST_IMAGE), IDENTITY] = 160
    batch: Annotated[Batch, IDENTITY] = 256
    seed: Annotated[Seed, IDENTITY, OPTION] = 0
    reuse: Annotated[float, Field(ge=1), OUTCOME] = 3.0
    held_out: Annotated[Steps, IDENTITY] = 2048
    workers: Annotated[Workers | None, SPEED, OPTION] = None
    device: Annotated[str, AfterValidator(device_name), SPEED, OPTION] = "auto"
    egl_device: Annotated[DeviceNumber | None, SPEED] = None
    compile: Annotated[bool, SPEED] = False

    @property
    def identity(self) -> dict[str, Any]:
        """Settings that a checkpoint must match; the length may change."""
        return self.model_dump(exclude=without(PretrainConfig, IDENTITY))

    @property
    def processes(self) -> int:
        """Number of rendering processes."""
        return self.workers or max(1, usable_cores() - 2)

    def progress(self, steps: int, seconds: float) -> float:
        """Return how much of the training is done, 0 to 1.

        Raises:
            ConfigError: the length of the training is not set.
        """
        if self.steps is None and self.minutes is None:
            raise ConfigError("give the length of the training: --minutes M, --steps N, or both")
        shares = [steps / self.steps if self.steps else 0.0, seconds / 60.0 / self.minutes if self.minutes else 0.0]
        return min(max(shares), 1.0)


@dataclass
class Position:
    """The progress of a training; part of its checkpoint."""

    step: int = 0
    seconds: float = 0.0
    images_seen: int = 0
    images_rendered: int = 0
    session: int = 0
    evaluations: list[dict[str, float]] = field(default_factory=list)
