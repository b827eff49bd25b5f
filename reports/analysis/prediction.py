"""Does what a linear probe reads from an encoder's features predict how often policies on it succeed?"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas

FEWEST_ENCODERS = 4
"""Fewer have too few orders for a correlation of ranks to say anything."""

SHUFFLES = 20_000


class Prediction(NamedTuple):
    """Rank correlation between a probe's R² and success, over encoders.

    Attributes:
        cells: columns `task`, `row`, `r2` (mean over the quantities of the task, negative ones as 0) and `success` (of
            the last policies, in per cent, mean over seeds), one row per encoder and task.
        by_task: Spearman's correlation over encoders, by task; tasks on which all encoders are equal are left out.
        mean: of those.
        chance: how often a mean at least as high arises when whole encoders are paired with each other's successes at
            random; tasks are kept together, since they share encoders.
    """

    cells: pandas.DataFrame
    by_task: pandas.Series
    mean: float
    chance: float


def prediction(probe: pandas.DataFrame, runs: pandas.DataFrame) -> Prediction | None:
    """Return how well a probe predicts success; None with too few encoders.

    The tasks are those on which at least `FEWEST_ENCODERS` were both probed and run, and the encoders those that have
    all these tasks, of which there must be as many.

    Args:
        probe: as `reports.data.load.load_probe` returns it.
        runs: of one suite, as `reports.data.load.load_runs` returns them.
    """
    import pandas

    known = probe[probe["problem"] == ""].dropna(subset=["r2"]) if len(probe) else probe
    used = runs[runs["used"]]
    if known.empty or used.empty:
        return None
    scores = {
        "r2": known.assign(r2=known["r2"].astype(float).clip(lower=0)).groupby(["title", "task"])["r2"].mean(),
        "success": 100 * used.groupby(["row", "task"])["success_last"].mean(),
    }
    both = pandas.DataFrame({name: values.rename_axis(["row", "task"]) for name, values in scores.items()}).dropna()
    both = both[both.groupby("task")["r2"].transform("size") >= FEWEST_ENCODERS]
    wide = both.astype(float).unstack().dropna()
    if len(wide) < FEWEST_ENCODERS:
        return None
    tasks = list(wide["r2"])
    ranks = {name: _standardised(wide[name].rank().to_numpy()) for name in scores}
    by_task = pandas.Series((ranks["r2"] * ranks["success"]).sum(axis=0), tasks).dropna()
    if by_task.empty:
        return None
    cells = wide.stack(future_stack=True).reset_index()[["task", "row", "r2", "success"]]
    return Prediction(cells, by_task, float(by_task.mean()), _chance(ranks["r2"], ranks["success"], by_task.mean()))


def _standardised(ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ranks (encoders, tasks) with mean 0 and norm 1 by task; NaN where all are equal."""
    centred = ranks - ranks.mean(axis=0)
    norms = np.linalg.norm(centred, axis=0)
    standardised: NDArray[np.float64] = centred / np.where(norms > 0, norms, np.nan)
    return standardised


def _chance(r2: NDArray[np.float64], success: NDArray[np.float64], mean: float) -> float:
    """Return the share of random pairings of encoders, the actual one among them, whose mean is at least as high."""
    generator = np.random.default_rng(0)
    orders = generator.permuted(np.tile(np.arange(len(r2)), (SHUFFLES, 1)), axis=1)
    means = np.nanmean((r2[orders] * success).sum(axis=1), axis=1)
    return float((1 + (means >= mean - 1e-12).sum()) / (1 + SHUFFLES))
