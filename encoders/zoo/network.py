"""The base of the built-in encoders, whose network gets its numbers from a weights file or by drawing them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..base import Encoder
from ..weights.checkpoint import Layout, load
from ..weights.random_weights import Fan, random_state


def without_numbers(make: Callable[[], nn.Module]) -> nn.Module:
    """Make a network of shapes only, without drawing from the global generator.

    One with buffers that no checkpoint holds (such as rotary frequencies) is made in full, for their sake; so is one
    that computes with tensors while it is made, for which shapes are not enough (some of timm's, on some releases).
    """
    try:
        with torch.device("meta"):
            network = make()
    except RuntimeError:  # NotImplementedError is one; whatever is truly wrong is raised again below
        network = None
    if network is not None:
        stored = network.state_dict()
        if all(name in stored for name, _ in network.named_buffers()):
            return network
    with torch.random.fork_rng(devices=[]):
        return make()


def fill(
    network: nn.Module, weights: Path | None, layouts: tuple[Layout, ...], title: str, *, fan: Fan
) -> tuple[str, ...]:
    """Load a weights file in one of the layouts, or draw `random_state` if there is none.

    Args:
        network: changed in place.
        weights: the file, or None.
        layouts: those that the file may have.
        title: the network in words, for errors.
        fan: as in `random_state`.

    Returns:
        The names of what the file holds and the network does not use.

    Raises:
        WeightsMissing: the file does not exist.
        WeightsInvalid: it does not hold this network.
    """
    expected = network.state_dict()
    if weights is None:
        network.load_state_dict(random_state(expected, fan=fan), strict=True, assign=True)
        return ()
    loaded = load(Path(weights), expected, layouts, title)
    network.load_state_dict(loaded.state, strict=True, assign=True)
    return loaded.left_out


class TrunkEncoder(Encoder):
    """An encoder whose feature is the output of one network.

    Attributes:
        network: the network in words, for errors.
        fan: how its random weights are drawn, as in `random_state`.
        layouts: of the weights files that it takes.
        trunk: the network.
        left_out: what the weights file holds beside this network.
    """

    network: ClassVar[str]
    fan: ClassVar[Fan] = "in"
    layouts: ClassVar[tuple[Layout, ...]]
    trunk: nn.Module
    left_out: tuple[str, ...] = ()

    def __init__(self, weights: Path | None = None) -> None:
        """Load a weights file in one of ``layouts``, or draw `random_state` if there is none."""
        super().__init__()
        self.random_weights = weights is None
        self.trunk = without_numbers(self.empty_trunk)
        self.left_out = fill(self.trunk, weights, self.layouts, self.network, fan=self.fan)
        if self.memory_format != torch.contiguous_format:
            self.to(memory_format=self.memory_format)

    @classmethod
    def empty_trunk(cls) -> nn.Module:
        """Make the network; its numbers have no meaning."""
        raise NotImplementedError

    def prepared(self, images: Tensor) -> Tensor:
        """Map ``(N, 3, 224, 224) float32 in [0, 1]`` to what the network sees: normalised, of its size."""
        return self.normalise(images)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(N, 3, 224, 224) float32 in [0, 1]`` to ``(N, feature_dim)``."""
        features: Tensor = self.trunk(self.prepared(images))
        return features


def positions(maps: Tensor) -> Tensor:
    """Map ``(N, D, H, W)`` to the tokens ``(N, H W, D)``, row by row."""
    return maps.flatten(2).transpose(1, 2)
