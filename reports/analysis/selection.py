"""Choosing the best of many evaluations flatters a policy: by how much, in the runs at hand and in theory.

Source: protocols.md; Agarwal et al. 2021 on reporting a maximum.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from benchmark.intervals import interval, mean_interval
from benchmark.store.episodes import HELD_OUT, UNTRAINED, own_evaluations

if TYPE_CHECKING:
    import pandas

COLUMNS = (
    *("task", "row", "seeds", "evaluations", "episodes", "judged", "best", "last"),
    *("held_out_last", "held_out_last_low", "held_out_last_high"),
    *("held_out_best", "held_out_best_low", "held_out_best_high", "gap", "expected_gap"),
)


def expected_best(success: float, episodes: int, evaluations: int) -> float:
    """Return the expected best success rate of independent evaluations of one policy, by the binomial distribution.

    Args:
        success: the policy's true success rate, 0 to 1.
        episodes: in an evaluation.
        evaluations: of which the best counts.

    >>> round(expected_best(0.3, 25, 20), 3)
    0.476
    """
    successes = np.arange(episodes + 1)
    logs = [math.lgamma(episodes + 1) - math.lgamma(k + 1) - math.lgamma(episodes - k + 1) for k in successes]
    chances = np.exp(logs) * success**successes * (1 - success) ** (episodes - successes)
    below = np.concatenate([[0.0], np.minimum(np.cumsum(chances), 1.0)]) ** evaluations
    return float((np.diff(below) * successes).sum() / episodes)


def selection(runs: pandas.DataFrame) -> pandas.DataFrame:
    """Return what the runs report by the best evaluation, and what held-out episodes say of the same policies.

    Columns, rates in per cent: `task`, `row`, `seeds`, `evaluations` and `episodes` of each, `judged` (held-out
    episodes of a policy), `best` and `last` of the evaluations, `held_out_last` and `held_out_best` (the last policy,
    and the one that the evaluations found best) with intervals over episodes, `gap` (`best` minus `held_out_best`) and
    `expected_gap` (what independent evaluations of a policy of `held_out_best` would give).

    Args:
        runs: as `reports.data.load.load_runs` returns them; those without held-out episodes do not count.
    """
    import pandas

    rows = []
    for (task, row), group in runs[runs["used"]].groupby(["task", "row"], sort=False):
        found = [one for one in map(_of_run, group["episode_table"]) if one is not None]
        if not found:
            continue
        best, last, last_held_out, best_held_out, counts = zip(*found, strict=True)
        judged_last, judged_best = (interval(100 * np.concatenate(part)) for part in (last_held_out, best_held_out))
        evaluations, episodes = counts[0]
        expected = expected_best(judged_best.mean / 100, episodes, evaluations)
        numbers = (
            *(len(found), evaluations, episodes, len(last_held_out[0]), 100 * np.mean(best), 100 * np.mean(last)),
            *(*judged_last, *judged_best),
            *(100 * np.mean(best) - judged_best.mean, 100 * expected - judged_best.mean),
        )
        rows.append((task, row, *numbers))
    return pandas.DataFrame(rows, columns=list(COLUMNS))


def _of_run(table: pandas.DataFrame | None) -> tuple[float, float, np.ndarray, np.ndarray, tuple[int, int]] | None:
    """Return best and last success, those of held-out episodes, and how many evaluations and episodes there were."""
    if table is None or "split" not in table or not (table["split"] == HELD_OUT).any():
        return None
    means = own_evaluations(table).drop(index=UNTRAINED, errors="ignore")  # only trained policies are chosen from
    judged = table[table["split"] == HELD_OUT]
    best = means.reset_index().sort_values(["success", "return", "iteration"], ascending=[False, False, True]).iloc[0]
    of_last, of_best = (
        judged[judged["iteration"] == iteration]["success"].to_numpy(float)
        for iteration in (means.index.max(), int(best["iteration"]))
    )
    if not len(of_last) or not len(of_best):
        return None
    counts = len(means), int(means["episodes"].iloc[-1])
    return float(best["success"]), float(means["success"].iloc[-1]), of_last, of_best, counts


def protocol_scores(runs: pandas.DataFrame, tasks: tuple[str, ...], selection_rule: str) -> pandas.DataFrame:
    """Return the protocol's number of every row that has all of its tasks, in per cent, and the honest one beside it.

    Columns: `row`, `value` (success of the best or last evaluation, mean over seeds, then over tasks), `seeds` (the
    fewest of a task), `held_out`, `low`, `high` (success of the last policy on held-out episodes, likewise, with an
    interval over episodes; NaN where none were run).

    Args:
        runs: as `reports.data.load.load_runs` returns them.
        tasks: of the protocol.
        selection_rule: ``best`` or ``last``.
    """
    import pandas

    rows = []
    used = runs[runs["used"] & runs["task"].isin(tasks)]
    for row, group in used.groupby("row", sort=False):
        by_task = group.groupby("task")[f"success_{selection_rule}"]
        if set(by_task.groups) != set(tasks):
            continue
        judged = [
            [found[2] for found in map(_of_run, part["episode_table"]) if found] for _, part in group.groupby("task")
        ]
        honest = (math.nan, math.nan, math.nan)
        if all(judged):
            pooled = [np.concatenate(part) for part in judged]
            honest = mean_interval([100 * values for values in pooled])
        rows.append((row, 100 * float(by_task.mean().mean()), int(by_task.count().min()), *honest))
    return pandas.DataFrame(rows, columns=["row", "value", "seeds", "held_out", "low", "high"])
