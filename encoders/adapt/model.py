"""The keypoint model of Stage 2: a target image is drawn from a source image and the target's keypoints.

The names of its parts and the indices of their layers are the authors'. Shapes below are for images of 224 x 224;
the model is fully convolutional and takes any multiple of 32.

Source: encoders.md, section 8; H-InDex, section 3.2.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from . import trunk as trunks
from .keypoints import gaussians, soft_keypoints, upsample

KEYPOINTS = 30
WIDTH = 256
JOINTS = 13
"""Joints of Penn Action, which the unused supervised head predicts."""

ENCODER_CHANNELS = (32, 64, 128, 256)
RENDERER_CHANNELS = (256, 128, 64, 32)


class Drawn(NamedTuple):
    """What the model gives.

    Attributes:
        images: (N, 3, H, W), unbounded.
        keypoints: (N, K, 2) row and column in cells of the grid of maps.
        heat: (N, K, H / 4, W / 4).
    """

    images: Tensor
    keypoints: Tensor
    heat: Tensor


class PoseNet(nn.Module):
    """From an image to maps of keypoints: a trunk, three transposed convolutions, a 1 x 1 convolution.

    Differs: the trunk stands under the name ``trunk``; the authors' files have its parts one level up.
    """

    def __init__(self, trunk: nn.Module, channels: int, keypoints: int) -> None:
        super().__init__()
        self.trunk = trunk
        widths = (channels, WIDTH, WIDTH, WIDTH)
        layers: list[nn.Module] = []
        for wide, narrow in pairwise(widths):
            up = nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1, bias=False)
            layers += [up, nn.BatchNorm2d(narrow), nn.ReLU(inplace=True)]
        self.deconv_layers = nn.Sequential(*layers)
        self.final_layer_unsup = nn.Conv2d(WIDTH, keypoints, 1)
        # Kept for the authors' files; no loss of Stage 2 depends on them.
        self.sup_query = nn.Embedding(WIDTH, JOINTS)
        layer = nn.TransformerDecoderLayer(WIDTH, 4, dim_feedforward=1024, dropout=0.1)
        decoder = nn.TransformerDecoder(layer, 1, norm=nn.LayerNorm(WIDTH))
        self.mh_attn = nn.ModuleDict({"decoder": decoder})
        self.sup_weight = nn.Linear(WIDTH, keypoints)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(N, 3, 224, 224)`` to ``(N, K, 56, 56)``."""
        return self.heat(trunks.maps(self.trunk, images)[-1])

    def heat(self, features: Tensor) -> Tensor:
        """Maps ``(N, K, 56, 56)`` from the trunk's last one, ``(N, C, 7, 7)``."""
        found: Tensor = self.final_layer_unsup(self.deconv_layers(features))
        return found


class KeypointModel(nn.Module):
    """The whole model.

    Args:
        trunk: a ResNet under torchvision's names, or a module with a method ``maps``, see `trunk.maps`; it becomes a
            part of this model.
        keypoints: how many.

    Raises:
        NotAdaptable: the trunk gives no maps.
    """

    def __init__(self, trunk: nn.Module, *, keypoints: int = KEYPOINTS) -> None:
        super().__init__()
        channels = trunks.map_channels(trunk)[-1]
        self.pose_net = PoseNet(trunk, channels, keypoints)
        self.image_encoder = _encoder(3)
        self.pose_encoder = _encoder(keypoints)
        self.image_renderer = _renderer(2 * ENCODER_CHANNELS[-1])

    @property
    def heads(self) -> dict[str, nn.Module]:
        """What is trained besides the trunk, without the 1 x 1 convolution that gives the maps."""
        return {
            "pose_net.deconv_layers": self.pose_net.deconv_layers,
            "image_encoder": self.image_encoder,
            "pose_encoder": self.pose_encoder,
            "image_renderer": self.image_renderer,
        }

    def forward(self, source: Tensor, target: Tensor) -> Drawn:
        """Draw ``target`` from ``source`` and the target's keypoints; both ``(N, 3, H, W)``, RGB in [0, 1]."""
        heat = self.pose_net(target)
        return self.draw(source, heat)

    def draw(self, source: Tensor, heat: Tensor) -> Drawn:
        """The same from the maps ``(N, K, H / 4, W / 4)`` that `pose_net` gives."""
        keypoints = soft_keypoints(heat)
        bumps = gaussians(keypoints, *heat.shape[2:]).contiguous(memory_format=torch.channels_last)
        both = torch.cat([self.image_encoder(source), self.pose_encoder(upsample(bumps))], dim=1)
        return Drawn(self.image_renderer(both), keypoints, heat)


def _double(wide: int, narrow: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for channels, size, step in ((wide, kernel, stride), (narrow, 3, 1)):
        convolution = nn.Conv2d(channels, narrow, size, stride=step, padding=size // 2, bias=False)
        layers += [convolution, nn.BatchNorm2d(narrow), nn.ReLU(inplace=True)]
    return layers


def _encoder(channels: int) -> nn.Sequential:
    """Images or maps ``(N, channels, 224, 224)`` to ``(N, 256, 28, 28)``."""
    widths = (channels, *ENCODER_CHANNELS)
    blocks = OrderedDict[str, nn.Module]()
    for number, (wide, narrow) in enumerate(pairwise(widths), start=1):
        layers = _double(wide, narrow, kernel=7, stride=1) if number == 1 else _double(wide, narrow, stride=2)
        blocks[f"layer{number}"] = nn.Sequential(*layers)
    return nn.Sequential(blocks)


def _renderer(channels: int) -> nn.Sequential:
    """Maps ``(N, channels, 28, 28)`` to images ``(N, 3, 224, 224)``."""
    widths = (channels, *RENDERER_CHANNELS)
    blocks = OrderedDict[str, nn.Module]()
    for number, (wide, narrow) in enumerate(pairwise(widths), start=1):
        last = number == len(RENDERER_CHANNELS)
        end = nn.Conv2d(narrow, 3, 3, padding=1) if last else nn.Upsample(scale_factor=2, mode="nearest")
        blocks[f"layer{number}"] = nn.Sequential(*_double(wide, narrow), end)
    return nn.Sequential(blocks)
