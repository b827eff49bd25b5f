"""The ranking of encoders by the success rate of their last policies, suite by suite."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmark.store.pack import SUFFIX

from . import bootstrap
from .scores import compare, row_order, told_the_state

if TYPE_CHECKING:
    import pandas

FOLDERS = "run folders"
PERCENT = (0.0, 100.0)
DIGITS = 8
"""Of a sha256, as a table shows it."""

COLUMNS = (
    *("rank", "row", "success", "low", "high", "tasks", "of_tasks", "seeds", "minutes", "cpu", "parameters"),
    *("weights", "runs_sha256", "source"),
)


def ranking(runs: pandas.DataFrame) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """Return the rows of one suite from best to worst, and their success on each task.

    Args:
        runs: of one suite, see `reports.data.load.load_runs`.

    Returns:
        Rows with the columns `rank` (NaN for a row that lacks a task, since an average over fewer tasks is of another
        thing, and for one that is told the state), `row`, `success` in per cent, the mean over tasks, with `low` and
        `high`, `tasks` of `of_tasks`, `seeds` (fewest of a task), `minutes` (median of a run), `cpu`, `parameters`,
        `weights` (first digits of their sha256), `runs_sha256` (of the identities of the runs, so that a row names
        what it is made of) and `source` (packs). Then columns `row`, `task`, `success`.

    Raises:
        SuitesMixed: the runs are of several suites.
    """
    import pandas

    compared = compare(runs, row_order(runs[runs["used"]]), "success_last")
    scores, counts = PERCENT[1] * compared.returns, compared.seeds
    by_task = bootstrap.task_means(scores)
    lines = []
    for number, row in enumerate(compared.rows):
        own = runs[runs["used"] & (runs["row"] == row)]
        estimate = bootstrap.bootstrap([scores[number]], bootstrap.mean, bounds=PERCENT)
        there = counts[number] > 0
        lines.append(
            {
                **{"row": row, "success": float(estimate.value)},
                **{"low": float(estimate.corrected_low), "high": float(estimate.corrected_high)},
                **{"tasks": int(there.sum()), "of_tasks": len(there), "seeds": int(counts[number][there].min())},
                **{"minutes": float(own["wall_seconds"].median()) / 60, "cpu": _each(own["machine"].map(_cpu))},
                **{
                    "parameters": own["card"].iloc[0].get("parameters"),
                    "weights": own["weights_sha256"].iloc[0][:DIGITS],
                },
                "runs_sha256": hashlib.sha256("".join(sorted(map(str, own["identity"]))).encode()).hexdigest()[:DIGITS],
                "source": _each(own["path"].map(source)),
            }
        )
    table = pandas.DataFrame(lines, columns=list(COLUMNS))
    whole = table["tasks"] == table["of_tasks"]
    told = table["row"].isin(runs.loc[told_the_state(runs), "row"])
    table["rank"] = table["success"].where(whole & ~told).rank(ascending=False, method="min")
    order = table.assign(partial=~whole).sort_values(["partial", "success"], ascending=[True, False], kind="stable")
    cells = [
        {"row": row, "task": task, "success": by_task[number, place]}
        for number, row in enumerate(compared.rows)
        for place, task in enumerate(compared.tasks)
        if not np.isnan(by_task[number, place])
    ]
    return order[list(COLUMNS)].reset_index(drop=True), pandas.DataFrame(cells, columns=["row", "task", "success"])


def source(run: Path) -> str:
    """Return the name of the pack that a run lies in, or that it is a folder."""
    return next((part.name for part in run.parents if part.name.endswith(SUFFIX)), FOLDERS)


def _cpu(machine: dict[str, object]) -> str:
    return str(machine.get("cpu") or "unknown")


def _each(values: Iterable[str]) -> str:
    return ", ".join(sorted(set(values)))
