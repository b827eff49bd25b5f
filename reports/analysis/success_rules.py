"""Three rules by which the field calls the same episodes a success."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmark.store.episodes import OWN_BACKGROUND, scheduled
from tasks import experts

if TYPE_CHECKING:
    import pandas

RULES = {
    "goal_steps": "goal on enough steps",
    "goal_at_end": "goal at the last step",
    "return": "half the expert's return",
}
"""Rules: that of the task's card; DP3's and its family's; a return of at least half of what the shipped expert gets."""


def success_rules(runs: pandas.DataFrame) -> pandas.DataFrame:
    """Return the success rate of the last evaluation by each rule, in per cent, mean over seeds.

    Columns: `task`, `row`, `seeds`, and `RULES`. Runs from before goals were kept do not count; a task without a
    shipped expert has no threshold for its return.

    Args:
        runs: as `reports.data.load.load_runs` returns them.
    """
    import pandas

    rows = []
    for run in runs[runs["used"]].to_dict("records"):
        table = run["episode_table"]
        if table is None or "goal_at_end" not in table:
            continue
        own = scheduled(table[table["background"] == OWN_BACKGROUND])
        if own.empty:
            continue
        last = own[own["iteration"] == own["iteration"].max()]
        threshold = expert_return(run["task"])
        rates = {
            "goal_steps": last["success"].mean(),
            "goal_at_end": last["goal_at_end"].astype(bool).mean(),
            "return": float("nan") if threshold is None else (last["return"] >= 0.5 * threshold).mean(),
        }
        rows.append({"task": run["task"], "row": run["row"], **{name: 100 * rate for name, rate in rates.items()}})
    frame = pandas.DataFrame(rows, columns=["task", "row", *RULES])
    groups = frame.groupby(["task", "row"], sort=False)
    return groups[list(RULES)].mean().assign(seeds=groups.size()).reset_index()


def expert_return(task: str) -> float | None:
    """Return the mean return of a task's shipped expert, from its card; None where none ships."""
    if task not in experts.shipped_names():
        return None
    return float(experts.shipped_card(task)["evaluation"]["mean_action"]["return"])
