"""The encoders whose network is a ResNet-50: the same trunk, other weights and another input.

Source: H-InDex, section 5, its released encoders and those of its first commit; encoders.md, sections 5 to 7.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torchvision.models import resnet50
from torchvision.models.resnet import Bottleneck, ResNet

from ..errors import EncoderError
from ..weights.checkpoint import ADAPTED, FRANKMOCAP_HAND, RESNET_LAYOUTS, TORCHVISION, Layout
from ..weights.random_weights import random_state
from .network import TrunkEncoder, positions

__all__ = ["ResNet50", "random_state"]

_BODY_HEADS = ("fc1.", "fc2.", "decpose.", "decshape.", "deccam.", "init_pose", "init_shape", "init_cam")
_SQUEEZE_EXCITATION = tuple(f"layer{stage}.0.se." for stage in (1, 2, 3, 4))
_ALPHAPOSE_HEADS = ("duc1.", "duc2.", "conv_out.")
_R3M_LANGUAGE = ("module.lang_enc.", "module.lang_rew.")


class ResNet50(TrunkEncoder):
    """torchvision's ResNet-50 without its classifier; the feature is the mean over positions after ``layer4``."""

    feature_dim = 2048
    feature_is_mean = True
    memory_format = torch.channels_last
    network = "a ResNet-50"
    fan = "out"
    layouts: ClassVar[tuple[Layout, ...]] = RESNET_LAYOUTS

    @classmethod
    def empty_trunk(cls) -> nn.Module:
        """Make the network; its numbers have no meaning."""
        trunk: nn.Module = resnet50(weights=None)
        trunk.fc = nn.Identity()
        return trunk

    def tokens(self, images: Tensor) -> Tensor:
        """Map ``(N, 3, 224, 224) float32 in [0, 1]`` to the 7 x 7 positions after ``layer4``, ``(N, 49, 2048)``."""
        maps = self.prepared(images)
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            maps = self.trunk.get_submodule(name)(maps)
        return positions(maps)


class HInDex(ResNet50, name="hindex"):
    """FrankMocap's hand network after Stage 2: RGB in [0, 1], no mean and standard deviation."""

    layouts = (ADAPTED, FRANKMOCAP_HAND, TORCHVISION)


class FrankMocapHand(ResNet50, name="frankmocap_hand"):
    """FrankMocap's hand network as it is: what H-InDex adapts."""

    layouts = (FRANKMOCAP_HAND, TORCHVISION)


class FrankMocapBody(ResNet50, name="frankmocap_body"):
    """FrankMocap's network of the whole body."""

    layouts = (Layout("FrankMocap body", container="model", unused=_BODY_HEADS), TORCHVISION)


class AlphaPose(ResNet50, name="alphapose"):
    """AlphaPose's body network as H-InDex computes it: without its squeeze-excitation layers."""

    layouts = (Layout("AlphaPose", "preact.", unused=_SQUEEZE_EXCITATION, others=_ALPHAPOSE_HEADS), TORCHVISION)


class R3M(ResNet50, name="r3m"):
    """R3M, pretrained on videos of people's daily activities."""

    layouts = (Layout("R3M", "module.convnet.", others=_R3M_LANGUAGE, container="r3m"), TORCHVISION)


class RRL(ResNet50, name="rrl"):
    """ResNet-50 trained on ImageNet."""

    layouts = (TORCHVISION,)


class Random(ResNet50, name="random"):
    """The control: a ResNet-50 that never saw an image."""

    def __init__(self, weights: Path | None = None) -> None:
        """Refuse a weights file."""
        if weights is not None:
            raise EncoderError(f"encoder 'random': takes no weights file, got {weights}; use --weights auto")
        super().__init__()


class VIP(ResNet50, name="vip"):
    """VIP, pretrained on videos of people by time contrast; its feature is the output of its linear layer."""

    feature_dim = 1024
    feature_is_mean = False
    layouts = (Layout("VIP", "module.convnet.", container="vip"), Layout("torchvision"))

    @classmethod
    def empty_trunk(cls) -> nn.Module:
        """Make the network; its numbers have no meaning."""
        trunk: nn.Module = resnet50(weights=None, num_classes=cls.feature_dim)
        return trunk


class MoCoV3ResNet(ResNet50, name="mocov3_resnet50"):
    """MoCo v3, pretrained on ImageNet without labels."""

    layouts = (
        Layout(
            "MoCo v3",
            "module.base_encoder.",
            unused=("fc.",),
            others=("module.momentum_encoder.", "module.predictor."),
            container="state_dict",
        ),
        TORCHVISION,
    )


class MCR(ResNet50, name="mcr"):
    """MCR, pretrained on DROID, videos and actions of robot arms."""

    layouts = (Layout("torchvision"),)


class PVR(ResNet50, name="pvr"):
    """MoCo v2, as in PVR: pretrained on ImageNet without labels."""

    layouts = (
        Layout(
            "MoCo v2",
            "module.encoder_q.",
            unused=("fc.",),
            others=("module.encoder_k.", "module.queue"),
            container="state_dict",
        ),
        TORCHVISION,
    )


class SqueezeExcitation(nn.Module):
    """Channels weighted by what is in the whole map, full width: AlphaPose's own."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, channels), nn.ReLU(inplace=True), nn.Linear(channels, channels), nn.Sigmoid()
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to the same."""
        weights: Tensor = self.fc(maps.mean((2, 3)))
        return maps * weights[:, :, None, None]


class SqueezeExcitationBlock(Bottleneck):  # type: ignore[misc]  # torchvision has no types
    """A ResNet block that weights its channels before it adds its input, if it has a layer for that."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if self.downsample is not None:
            self.se = SqueezeExcitation(self.bn3.num_features)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, C', H', W')``."""
        maps = self.relu(self.bn1(self.conv1(x)))
        maps = self.relu(self.bn2(self.conv2(maps)))
        maps = self.bn3(self.conv3(maps))
        if self.downsample is not None:
            maps, x = self.se(maps), self.downsample(x)
        rectified: Tensor = self.relu(maps + x)
        return rectified


class AlphaPoseSE(ResNet50, name="alphapose_se"):
    """AlphaPose's body network whole, with its squeeze-excitation layers."""

    layouts = (Layout("AlphaPose", "preact.", others=_ALPHAPOSE_HEADS), TORCHVISION)

    @classmethod
    def empty_trunk(cls) -> nn.Module:
        """Make the network; its numbers have no meaning."""
        trunk: nn.Module = ResNet(SqueezeExcitationBlock, [3, 4, 6, 3])
        trunk.fc = nn.Identity()
        return trunk
