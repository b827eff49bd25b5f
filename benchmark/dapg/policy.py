"""The Gaussian policy: a small tanh network for the mean, one free vector for the spread."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

ArrayOrTensor = Tensor | NDArray[np.floating]

MIN_LOG_STD = -3.0
SCALE_FLOOR = 1e-8
OUTPUT_LAYER_SHRINK = 0.01
ALL = slice(None)


def fresh_linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """Make a linear layer with torch's usual initialisation, drawn from `generator` alone.

    Weights and biases are uniform within ±1/sqrt(inputs).
    """
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs)
    bound = 1.0 / math.sqrt(inputs)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer


def policy_layers(widths: Sequence[int], generator: torch.Generator) -> nn.ModuleList:
    """Make the linear layers between `widths`, the output layer's numbers a hundredth of the usual.

    Raises:
        ValueError: If there is no hidden layer.
    """
    if len(widths) < 3:
        raise ValueError("a policy needs at least one hidden layer; got hidden=()")
    layers = nn.ModuleList(fresh_linear(width, following, generator) for width, following in itertools.pairwise(widths))
    with torch.no_grad():
        for parameter in layers[-1].parameters():
            parameter.mul_(OUTPUT_LAYER_SHRINK)
    return layers


class GaussianPolicy(nn.Module):
    """A diagonal Gaussian over actions whose spread does not depend on the state.

    The mean is `network((observation - shift) / (scale + 1e-8)) * action_scale + action_shift`.

    Args:
        observation_dim: Length D of an observation.
        action_dim: Length A of an action.
        hidden: Widths of the tanh layers, at least one.
        generator: CPU generator the initial weights are drawn from.

    Raises:
        ValueError: If `hidden` is empty.

    Source: Rajeswaran et al. 2018, released H-InDex training (initial output layer times 0.01, log-std 0).
    """

    observation_shift: Tensor
    observation_scale: Tensor
    action_shift: Tensor
    action_scale: Tensor

    def __init__(
        self,
        observation_dim: int,
        action_dim: int,
        hidden: Sequence[int] = (256, 256),
        *,
        generator: torch.Generator,
    ) -> None:
        """Draw the initial weights; transforms start as the identity."""
        super().__init__()
        self.layers = policy_layers((observation_dim, *hidden, action_dim), generator)
        self.log_std = nn.Parameter(torch.zeros(action_dim))
        self.register_buffer("observation_shift", torch.zeros(observation_dim))
        self.register_buffer("observation_scale", torch.ones(observation_dim))
        self.register_buffer("action_shift", torch.zeros(action_dim))
        self.register_buffer("action_scale", torch.ones(action_dim))

    @property
    def observation_dim(self) -> int:
        """Length D of an observation."""
        return self.observation_shift.numel()

    @property
    def action_dim(self) -> int:
        """Length A of an action."""
        return self.log_std.numel()

    def as_tensor(self, values: ArrayOrTensor) -> Tensor:
        """Return an array or tensor on the policy's device in its dtype, without a copy where it is there already."""
        return torch.as_tensor(values).to(device=self.log_std.device, dtype=self.log_std.dtype)

    @torch.no_grad()
    def set_transforms(
        self, observation_shift: Tensor, observation_scale: Tensor, action_shift: Tensor, action_scale: Tensor
    ) -> None:
        """Set the fixed standardisation of observations (D,) and scaling of mean actions (A,)."""
        self.observation_shift.copy_(observation_shift)
        self.observation_scale.copy_(observation_scale)
        self.action_shift.copy_(action_shift)
        self.action_scale.copy_(action_scale)

    @torch.no_grad()
    def set_log_std(self, log_std: Tensor) -> None:
        """Set the log standard deviation (A,), clamped from below at -3."""
        self.log_std.copy_(log_std.clamp(min=MIN_LOG_STD))

    def standardise(self, *observations: Tensor, columns: slice = ALL, out: Tensor | None = None) -> Tensor:
        """Map observations to the network's input, all parts in one array.

        Args:
            observations: (n, D), part after part; together N rows.
            columns: Which of the D are taken.
            out: (N, columns) to write to; a new array by default.
        """
        shift, scale = self.observation_shift[columns], self.observation_scale[columns] + SCALE_FLOOR
        lengths = [len(part) for part in observations]
        inputs = shift.new_empty(sum(lengths), len(shift)) if out is None else out
        for part, rows in zip(observations, inputs.split(lengths), strict=True):
            torch.sub(part[:, columns], shift, out=rows)
        return inputs.div_(scale)

    def scale_actions(self, outputs: Tensor) -> Tensor:
        """Map the network's output (N, A) to action units."""
        return outputs * self.action_scale + self.action_shift

    def mean(self, observations: Tensor) -> Tensor:
        """Return the mean actions (N, A) for observations (N, D), in action units."""
        return self.mean_at(self.standardise(observations))

    def mean_at(self, inputs: Tensor) -> Tensor:
        """Return the mean actions (N, A) for standardised inputs (N, D), in action units."""
        for layer in self.layers[:-1]:
            inputs = torch.tanh(layer(inputs))
        return self.scale_actions(self.layers[-1](inputs))

    def sample(self, observations: Tensor, noise: Tensor) -> Tensor:
        """Return actions (N, A) for observations (N, D) and standard normal noise (N, A), unclipped."""
        return self.mean(observations) + self.log_std.exp() * noise

    def log_probability(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Return the log density (N,) of actions (N, A) at observations (N, D)."""
        return gaussian_log_probability(self.mean(observations), self.log_std, actions)

    def ordered_parameters(self) -> list[nn.Parameter]:
        """Return the trained tensors in the order of the flat vector: layers first, log-std last."""
        return [*self.layers.parameters(), self.log_std]

    def flat_parameters(self) -> Tensor:
        """Return a copy of all parameters as one vector (P,), weights row-major as (out, in)."""
        return torch.cat([parameter.detach().reshape(-1) for parameter in self.ordered_parameters()])

    @torch.no_grad()
    def load_flat_parameters(self, vector: Tensor) -> None:
        """Write a vector (P,) in the order of `flat_parameters`, log-std clamped from below at -3.

        Raises:
            ValueError: If the vector is of another length.
        """
        parameters = self.ordered_parameters()
        sizes = [parameter.numel() for parameter in parameters]
        if vector.shape != (sum(sizes),):
            raise ValueError(f"flat parameters have shape {tuple(vector.shape)}; this policy takes ({sum(sizes)},)")
        for parameter, block in zip(parameters, vector.split(sizes), strict=True):
            parameter.copy_(block.view_as(parameter))
        self.log_std.clamp_(min=MIN_LOG_STD)


def gaussian_log_probability(mean: Tensor, log_std: Tensor, actions: Tensor) -> Tensor:
    """Return the log density (N,) of actions (N, A) under means (N, A) and a shared log-std (A,)."""
    standardised = (actions - mean) / log_std.exp()
    constant = log_std.sum() + 0.5 * log_std.numel() * math.log(2.0 * math.pi)
    return -0.5 * standardised.square().sum(dim=-1) - constant


def gaussian_kl(old_mean: Tensor, old_log_std: Tensor, new_mean: Tensor, new_log_std: Tensor) -> Tensor:
    """Return the mean over states of KL(old, new) as a scalar; means (N, A), log-stds (A,).

    Source: released H-InDex training, with its 1e-8 in the denominator.
    """
    old_std, new_std = old_log_std.exp(), new_log_std.exp()
    quadratic = (old_mean - new_mean).square() + old_std.square() - new_std.square()
    per_action = quadratic / (2.0 * new_std.square() + 1e-8) + new_log_std - old_log_std
    return per_action.sum(dim=-1).mean()
