"""Controls that are no pretrained vision: the state, no sight at all, and the frame itself."""

from __future__ import annotations

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from ..base import Encoder
from ..errors import EncoderError


class _Control(Encoder):
    """An encoder without weights."""

    def __init__(self, weights: Path | None = None) -> None:
        """Refuse a weights file."""
        if weights is not None:
            raise EncoderError(f"encoder '{self.name}': takes no weights file, got {weights}; use --weights auto")
        super().__init__()


class State(_Control, name="state"):
    """The privileged control, a ceiling: the policy sees the task's state observation instead of a feature."""

    feature_dim = 0
    uses_images = False

    def forward(self, images: Tensor) -> Tensor:
        """Give features of length 0, ``(N, 0)``."""
        return images.new_empty(len(images), 0)


class Blind(State, name="blind"):
    """The floor: the policy feels its own joints, and sees nothing."""

    without_images = "proprioception"


class Scratch(_Control, name="scratch"):
    """The control that learns from pixels: its feature is the small frame, on which the policy trains a network."""

    raw_shape = (3, 84, 84)
    feature_dim = 3 * 84 * 84

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(N, 3, 224, 224) float32 in [0, 1]`` to whole numbers from 0 to 255, ``(N, 3 84 84)``."""
        small = F.interpolate(images, size=self.raw_shape[1:], mode="bilinear", align_corners=False, antialias=True)
        return small.clamp(0.0, 1.0).mul(255.0).round().flatten(1)
