"""The networks of MediaPipe's landmark models: convolutions without BatchNorm, which is folded in, as tables of blocks.

Source: the files hand_landmark_full, pose_landmark_full and face_landmark of mediapipe 0.10.14.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn


class Bottleneck(NamedTuple):
    """A row of a table: an inverted residual block.

    Attributes:
        wide: channels between its convolutions; no first convolution where the input has as many.
        kernel: of the depthwise convolution.
        stride: of the same.
        out: channels that it gives; 0 where the last convolution is left out.
    """

    wide: int
    kernel: int
    stride: int
    out: int


NORM = "norm"
STEM = 24
HAND = (
    Bottleneck(24, 3, 1, 16),
    Bottleneck(64, 3, 2, 24),
    Bottleneck(144, 3, 1, 24),
    Bottleneck(144, 5, 2, 40),
    Bottleneck(240, 5, 1, 40),
    Bottleneck(240, 3, 2, 80),
    Bottleneck(480, 3, 1, 80),
    Bottleneck(480, 3, 1, 80),
    Bottleneck(480, 5, 1, 112),
    Bottleneck(672, 5, 1, 112),
    Bottleneck(672, 5, 1, 112),
    Bottleneck(672, 5, 2, 192),
    Bottleneck(1152, 5, 1, 192),
    Bottleneck(1152, 5, 1, 192),
    Bottleneck(1152, 5, 1, 192),
    Bottleneck(1152, 3, 1, 0),
)
BODY = (
    Bottleneck(24, 3, 1, 16),
    Bottleneck(64, 3, 2, 24),
    Bottleneck(144, 3, 1, 24),
    Bottleneck(144, 5, 2, 32),
    Bottleneck(192, 5, 1, 32),
    Bottleneck(192, 3, 2, 64),
    Bottleneck(384, 3, 1, 64),
    Bottleneck(384, 3, 1, 64),
    Bottleneck(384, 5, 1, 88),
    Bottleneck(528, 5, 1, 88),
    Bottleneck(528, 5, 1, 88),
    Bottleneck(528, 5, 2, 144),
    Bottleneck(864, 5, 1, 144),
    Bottleneck(864, 5, 1, 144),
    Bottleneck(864, 5, 1, 144),
    Bottleneck(864, 3, 1, 0),
)
BODY_CHANNELS = 288
BODY_STRIDES = (2, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1)
"""Of the residual blocks behind the table, from 8 x 8 positions to 2 x 2."""

FACE = (
    *((16, 1), (16, 1), (32, 2), (32, 1), (32, 1), (64, 2), (64, 1), (64, 1)),
    *((128, 2), (128, 1), (128, 1), (128, 2), (128, 1), (128, 1), (128, 2), (128, 1), (128, 1)),
)
"""Channels and stride of the residual blocks, from 96 x 96 positions to 3 x 3."""


class Padding(nn.ZeroPad2d):
    """The border of a convolution: TensorFlow's "same" puts the odd row and column at the end, ``even`` has none."""

    def __init__(self, kernel: int, stride: int, *, even: bool = False) -> None:
        both = kernel - 1 if even else kernel - stride
        super().__init__((both // 2, both - both // 2) * 2)


class Convolution(nn.Sequential):
    """A convolution as part ``conv``, after its border ``pad`` and before its ``activation``, where it has them.

    MediaPipe folded BatchNorm into it; `encoders.unfold` puts it back as part ``norm``.
    """

    conv: nn.Conv2d

    @property
    def folded(self) -> bool:
        """Whether BatchNorm is still folded into the convolution."""
        return NORM not in self._modules

    def put_norm(self, norm: nn.BatchNorm2d) -> None:
        """Put BatchNorm between the convolution and its activation."""
        parts = list(self._modules.items())
        place = 1 + [name for name, _ in parts].index("conv")
        self._modules.clear()
        self._modules.update([*parts[:place], (NORM, norm), *parts[place:]])


def convolution(
    channels: int,
    out: int,
    kernel: int = 1,
    stride: int = 1,
    *,
    depthwise: bool = False,
    even: bool = False,
    activation: nn.Module | None = None,
) -> Convolution:
    """Make a convolution with border and activation; sides divide by the stride."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if kernel > 1:
        parts["pad"] = Padding(kernel, stride, even=even)
    parts["conv"] = nn.Conv2d(channels, out, kernel, stride, groups=channels if depthwise else 1)
    if activation is not None:
        parts["activation"] = activation
    return Convolution(parts)


class InvertedResidual(nn.Module):
    """Widen, look at each channel, narrow; the input is added where its shape is that of the output."""

    def __init__(self, channels: int, row: Bottleneck, *, even: bool) -> None:
        super().__init__()
        parts = []
        if row.wide != channels:
            parts.append(convolution(channels, row.wide, activation=nn.ReLU6()))
        parts.append(
            convolution(row.wide, row.wide, row.kernel, row.stride, depthwise=True, even=even, activation=nn.ReLU6())
        )
        if row.out:
            parts.append(convolution(row.wide, row.out))
        self.parts = nn.Sequential(*parts)
        self.adds = row.stride == 1 and row.out == channels

    def forward(self, maps: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, C', H', W')``."""
        result: Tensor = self.parts(maps)
        return result + maps if self.adds else result


def inverted_residuals(rows: tuple[Bottleneck, ...], *, even: bool) -> nn.Sequential:
    """Make the stem and the blocks of a table; ``even`` is that of `Padding`, for strides of 2."""
    layers: list[nn.Module] = [convolution(3, STEM, 3, 2, even=even, activation=nn.ReLU6())]
    channels = STEM
    for row in rows:
        layers.append(InvertedResidual(channels, row, even=even))
        channels = row.out
    return nn.Sequential(*layers)


class SeparableResidual(nn.Module):
    """A depthwise and a full convolution, added to the input, which is halved and gets channels of zeros as needed."""

    def __init__(self, channels: int, out: int, stride: int, *, between: nn.Module | None, after: nn.Module) -> None:
        super().__init__()
        self.depthwise = convolution(channels, channels, 3, stride, depthwise=True, activation=between)
        self.pointwise = convolution(channels, out)
        self.halve = nn.MaxPool2d(2) if stride == 2 else nn.Identity()
        self.more = out - channels
        self.activation = after

    def forward(self, maps: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, C', H', W')``."""
        beside: Tensor = self.halve(maps)
        if self.more:
            beside = F.pad(beside, (0, 0, 0, 0, 0, self.more))
        result: Tensor = self.activation(self.pointwise(self.depthwise(maps)) + beside)
        return result


def hand_maps() -> nn.Sequential:
    """Make the network of ``hand_landmark_full``: ``(N, 3, 224, 224)`` to ``(N, 1152, 7, 7)``."""
    return inverted_residuals(HAND, even=False)


def body_maps() -> nn.Sequential:
    """Make the network of ``pose_landmark_full``: ``(N, 3, 256, 256)`` to ``(N, 288, 2, 2)``."""
    wide = BODY[-1].wide
    residuals = [
        SeparableResidual(BODY_CHANNELS, BODY_CHANNELS, stride, between=nn.ReLU6(), after=nn.ReLU6())
        for stride in BODY_STRIDES
    ]
    return nn.Sequential(
        *inverted_residuals(BODY, even=True),
        convolution(wide, wide, 3, depthwise=True, activation=nn.ReLU6()),
        convolution(wide, BODY_CHANNELS, activation=nn.ReLU6()),
        *residuals,
    )


def face_maps() -> nn.Sequential:
    """Make the network of ``face_landmark``: ``(N, 3, 192, 192)`` to ``(N, 128, 3, 3)``."""
    channels = FACE[0][0]
    layers: list[nn.Module] = [convolution(3, channels, 3, 2, activation=nn.PReLU(channels))]
    for out, stride in FACE:
        layers.append(SeparableResidual(channels, out, stride, between=None, after=nn.PReLU(out)))
        channels = out
    return nn.Sequential(*layers)
