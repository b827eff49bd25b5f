"""Two encoders compared run by run: paired by task and seed, within one suite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmark.errors import BenchError

from . import bootstrap as statistics
from .bootstrap import Estimate, Scores
from .scores import Measure, row_order, task_order

if TYPE_CHECKING:
    import pandas

CELL, OTHER = ["suite", "task", "seed"], "_other"


class NotComparable(BenchError):
    """Two sets of runs that have no pair to compare."""


@dataclass(frozen=True)
class Paired:
    """Runs of two encoders on the same tasks with the same seeds.

    Attributes:
        suite: of all of them.
        row: the one encoder.
        other: the one that it is compared with.
        tasks: T of them, in the paper's order.
        first: (R, T) values of `row`, in order of seed; NaN beyond a task's pairs.
        second: (R, T) of `other`, likewise.
        measure: what the values are.
        equal: how many pairs have the same episodes to the bit.
        alone: how many runs of the two have no partner.
    """

    suite: str
    row: str
    other: str
    tasks: tuple[str, ...]
    first: Scores
    second: Scores
    measure: Measure
    equal: int
    alone: int

    @property
    def pairs(self) -> list[int]:
        """Return how many pairs each task has."""
        return [int(count) for count in (~np.isnan(self.first)).sum(axis=0)]


def choose(one: pandas.DataFrame, two: pandas.DataFrame, encoder: str = "", against: str = "") -> list[tuple[str, str]]:
    """Return which rows of two sets of runs to compare.

    Args:
        one: runs of `reports.data.load.load_runs`.
        two: likewise; may be the same.
        encoder: a row in `one`, or the name of an encoder that has one row without changed stages there.
        against: likewise in `two`; by default as `encoder`.

    Returns:
        Pairs of rows; with no name given, every row that both have, or the only one of each.

    Raises:
        NotComparable: there is no such row, or it is not clear which is meant.
    """
    if encoder or against:
        own = _rows(one)
        first = _find(one, encoder or (own[0] if len(own) == 1 else against))
        return [(first, _find(two, against or encoder))]
    rows, others = _rows(one), _rows(two)
    if shared := [row for row in rows if row in others]:
        return [(row, row) for row in shared]
    if len(rows) == len(others) == 1:
        return [(rows[0], others[0])]
    raise NotComparable(
        f"no encoder is in both ({', '.join(rows) or 'none'}; {', '.join(others) or 'none'}): name one of each with "
        "--encoder and --against"
    )


def pair(one: pandas.DataFrame, two: pandas.DataFrame, row: str, other: str, measure: Measure) -> list[Paired]:
    """Pair the usable runs of two encoders, a result per suite that has pairs.

    Runs of one cell whose task or frames are of different results versions are no pair.

    Args:
        one: runs of `reports.data.load.load_runs` with `row`.
        two: likewise with `other`; may be the same.
        row: an encoder's row in `one`.
        other: an encoder's row in `two`.
        measure: what is compared.

    Raises:
        NotComparable: no task and seed of a suite is in both.
    """
    left, right = (
        runs[runs["used"] & (runs["row"] == name)].dropna(subset=[measure]) for runs, name in ((one, row), (two, other))
    )
    both = left.merge(right, on=CELL, suffixes=("", OTHER))
    for version in ("task_version", "frames_version"):
        ours, theirs = both[version].astype(float), both[version + OTHER].astype(float)
        both = both[(ours == theirs) | ours.isna() | theirs.isna()]
    if both.empty:
        raise NotComparable(_why(left, right, row, other))
    counts = left["suite"].value_counts().add(right["suite"].value_counts(), fill_value=0)
    found = []
    for suite, group in both.groupby("suite"):
        tasks = task_order(list(group["task"]))
        equal = sum(a.equals(b) for a, b in zip(group["episode_table"], group["episode_table" + OTHER], strict=True))
        alone = int(counts[suite]) - 2 * len(group)
        first, second = (_values(group, tasks, name) for name in (measure, measure + OTHER))
        found.append(Paired(str(suite), row, other, tasks, first, second, measure, equal, alone))
    return found


def _values(pairs: pandas.DataFrame, tasks: Sequence[str], name: str) -> Scores:
    """Return a column by seed and task, (R, T), NaN beyond a task's pairs."""
    cells = [pairs[pairs["task"] == task].sort_values("seed")[name] for task in tasks]
    array = np.full((max(map(len, cells)), len(tasks)), np.nan)
    for number, cell in enumerate(cells):
        array[: len(cell), number] = cell
    return array


def differences(paired: Paired, *, seed: int = 0) -> pandas.DataFrame:
    """Return the mean difference of each task, with its interval over pairs corrected for few of them.

    Columns: `task`, `pairs`, `row` and `other` (means), `difference`, `low` and `high` (NaN with one pair).
    """
    import pandas

    estimate = _estimate(paired.first - paired.second, statistics.task_means, seed)
    columns = {
        "task": paired.tasks,
        "pairs": paired.pairs,
        "row": statistics.task_means(paired.first),
        "other": statistics.task_means(paired.second),
        **{"difference": estimate.value, "low": estimate.corrected_low, "high": estimate.corrected_high},
    }
    return pandas.DataFrame(columns)


def mean_difference(paired: Paired, *, seed: int = 0) -> Estimate:
    """Return the mean over tasks of the difference, in points.

    Of success, 100 points are success in every episode. Of returns they are the better one's mean on the task, as
    `reports.analysis.bootstrap.normaliser` has it; a task on which the two have equal means counts as no difference.
    """
    first, second = paired.first, paired.second
    if paired.measure.startswith("success"):
        return _estimate(100 * (first - second), statistics.mean, seed)
    returns = np.stack([first, second])
    scores = statistics.normaliser(returns)(returns)
    equal = statistics.task_means(first) == statistics.task_means(second)
    return _estimate(np.where(equal, first - second, scores[0] - scores[1]), statistics.mean, seed)


def improvement(paired: Paired, *, seed: int = 0) -> Estimate:
    """Return the probability that a run of the one beats one of the other on the same task, ties half."""
    arrays = [paired.first, paired.second]
    return statistics.bootstrap(arrays, statistics.probability_of_improvement, seed=seed, bounds=(0.0, 1.0))


def _estimate(values: Scores, statistic: statistics.Statistic, seed: int) -> Estimate:
    return statistics.bootstrap([values], statistic, seed=seed)


def _rows(runs: pandas.DataFrame) -> tuple[str, ...]:
    return row_order(runs[runs["used"]])


def _find(runs: pandas.DataFrame, name: str) -> str:
    """Return the row of a name."""
    rows = _rows(runs)
    if name in rows:
        return name
    plain = runs[runs["used"] & (runs["encoder"] == name) & (runs["variant"] == "")]
    found = [row for row in rows if row in set(plain["row"])]
    if len(found) == 1:
        return found[0]
    raise NotComparable(
        f"'{name}' is {'no encoder' if not found else 'several rows'} here; available: {', '.join(rows)}"
    )


def _why(left: pandas.DataFrame, right: pandas.DataFrame, row: str, other: str) -> str:
    """Return why there is no pair."""
    ours, theirs = (set(runs["suite"]) for runs in (left, right))
    if ours.isdisjoint(theirs):
        named = (f"{name} has {', '.join(sorted(suites))}" for name, suites in ((row, ours), (other, theirs)))
        return f"runs of different suites are never compared: {', '.join(named)}"
    return f"{row} and {other} share no task and seed of the same results version; do the missing runs with `bench run`"
