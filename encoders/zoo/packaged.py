"""The encoders whose weights come from the package index: small convolutional networks, quick on any machine.

Source: the cards in `encoders.cards.packaged`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..base import IMAGE_SIZE
from ..weights.checkpoint import Layout
from .mediapipe import body_maps, face_maps, hand_maps
from .network import TrunkEncoder, positions
from .timm_encoder import TimmEncoder


def in_order(state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the tensors of a file the network's names, one after another; both are sorted from image to feature.

    Tensors of other kinds (weight, bias, running_mean, ...) at any place are those of another network: they stay.
    """
    kinds, wanted = ([name.rpartition(".")[2] for name in names] for names in (state, expected))
    return dict(zip(expected, state.values(), strict=True)) if kinds == wanted else state


class EfficientNetLite0(TimmEncoder, name="efficientnet_lite0"):
    """EfficientNet-Lite0, trained on ImageNet, converted from TensorFlow's checkpoint."""

    model = "tf_efficientnet_lite0"
    feature_is_mean = True
    options: ClassVar[Mapping[str, Any]] = {}
    fan = "rectified"
    memory_format = torch.channels_last
    layouts = (
        Layout("EfficientNet-Lite-PyTorch", "_", unused=("fc.",), convert=in_order),
        Layout("timm", unused=("classifier.",)),
    )


class Landmarks(TrunkEncoder):
    """A network that MediaPipe trained to find landmarks, up to what its heads read.

    Attributes:
        size: of the image that it sees, in pixels.
        stride: pixels of that image per position of its last map.
    """

    memory_format = torch.channels_last
    batchnorm_folded = True
    size: ClassVar[int] = IMAGE_SIZE
    stride: ClassVar[int] = 32

    def prepared(self, images: Tensor) -> Tensor:
        """Map ``(N, 3, 224, 224) float32 in [0, 1]`` to normalised images of the network's size."""
        if self.size != IMAGE_SIZE:
            images = F.interpolate(images, size=(self.size, self.size), mode="bilinear", align_corners=False)
        return super().prepared(images)

    def tokens(self, images: Tensor) -> Tensor:
        """Map ``(N, 3, 224, 224) float32 in [0, 1]`` to the positions of the last map."""
        maps: Tensor = self.trunk.get_submodule("0")(self.prepared(images))
        return positions(maps)


class MediaPipeHand(Landmarks, name="mediapipe_hand"):
    """MediaPipe's hand network, trained to find 21 landmarks of a hand in photographs."""

    feature_dim = 1152
    feature_is_mean = True
    network = "MediaPipe's hand network"
    fan = "rectified"
    layouts = (Layout("TensorFlow Lite", unused=("047.",), convert=in_order),)

    @classmethod
    def empty_trunk(cls) -> nn.Module:
        """Make the network; its numbers have no meaning."""
        return nn.Sequential(hand_maps(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class HInDexMini(MediaPipeHand, name="hindex_mini"):
    """MediaPipe's hand network as `hindex` treats FrankMocap's: its BatchNorm unfolded, adapted and moving."""


class MediaPipeBody(Landmarks, name="mediapipe_body"):
    """MediaPipe's body network (BlazePose), trained to find 39 landmarks of a person."""

    feature_dim = 1152
    size = 256
    stride = 128
    network = "MediaPipe's body network"
    fan = "rectified"
    layouts = (Layout("TensorFlow Lite", unused=("071.",), convert=in_order),)

    @classmethod
    def empty_trunk(cls) -> nn.Module:
        """Make the network; its numbers have no meaning."""
        return nn.Sequential(body_maps(), nn.Flatten())


class MediaPipeBodyMean(MediaPipeBody, name="mediapipe_body_mean"):
    """The mean over the positions of MediaPipe's body network."""

    feature_dim = 288
    feature_is_mean = True

    @classmethod
    def empty_trunk(cls) -> nn.Module:
        """Make the network; its numbers have no meaning."""
        return nn.Sequential(body_maps(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


class MediaPipeFace(Landmarks, name="mediapipe_face"):
    """MediaPipe's face network, trained to find 468 landmarks of a face: a human prior without hands."""

    feature_dim = 1152
    size = 192
    stride = 64
    network = "MediaPipe's face network"
    layouts = (Layout("TensorFlow Lite", unused=tuple(f"{layer:03}." for layer in range(53, 59)), convert=in_order),)

    @classmethod
    def empty_trunk(cls) -> nn.Module:
        """Make the network; its numbers have no meaning."""
        return nn.Sequential(face_maps(), nn.Flatten())
