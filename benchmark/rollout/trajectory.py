"""One episode as arrays, and the two quantities learning takes from it: returns and advantages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One episode of T steps, as the policy saw it.

    Attributes:
        observations: (T, D) float32, the observation before each action.
        actions: (T, A) float32, as sampled, before the task clips them.
        rewards: (T,) float64.
        goals: (T,) bool, whether the task's goal flag was set after each step.
        terminal: Whether the end counts as terminal for advantage estimation (bootstrap 0). The task
            card decides what a time limit counts as.
        seed: Seed the episode was reset with.
        success: Whether the task calls the episode solved.
        unstable: Whether the physics broke down, which ended the episode.

    Raises:
        ValueError: If the arrays disagree in length or rank, or hold no step.
    """

    observations: NDArray[np.float32]
    actions: NDArray[np.float32]
    rewards: NDArray[np.float64]
    goals: NDArray[np.bool_]
    terminal: bool
    seed: int
    success: bool
    unstable: bool = False

    def __post_init__(self) -> None:
        """Refuse arrays that cannot belong to one episode."""
        ranks = {"observations": 2, "actions": 2, "rewards": 1, "goals": 1}
        for name, rank in ranks.items():
            shape = getattr(self, name).shape
            if len(shape) != rank or shape[0] != len(self.rewards) or shape[0] == 0:
                raise ValueError(
                    f"Trajectory.{name} has shape {shape}; expected {rank} axes, the first as long as rewards "
                    f"({len(self.rewards)}) and at least 1"
                )

    def __len__(self) -> int:
        """Return the number of steps T."""
        return len(self.rewards)


def joined(parts: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return arrays (n, D) as one (N, D): a view where they lie one behind the other in one array, else a copy."""
    whole = parts[0].base
    if isinstance(whole, np.ndarray) and whole.flags.c_contiguous and whole.shape[1:] == parts[0].shape[1:]:
        begin = first = (_address(parts[0]) - _address(whole)) // whole.strides[0]
        for part in parts:
            if part.base is not whole or not part.flags.c_contiguous or _address(part) != _address(whole[begin:]):
                break
            begin += len(part)
        else:
            return whole[first:begin]
    return np.concatenate(parts)


def _address(array: NDArray[np.float32]) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def discounted_returns(rewards: ArrayLike, gamma: float) -> NDArray[np.float64]:
    """Sum the rewards from each step to the end, each later one discounted by another `gamma`.

    Args:
        rewards: (T,) rewards of one episode.
        gamma: Discount per step, in [0, 1].

    Returns:
        (T,) float64.
    """
    rewards = np.asarray(rewards, dtype=np.float64)
    returns = np.empty_like(rewards)
    running = 0.0
    for step in range(len(rewards) - 1, -1, -1):
        running = rewards[step] + gamma * running
        returns[step] = running
    return returns


def generalized_advantages(
    rewards: ArrayLike, values: ArrayLike, terminal: bool, gamma: float, gae_lambda: float
) -> NDArray[np.float64]:
    """Estimate advantages by generalized advantage estimation.

    Args:
        rewards: (T,) rewards of one episode.
        values: (T,) baseline's prediction at each observed state, in its own precision.
        terminal: True bootstraps the end with 0, False with the last observed state's own value.
        gamma: Discount per step, in [0, 1].
        gae_lambda: Decay of the exponential average over horizons, in [0, 1].

    Returns:
        (T,) float64, not standardised.

    Raises:
        ValueError: If `rewards` and `values` differ in shape.

    Source: Schulman et al. 2016, equation 16.
    Differs: an unfinished episode is bootstrapped with the value of its last state instead of that
        state's successor, as the released H-InDex training does.
    """
    rewards = np.asarray(rewards, dtype=np.float64)
    values = np.asarray(values)
    if rewards.shape != values.shape or rewards.ndim != 1:
        raise ValueError(f"rewards {rewards.shape} and values {values.shape} must be vectors of one length")
    # An appended 0.0 makes float32 values float64, an appended value does not: so rounds the release.
    following = np.append(values[1:], 0.0 if terminal else values[-1])
    residuals = rewards + gamma * following - values
    return discounted_returns(residuals, gamma * gae_lambda)
