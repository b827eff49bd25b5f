"""The maps of a convolutional network at its five scales: of any ResNet, and of what else has BatchNorm."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import EncoderError

_STAGES = ("layer1", "layer2", "layer3", "layer4")
_RESNET = ("conv1", "bn1", "maxpool", *_STAGES)


def maps(trunk: nn.Module, images: Tensor) -> list[Tensor]:
    """A network's maps, from the finest to the coarsest; the last is the one whose mean is the feature.

    Args:
        trunk: a ResNet under torchvision's names, or a module with a method ``maps``.
        images: ``(N, 3, H, W)`` float.

    Returns:
        Of a ResNet five: after the stem's rectifier, then after each stage.

    Raises:
        EncoderError: the network is neither.
    """
    if not is_resnet(trunk):
        own: Any = getattr(trunk, "maps", None)
        if own is None:
            raise EncoderError(f"{type(trunk).__name__} gives no feature maps: it is no ResNet and has no method `maps`")
        found: list[Tensor] = own(images)
        return found
    parts: Any = trunk
    found = [F.relu(parts.bn1(parts.conv1(images)))]
    x = parts.maxpool(found[0])
    for stage in _STAGES:
        x = getattr(parts, stage)(x)
        found.append(x)
    return found


def is_resnet(trunk: nn.Module) -> bool:
    """Whether a network has a ResNet's parts under torchvision's names."""
    return all(isinstance(getattr(trunk, part, None), nn.Module) for part in _RESNET)
