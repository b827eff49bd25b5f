"""What one update learns from: all trajectories as one batch, demonstrations behind them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..rollout.trajectory import Trajectory, discounted_returns, generalized_advantages
from .policy import ArrayOrTensor, GaussianPolicy
from .value import ValueBaseline


@dataclass(frozen=True)
class Batch:
    """The trajectories' N steps one after another, then M demonstration pairs where there are any.

    Attributes:
        observations: (N + M, D), the one large copy of an update.
        actions: (N + M, A).
        steps: (N,) index of each step in its trajectory.
        values: (N,) as the baseline predicts them.
        returns: (N,) discounted.
        advantages: (N,) not standardised.
    """

    observations: Tensor
    actions: Tensor
    steps: Tensor
    values: Tensor
    returns: Tensor
    advantages: NDArray[np.float64]

    @property
    def own_observations(self) -> Tensor:
        """The on-policy rows (N, D)."""
        return self.observations[: len(self.steps)]

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
    """Join trajectories and demonstrations on the policy's device; find returns and advantages.

    The baseline predicts one trajectory at a time, as released: that fixes the rounding of the values.
    """
    shown_observations, shown_actions = ([demonstrations[0]], [demonstrations[1]]) if demonstrations else ([], [])
    own_observations = [trajectory.observations for trajectory in trajectories]
    own_actions = [trajectory.actions for trajectory in trajectories]
    observations = torch.cat([policy.as_tensor(block) for block in [*own_observations, *shown_observations]])
    actions = torch.cat([policy.as_tensor(block) for block in [*own_actions, *shown_actions]])

    lengths = [len(trajectory) for trajectory in trajectories]
    steps = torch.cat([torch.arange(length) for length in lengths]).to(observations.device)
    values, returns, advantages = [], [], []
    ends = np.cumsum(lengths)
    for trajectory, end in zip(trajectories, ends, strict=True):
        own = slice(end - len(trajectory), end)
        values.append(baseline.predict(observations[own], steps[own]))
        returns.append(discounted_returns(trajectory.rewards, gamma))
        own_values = values[-1].cpu().numpy()
        advantages.append(
            generalized_advantages(trajectory.rewards, own_values, trajectory.terminal, gamma, gae_lambda)
        )
    targets = policy.as_tensor(np.concatenate(returns))
    return Batch(observations, actions, steps, torch.cat(values), targets, np.concatenate(advantages))
