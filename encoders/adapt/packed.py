"""Adapted BatchNorm that was folded before, as it ships: four tensors, each the channels of all layers in order.

Statistics fit into half precision as they are (see `encoders.unfold.measure`); of scales and offsets, what Stage 2
added to them is stored, so half precision changes next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..base import Encoder
from ..unfold import MEAN, VARIANCE, folded, undoing_scale, unfold
from .affine import AffineInvalid, batchnorm_layers

MEANS, VARIANCES, SCALES, OFFSETS = "means", "variances", "scales_added", "offsets_added"
_NAMES = (MEANS, VARIANCES, SCALES, OFFSETS)


def pack(encoder: Encoder) -> dict[str, Tensor]:
    """Return what `unpack` needs of an unfolded, adapted encoder: (channels,) float16 each.

    Raises:
        AffineInvalid: a number is beyond half precision.
    """
    columns: dict[str, list[Tensor]] = {name: [] for name in _NAMES}
    for layer in batchnorm_layers(encoder).values():
        assert layer.running_mean is not None
        assert layer.running_var is not None
        columns[MEANS].append(layer.running_mean)
        columns[VARIANCES].append(layer.running_var)
        columns[SCALES].append(layer.weight - undoing_scale(layer.running_var))
        columns[OFFSETS].append(layer.bias - layer.running_mean)
    packed = {name: torch.cat(parts).detach().cpu().half() for name, parts in columns.items()}
    _require_finite(packed)
    return packed


def unpack(encoder: Encoder, packed: Mapping[str, Tensor]) -> None:
    """Put BatchNorm back into a folded encoder as it was adapted, in place.

    Args:
        encoder: folded.
        packed: as `pack` returns it.

    Raises:
        AffineInvalid: it is of another network, or a number is not finite.
    """
    layers = folded(encoder)
    sizes = [layer.conv.out_channels for layer in layers.values()]
    shapes = {name: tuple(tensor.shape) for name, tensor in packed.items()}
    if shapes != dict.fromkeys(_NAMES, (sum(sizes),)):
        raise AffineInvalid(
            f"packed BatchNorm: expected {', '.join(_NAMES)} of {sum(sizes)} channels each, found {shapes}"
        )
    _require_finite(packed)
    columns = {name: packed[name].float().split(sizes) for name in _NAMES}
    statistics = {}
    for number, name in enumerate(layers):
        statistics[f"{name}.{MEAN}"] = columns[MEANS][number]
        statistics[f"{name}.{VARIANCE}"] = columns[VARIANCES][number]
    unfold(encoder, statistics)
    for layer, scales, offsets in zip(
        batchnorm_layers(encoder).values(), columns[SCALES], columns[OFFSETS], strict=True
    ):
        layer.weight.add_(scales.to(layer.weight))
        layer.bias.add_(offsets.to(layer.bias))


def _require_finite(packed: Mapping[str, Tensor]) -> None:
    if wrong := [name for name, tensor in packed.items() if not bool(torch.isfinite(tensor).all())]:
        raise AffineInvalid(f"packed BatchNorm: {', '.join(wrong)} hold what is no finite number of half precision")
