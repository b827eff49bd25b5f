"""The encoders whose weights come from the package index: small convolutional networks, quick on any machine.

Source: the cards in `encoders.cards.packaged`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..weights.checkpoint import Layout
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
    options: ClassVar[Mapping[str, Any]] = {}
    fan = "rectified"
    memory_format = torch.channels_last
    layouts = (
        Layout("EfficientNet-Lite-PyTorch", "_", unused=("fc.",), convert=in_order),
        Layout("timm", unused=("classifier.",)),
    )
