"""The frames of an adaptation: those of one task or, where several are adapted to together, of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from encoders.adapt.trainer import AdaptationTrainer
from encoders.weights.checkpoint import state_sha256

from . import evaluation
from .frames import AdaptFrames, FrameSettings, render_videos


@dataclass(frozen=True)
class TaskFrames:
    """Frames of one task, on the device that trains.

    Attributes:
        settings: which frames.
        train: the videos to train on.
        held_out: the others.
        mean: (S, S, 3) float32 in [0, 1], the mean frame of ``train``.
    """

    settings: FrameSettings
    train: AdaptFrames
    held_out: AdaptFrames
    mean: Tensor

    @property
    def task(self) -> str:
        """The task's name."""
        return self.settings.task


def render(
    settings: FrameSettings,
    held_out: int,
    device: torch.device,
    workers: int = 0,
    egl_device: int | None = None,
    on_step: Callable[[], None] | None = None,
) -> TaskFrames:
    """Render a task's videos (see `render_videos`) and split off the last ``held_out``."""
    frames = render_videos(settings, workers, egl_device, on_step)
    train, rest = (part.to(device) for part in frames.split(held_out))
    return TaskFrames(settings, train, rest, evaluation.mean_image(train))


def pairs(parts: Sequence[TaskFrames], generator: torch.Generator, batch: int) -> tuple[Tensor, Tensor]:
    """Draw source and target frames, (batch, S, S, 3) uint8 each; the two of a pair come from one video.

    With several tasks, they take turns in random order.
    """
    if len(parts) == 1:
        return parts[0].train.pairs(generator, batch)
    passes = -(-batch // len(parts))
    order = torch.cat([torch.randperm(len(parts), generator=generator) for _ in range(passes)])[:batch]
    sources, targets = zip(*(parts[number].train.pairs(generator, 1) for number in order.tolist()), strict=True)
    return torch.cat(sources), torch.cat(targets)


def evaluate(trainer: AdaptationTrainer, parts: Sequence[TaskFrames], count: int) -> dict[str, evaluation.Drawings]:
    """Score the reconstruction of held-out frames by task, on ``count`` pairs of every video."""
    return {part.task: evaluation.evaluate(trainer, part.held_out, part.mean, count) for part in parts}


def together(drawings: Sequence[evaluation.Drawings]) -> evaluation.Drawings:
    """Pool the scores of several tasks as if their episodes were one task's."""
    columns = zip(*((one.reconstruction, one.copy, one.mean) for one in drawings), strict=True)
    return evaluation.Drawings(*(np.concatenate(column) for column in columns))


def frames_sha256(parts: Sequence[TaskFrames]) -> str:
    """Return a hash of all frames."""
    named = {f"{part.task}.train": part.train.videos for part in parts}
    return state_sha256(named | {f"{part.task}.held_out": part.held_out.videos for part in parts})
