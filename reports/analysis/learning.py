"""Learning speed and cost of runs, from the tables of `reports.data.load`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.integrate import trapezoid

from . import bootstrap as statistics
from .scores import NUMBERS, row_order

if TYPE_CHECKING:
    import pandas

SUCCESS_RATE = 0.5
COST_COLUMNS = (
    *("row", "device", "cpu", "computed", "runs", "frames_per_second", "wall_minutes", "seconds"),
    *("memory_mb", "gpu_memory_mb"),
)


def learning_speed(curves: pandas.DataFrame, success_rate: float = SUCCESS_RATE) -> pandas.DataFrame:
    """Return how fast every run learned: one row per used run that went on after cloning.

    Columns: `suite`, `task`, `row`, `seed`, `mean_return` (area under the learning curve from cloning on, by
    trapezoids over environment steps, divided by these steps), `steps` (of the whole curve) and `steps_to_success` (at
    the first evaluation with at least `success_rate`; NaN where there is none).
    """
    import pandas

    learning = curves[curves["used"] & (curves["iteration"] >= 0)].sort_values("steps")
    rows = []
    for (suite, task, row, seed), curve in learning.groupby(["suite", "task", "row", "seed"]):
        steps, returns = curve["steps"].to_numpy(float), curve["return"].to_numpy(float)
        length = steps[-1] - steps[0]
        if not length:
            continue
        area = float(trapezoid(returns, steps) / length)
        reached = curve.loc[curve["success"] >= success_rate, "steps"]
        rows.append((suite, task, row, seed, area, length, float(reached.iloc[0]) if len(reached) else np.nan))
    columns = ["suite", "task", "row", "seed", "mean_return", "steps", "steps_to_success"]
    return pandas.DataFrame(rows, columns=columns)


def sample_efficiency(speed: pandas.DataFrame, rows: Sequence[str]) -> pandas.DataFrame:
    """Return how fast encoders learn, over the tasks.

    Args:
        speed: of `learning_speed`, of one suite.
        rows: the encoders compared; one without runs is left out.

    Columns: `row`, `area_score` (mean return over training, normalised by task like a score, then averaged), `reached`
    (share of runs that reached the success rate), `steps_to_success` (median of those runs), `runs`, `tasks`.
    """
    import pandas

    columns = ["row", "area_score", "reached", "steps_to_success", "runs", "tasks"]
    compared = speed[speed["row"].isin(rows)]
    if compared.empty:
        return pandas.DataFrame(columns=columns)
    areas = compared.groupby(["row", "task"])["mean_return"].mean().unstack("task")
    means = areas.to_numpy(float)[:, None, :]
    groups = compared.groupby("row")
    table = pandas.DataFrame(
        {
            "area_score": statistics.mean(statistics.normaliser(means)(means)),
            "reached": groups["steps_to_success"].apply(lambda steps: steps.notna().mean()),
            "steps_to_success": groups["steps_to_success"].median(),
            "runs": groups.size(),
            "tasks": groups["task"].nunique(),
        },
        index=areas.index,
    )
    return table.loc[[row for row in rows if row in table.index]].reset_index()[columns]


def curve_bands(
    curves: pandas.DataFrame, value: Literal["return", "success"] = "return", *, repetitions: int = 1000, seed: int = 0
) -> pandas.DataFrame:
    """Learning curves with 95 % bands over seeds: one row per row, task and evaluation.

    An evaluation that only some seeds have reached is left out, so that the mean is always over the same runs.

    Columns: `suite`, `task`, `row`, `iteration`, `steps` (mean over seeds), `seeds`, and the numbers of an `Estimate`.
    """
    import pandas

    parts = []
    for (suite, task, row), group in curves[curves["used"]].groupby(["suite", "task", "row"]):
        values = group.pivot(index="iteration", columns="seed", values=value).dropna()
        steps = group.groupby("iteration")["steps"].mean().loc[values.index]
        runs = values.to_numpy(float).T
        estimate = statistics.bootstrap([runs], statistics.task_means, repetitions=repetitions, seed=seed)
        place = {"suite": suite, "task": task, "row": row, "iteration": values.index, "steps": steps.to_numpy()}
        numbers = {name: getattr(estimate, name) for name in NUMBERS}
        parts.append(pandas.DataFrame({**place, "seeds": len(runs), **numbers}))
    return pandas.concat(parts, ignore_index=True) if parts else pandas.DataFrame(columns=["suite", "task", "row"])


def costs(runs: pandas.DataFrame) -> pandas.DataFrame:
    """Return what a row's runs cost on one machine, computed in one way; others are kept apart, for times differ.

    Columns: `row`, `device`, `cpu`, `computed` (precision and backend), `runs`, `frames_per_second` (median over runs,
    rollouts only), `wall_minutes` (mean measured time of a run), `seconds` (the same by stage, a dict), `memory_mb`,
    `gpu_memory_mb` (highest peak of any).
    """
    import pandas

    used = runs[runs["used"]].copy()
    used["cpu"] = used["machine"].map(lambda machine: str(machine.get("cpu") or "unknown"))
    rows = []
    for (row, device, cpu, computed), group in used.groupby(["row", "device", "cpu", "computed"]):
        stages = pandas.DataFrame(list(group["seconds"])).fillna(0.0).mean()
        rows.append(
            {
                **{"row": row, "device": device, "cpu": cpu, "computed": computed, "runs": len(group)},
                "frames_per_second": group["frames_per_second"].median(),
                "wall_minutes": group["wall_seconds"].mean() / 60,
                "seconds": {str(stage): float(mean) for stage, mean in stages.items()},
                "memory_mb": group["memory_mb"].max(),
                "gpu_memory_mb": group["gpu_memory_mb"].max(),
            }
        )
    table = pandas.DataFrame(rows, columns=list(COST_COLUMNS))
    order = {row: number for number, row in enumerate(row_order(used))}
    return table.sort_values("row", key=lambda names: names.map(order), ignore_index=True)
