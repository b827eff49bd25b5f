"""How well Stage 2 reconstructs held-out frames, against two baselines without keypoints; intervals over episodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.adapt.trainer import AdaptationTrainer, psnr

from ..intervals import interval
from .frames import AdaptFrames

PAIRS = 20
CHUNK = 8
_SEED = 20_231


@dataclass(frozen=True)
class Drawings:
    """PSNR in decibels of held-out target frames, (episodes, pairs) each.

    Attributes:
        reconstruction: drawn from the source frame and the target's keypoints.
        copy: the source frame itself.
        mean: the mean training frame.
    """

    reconstruction: NDArray[np.float64]
    copy: NDArray[np.float64]
    mean: NDArray[np.float64]

    def summary(self) -> dict[str, dict[str, float]]:
        """Return means with intervals, of the three and of the margins of the first over the others, for JSON."""
        rows = {
            "reconstruction": self.reconstruction,
            "copy_of_the_source": self.copy,
            "mean_image": self.mean,
            "reconstruction_minus_copy": self.reconstruction - self.copy,
            "reconstruction_minus_mean_image": self.reconstruction - self.mean,
        }
        return {name: interval(values.mean(axis=1))._asdict() for name, values in rows.items()}

    def episodes(self) -> list[float]:
        """Return the mean PSNR of the reconstruction in each episode, for JSON."""
        return [round(float(value), 4) for value in self.reconstruction.mean(axis=1)]


def held_out_places(frames: AdaptFrames, pairs: int = PAIRS) -> Tensor:
    """Return the ``pairs`` of every video that are always evaluated: (episodes, pairs, 3), see `AdaptFrames.draw`."""
    generator = torch.Generator().manual_seed(_SEED)
    drawn = torch.stack([frames.draw(generator, len(frames)) for _ in range(pairs)], dim=1)
    # Every draw goes through the videos in another order.
    order = drawn[:, :, 0].argsort(dim=0)
    return torch.stack([drawn[order[:, pair], pair] for pair in range(pairs)], dim=1)


def mean_image(frames: AdaptFrames) -> Tensor:
    """Return the mean of all frames, (S, S, 3) float32 in [0, 1]."""
    size = frames.videos.shape[2]
    total = torch.zeros(size, size, 3, dtype=torch.float64, device=frames.videos.device)
    for video, length in zip(frames.videos, frames.lengths.tolist(), strict=True):
        total += video[:length].sum(dim=0, dtype=torch.float64)
    return (total / (255.0 * frames.frames)).float()


def evaluate(trainer: AdaptationTrainer, held_out: AdaptFrames, blind: Tensor, pairs: int = PAIRS) -> Drawings:
    """Reconstruct held-out frames, and score the result and both baselines.

    Args:
        trainer: holds the model.
        held_out: videos that the model was not trained on.
        blind: the mean training frame, see `mean_image`.
        pairs: how many of every video.
    """
    places = held_out_places(held_out, pairs)
    rows: dict[str, list[Tensor]] = {"reconstruction": [], "copy": [], "mean": []}
    for chunk in places.flatten(0, 1).split(CHUNK):
        source, target = held_out.take(chunk)
        expected, known = trainer.pixels(target), trainer.pixels(source)
        drawn = trainer.reconstruct(source, target).images
        mean = blind.to(expected.device).permute(2, 0, 1).expand_as(expected)
        for name, images in (("reconstruction", drawn), ("copy", known), ("mean", mean)):
            rows[name].append(psnr((images - expected).square().mean(dim=(1, 2, 3))).cpu())
    shape = places.shape[:2]
    scores = {name: torch.cat(values).reshape(shape).double().numpy() for name, values in rows.items()}
    return Drawings(**scores)


def line(summary: Mapping[str, Mapping[str, float]]) -> str:
    """Return a `Drawings.summary` in one line."""
    names = {"reconstruction": "reconstruction", "copy_of_the_source": "copy", "mean_image": "mean image"}
    parts = [f"{words} {summary[name]['mean']:.2f}" for name, words in names.items()]
    return f"held-out PSNR (dB): {', '.join(parts)}"
