"""Intervals over episodes, by bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
_SEED = 20_231


class Interval(NamedTuple):
    """A mean with its 95 % bootstrap interval over episodes."""

    mean: float
    low: float
    high: float


def interval(values: NDArray[np.float64], seed: int = _SEED) -> Interval:
    """Return the mean of a number per episode, (E,), and the 2.5 and 97.5 percentiles of its bootstrap means."""
    generator = np.random.default_rng(seed)
    resampled = values[generator.integers(len(values), size=(RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))


def mean_interval(groups: Sequence[NDArray[np.float64]], seed: int = _SEED) -> Interval:
    """Return the mean of the means of groups of episodes, such as tasks, with its interval; sizes may differ."""
    generator = np.random.default_rng(seed)
    draws = [group[generator.integers(len(group), size=(RESAMPLES, len(group)))].mean(axis=1) for group in groups]
    low, high = np.percentile(np.mean(draws, axis=0), [2.5, 97.5])
    return Interval(float(np.mean([group.mean() for group in groups])), float(low), float(high))
