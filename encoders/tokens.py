"""An encoder's tokens in place of its feature: pooled, or as they are for what is trained on them."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from .base import IMAGE_SIZE, Encoder
from .contract import check_encoder, check_tokens
from .errors import EncoderError
from .weights.checkpoint import state_sha256
from .weights.origin import WeightsOrigin

Pooling = Literal["none", "mean", "spatial_softmax"]


class TokenView(Encoder):
    """An encoder whose feature is made of another one's tokens; backends, precision and Stage 3 treat it as any other.

    Args:
        encoder: ready, frozen.
        pooling: ``none`` gives all tokens (T D numbers), ``mean`` their mean (D), ``spatial_softmax`` where each
            channel lies (2 D).
        shape: (T, D).

    Attributes:
        raw_shape: (T, D) where nothing was pooled.
    """

    def __init__(self, encoder: Encoder, pooling: Pooling, shape: tuple[int, int]) -> None:
        super().__init__()
        tokens, width = shape
        self.encoder = encoder
        self.pooling = pooling
        self.feature_dim = {"none": tokens * width, "mean": width, "spatial_softmax": 2 * width}[pooling]
        self.raw_shape = shape if pooling == "none" else None
        self.name = encoder.name  # type: ignore[misc]  # named after the encoder, not registered
        self.normalisation, self.adaptation = encoder.normalisation, encoder.adaptation
        self.memory_format = encoder.memory_format
        self.origin = encoder.origin or WeightsOrigin("own", sha256=state_sha256(encoder.state_dict()))
        self.train(encoder.training)

    @property
    def usual_memory_format(self) -> torch.memory_format:
        """Layout of images in float32."""
        return self.encoder.usual_memory_format

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(N, 3, 224, 224) float32 in [0, 1]`` to ``(N, feature_dim)``."""
        tokens = self.encoder.tokens(images)
        if self.pooling == "mean":
            return tokens.mean(1)
        return spatial_softmax(tokens) if self.pooling == "spatial_softmax" else tokens.flatten(1)

    def describe(self) -> dict[str, Any]:
        """Return the fields that determine the features: the encoder's, and how its tokens are pooled."""
        assert self.origin is not None
        return {**super().describe(), **self.encoder.describe_unbuilt(self.origin), "tokens": self.pooling}


def token_view(encoder: Encoder, pooling: Pooling) -> TokenView:
    """Return an encoder that gives another one's tokens, after both were held to their contract.

    Args:
        encoder: ready, frozen; its moving statistics have not moved yet.
        pooling: as in `TokenView`.

    Raises:
        EncoderError: it has no tokens, or none on a square map for ``spatial_softmax``.
        EncoderContract: its tokens are not what they should be.
    """
    check_tokens(encoder)
    blank = torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE, device=encoder.device)
    with torch.inference_mode():
        _, count, width = encoder.tokens(blank.contiguous(memory_format=encoder.memory_format)).shape
    if pooling == "spatial_softmax" and math.isqrt(count) ** 2 != count:
        raise EncoderError(
            f"encoder '{encoder.name}': its {count} tokens are no square map, which spatial_softmax needs; use "
            "policy.pooling=mean or attentive"
        )
    view = TokenView(encoder, pooling, (count, width))
    check_encoder(view)
    return view


def spatial_softmax(tokens: Tensor) -> Tensor:
    """Return where each channel lies: the expected column and row under a softmax over positions, in [-1, 1].

    Args:
        tokens: (N, side side, D), a square map row by row.

    Returns:
        (N, 2 D): all columns, then all rows.

    Source: Levine et al. 2016, arXiv 1504.00702, with a temperature of 1.
    """
    side = math.isqrt(tokens.shape[1])
    weights = tokens.float().softmax(1)
    line = torch.linspace(-1.0, 1.0, side, device=tokens.device)
    columns, rows = line.repeat(side), line.repeat_interleave(side)
    return torch.cat([(weights * place[:, None]).sum(1) for place in (columns, rows)], 1)
