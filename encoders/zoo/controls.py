"""Controls that are no vision at all."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ..base import Encoder
from ..errors import EncoderError


class State(Encoder, name="state"):
    """The privileged control: the policy sees the task's state observation instead of a feature."""

    feature_dim = 0
    uses_images = False

    def __init__(self, weights: Path | None = None) -> None:
        """Refuse a weights file."""
        if weights is not None:
            raise EncoderError(f"encoder 'state': takes no weights file, got {weights}; use --weights auto")
        super().__init__()

    def forward(self, images: Tensor) -> Tensor:
        """Give features of length 0, ``(N, 0)``."""
        return images.new_empty(len(images), 0)
