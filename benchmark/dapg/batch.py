"""What one update learns from: all trajectories as one batch, demonstrations behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..rollout.trajectory import Trajectory, discounted_returns, generalized_advantages, joined
from .policy import ArrayOrTensor, GaussianPolicy
from .value import ValueBaseline


@dataclass(frozen=True)
class Batch:
    """The trajectories' N steps one after another, then M demonstration pairs where there are any.

    Attributes:
        observations: (N, D).
        demonstrated: (M, D), or None.
        actions: (N + M, A).
        steps: (N,) index of each step in its trajectory.
        values: (N,) as the baseline predicts them.
        returns: (N,) discounted.
        advantages: (N,) not standardised.
    """

    observations: Tensor
    demonstrated: Tensor | None
    actions: Tensor
    steps: Tensor
    values: Tensor
    returns: Tensor
    advantages: NDArray[np.float64]

    @property
    def own_actions(self) -> Tensor:
        """The on-policy rows (N, A)."""
        return self.actions[: len(self.steps)]


def assemble_batch(
    policy: GaussianPolicy,
    baseline: ValueBaseline,
    trajectories: Sequence[Trajectory],
    demonstrations: tuple[ArrayOrTensor, ArrayOrTensor] | None,
    *,
    gamma: float,
    gae_lambda: float,
) -> Batch:
    """Take trajectories and demonstrations to the policy's device; find returns and advantages.

    Observations that lie there already, as one array and in the policy's dtype, are used where they lie. The baseline
    predicts one trajectory at a time, as released: that fixes the rounding of the values.
    """
    observations = policy.as_tensor(joined([trajectory.observations for trajectory in trajectories]))
    demonstrated, *shown = [policy.as_tensor(part) for part in demonstrations] if demonstrations else [None]
    actions = torch.cat([*(policy.as_tensor(trajectory.actions) for trajectory in trajectories), *shown])

    lengths = [len(trajectory) for trajectory in trajectories]
    steps = torch.cat([torch.arange(length) for length in lengths]).to(observations.device)
    # Small arrays that stay, one per trajectory, would keep the C library from giving back what lies between them.
    values, returns, advantages = torch.empty_like(observations[:, 0]), np.empty(len(steps)), np.empty(len(steps))
    for trajectory, end in zip(trajectories, np.cumsum(lengths), strict=True):
        own = slice(end - len(trajectory), end)
        values[own] = baseline.predict(observations[own], steps[own])
        returns[own] = discounted_returns(trajectory.rewards, gamma)
        advantages[own] = generalized_advantages(
            trajectory.rewards, values[own].cpu().numpy(), trajectory.terminal, gamma, gae_lambda
        )
    return Batch(observations, demonstrated, actions, steps, values, policy.as_tensor(returns), advantages)
