"""How often the 95 % intervals of the reports hold the truth, by simulation.

Nothing here is measured, and no share is written down: the page simulates what it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from .bootstrap import CONFIDENCE, REPETITIONS, Scores, few_runs, mean

MIXED = ("normal", "skewed", "heavy", "failing")
"""What the tasks of a simulated suite are like, one of these each."""

ONE_TASK = ("normal", "skewed", "very skewed", "collapsing")
"""What the runs of a single task may be like."""

COVERED_SEEDS = (2, 3, 5, 10)
ONE_TASK_SEEDS = (3, 4, 5, 10)
ONE_TASK_EPISODES = (10, 100)

EPISODE_SPREAD = 30.0
"""Standard deviation of the score over the episodes of an evaluation: that of successes and failures, roughly."""

FAILING = 0.15
"""Share of runs that fail, or collapse."""


@dataclass(frozen=True)
class Coverage:
    """How often intervals of simulated suites held the truth.

    Attributes:
        distribution: how a task's runs were drawn, see `simulate_coverage`.
        runs: seeds of each task.
        plain: share of percentile intervals that held the true mean.
        corrected: share of corrected ones.
        cases: simulated suites.
        tasks: of a suite.
        episodes: of an evaluation; 0 where its noise was left out.
    """

    distribution: str
    runs: int
    plain: float
    corrected: float
    cases: int
    tasks: int = 12
    episodes: int = 0


def simulate_coverage(
    distribution: str = "mixed",
    runs: Sequence[int] = COVERED_SEEDS,
    *,
    tasks: int = 12,
    cases: int = 2000,
    repetitions: int = REPETITIONS,
    seed: int = 0,
    episodes: int = 0,
) -> list[Coverage]:
    """Return coverage of the 95 % intervals of `mean`, by the number of runs.

    Every case is an invented encoder: true task scores uniform in 20 to 90, standard deviations over runs log-normal
    (median 8, a factor of 1.8). The redrawn runs are shared between cases, so a case costs one product of matrices.

    Args:
        distribution: of a task's runs about its mean: ``normal``; ``skewed`` (a gamma's tail towards low scores);
            ``very skewed`` (a heavier one); ``heavy`` (Student's t with 3 degrees of freedom); ``failing`` (normal, and
            15 % of runs lose 60 % of the score); ``collapsing`` (normal, and 15 % of runs score nothing); ``mixed``
            (one of `MIXED` for every task).
        runs: numbers of runs to simulate.
        tasks: of the suite.
        cases: simulated suites.
        repetitions: bootstrap resamples.
        seed: of everything.
        episodes: of the evaluation that a run's score is the mean of; with 0 it has no noise of its own.
    """
    generator = np.random.default_rng(seed)
    found = []
    for count in runs:
        scores, truth = invent(distribution, (cases, count, tasks), generator)
        if episodes:
            noise = EPISODE_SPREAD / np.sqrt(episodes) * generator.standard_normal(scores.shape)
            scores = scores + np.where(scores == 0, 0.0, noise)
        weights = generator.multinomial(count, np.full(count, 1 / count), (repetitions, tasks)) / (count * tasks)
        drawn = scores.transpose(0, 2, 1).reshape(cases, -1) @ weights.reshape(repetitions, -1).T
        low, high = np.percentile(drawn, [2.5, 97.5], axis=1)
        value = mean(scores)
        variances = scores.var(axis=1, ddof=1).T / (count * tasks**2)
        factor, _ = few_runs(variances, np.full(tasks, float(count)), (1 - CONFIDENCE) / 2)
        plain = (low <= truth) & (truth <= high)
        corrected = (value + factor * (low - value) <= truth) & (truth <= value + factor * (high - value))
        shares = float(plain.mean()), float(corrected.mean())
        found.append(Coverage(distribution, count, *shares, cases, tasks, episodes))
    return found


@cache
def suite_coverage(tasks: int) -> tuple[Coverage, ...]:
    """Return coverage of the intervals of suites of so many tasks, simulated once per process."""
    return tuple(simulate_coverage(tasks=tasks))


@cache
def one_task_coverage() -> tuple[Coverage, ...]:
    """Return coverage of the intervals of a single task, simulated once per process."""
    return tuple(
        one
        for distribution in ONE_TASK
        for episodes in ONE_TASK_EPISODES
        for one in simulate_coverage(distribution, ONE_TASK_SEEDS, tasks=1, repetitions=1000, episodes=episodes)
    )


def one_task_range(fewest: int, most: int) -> tuple[float, float]:
    """Return lowest and highest simulated coverage on one task of corrected intervals from so many to so many seeds."""
    below = max((count for count in ONE_TASK_SEEDS if count <= fewest), default=ONE_TASK_SEEDS[0])
    shares = [one.corrected for one in one_task_coverage() if below <= one.runs <= max(most, below)]
    return min(shares), max(shares)


def invent(distribution: str, shape: tuple[int, int, int], generator: np.random.Generator) -> tuple[Scores, Scores]:
    """Return scores (cases, runs, tasks) without the noise of episodes, and the true means over tasks (cases,)."""
    cases, _, tasks = shape
    true = generator.uniform(20.0, 90.0, (cases, 1, tasks))
    spread = 8.0 * np.exp(0.6 * generator.standard_normal((cases, 1, tasks)))
    failing = generator.random(shape) < FAILING
    if distribution == "collapsing":
        scores = np.where(failing, 0.0, true + 0.5 * spread * generator.standard_normal(shape))
        return scores, (1 - FAILING) * true.mean(axis=(1, 2))
    if distribution == "very skewed":
        noise = spread * (0.5 - generator.gamma(0.5, size=shape)) / np.sqrt(0.5)
        return true + noise, true.mean(axis=(1, 2))
    deviations = {
        "normal": spread * generator.standard_normal(shape),
        "skewed": spread * (2.0 - generator.gamma(2.0, size=shape)) / np.sqrt(2.0),
        "heavy": spread * generator.standard_t(3.0, shape) / np.sqrt(3.0),
        "failing": 0.6 * true * (FAILING - failing) + 0.5 * spread * generator.standard_normal(shape),
    }
    chosen = generator.integers(len(MIXED), size=(cases, 1, tasks)) if distribution == "mixed" else None
    where = np.full((cases, 1, tasks), MIXED.index(distribution)) if chosen is None else chosen
    noise = np.choose(where, [deviations[kind] for kind in MIXED])
    return true + noise, true.mean(axis=(1, 2))
