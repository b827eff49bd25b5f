"""The encoders whose network is a ResNet-50: the same trunk, other weights and another input.

Source: H-InDex, section 5 and its released encoders.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torchvision.models import resnet50

from .base import Encoder
from .checkpoint import RESNET_LAYOUTS, load_trunk
from .errors import EncoderError

_SEED = 0
_LAST_BATCHNORM_SCALE = 0.5


class ResNet50(Encoder):
    """torchvision's ResNet-50 without its classifier; the feature is the mean over positions after ``layer4``."""

    feature_dim = 2048
    memory_format: ClassVar[torch.memory_format] = torch.channels_last

    def __init__(self, weights: Path | None = None) -> None:
        """Load a weights file in one of `checkpoint.RESNET_LAYOUTS`, or draw `random_state` if there is none."""
        super().__init__()
        self.random_weights = weights is None
        self.trunk = _empty_trunk()
        expected = self.trunk.state_dict()
        state = random_state(expected) if weights is None else load_trunk(Path(weights), expected, RESNET_LAYOUTS)
        self.trunk.load_state_dict(state, strict=True, assign=True)
        self.to(memory_format=self.memory_format)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(N, 3, 224, 224) float32 in [0, 1]`` to ``(N, 2048)``."""
        features: Tensor = self.trunk(self.normalise(images))
        return features


class HInDex(ResNet50, name="hindex"):
    """FrankMocap's hand network after Stage 2: RGB in [0, 1], no mean and standard deviation."""


class FrankMocapHand(ResNet50, name="frankmocap_hand"):
    """FrankMocap's hand network as it is: what H-InDex adapts."""


class RRL(ResNet50, name="rrl"):
    """ResNet-50 trained on ImageNet."""


class Random(ResNet50, name="random"):
    """The control: a ResNet-50 that never saw an image."""

    def __init__(self, weights: Path | None = None) -> None:
        """Refuse a weights file."""
        if weights is not None:
            raise EncoderError(f"encoder 'random': takes no weights file, got {weights}; use --weights auto")
        super().__init__()


def random_state(expected: dict[str, Tensor], seed: int = _SEED) -> dict[str, Tensor]:
    """Random numbers for a ResNet's tensors: the same bits on every machine, the global generator untouched.

    Args:
        expected: the names and shapes, in the order in which they are drawn.
        seed: of the generator.

    Differs: torchvision draws its convolutions from a normal distribution of variance ``2 / fan_out``, whose bits
    depend on the processor; here it is the uniform one of the same variance, made by exact arithmetic. The last
    BatchNorm of each block is scaled by 0.5 instead of 1: so the features of camera frames are about 0.5 and below 4;
    with 1 they reach 200, and the learner's value function clips its input at 10.
    """
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, tensor in expected.items():
        if tensor.ndim == 4:
            out_channels, _, height, width = tensor.shape
            bound = math.sqrt(6.0 / (out_channels * height * width))
            state[name] = torch.rand(tensor.shape, generator=generator).sub_(0.5).mul_(2.0 * bound)
        elif name.endswith("bn3.weight"):
            state[name] = torch.full(tensor.shape, _LAST_BATCHNORM_SCALE)
        elif name.endswith(("weight", "running_var")):
            state[name] = torch.ones(tensor.shape)
        else:
            state[name] = torch.zeros(tensor.shape, dtype=tensor.dtype)
    return state


def _empty_trunk() -> nn.Module:
    with torch.device("meta"):  # shapes without numbers: nothing is drawn from the global generator
        trunk: nn.Module = resnet50(weights=None)
    trunk.fc = nn.Identity()
    return trunk
