"""Where the heads of the keypoint model begin when no trained ones are given.

Differs: the authors begin with heads trained on Penn Action. Here their convolutions are drawn (He), the same bits on
every machine, and their BatchNorm layers, whose statistics no training step moves, get those of a first batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .model import KeypointModel

HEAT_SPREAD = 2.0
"""Standard deviation, over a first batch, of the logits of which keypoints are the softmax."""

_FINAL = ("pose_net.final_layer_unsup.", "image_renderer.layer4.6.")
_SMALLEST_VARIANCE = 1e-6


def draw_heads(model: KeypointModel, seed: int) -> None:
    """Draw everything but the trunk: convolutions He uniform, biases and offsets 0, scales 1, the last layers small."""
    generator = torch.Generator().manual_seed(seed)
    modules = dict(model.named_modules())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("pose_net.trunk."):
                continue
            owner = modules[name.rpartition(".")[0]]
            if parameter.ndim < 2:
                normalises = isinstance(owner, (nn.BatchNorm2d, nn.LayerNorm)) and name.endswith("weight")
                parameter.fill_(1.0 if normalises else 0.0)
                continue
            bound = math.sqrt(6.0 / _fan_in(owner, parameter))
            if name.startswith(_FINAL):
                bound *= 0.1
            drawn = torch.rand(parameter.shape, generator=generator).sub_(0.5).mul_(2.0 * bound)
            parameter.copy_(drawn)
        _colour(model).fill_(0.5)


def calibrate(model: KeypointModel, source: Tensor, target: Tensor, *, renderer: bool = True) -> None:
    """Fit the drawn heads to a batch.

    BatchNorm layers get its statistics, maps a spread of `HEAT_SPREAD`, and what is drawn the targets' mean colour.

    Args:
        model: in evaluation mode; the trunk stays as it is.
        source: ``(N, 3, H, W)`` RGB in [0, 1].
        target: the same.
        renderer: whether image encoder, pose encoder and renderer were drawn too.
    """
    heads = model.heads.values() if renderer else [model.pose_net.deconv_layers]
    layers = [layer for head in heads for layer in head.modules() if isinstance(layer, nn.BatchNorm2d)]
    with torch.no_grad(), _measuring(layers):
        heat = model.pose_net(target)
        spread = torch.stack([heat.sum(dim=dim).std(dim=-1).mean() for dim in (2, 3)]).mean()
        factor = HEAT_SPREAD / spread.clamp(min=_SMALLEST_VARIANCE)
        for parameter in model.pose_net.final_layer_unsup.parameters():
            parameter.mul_(factor)
        if not renderer:
            return
        drawn = model.draw(source, heat * factor).images
        _colour(model).add_((target - drawn).mean(dim=(0, 2, 3)))


@contextmanager
def _measuring(layers: list[nn.BatchNorm2d]) -> Iterator[None]:
    """Within, each layer takes the statistics of the maps that reach it before it normalises them."""

    def measure(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.BatchNorm2d)
        assert layer.running_mean is not None
        assert layer.running_var is not None
        layer.running_mean.copy_(inputs[0].mean(dim=(0, 2, 3)))
        layer.running_var.copy_(inputs[0].var(dim=(0, 2, 3), unbiased=False).clamp(min=_SMALLEST_VARIANCE))

    hooks = [layer.register_forward_pre_hook(measure) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _colour(model: KeypointModel) -> nn.Parameter:
    """The colour that is drawn where nothing else is."""
    return model.image_renderer.get_parameter("layer4.6.bias")


def _fan_in(owner: nn.Module | None, weight: Tensor) -> int:
    """How many weights an output is the sum of."""
    if isinstance(owner, nn.ConvTranspose2d):
        taps = math.prod(size // step for size, step in zip(owner.kernel_size, owner.stride, strict=True))
        return weight.shape[0] * taps
    return math.prod(weight.shape[1:])
