"""How well encoders do: average scores, scores and success rates by task; Figures 1 and 5."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ..analysis import scores
from ..data.collect import Suite
from .charts import score_bars, task_dots
from .interval_notes import INTERVALS, interval_note, intervals, one_task_coverage_of, one_task_note, one_task_words
from .specification import Drawing, figure

if TYPE_CHECKING:
    import pandas

VANILLA = ("frankmocap_hand", "frankmocap_body", "alphapose")
PAPER_ENCODERS = "hindex,vc1,mvp,r3m,rrl"
PAPER_RUNS = f"run --encoder {PAPER_ENCODERS} --task all --seed 0,1,2"
"""Arguments of the command that makes the runs of Figure 1."""
NO_RUNS = "a finished run of an encoder"
ALONE = "a second encoder with finished runs to compare with"


@figure(
    "fig01_average_score",
    section="scores",
    title="Figure 1: normalised average score",
    caption="Return of each encoder over the best encoder's, in per cent, averaged over the tasks; best evaluation of "
    "each run, mean over seeds.",
    command=PAPER_RUNS,
    missing=ALONE,
    tables=("scores-return-best",),
)
def average_score(suite: Suite) -> Drawing | None:
    """Prepare the average score of every main encoder."""
    if not suite.compares:
        return None
    return Drawing(partial(score_bars, mean_bars(suite, suite.aggregates)), intervals(len(suite.comparison.tasks)))


@figure(
    "fig05_vanilla",
    section="scores",
    title="Figure 5: vanilla representations",
    caption="ResNet-50 encoders without adaptation beside hindex, averaged over the tasks that all of them have.",
    command="ablate vanilla --seed 0,1,2",
    missing="a run of frankmocap_hand, frankmocap_body or alphapose on a task that the others have",
    tables=("scores-return-best",),
)
def vanilla(suite: Suite) -> Drawing | None:
    """Prepare average scores of the ResNet-50 encoders over the tasks that all of them have."""
    encoders = {row: suite.parts.loc[row, "encoder"] for row in suite.comparison.rows}
    rows = [row for row, encoder in encoders.items() if encoder in (*VANILLA, "r3m", "rrl", "hindex")]
    used = suite.runs[suite.runs["used"] & suite.runs["row"].isin(rows)]
    tasks = used.groupby("row")["task"].agg(set)
    shared = set.intersection(*tasks) if len(tasks) > 1 else set()
    if not shared or not any(encoders[row] in VANILLA for row in rows):
        return None
    bars = mean_bars(suite, scores.aggregates(scores.compare(used[used["task"].isin(shared)], rows)))
    return Drawing(partial(score_bars, bars), intervals(int(bars["tasks"].max())))


@figure(
    "scores_by_task",
    section="scores",
    title="Normalised score by task",
    caption=f"100 is the best encoder of a task. {INTERVALS}",
    command=PAPER_RUNS,
    missing=ALONE,
    tables=("scores-return-best",),
)
def scores_by_task(suite: Suite) -> Drawing | None:
    """Prepare the score of every encoder on every task."""
    if not suite.compares:
        return None
    cells = suite.labelled(scores.cell_scores(suite.comparison))
    seeds = [float(count) for count in cells["seeds"]]
    note = one_task_note(interval_note(seeds), one_task_coverage_of(seeds))
    return Drawing(partial(task_dots, cells, label="normalised score", note=note), one_task_words())


@figure(
    "success_rates",
    section="scores",
    title="Success rate by task",
    caption="Share of evaluation episodes that succeed, at the best evaluation of each run, mean over seeds.",
    command=PAPER_RUNS,
    missing=NO_RUNS,
    tables=("success-best",),
)
def success_rates(suite: Suite) -> Drawing | None:
    """Prepare the success rate of every encoder on every task."""
    runs = suite.runs[suite.runs["used"] & suite.runs["row"].isin(suite.comparison.rows)]
    rates = runs.groupby(["task", "row"])["success_best"].agg(value="mean", seeds="count").reset_index()
    cells = suite.labelled(rates.assign(value=100 * rates["value"]))
    return Drawing(partial(task_dots, cells, limits=(-4, 104), note="mean over seeds")) if len(cells) else None


def mean_bars(suite: Suite, aggregates: pandas.DataFrame) -> pandas.DataFrame:
    """Return every row's mean score with its corrected interval; rows that lack tasks say how many they have."""
    table = aggregates[aggregates["statistic"] == "mean"]
    table = suite.labelled(table).assign(
        low=table["corrected_low"],
        high=table["corrected_high"],
        part=part(table),
        published=[_published(suite, row) for row in table["row"]],
    )
    return table.dropna(subset=["value"])


def part(table: pandas.DataFrame) -> list[str]:
    """Return what to say of rows that lack tasks, from the columns `tasks` and `of_tasks`; nothing of the others."""
    pairs = zip(table["tasks"], table["of_tasks"], strict=True)
    return [f"{have} of {of} tasks" if have < of else "" for have, of in pairs]


def _published(suite: Suite, row: str) -> float:
    """Return the paper's average score of an encoder on its official weights, NaN where ``published.csv`` has none."""
    table = suite.published
    found = table[(table["encoder"] == row) & (table["task"] == "average") & (table["quantity"] == "score")]
    return float(found["value"].iloc[0]) if len(found) else float("nan")
