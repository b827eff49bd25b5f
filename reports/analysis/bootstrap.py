"""The statistics of the reports: aggregates over tasks, and how far to trust them.

Scores are arrays (runs, tasks), one per encoder, NaN where a task has fewer runs than others. Every aggregate takes any
leading axes (..., runs, tasks), so that thousands of resamples are one call.

Source: Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.stats

Scores = npt.NDArray[np.float64]
Statistic = Callable[..., Scores]
"""(..., runs, tasks) arrays, one or several -> (..., *shape of the statistic)."""

FULL_SCORE = 100.0
TRIMMED = 0.25
REPETITIONS = 2000
CONFIDENCE = 0.95

NOTHING = 1e-9
"""Return the share of the largest return below which a best mean return counts as not positive."""


@dataclass(frozen=True)
class Normaliser:
    """What turns returns into scores, by task: ``100 * (return - low) / (high - low)``.

    Attributes:
        low: (tasks,) 0, or the worst encoder's mean return where the ratio means nothing.
        high: (tasks,) the best encoder's mean return.
        fallback: (tasks,) bool, where the best mean return is not positive.
    """

    low: Scores
    high: Scores
    fallback: npt.NDArray[np.bool_]

    def __call__(self, returns: Scores) -> Scores:
        """Return scores (..., runs, tasks) of returns; NaN on a task where no encoder differs from another."""
        span = self.high - self.low
        with np.errstate(divide="ignore", invalid="ignore"):
            scores = FULL_SCORE * (returns - self.low[..., None, :]) / span[..., None, :]
        return np.asarray(np.where(span[..., None, :] > 0, scores, np.nan))


@dataclass(frozen=True)
class Estimate:
    """A statistic with its bootstrap intervals; all of the statistic's shape.

    The intervals are NaN where the statistic rests on a task with a single run: nothing tells how noisy that is.

    Attributes:
        value: of the runs themselves.
        low: lower end of the plain percentile interval.
        high: its upper end.
        corrected_low: lower end of the interval corrected for few runs.
        corrected_high: its upper end.
        freedom: effective degrees of freedom behind the correction.
    """

    value: Scores
    low: Scores
    high: Scores
    corrected_low: Scores
    corrected_high: Scores
    freedom: Scores


def task_means(scores: Scores) -> Scores:
    """Return mean over the runs of each task: (..., runs, tasks) -> (..., tasks)."""
    valid = ~np.isnan(scores)
    count = valid.sum(axis=-2)
    total = np.where(valid, scores, 0.0).sum(axis=-2)
    means: Scores = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return means


def mean(scores: Scores) -> Scores:
    """Return the paper's average: over runs, then over the tasks that have any."""
    return task_means(task_means(scores)[..., None])[..., 0]


def interquartile_mean(scores: Scores) -> Scores:
    """Return mean of the middle half of all runs of all tasks, pooled; tasks with more runs weigh more.

    Equal to ``scipy.stats.trim_mean(scores, 0.25, axis=None)``.
    """
    pooled = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)  # NaN go last
    counts = (~np.isnan(pooled)).sum(axis=-1)
    result = np.full(counts.shape, np.nan)
    for count in np.unique(counts[counts > 0]):
        cut = int(TRIMMED * count)
        result[counts == count] = pooled[counts == count, cut : count - cut].mean(axis=-1)
    return result


def optimality_gap(scores: Scores, target: float = FULL_SCORE) -> Scores:
    """Return how far runs stay below `target` on average, runs above it counting as there."""
    return target - _pooled_mean(np.minimum(scores, target))


def performance_profile(scores: Scores, thresholds: Scores) -> Scores:
    """Return share of runs that score more than each threshold: (..., runs, tasks), (K,) -> (..., K)."""
    above = [_pooled_mean(np.where(np.isnan(scores), np.nan, scores > threshold)) for threshold in thresholds]
    return np.stack(above, axis=-1)


def probability_of_improvement(first: Scores, second: Scores) -> Scores:
    """Return the chance that a run of `first` beats one of `second` on the same task, ties half, over shared tasks.

    Args:
        first: (..., runs, tasks).
        second: (..., other runs, tasks), of the same tasks in the same order.
    """
    difference = np.sign(first[..., :, None, :] - second[..., None, :, :])
    pairs = difference.reshape(*difference.shape[:-3], -1, difference.shape[-1])
    return 0.5 + 0.5 * mean(pairs)


def normaliser(returns: Scores, fallback: npt.NDArray[np.bool_] | None = None) -> Normaliser:
    """Return the normaliser of a comparison.

    Args:
        returns: (..., encoders, runs, tasks), of the encoders compared.
        fallback: (tasks,) where to use min-max; by default where the best mean return is not positive.
    """
    means = task_means(returns)
    best = np.where(np.isnan(means), -np.inf, means).max(axis=-2)
    worst = np.where(np.isnan(means), np.inf, means).min(axis=-2)
    # A best return that is nothing beside the size of the others makes no ratio either.
    size = np.nanmax(np.abs(returns), axis=(-3, -2), initial=0.0)
    shift = best <= NOTHING * size if fallback is None else np.broadcast_to(fallback, best.shape)
    return Normaliser(np.where(shift, worst, 0.0), best, shift)


def resample(scores: Scores, repetitions: int, generator: np.random.Generator) -> Scores:
    """Draw runs anew within every task, as many as it has: (runs, tasks) -> (repetitions, runs, tasks)."""
    packed = np.sort(scores, axis=0)  # a task's runs first, then NaN
    counts = (~np.isnan(packed)).sum(axis=0)
    chosen = (generator.random((repetitions, *scores.shape)) * counts).astype(np.intp)
    drawn = np.take_along_axis(packed[None], chosen, axis=1)
    return np.where(np.arange(len(scores))[:, None] < counts, drawn, np.nan)


def bootstrap(
    arrays: Sequence[Scores],
    statistic: Statistic,
    *,
    repetitions: int = REPETITIONS,
    seed: int = 0,
    confidence: float = CONFIDENCE,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    whose: int | None = None,
) -> Estimate:
    """Return a statistic of one or several score arrays with stratified bootstrap intervals: runs are redrawn by task.

    The plain percentile interval is too short with few runs: the bootstrap's variance is that of the sample, not of
    the population. The corrected one multiplies its deviations from the estimate by ``sqrt(n / (n - 1))``, which mends
    the variance, and by the ratio of Student's to the normal quantile, which pays for not knowing it. The degrees of
    freedom are Satterthwaite's, of the jackknife variances by array and task: a few noisy tasks widen it more.

    Args:
        arrays: (runs, tasks) each, of any number of runs.
        statistic: takes as many arrays, with leading axes.
        repetitions: resamples.
        seed: of the resampling.
        confidence: of the intervals.
        bounds: what the statistic cannot leave, such as 0 and 1; the corrected interval is cut there.
        whose: index of the array whose tasks with a single run leave the intervals unknown; of any by default.
    """
    generator = np.random.default_rng(seed)
    value = np.asarray(statistic(*arrays), dtype=np.float64)
    single = [_runs(array) == 1 for array in (arrays if whose is None else [arrays[whose]])]
    unknown = single[0] if statistic is task_means else np.full(value.shape, any(tasks.any() for tasks in single))
    if unknown.all() or not any((_runs(array) > 1).any() for array in arrays):
        return Estimate(value, *[np.full(value.shape, np.nan)] * 5)
    drawn = statistic(*(resample(array, repetitions, generator) for array in arrays))
    tail = 50 * (1 - confidence)
    low, high = np.percentile(drawn, [tail, 100 - tail], axis=0)
    factor, freedom = few_runs(*_variances(arrays, statistic), tail / 100)
    corrected = [np.clip(value + factor * (end - value), *bounds) for end in (low, high)]
    return Estimate(value, *(np.where(unknown, np.nan, end) for end in (low, high, *corrected, freedom)))


def _runs(scores: Scores) -> npt.NDArray[np.intp]:
    """Return how many runs each task has."""
    counts: npt.NDArray[np.intp] = (~np.isnan(scores)).sum(axis=0)
    return counts


def _variances(arrays: Sequence[Scores], statistic: Statistic) -> tuple[Scores, Scores]:
    """Return jackknife variances by array and task with two runs or more, (C, ...), and their runs (C,)."""
    variances, counts = [], []
    for number, array in enumerate(arrays):
        cells = np.argwhere(~np.isnan(array) & (_runs(array) > 1))
        if not len(cells):
            continue
        without = np.repeat(array[None], len(cells), axis=0)
        without[np.arange(len(cells)), cells[:, 0], cells[:, 1]] = np.nan
        others = [np.broadcast_to(other, (len(cells), *other.shape)) for other in arrays]
        values = np.asarray(statistic(*others[:number], without, *others[number + 1 :]))
        for task in np.unique(cells[:, 1]):
            of_task = values[cells[:, 1] == task]
            variances.append((len(of_task) - 1) * of_task.var(axis=0))
            counts.append(len(of_task))
    return np.stack(variances), np.array(counts, dtype=np.float64)


def few_runs(variances: Scores, counts: Scores, tail: float) -> tuple[Scores, Scores]:
    """Return what to multiply the bootstrap's deviations by, and the effective degrees of freedom.

    Args:
        variances: (C, ...) independent parts of the statistic's variance, estimated without bias.
        counts: (C,) runs behind each; the bootstrap's own variance is smaller by ``(n - 1) / n``.
        tail: probability beyond each end of the interval.
    """
    count = counts.reshape(-1, *[1] * (variances.ndim - 1))
    total = variances.sum(axis=0)
    bootstrapped = (variances * (count - 1) / count).sum(axis=0)
    squares = (variances**2 / (count - 1)).sum(axis=0)
    known = squares > 0
    freedom = np.divide(total**2, squares, out=np.full_like(total, np.inf), where=known)
    inflation = np.sqrt(np.divide(total, bootstrapped, out=np.ones_like(total), where=known))
    return inflation * scipy.stats.t.isf(tail, freedom) / scipy.stats.norm.isf(tail), freedom


def _pooled_mean(values: Scores) -> Scores:
    """Return mean of all runs of all tasks: (..., runs, tasks) -> (...)."""
    return task_means(values.reshape(*values.shape[:-2], -1, 1))[..., 0]
