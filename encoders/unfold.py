"""Networks whose BatchNorm was folded into their convolutions get it back, so that Stages 2 and 3 find it.

Scale and offset of each layer are those that change nothing, whatever its mean and variance are.

Source: Ioffe and Szegedy, Batch Normalization, 2015, section 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .base import Encoder
from .errors import EncoderError
from .zoo.mediapipe import NORM, Convolution

MEAN, VARIANCE = "running_mean", "running_var"
EPS = 1e-5
_TRIES = 4
_HALF_STEP, _SMALLEST_HALF = 2.0**-10, 2.0**-24


class Moments(NamedTuple):
    """What a layer's output was measured over so far.

    Attributes:
        numbers: how many per channel.
        mean: (C,) float64.
        variance: (C,) float64, biased.
    """

    numbers: int
    mean: Tensor
    variance: Tensor

    def with_more(self, other: Moments) -> Moments:
        """Return the moments over both. Source: Chan, Golub and LeVeque, 1979."""
        numbers = self.numbers + other.numbers
        share, apart = other.numbers / numbers, other.mean - self.mean
        variance = (1 - share) * self.variance + share * other.variance + share * (1 - share) * apart.square()
        return Moments(numbers, self.mean + share * apart, variance)


def folded(network: nn.Module) -> dict[str, Convolution]:
    """Return the convolutions that lack their BatchNorm, by the name that `unfold` gives to it; usually none."""
    return {
        f"{name}.{NORM}": module
        for name, module in network.named_modules()
        if isinstance(module, Convolution) and module.folded
    }


def measure(encoder: Encoder, batches: Iterable[NDArray[np.uint8]]) -> dict[str, Tensor]:
    """Return means and variances of what the folded convolutions of an encoder give.

    They are rounded to half precision, since any statistics do: those of machines that differ in the last bits of their
    arithmetic are the same, but for a few.

    Args:
        encoder: folded, computing in PyTorch.
        batches: ``(N, 224, 224, 3)`` uint8 frames each.

    Returns:
        ``<layer>.running_mean`` and ``<layer>.running_var``, ``(C,)`` float32 on the CPU each, see `folded`.
    """
    moments: dict[str, Moments] = {}

    def watch(name: str, layer: Convolution) -> torch.utils.hooks.RemovableHandle:
        def note(module: nn.Module, inputs: tuple[Tensor, ...], maps: Tensor) -> None:
            mean = maps.mean((0, 2, 3))
            variance = (maps - mean[:, None, None]).square_().mean((0, 2, 3))
            seen = Moments(maps.numel() // maps.shape[1], mean.double(), variance.double())
            moments[name] = moments[name].with_more(seen) if name in moments else seen

        return layer.conv.register_forward_hook(note)

    handles = [watch(name, layer) for name, layer in folded(encoder).items()]
    try:
        for frames in batches:
            encoder.encode(frames)
    finally:
        for handle in handles:
            handle.remove()
    rounded = {}
    for name, each in moments.items():
        rounded[f"{name}.{MEAN}"] = each.mean.half().float().cpu()
        rounded[f"{name}.{VARIANCE}"] = _with_exact_scale(each.variance.cpu())
    return rounded


def unfold(encoder: Encoder, statistics: Mapping[str, Tensor] | None = None) -> None:
    """Put a BatchNorm layer behind every folded convolution, in place; the encoder's features stay the same.

    Args:
        encoder: frozen; one whose BatchNorm is in place stays as it is.
        statistics: as `measure` returns them; by default means of 0 and variances of 1.

    Raises:
        EncoderError: the statistics are of another network, or not finite.
    """
    layers = folded(encoder)
    if statistics is not None:
        _require_fit(encoder, layers, statistics)
    for name, layer in layers.items():
        channels, like = layer.conv.out_channels, layer.conv.weight
        norm = nn.BatchNorm2d(channels, EPS, device=like.device, dtype=like.dtype).eval().requires_grad_(False)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        if statistics is not None:
            norm.running_mean.copy_(statistics[f"{name}.{MEAN}"])
            norm.running_var.copy_(statistics[f"{name}.{VARIANCE}"])
        norm.weight.copy_(undoing_scale(norm.running_var))
        norm.bias.copy_(norm.running_mean)
        layer.put_norm(norm)


def _with_exact_scale(variance: Tensor) -> Tensor:
    """Return variances in half precision near the given ones, (C,) float32, that a scale undoes to the last bit."""
    rounded = variance.half().float()
    for _ in range(_TRIES):
        exact = undoing_scale(rounded) * torch.rsqrt(rounded + EPS) == 1
        rounded = torch.where(exact, rounded, (rounded * (1 + _HALF_STEP) + _SMALLEST_HALF).half().float())
    return rounded


def undoing_scale(variance: Tensor) -> Tensor:
    """Return the scale that undoes the division by the standard deviation, to the last bit where a float32 can."""
    factor = torch.rsqrt(variance + EPS)
    near = 1 / factor
    candidates = torch.stack([near, near.nextafter(near * 2), near.nextafter(near / 2)])
    best = (candidates * factor - 1).abs().argmin(0, keepdim=True)
    return candidates.gather(0, best)[0]


def _require_fit(encoder: Encoder, layers: Mapping[str, Convolution], statistics: Mapping[str, Tensor]) -> None:
    expected = {
        f"{name}.{kind}": layer.conv.out_channels for name, layer in layers.items() for kind in (MEAN, VARIANCE)
    }
    wrong = sorted(expected.keys() ^ statistics.keys()) or [
        name
        for name, channels in expected.items()
        if statistics[name].shape != (channels,)
        or not bool(torch.isfinite(statistics[name]).all())
        or (name.endswith(VARIANCE) and bool((statistics[name] < 0).any()))
    ]
    if wrong:
        raise EncoderError(
            f"encoder '{encoder.name}': {len(wrong)} statistics of folded BatchNorm (first: {wrong[0]}) are missing, "
            "not expected, or no numbers; delete their file to measure them anew"
        )
