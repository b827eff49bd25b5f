"""What one update learns from: all trajectories as one batch, demonstrations behind them."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
    trajectories: list[Trajectory],
    demonstrations: tuple[ArrayOrTensor, ArrayOrTensor] | None,
    *,
    gamma: float,
    gae_lambda: float,
) -> Batch:
    """Join trajectories and demonstrations on the policy's device; find returns and advantages.

    On a CPU the trajectories in the list become views of the batch, one by one, so that their observations are never
    held twice. The baseline predicts one trajectory at a time, as released: that fixes the rounding of the values.
    """
    observations = _join_observations(policy, trajectories, demonstrations[0] if demonstrations else None)
    blocks = [trajectory.actions for trajectory in trajectories]
    shown = [demonstrations[1]] if demonstrations else []
    actions = torch.cat([policy.as_tensor(block) for block in [*blocks, *shown]])

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


def _join_observations(policy: GaussianPolicy, trajectories: list[Trajectory], shown: ArrayOrTensor | None) -> Tensor:
    """Move the trajectories' observations and copy the demonstrations' into one array (N + M, D)."""
    steps, (_, size) = sum(len(trajectory) for trajectory in trajectories), trajectories[0].observations.shape
    like = policy.log_std
    joined = torch.empty(steps + (0 if shown is None else len(shown)), size, dtype=like.dtype, device=like.device)
    row = 0
    for number, trajectory in enumerate(trajectories):
        rows = joined[row : row + len(trajectory)]
        rows.copy_(torch.from_numpy(trajectory.observations))
        if rows.device.type == "cpu":
            trajectories[number] = replace(trajectory, observations=rows.numpy())
        row += len(trajectory)
    if shown is not None:
        joined[row:] = policy.as_tensor(shown)
    return joined
