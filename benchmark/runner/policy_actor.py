"""The policy as an actor in rollouts, and its exploration noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..cloning import Policy
from ..dapg import GaussianPolicy
from ..rollout.episodes import Array


class PolicyActor:
    """A policy's mean action or, with noise, the samples of a Gaussian one.

    Args:
        policy: the policy.
        noise: standard normal (horizon, action_dim) per episode, or None for the mean action.
    """

    def __init__(self, policy: Policy, noise: Sequence[Array] | None = None) -> None:
        self.policy = policy
        self.noise = noise

    @torch.no_grad()
    def __call__(self, observations: Array, episodes: Sequence[int], steps: Sequence[int]) -> Array:
        """Return actions (n, action_dim) for observations (n, D)."""
        inputs = self.policy.as_tensor(observations)
        if self.noise is None:
            actions = self.policy.mean(inputs)
        else:
            assert isinstance(self.policy, GaussianPolicy), "only a Gaussian policy explores"
            rows = np.stack([self.noise[episode][step] for episode, step in zip(episodes, steps, strict=True)])
            actions = self.policy.sample(inputs, self.policy.as_tensor(rows))
        return actions.cpu().numpy()


def exploration_noise(seed: int, iteration: int, episodes: int, shape: tuple[int, int]) -> list[Array]:
    """Draw standard normal noise for an iteration's episodes, each from its own stream: (horizon, action_dim) each."""
    return [
        np.random.default_rng([seed, iteration, episode]).standard_normal(shape, dtype=np.float32)
        for episode in range(episodes)
    ]
