"""The perceptual loss of Stage 2: pixels and five layers of a frozen network, each over its own running mean.

Source: encoders.md, section 8.
"""

from __future__ import annotations

import os
from copy import deepcopy
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..cards import IMAGENET, Normalisation
from ..errors import WeightsInvalid, WeightsMissing
from ..weights.cache import cache_dir
from ..weights.checkpoint import read
from ..weights.files import file_sha256
from . import trunk as trunks

Perceptual = Literal["vgg16", "stage1", "none"]

VGG16_FILE = "vgg16-397923af.pth"
VGG16_SHA256 = "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"
VGG16_URL = f"https://download.pytorch.org/models/{VGG16_FILE}"
VGG16_LAYERS = (3, 8, 13, 20, 27)
"""In torchvision's ``features``: the rectified second convolution of each block."""

VGG16_MEANS = (0.1966, 0.8725, 3.4260, 7.4396, 4.1430, 1.1304)
"""Of the pixels' term and of the five layers', where the running means begin."""

MOMENTUM = 0.01
SMALLEST_MEAN = 1e-12


class VGG16(nn.Module):
    """torchvision's VGG-16 up to its last rectified convolution but one, frozen; images go in as they are."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        super().__init__()
        from torchvision.models import vgg16

        with torch.device("meta"):
            features = vgg16(weights=None).features[: VGG16_LAYERS[-1] + 1]
        wanted = {name: state[f"features.{name}"] for name in features.state_dict()}
        features.load_state_dict(wanted, assign=True)
        for place, layer in enumerate(features):
            if isinstance(layer, nn.ReLU):
                features[place] = nn.ReLU(inplace=place not in VGG16_LAYERS)
        self.features = features.requires_grad_(False).eval()

    def forward(self, images: Tensor) -> list[Tensor]:
        """The maps after `VGG16_LAYERS` of ``(N, 3, H, W)``."""
        found = []
        for place, layer in enumerate(self.features):
            images = layer(images)
            if place in VGG16_LAYERS:
                found.append(images)
        return found


class FrozenTrunk(nn.Module):
    """A frozen copy of an unadapted trunk; images are normalised as before Stage 2.

    Args:
        trunk: copied.
        normalisation: of RGB images in [0, 1].
    """

    mean: Tensor
    std: Tensor

    def __init__(self, trunk: nn.Module, normalisation: Normalisation = IMAGENET) -> None:
        super().__init__()
        self.trunk = deepcopy(trunk).requires_grad_(False).eval()
        self.register_buffer("mean", torch.tensor(normalisation.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(normalisation.std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> list[Tensor]:
        """The maps of ``(N, 3, H, W)`` RGB in [0, 1] at the trunk's scales."""
        return trunks.maps(self.trunk, (images - self.mean) / self.std)


class NoMaps(nn.Module):
    """Sees nothing in images: what is left of the loss are the pixels."""

    def forward(self, images: Tensor) -> list[Tensor]:
        """No maps of ``(N, 3, H, W)``."""
        return []


class PerceptualLoss(nn.Module):
    """Mean squared errors of the pixels and of a network's maps, each divided by its own running mean.

    Args:
        network: from images to maps.
        means: where the running means begin; None for the terms of the first batch.
        terms: how many: one more than maps.

    Attributes:
        means: (terms,) float32, the running means; part of a checkpoint.
        begun: () bool, whether they have begun.
    """

    means: Tensor
    begun: Tensor

    def __init__(self, network: nn.Module, means: tuple[float, ...] | None, terms: int) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("means", torch.tensor(means) if means else torch.ones(terms))
        self.register_buffer("begun", torch.tensor(means is not None))

    def terms(self, images: Tensor, target: Tensor) -> Tensor:
        """(terms,) the errors themselves: pixels first, then map by map."""
        with torch.no_grad():
            wanted = self.network(target)
        found = self.network(images)
        pairs = [(images, target), *zip(found, wanted, strict=True)]
        return torch.stack([F.mse_loss(one.float(), other.float()) for one, other in pairs])

    def update(self, terms: Tensor) -> Tensor:
        """Move the running means towards detached terms and give the quotients, whose sum is the loss."""
        now = terms.detach()
        with torch.no_grad():
            moved = torch.where(self.begun, self.means + MOMENTUM * (now - self.means), now)
            self.means.copy_(moved)
            self.begun.fill_(True)
        return terms / self.means.clamp(min=SMALLEST_MEAN)


def perceptual_loss(kind: Perceptual, trunk: nn.Module, normalisation: Normalisation = IMAGENET) -> PerceptualLoss:
    """The loss over VGG-16, over a frozen copy of an unadapted trunk, or over pixels alone.

    Differs: the released code knows VGG-16 only; else the running means begin with the first batch's terms.

    Raises:
        WeightsMissing, WeightsInvalid: VGG-16 was asked for, and its file is not there or is another.
    """
    if kind == "vgg16":
        return PerceptualLoss(VGG16(_vgg16_state()), VGG16_MEANS, len(VGG16_MEANS))
    if kind == "none":
        return PerceptualLoss(NoMaps(), None, 1)
    return PerceptualLoss(FrozenTrunk(trunk, normalisation), None, 1 + len(trunks.map_channels(trunk)))


def vgg16_path() -> Path:
    """Where VGG-16's weights file is looked for."""
    return cache_dir() / "weights" / "vgg16" / VGG16_FILE


def _vgg16_state() -> dict[str, Tensor]:
    path = vgg16_path()
    if not os.path.isfile(path):
        raise WeightsMissing(f"no VGG-16 at {path}: put {VGG16_URL} there, or take the perceptual network 'stage1'")
    digest = file_sha256(path)
    if digest != VGG16_SHA256:
        raise WeightsInvalid(f"weights {path}: sha256 is {digest[:12]}..., published was {VGG16_SHA256[:12]}...")
    return read(path)
