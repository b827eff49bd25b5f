"""What Stage 2 adapts of an encoder: a convolutional network with BatchNorm, and its maps at several scales."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import registry
from ..base import Encoder
from ..errors import EncoderError
from ..zoo.resnet import ResNet50
from .affine import batchnorm_layers

STRIDE = 32
"""Pixels of the image a cell of the last map, as the keypoint model needs it."""

_STAGES = ("layer1", "layer2", "layer3", "layer4")
_RESNET = ("conv1", "bn1", "relu", "maxpool", *_STAGES)
_TRIED = 64


class NotAdaptable(EncoderError):
    """An encoder that Stage 2 cannot adapt."""


def adaptable(encoder: Encoder) -> nn.Module:
    """The network that Stage 2 adapts of an encoder, in place: its ``trunk`` if it has one, else the encoder itself.

    An encoder that normalises its images in its own ``forward`` keeps doing so. One whose BatchNorm is folded must have
    got it back, see `encoders.unfold`.

    Raises:
        NotAdaptable: it has no BatchNorm, or its last map has not the stride that the keypoint model needs.
    """
    network = getattr(encoder, "trunk", encoder)
    if not isinstance(network, nn.Module) or not batchnorm_layers(network):
        raise NotAdaptable(
            f"encoder '{encoder.name}': has no BatchNorm layer to adapt; Stage 2 takes "
            f"{', '.join(_adaptable_names())}, convolutional networks of timm (such as timm:resnet18) and your own"
        )
    if is_resnet(network):
        return network
    stride = getattr(encoder, "stride", STRIDE) if encoder.batchnorm_folded else STRIDE
    if stride != STRIDE:
        raise NotAdaptable(f"encoder '{encoder.name}': {_of_another_stride(stride)}")
    try:
        return WatchedNetwork(network)
    except NotAdaptable as error:
        raise NotAdaptable(f"encoder '{encoder.name}': {error}") from error


def maps(trunk: nn.Module, images: Tensor) -> list[Tensor]:
    """A network's maps, from the finest to the coarsest; the last is the one whose mean is the feature.

    Args:
        trunk: a ResNet under torchvision's names, or a module with a method ``maps``.
        images: ``(N, 3, H, W)`` float.

    Returns:
        Of a ResNet five: after the stem's rectifier, then after each stage.

    Raises:
        NotAdaptable: the network is neither.
    """
    if not is_resnet(trunk):
        own: Any = getattr(trunk, "maps", None)
        if own is None:
            raise NotAdaptable(f"{type(trunk).__name__} is no ResNet and has no method `maps`; use `trunk.adaptable`")
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


def map_channels(trunk: nn.Module) -> list[int]:
    """Channels of each of `maps`; tried with a black image."""
    first = next(trunk.parameters())
    with torch.no_grad():
        found = maps(trunk, torch.zeros(1, 3, _TRIED, _TRIED, device=first.device, dtype=first.dtype))
    return [one.shape[1] for one in found]


class WatchedNetwork(nn.Module):
    """Any network, watched while it runs: at each scale, its map is the last one that a module gives there.

    Args:
        network: becomes the part ``network``.

    Raises:
        NotAdaptable: its last map has another stride than `STRIDE`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval()
        first = next(network.parameters())
        with torch.no_grad():
            seen = self._watch(torch.zeros(1, 3, _TRIED, _TRIED, device=first.device, dtype=first.dtype))
        last: dict[int, int] = {}
        for number, output in enumerate(seen):
            height, width = output.shape[2:]
            if height == width and 1 < width < _TRIED and width <= min(last, default=_TRIED):
                last[width] = number
        self.numbers = list(last.values())
        stride = _TRIED // min(last, default=_TRIED)
        if stride != STRIDE:
            raise NotAdaptable(_of_another_stride(stride))

    def maps(self, images: Tensor) -> list[Tensor]:
        """The maps of ``(N, 3, H, W)``, finest first."""
        seen = self._watch(images)
        return [seen[number] for number in self.numbers]

    def forward(self, images: Tensor) -> Tensor:
        """What the network gives."""
        features: Tensor = self.network(images)
        return features

    def _watch(self, images: Tensor) -> list[Tensor]:
        """What the network's modules give, in the order in which it was ready, where that is one map."""
        seen: list[Tensor] = []

        def note(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.ndim == 4:
                seen.append(output)

        hooks = [module.register_forward_hook(note) for module in self.network.modules() if module is not self.network]
        try:
            self.network(images)
        finally:
            for hook in hooks:
                hook.remove()
        return seen


def _of_another_stride(stride: int) -> str:
    return f"its last map has stride {stride}; Stage 2 draws from maps of stride {STRIDE}"


def _adaptable_names() -> list[str]:
    return [name for name in registry.names() if issubclass(registry.get(name), ResNet50)]
