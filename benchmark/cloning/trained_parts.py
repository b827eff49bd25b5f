"""Networks that turn frames into features and are trained with the policy: attention over tokens, or convolutions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..dapg.policy import fresh_linear

HEADS = 8
CHANNELS, LAYERS, KERNEL = 32, 4, 3
PIXEL_FEATURES = 50
PAD = 4


class AttentivePooling(nn.Module):
    """One learned query attends over a frame's tokens, with 8 heads.

    The tokens are normalised (layer norm), attended, and projected. Since there is one query, keys and values of single
    tokens are not needed: a head's score of a token is its product with one vector, and its value that of the weighted
    mean of the tokens. The result is the same; the cost falls from D to 8 products per number.

    Args:
        tokens: of a frame, T.
        width: of a token, D.
        generator: CPU generator the initial weights are drawn from.

    Attributes:
        features: numbers per frame, D.

    Raises:
        ValueError: If the heads do not divide the width.

    Source: attentive feature aggregation, arXiv 2511.10762.
    Differs: keys have no bias, which would change nothing.
    """

    def __init__(self, tokens: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        if width % HEADS:
            raise ValueError(f"tokens of {width} numbers cannot be attended to by {HEADS} heads")
        self.shape, self.features = (tokens, width), width
        self.norm = nn.LayerNorm(width)
        self.query = nn.Parameter(torch.randn(width, generator=generator) * 0.02)
        self.key, self.value, self.output = (fresh_linear(width, width, generator) for _ in range(3))
        self.key.register_parameter("bias", None)

    def stored(self, frames: Tensor) -> Tensor:
        """Return numbers as demonstrations keep them: tokens in float16."""
        return frames.half().float()

    def forward(self, frames: Tensor, shift: Tensor | None = None) -> Tensor:
        """Map tokens (n, T, D) to features (n, D); there is nothing to shift."""
        tokens = self.norm(frames)
        heads = (HEADS, -1)
        key, value = (layer.weight.unflatten(0, heads) for layer in (self.key, self.value))
        asked = torch.einsum("hd,hde->he", self.query.unflatten(0, heads), key) / math.sqrt(key.shape[1])
        weights = (tokens @ asked.T).softmax(1)
        attended = torch.einsum("nhe,hde->nhd", weights.transpose(1, 2) @ tokens, value)
        features: Tensor = self.output(attended.flatten(1) + self.value.bias)
        return features


class ShiftedConvolutions(nn.Module):
    """Four 3 x 3 convolutions of 32 channels, the first with stride 2, and a projection to 50 features.

    In training, frames are shifted at random by up to 4 pixels; at the border pixels repeat.

    Args:
        shape: (3, H, W) of a frame.
        generator: CPU generator the initial weights are drawn from.

    Attributes:
        features: numbers per frame, 50.

    Source: DrQ (arXiv 2004.13649), with the projection, layer norm and tanh of its encoder; learning from scratch
        (arXiv 2212.05749).
    """

    def __init__(self, shape: tuple[int, int, int], generator: torch.Generator) -> None:
        super().__init__()
        self.shape, self.features = shape, PIXEL_FEATURES
        self.convolutions = nn.ModuleList()
        channels, height, width = shape
        for layer in range(LAYERS):
            stride = 2 if layer == 0 else 1
            self.convolutions.append(_fresh_convolution(channels, stride, generator))
            channels, height, width = CHANNELS, *((side - KERNEL) // stride + 1 for side in (height, width))
        self.projection = fresh_linear(channels * height * width, PIXEL_FEATURES, generator)
        self.norm = nn.LayerNorm(PIXEL_FEATURES)

    def stored(self, frames: Tensor) -> Tensor:
        """Return numbers as demonstrations keep them: they are whole already."""
        return frames

    def forward(self, frames: Tensor, shift: Tensor | None = None) -> Tensor:
        """Map frames (n, 3, H, W), 0 to 255, to features (n, 50).

        Args:
            frames: of float32.
            shift: (n, 2) rows and columns from 0 to 8, where 4 leaves a frame as it is; None for no shift.
        """
        maps = (frames if shift is None else shifted(frames, shift)) / 255.0 - 0.5
        for layer in self.convolutions:
            maps = torch.relu(layer(maps))
        features: Tensor = torch.tanh(self.norm(self.projection(maps.flatten(1))))
        return features


TrainedPart = AttentivePooling | ShiftedConvolutions


def trained_part(raw_shape: tuple[int, ...], generator: torch.Generator) -> TrainedPart:
    """Return the untrained part for frames of this shape, see `encoders.Encoder.raw_shape`.

    Raises:
        ValueError: If it is none of (T, D) with a D that 8 divides, or (3, H, W).
    """
    if len(raw_shape) == 2:
        return AttentivePooling(*raw_shape, generator)
    channels, height, width = raw_shape
    return ShiftedConvolutions((channels, height, width), generator)


def part_features(raw_shape: tuple[int, ...]) -> int:
    """Return the numbers that the part for frames of this shape makes of a frame."""
    return raw_shape[1] if len(raw_shape) == 2 else PIXEL_FEATURES


def random_shifts(count: int, generator: torch.Generator) -> Tensor:
    """Draw shifts (count, 2) for `shifted`."""
    return torch.randint(2 * PAD + 1, (count, 2), generator=generator)


def shifted(frames: Tensor, shift: Tensor) -> Tensor:
    """Pad frames (n, C, H, W) by 4 repeated pixels and cut out their size again, at (n, 2) rows and columns."""
    rows, columns = (
        (torch.arange(side, device=frames.device) + begin[:, None] - PAD).clamp(0, side - 1)
        for side, begin in zip(frames.shape[2:], shift.to(frames.device).T, strict=True)
    )
    numbers = torch.arange(len(frames), device=frames.device)[:, None, None, None]
    channels = torch.arange(frames.shape[1], device=frames.device)[:, None, None]
    return frames[numbers, channels, rows[:, None, :, None], columns[:, None, None, :]]


def _fresh_convolution(channels: int, stride: int, generator: torch.Generator) -> nn.Conv2d:
    """Make a convolution with torch's usual initialisation, drawn from `generator` alone."""
    layer: nn.Conv2d = nn.utils.skip_init(nn.Conv2d, channels, CHANNELS, KERNEL, stride=stride)
    bound = 1.0 / math.sqrt(channels * KERNEL**2)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-bound, bound, generator=generator)
    return layer
