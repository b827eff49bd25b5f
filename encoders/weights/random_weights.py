"""Draw random weights for a network: identical on every machine, without touching the global generator."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, TypeAlias

import torch
from torch import Tensor

Fan: TypeAlias = Literal["in", "out", "rectified", "residual"]
"""How `random_state` draws convolutions."""

_SEED = 0
_LAST_SCALE = 0.5
_RESIDUAL_SCALE = 0.25
_RECTIFIED_GAIN = 2.5
_TOKEN_SPREAD = 0.02
_RECTIFIER_SLOPE = 0.25  # of a parametric rectifier, as torch begins it


def random_state(expected: Mapping[str, Tensor], seed: int = _SEED, fan: Fan = "out") -> dict[str, Tensor]:
    """Return a complete state: random weights, scales 1, offsets 0.

    Args:
        expected: the names and shapes, in the order in which they are drawn.
        seed: of the generator.
        fan: a convolution's variance is ``2 / fan_out``, as for a ResNet, or ``1 / fan_in``, as for patch embeddings
            and depthwise convolutions; ``rectified`` is the latter with ``2.5 / fan_in`` for depthwise convolutions,
            for inverted residuals, which rectify before them; ``residual`` is as ``in``, but quarters the last weights
            of attention and MLP, for transformers without a final norm. A linear layer's is ``1 / fan_in``; tokens and
            positions get a spread of 0.02.

    Differs: torchvision and timm draw from normal distributions, whose bits depend on the processor; here it is the
    uniform one of the same variance, made by exact arithmetic. The last BatchNorm of each ResNet block is scaled by 0.5
    instead of 1, and so is the last convolution of each separable residual block: so the features of camera frames are
    about 0.5 and below 4; with 1 they reach 200, and the learner's value function clips its input at 10.
    """
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, tensor in expected.items():
        bound = _bound(name, tensor, fan)
        if bound is not None:
            state[name] = torch.rand(tensor.shape, generator=generator).sub_(0.5).mul_(2.0 * bound)
        elif fan != "rectified" and _ends_a_block(name, expected):
            state[name] = torch.full(tensor.shape, _LAST_SCALE)
        elif name.endswith("activation.weight"):
            state[name] = torch.full(tensor.shape, _RECTIFIER_SLOPE)
        elif name.endswith(("weight", "running_var", "gamma", "gamma_1", "gamma_2")):
            state[name] = torch.ones(tensor.shape)
        else:
            state[name] = torch.zeros(tensor.shape, dtype=tensor.dtype)
    return state


def _ends_a_block(name: str, expected: Mapping[str, Tensor]) -> bool:
    """Return whether this is the scale of the last BatchNorm of a ResNet block (the third, or else the second)."""
    third = name.replace("bn2.weight", "bn3.weight")
    return name.endswith(("bn3.weight", "conv3_1x1.bn.weight")) or (third != name and third not in expected)


def _bound(name: str, tensor: Tensor, fan: Fan) -> float | None:
    """Return half the width of the distribution; None for a tensor that is not random."""
    if tensor.ndim < 2 or not tensor.is_floating_point():
        return None
    if not name.endswith("weight"):
        return math.sqrt(3.0) * _TOKEN_SPREAD
    if tensor.ndim == 4 and fan == "out":
        out_channels, _, height, width = tensor.shape
        return math.sqrt(6.0 / (out_channels * height * width))
    bound = math.sqrt(3.0 / math.prod(tensor.shape[1:]))
    if fan == "rectified" and tensor.ndim == 4 and tensor.shape[1] == 1:
        return bound * math.sqrt(_RECTIFIED_GAIN)
    if fan == "residual" and name.endswith(("attn.proj.weight", "mlp.fc2.weight")):
        return bound * _RESIDUAL_SCALE
    return bound * _LAST_SCALE if name.endswith("pointwise.conv.weight") else bound
