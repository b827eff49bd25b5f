"""What the runs of one suite come to: scores by encoder and task, and what they say of the encoders together.

These functions take the tables of `reports.data.load`, select runs with `used`, and leave the arithmetic to
`reports.analysis.bootstrap`. They never pool suites: give them one at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from tasks.cards import CARDS

from . import bootstrap as statistics
from .bootstrap import Estimate, Scores

if TYPE_CHECKING:
    import pandas

Measure = Literal["return_best", "return_last", "success_best", "success_last"]

PAPER_ORDER = ("hindex", "vc1", "mvp", "r3m", "rrl", "frankmocap_hand", "frankmocap_body", "alphapose")
ANY, SHARE, GAP = (-np.inf, np.inf), (0.0, 1.0), (0.0, np.inf)
AGGREGATES = {
    "mean": (statistics.mean, ANY),
    "interquartile mean": (statistics.interquartile_mean, ANY),
    "optimality gap": (statistics.optimality_gap, GAP),
}
"""The aggregates by name, each with the bounds that it cannot leave."""
NUMBERS = ("value", "low", "high", "corrected_low", "corrected_high", "freedom")
"""The columns of an `Estimate`."""

FEW_SEEDS = 3
"""Below so many seeds an interval says too little."""

THRESHOLDS = np.linspace(0.0, 100.0, 51)


class SuitesMixed(ValueError):
    """Runs of several suites were given where only those of one can be compared."""


@dataclass(frozen=True)
class Comparison:
    """Encoders that are scored against each other on the same tasks.

    Attributes:
        rows: names of the encoders, E of them.
        tasks: T of them, in the paper's order.
        measure: what is compared.
        returns: (E, R, T) by encoder, run and task, in order of seed; NaN beyond a cell's runs.
        scores: (E, R, T), 100 the best encoder's mean; NaN where a task separates no encoders, or has one alone.
        fallback: (T,) whether scores are min-max there, since the best return is not positive.
    """

    rows: tuple[str, ...]
    tasks: tuple[str, ...]
    measure: Measure
    returns: Scores
    scores: Scores
    fallback: npt.NDArray[np.bool_]

    @property
    def seeds(self) -> npt.NDArray[np.int64]:
        """(E, T) runs of each cell."""
        return np.asarray((~np.isnan(self.returns)).sum(axis=1))


def task_order(names: Sequence[str]) -> tuple[str, ...]:
    """Return task names in the paper's order, unknown ones last."""
    known = list(CARDS)
    return tuple(sorted(set(names), key=lambda name: (known.index(name) if name in known else len(known), name)))


def row_order(runs: pandas.DataFrame) -> tuple[str, ...]:
    """Return rows in order: paper's encoders first, official weights before others, variants after their encoder."""
    first = runs.drop_duplicates("row")[["row", "encoder", "variant", "weights_label"]].to_dict("records")
    place = {name: number for number, name in enumerate(PAPER_ORDER)}

    def key(row: dict[str, Any]) -> tuple[Any, ...]:
        encoder = row["encoder"]
        return place.get(encoder, len(place)), encoder, row["variant"], row["weights_label"], row["row"]

    return tuple(row["row"] for row in sorted(first, key=key))


def main_rows(runs: pandas.DataFrame) -> tuple[str, ...]:
    """Return rows of the main comparison: encoders without changed stage settings, and none that is told the state."""
    return row_order(runs[runs["used"] & ~told_the_state(runs) & (runs["variant"] == "")])


def told_the_state(runs: pandas.DataFrame) -> pandas.Series:
    """Return which runs are of a policy that sees the simulator's state, a ceiling that is no encoder's rival."""
    without_feature = runs["card"].map(lambda card: card.get("feature_dim") == 0) | (runs["encoder"] == "state")
    return without_feature & (runs["encoder"] != "blind")


def compare(
    runs: pandas.DataFrame,
    rows: Sequence[str] | None = None,
    measure: Measure = "return_best",
    *,
    shared_tasks: bool = False,
) -> Comparison:
    """Score encoders against each other.

    Args:
        runs: of one suite, see `reports.data.load.load_runs`.
        rows: which encoders; the main ones by default. One without usable runs is left out.
        measure: ``return_best`` (best so far, an evaluation's mean), ``return_last`` or the same of success.
        shared_tasks: whether only tasks count that every row with runs has, as an ablation wants it.

    Raises:
        SuitesMixed: the runs are of several suites.
    """
    _one_suite(runs)
    usable = runs[runs["used"] & runs["row"].isin(main_rows(runs) if rows is None else list(rows))]
    usable = usable.dropna(subset=[measure])
    present = set(usable["row"])
    names = tuple(row for row in (row_order(usable) if rows is None else rows) if row in present)
    if shared_tasks:
        having = usable.groupby("task")["row"].nunique()
        usable = usable[usable["task"].isin(having[having == len(names)].index)]
        names = names if len(usable) else ()
    tasks = task_order(list(usable["task"]))
    cells = {cell: group.sort_values("seed")[measure] for cell, group in usable.groupby(["row", "task"])}
    most = max((len(values) for values in cells.values()), default=0)
    returns = np.full((len(names), most, len(tasks)), np.nan)
    for (row, task), values in cells.items():
        returns[names.index(row), : len(values), tasks.index(task)] = values
    if not names:
        return Comparison(names, tasks, measure, returns, returns, np.zeros(0, dtype=bool))
    norm = statistics.normaliser(returns)
    scores = norm(returns)
    if len(names) > 1:  # a row alone on a task would be measured against itself
        scores[..., (~np.isnan(returns)).any(axis=1).sum(axis=0) < 2] = np.nan
    return Comparison(names, tasks, measure, returns, scores, norm.fallback)


def aggregates(
    comparison: Comparison,
    *,
    resample_normaliser: bool = False,
    repetitions: int = statistics.REPETITIONS,
    seed: int = 0,
) -> pandas.DataFrame:
    """Return mean, interquartile mean and optimality gap of every row, with intervals.

    Args:
        comparison: of `compare`.
        resample_normaliser: whether the best encoder's mean is redrawn with the runs, or held fixed at its estimate.
            Fixed, an interval holds the score on the scale as drawn, with the coverage of `simulate_coverage`. The
            scale's top is the best of noisy means, so of the score on the true scale it holds too little where another
            encoder is best; redrawn it does better there, and worse for the best, which cannot be redrawn above 100.
        repetitions: bootstrap resamples.
        seed: of them.

    Columns: `row`, `statistic`, `value`, `low`, `high` (percentile), `corrected_low`, `corrected_high`, `freedom`,
    `tasks` (how many it has a score on), `of_tasks`, `seeds` (fewest of its cells) and `normaliser` (``fixed`` or
    ``resampled``).
    """
    import pandas

    settings = {"repetitions": repetitions, "seed": seed}
    rows = []
    for number, row in enumerate(comparison.rows):
        cells = comparison.seeds[number]
        about: dict[str, Any] = {
            "tasks": int((~np.isnan(comparison.scores[number])).any(axis=0).sum()),
            "of_tasks": len(cells),
            "seeds": int(cells[cells > 0].min()),
        }
        redrawn = resample_normaliser and cells.max() > 1
        about["normaliser"] = "resampled" if resample_normaliser else "fixed"
        for name, (statistic, bounds) in AGGREGATES.items():
            arrays, whose = [comparison.scores[number]], 0
            if redrawn:
                arrays, whose = list(comparison.returns), number
                statistic = _of_returns(statistic, number, comparison.fallback)
            estimate = statistics.bootstrap(arrays, statistic, bounds=bounds, whose=whose, **settings)
            rows.append({"row": row, "statistic": name, **_numbers(estimate), **about})
    columns = ("row", "statistic", *NUMBERS, "tasks", "of_tasks", "seeds", "normaliser")
    return pandas.DataFrame(rows, columns=list(columns))


def cell_scores(comparison: Comparison, *, seed: int = 0) -> pandas.DataFrame:
    """Return the mean score of every encoder on every task, with its interval corrected for few seeds.

    Columns: `task`, `row`, `value`, `low`, `high` (NaN with one seed), `seeds`.
    """
    import pandas

    parts = []
    for number, row in enumerate(comparison.rows):
        estimate = statistics.bootstrap([comparison.scores[number]], statistics.task_means, repetitions=1000, seed=seed)
        cells = {"value": estimate.value, "low": estimate.corrected_low, "high": estimate.corrected_high}
        parts.append(
            pandas.DataFrame({"task": comparison.tasks, "row": row, **cells, "seeds": comparison.seeds[number]})
        )
    columns = ["task", "row", "value", "low", "high", "seeds"]
    table = pandas.concat(parts, ignore_index=True) if parts else pandas.DataFrame(columns=columns)
    return table[table["seeds"] > 0].reset_index(drop=True)


def profiles(
    comparison: Comparison, thresholds: Scores = THRESHOLDS, *, repetitions: int = 500, seed: int = 0
) -> pandas.DataFrame:
    """Return performance profiles: the share of runs that score more than a threshold.

    Columns: `row`, `threshold`, `share` and the intervals of an `Estimate` as in `aggregates`.
    """
    import pandas

    parts = []
    for number, row in enumerate(comparison.rows):
        estimate = statistics.bootstrap(
            [comparison.scores[number]],
            lambda scores: statistics.performance_profile(scores, thresholds),
            repetitions=repetitions,
            seed=seed,
            bounds=SHARE,
        )
        numbers = {name: getattr(estimate, name) for name in NUMBERS}
        numbers["share"] = numbers.pop("value")
        parts.append(pandas.DataFrame({"row": row, "threshold": thresholds, **numbers}))
    return pandas.concat(parts, ignore_index=True) if parts else pandas.DataFrame(columns=["row", "threshold"])


def improvements(
    comparison: Comparison, *, repetitions: int = statistics.REPETITIONS, seed: int = 0
) -> pandas.DataFrame:
    """Return the probability that a run of `row` beats one of `other` on the same task, for pairs with shared tasks.

    Columns: `row`, `other`, the numbers of an `Estimate` as in `aggregates`, and `tasks` (how many they share).
    """
    import pandas

    rows = []
    for first, row in enumerate(comparison.rows):
        for second, other in enumerate(comparison.rows):
            shared = (comparison.seeds[first] > 0) & (comparison.seeds[second] > 0)
            if first == second or not shared.any():
                continue
            arrays = [comparison.returns[first][:, shared], comparison.returns[second][:, shared]]
            estimate = statistics.bootstrap(
                arrays, statistics.probability_of_improvement, repetitions=repetitions, seed=seed, bounds=SHARE
            )
            rows.append({"row": row, "other": other, **_numbers(estimate), "tasks": int(shared.sum())})
    return pandas.DataFrame(rows, columns=["row", "other", *NUMBERS, "tasks"])


def _one_suite(runs: pandas.DataFrame) -> None:
    found = sorted(runs.loc[runs["used"], "suite"].unique())
    if len(found) > 1:
        raise SuitesMixed(f"runs of {len(found)} suites cannot be compared ({', '.join(found)}); select one")


def _of_returns(statistic: statistics.Statistic, number: int, fallback: npt.NDArray[np.bool_]) -> statistics.Statistic:
    def of_returns(*returns: Scores) -> Scores:
        stacked = np.stack(returns, axis=-3)
        return statistic(statistics.normaliser(stacked, fallback)(stacked[..., number, :, :]))

    return of_returns


def _numbers(estimate: Estimate) -> dict[str, float]:
    return {name: float(getattr(estimate, name)) for name in NUMBERS}
