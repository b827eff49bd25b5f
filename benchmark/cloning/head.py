"""The policy head of CortexBench and R3M: BatchNorm over the whole input, then a small network of rectifiers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..dapg.policy import OUTPUT_LAYER_SHRINK, ArrayOrTensor, GaussianPolicy, fresh_linear


class BatchNormPolicy(nn.Module):
    """A deterministic policy: BatchNorm1d, hidden layers with ReLU, a linear output.

    In training mode the input is standardised by its minibatch, otherwise by the running statistics.

    Args:
        observation_dim: Length D of an observation.
        action_dim: Length A of an action.
        hidden: Widths of the hidden layers, at least one.
        generator: CPU generator the initial weights are drawn from.

    Raises:
        ValueError: If `hidden` is empty.

    Source: CortexBench (its branch of mjrl), R3M's evaluation; the initial output layer is torch's usual times 0.01.
    """

    def __init__(
        self, observation_dim: int, action_dim: int, hidden: Sequence[int], *, generator: torch.Generator
    ) -> None:
        """Draw the initial weights."""
        super().__init__()
        if not hidden:
            raise ValueError("BatchNormPolicy needs at least one hidden layer; got hidden=()")
        self.input_norm = nn.BatchNorm1d(observation_dim)
        widths = (observation_dim, *hidden, action_dim)
        pairs = itertools.pairwise(widths)
        self.layers = nn.ModuleList(fresh_linear(width, following, generator) for width, following in pairs)
        with torch.no_grad():
            for parameter in self.layers[-1].parameters():
                parameter.mul_(OUTPUT_LAYER_SHRINK)

    def as_tensor(self, values: ArrayOrTensor) -> Tensor:
        """Return an array or tensor on the policy's device in its dtype, without a copy where it is there already."""
        weight = self.input_norm.weight
        return torch.as_tensor(values).to(device=weight.device, dtype=weight.dtype)

    def mean(self, observations: Tensor) -> Tensor:
        """Return the actions (N, A) for observations (N, D), in action units."""
        maps: Tensor = self.input_norm(observations)
        for layer in self.layers[:-1]:
            maps = torch.relu(layer(maps))
        actions: Tensor = self.layers[-1](maps)
        return actions


Policy = GaussianPolicy | BatchNormPolicy
"""What can be cloned, and acts in rollouts."""
