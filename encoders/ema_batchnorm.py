"""Stage 3: BatchNorm whose statistics follow what it sees, with statistics of its own for every stream of images.

Source: H-InDex, equations 4 and 5, and its released layer; encoders.md, section 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from .errors import EncoderError

Scope = Literal["stem", "all"]
MEAN, VARIANCE = "mean", "variance"

_WITH_ACTIVATION = "timm.layers.norm_act.BatchNormAct2d"
"""The one subclass of BatchNorm that is known: it drops and rectifies afterwards, as its replacement does."""


def attach(network: nn.Module, *, momentum: float, scope: Scope = "stem", streams: int = 1) -> EMAStatistics:
    """Replace BatchNorm layers of a frozen network, in place, by `EMABatchNorm2d`.

    Scales and offsets stay the same parameters, and the network's state dict keeps its names and numbers.

    Args:
        network: an encoder, or any other module.
        momentum: weight of the newest observation, in [0, 1]. With 0 nothing is replaced.
        scope: ``stem`` replaces the first BatchNorm alone, as the released code does, ``all`` every one of them, as
            the paper says.
        streams: how many sets of statistics are kept.

    Raises:
        EncoderError: the network has no BatchNorm, or one whose statistics cannot move; a number out of range.

    Source: H-InDex, section 3.3.
    """
    name = getattr(network, "name", "") or type(network).__name__
    if not 0 <= momentum <= 1:
        raise EncoderError(f"encoder '{name}': momentum of the moving statistics is {momentum}; expected 0 to 1")
    if streams < 1:
        raise EncoderError(f"encoder '{name}': {streams} streams of moving statistics; expected at least 1")
    selection = _Selection()
    replaced: dict[str, EMABatchNorm2d] = {}
    if momentum > 0:
        found = batchnorm_layers(network)
        if not found:
            raise EncoderError(
                f"encoder '{name}': has no BatchNorm whose statistics could move; leave ema.momentum at 0"
            )
        for path in list(found) if scope == "all" else list(found)[:1]:
            if found[path] is network:
                raise EncoderError(f"encoder '{name}': is itself a BatchNorm; put it into a module to replace it")
            _check(name, path, found[path])
            replaced[path] = EMABatchNorm2d(found[path], momentum, streams, selection)
        _exchange(network, {id(found[path]): layer for path, layer in replaced.items()})
    return EMAStatistics(replaced, streams, selection)


def batchnorm_layers(network: nn.Module) -> dict[str, nn.BatchNorm2d]:
    """Return the BatchNorm layers of a network by name; the first one ends the stem."""
    return {path: module for path, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}


class EMABatchNorm2d(nn.Module):
    """BatchNorm that first moves its statistics towards an observation's and then normalises with the moved ones.

    An observation is all images of one stream in a call: one a camera, usually one. For every channel, with averages
    over its images and their positions::

        mean     <- (1 - momentum) mean     + momentum average(x)
        variance <- (1 - momentum) variance + momentum average((x - average(x)) ** 2)
        y = weight (x - mean) / sqrt(variance + eps) + bias

    So the variance is biased, and neither is the batch normalised with its own statistics nor do streams mix: what a
    stream gets does not depend on the others in its batch. It does so in training mode too.

    Attributes:
        weight: (C,) scale, the replaced layer's own parameter, or None.
        bias: (C,) offset, likewise.
        running_mean: (C,) where every stream starts: the checkpoint's mean, which stays.
        running_var: (C,) the checkpoint's variance.
        stream_mean: (streams, C) the means that move; not in the state dict.
        stream_var: (streams, C) the variances that move.

    Source: H-InDex, equations 4 and 5.
    """

    running_mean: Tensor
    running_var: Tensor
    stream_mean: Tensor
    stream_var: Tensor

    def __init__(self, layer: nn.BatchNorm2d, momentum: float, streams: int, selection: _Selection) -> None:
        super().__init__()
        assert layer.running_mean is not None
        assert layer.running_var is not None
        self.momentum, self.eps = momentum, layer.eps
        self.selection = selection
        self.weight, self.bias = layer.weight, layer.bias
        self.register_buffer("running_mean", layer.running_mean)
        self.register_buffer("running_var", layer.running_var)
        self.register_buffer("num_batches_tracked", layer.num_batches_tracked)
        self.register_buffer("stream_mean", layer.running_mean.detach().repeat(streams, 1), persistent=False)
        self.register_buffer("stream_var", layer.running_var.detach().repeat(streams, 1), persistent=False)
        self.drop, self.act = getattr(layer, "drop", None), getattr(layer, "act", None)
        self.train(layer.training)

    def forward(self, maps: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to the same, and move the statistics of the selected streams."""
        step = self.selection.step(len(maps))
        values = maps.to(self.stream_mean.dtype)
        mean, variance = self._move(values.detach(), step)
        scale = torch.rsqrt(variance + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        shift = -mean * scale
        if self.bias is not None:
            shift = shift + self.bias
        if step.rows is not None:
            scale, shift = scale[step.rows], shift[step.rows]
        normalised = torch.addcmul(shift[:, :, None, None], values, scale[:, :, None, None]).to(maps.dtype)
        for after in (self.drop, self.act):
            normalised = normalised if after is None else after(normalised)
        return normalised

    @torch.no_grad()
    def _move(self, values: Tensor, step: _Step) -> tuple[Tensor, Tensor]:
        """Return the moved statistics of a step's streams, (streams of the step, C) each."""
        mean = values.mean((2, 3))
        # Not torch.var: on a CPU it takes three times as long.
        variance = (values - mean[:, :, None, None]).square_().mean((2, 3))
        if step.shares is not None:
            # Sums, not matrix products: those would be rounded where the network computes in half precision.
            means, shares = mean, step.shares.to(mean)[:, :, None]
            mean = (shares * means).sum(1)
            variance = (shares * (variance + (means - mean[step.rows]).square())).sum(1)
        kept = 1 - self.momentum
        mean = kept * self.stream_mean[step.streams] + self.momentum * mean
        variance = kept * self.stream_var[step.streams] + self.momentum * variance
        self.stream_mean[step.streams] = mean
        self.stream_var[step.streams] = variance
        return mean, variance


class EMAStatistics:
    """The moving statistics of a network: whose turn it is, where they begin, and how they are kept.

    Attributes:
        layers: the replaced layers by their name in the network; empty where the momentum is 0.
        streams: number of sets of statistics.
    """

    def __init__(self, layers: Mapping[str, EMABatchNorm2d], streams: int, selection: _Selection) -> None:
        self.layers = dict(layers)
        self.streams = streams
        self._selection = selection

    def select(self, streams: Sequence[int]) -> None:
        """Say which stream each image of the next forward passes belongs to.

        Args:
            streams: one an image; images of one stream are the cameras of one observation.

        Raises:
            EncoderError: the stream is unknown.
        """
        if not self.layers:
            return
        self._check(streams)
        device = next(iter(self.layers.values())).stream_mean.device
        self._selection.choose(tuple(streams), device)

    def reset(self, streams: Sequence[int] | None = None) -> None:
        """Bring streams, by default all, back to the checkpoint's statistics."""
        chosen = self._chosen(streams)
        for layer in self.layers.values():
            layer.stream_mean[chosen] = layer.running_mean
            layer.stream_var[chosen] = layer.running_var

    def state(self, streams: Sequence[int] | None = None) -> dict[str, Tensor]:
        """Copies of the statistics of streams, by default of all: ``<layer>.mean``, ``<layer>.variance``, (n, C)."""
        chosen = self._chosen(streams)
        found = {}
        for name, layer in self.layers.items():
            found[f"{name}.{MEAN}"] = layer.stream_mean[chosen].detach().clone()
            found[f"{name}.{VARIANCE}"] = layer.stream_var[chosen].detach().clone()
        return found

    def load(self, state: Mapping[str, Tensor], streams: Sequence[int] | None = None) -> None:
        """Bring streams to where `state` found them, bit for bit.

        Raises:
            EncoderError: the statistics are of other layers or of another number of streams.
        """
        expected, chosen = self.state(streams), self._chosen(streams)
        wrong = sorted(expected.keys() ^ state.keys()) or [
            name for name, tensor in expected.items() if tensor.shape != state[name].shape
        ]
        if wrong:
            raise EncoderError(
                f"moving statistics of BatchNorm: {len(wrong)} of them (first: {wrong[0]}) belong to another network, "
                "scope or number of streams; give those they were saved with"
            )
        for name, layer in self.layers.items():
            layer.stream_mean[chosen] = state[f"{name}.{MEAN}"].to(layer.stream_mean)
            layer.stream_var[chosen] = state[f"{name}.{VARIANCE}"].to(layer.stream_var)

    def _chosen(self, streams: Sequence[int] | None) -> list[int]:
        chosen = list(range(self.streams) if streams is None else streams)
        self._check(chosen)
        return chosen

    def _check(self, streams: Sequence[int]) -> None:
        wrong = [stream for stream in streams if not 0 <= stream < self.streams]
        if wrong:
            raise EncoderError(f"unknown stream {wrong[0]} of moving statistics; available: 0 to {self.streams - 1}")


class _Step(NamedTuple):
    """Who is who in a batch of N images of U streams.

    Attributes:
        streams: (U,) the streams, each once.
        rows: (N,) index into ``streams``; None where every image has a stream to itself, in the same order.
        shares: (U, N) weight of an image in its stream's observation; None likewise.
    """

    streams: Tensor
    rows: Tensor | None
    shares: Tensor | None

    @property
    def images(self) -> int:
        return len(self.streams if self.rows is None else self.rows)


class _Selection:
    """The streams of the images to come, shared by all layers of a network."""

    def __init__(self) -> None:
        self._chosen: tuple[tuple[int, ...], torch.device] | None = None
        self._step: _Step | None = None

    def choose(self, streams: tuple[int, ...], device: torch.device) -> None:
        if self._chosen == (streams, device):
            return
        self._chosen = streams, device
        each = sorted(set(streams))
        if len(each) == len(streams):
            self._step = _Step(torch.tensor(streams, dtype=torch.long, device=device), None, None)
            return
        rows = [each.index(stream) for stream in streams]
        shares = torch.zeros(len(each), len(streams), dtype=torch.float64)
        for image, row in enumerate(rows):
            shares[row, image] = 1 / rows.count(row)
        self._step = _Step(torch.tensor(each, device=device), torch.tensor(rows, device=device), shares)

    def step(self, images: int) -> _Step:
        """The selection for a batch; read from tensors alone, or a compiled network were compiled for every choice.

        Raises:
            EncoderError: none was made, or one for another number of images.
        """
        step = self._step
        if step is None or step.images != images:
            raise EncoderError(
                f"moving statistics of BatchNorm: {images} images came and streams of {step.images if step else 0} "
                "were selected; call select(streams) first, one stream an image"
            )
        return step


def _check(name: str, path: str, layer: nn.BatchNorm2d) -> None:
    """Refuse layers that do something else than BatchNorm, or keep no statistics."""
    what = f"encoder '{name}': layer '{path}' ({type(layer).__name__})"
    plain = type(layer).forward is nn.BatchNorm2d.forward
    if not plain and f"{type(layer).__module__}.{type(layer).__name__}" != _WITH_ACTIVATION:
        raise EncoderError(f"{what} does more than BatchNorm, which moving statistics would lose; set ema.momentum=0")
    if layer.running_mean is None or layer.running_var is None:
        raise EncoderError(f"{what} keeps no statistics that could move; set ema.momentum=0")


def _exchange(network: nn.Module, layers: Mapping[int, nn.Module]) -> None:
    """Put new layers in the place of old ones, given by id, wherever in the tree they stand."""
    for module in list(network.modules()):
        # Not named_children: it leaves out a child that stands under a second name.
        for name, child in list(module._modules.items()):
            if id(child) in layers:
                module.register_module(name, layers[id(child)])
