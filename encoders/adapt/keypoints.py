"""Keypoints: where a map is high, softly, and what a keypoint looks like as a map.

Source: encoders.md, section 8, steps 2 to 4; TTP, on which H-InDex's Stage 2 builds.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SIGMA = 2.0
"""Width of a keypoint's Gaussian, in cells of the grid of maps."""

UPSAMPLING = 4
"""Pixels of the image a cell."""


def soft_keypoints(heat: Tensor) -> Tensor:
    """Expected rows and columns: of the softmax over rows of a map's sums over columns, and the other way round.

    Args:
        heat: ``(N, K, H, W)``.

    Returns:
        ``(N, K, 2)`` row and column in cells, from 0.
    """
    rows = _expected(heat.sum(dim=3))
    columns = _expected(heat.sum(dim=2))
    return torch.stack([rows, columns], dim=-1)


def gaussians(keypoints: Tensor, height: int, width: int) -> Tensor:
    """Maps ``(N, K, height, width)`` with a bump of height 1 at every keypoint ``(N, K, 2)``."""
    row = torch.arange(height, dtype=keypoints.dtype, device=keypoints.device)
    column = torch.arange(width, dtype=keypoints.dtype, device=keypoints.device)
    vertical = (-((row - keypoints[..., :1]) ** 2) / (2.0 * SIGMA**2)).exp()
    horizontal = (-((column - keypoints[..., 1:]) ** 2) / (2.0 * SIGMA**2)).exp()
    return vertical[..., :, None] * horizontal[..., None, :]


def upsample(maps: Tensor) -> Tensor:
    """Bilinear, to the image's resolution, corners not aligned."""
    return F.interpolate(maps, scale_factor=UPSAMPLING, mode="bilinear", align_corners=False)


def pixel_positions(keypoints: Tensor) -> Tensor:
    """Rows and columns in pixels of the image, from 0 in the middle of the first pixel, for those in cells."""
    return (keypoints + 0.5) * UPSAMPLING - 0.5


def _expected(logits: Tensor) -> Tensor:
    index = torch.arange(logits.shape[-1], dtype=logits.dtype, device=logits.device)
    return (logits.softmax(dim=-1) * index).sum(dim=-1)
