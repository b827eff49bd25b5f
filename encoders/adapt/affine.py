"""BatchNorm's scales and offsets: what Stage 2 trains of an encoder, and all that its result has to hold.

Source: H-InDex, section 3.2; encoders.md, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..errors import EncoderError

RESNET50_PARAMETERS = 25_557_032
"""With its classifier of 1000 classes: the whole of which the paper's 0.18 % are a part."""

_RESNET50_TRUNK = 23_508_032
_SHORTCUT = ".downsample."
_SHOWN = 3


class AffineInvalid(EncoderError):
    """Scales and offsets that do not belong to this network."""


def batchnorm_layers(module: nn.Module) -> dict[str, nn.BatchNorm2d]:
    """The BatchNorm layers with scale and offset, by dotted name, in the order of definition."""
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, nn.BatchNorm2d) and layer.affine}


def affine_parameters(trunk: nn.Module, shortcuts: bool = True) -> dict[str, nn.Parameter]:
    """Scales and offsets of all BatchNorm layers, such as ``layer1.0.bn1.weight``.

    Args:
        trunk: the network.
        shortcuts: whether those of a ResNet's shortcuts (``layer1.0.downsample.1``) are among them; the released code
            trains them, the paper's 0.18 % leave them out.
    """
    return {
        f"{name}.{part}": getattr(layer, part)
        for name, layer in batchnorm_layers(trunk).items()
        if shortcuts or not _is_shortcut(name)
        for part in ("weight", "bias")
    }


def count(trunk: nn.Module, shortcuts: bool = True) -> int:
    """How many numbers `affine_parameters` are: 53,120 of a ResNet-50, 45,440 without its shortcuts."""
    return sum(parameter.numel() for parameter in affine_parameters(trunk, shortcuts).values())


def share(trunk: nn.Module, shortcuts: bool = True, whole: int = RESNET50_PARAMETERS) -> float:
    """The scales and offsets in percent of ``whole``, by default a ResNet-50 with its classifier."""
    return 100.0 * count(trunk, shortcuts) / whole


def whole(trunk: nn.Module) -> tuple[int, str]:
    """Return what scales and offsets are given a share of, as a number and in words.

    A ResNet-50 counts with its classifier, as in the paper, any other network as it is.
    """
    numbers = sum(parameter.numel() for parameter in trunk.parameters())
    if numbers in (_RESNET50_TRUNK, RESNET50_PARAMETERS):
        return RESNET50_PARAMETERS, "a ResNet-50 with its classifier"
    return numbers, "the network without its classifier"


def extract(trunk: nn.Module) -> dict[str, Tensor]:
    """Copies of all scales and offsets, float32, on the CPU."""
    return {
        name: parameter.detach().to("cpu", torch.float32, copy=True).contiguous()
        for name, parameter in affine_parameters(trunk).items()
    }


def apply(trunk: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put all scales and offsets into a network; half precision is taken too.

    Args:
        trunk: changed in place, if everything fits.
        tensors: exactly the names that `extract` gives.

    Raises:
        AffineInvalid: a name is missing, unknown, of another shape, or no finite floating point.
    """
    parameters = affine_parameters(trunk)
    if not parameters:
        raise AffineInvalid("the network has no BatchNorm layer with scale and offset; nothing can be adapted")
    common = [name for name in parameters if name in tensors]
    faults = {
        "missing": [name for name in parameters if name not in tensors],
        "not expected": [name for name in tensors if name not in parameters],
        "of wrong shape": [
            f"{name} {tuple(tensors[name].shape)} instead of {tuple(parameters[name].shape)}"
            for name in common
            if tensors[name].shape != parameters[name].shape
        ],
        "not finite floating point": [
            name
            for name in common
            if not tensors[name].is_floating_point() or not bool(torch.isfinite(tensors[name]).all())
        ],
    }
    told = [f"{len(names)} {what}: {_some(names)}" for what, names in faults.items() if names]
    if told:
        raise AffineInvalid(f"BatchNorm scales and offsets: {'; '.join(told)}; expected those of this network")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])


def _is_shortcut(name: str) -> bool:
    return _SHORTCUT in f"{name}."


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
