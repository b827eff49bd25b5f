"""The plates of one suite's scores: Figures 1, 4 and 5, and the statistics that the field now asks for."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from shlex import quote
from typing import TYPE_CHECKING, Literal

from ..analysis import learning, scores
from ..analysis.coverage import one_task_range
from ..data.collect import Suite
from .ablations import cell_scores
from .costs import costs
from .curves import learning_curves
from .encoder_styles import encoder_name
from .interval_notes import ENOUGH_SEEDS, interval_note, one_task_note
from .scores import aggregate_panels, improvement_dots, performance_profiles, score_bars, task_dots
from .specification import Plate

if TYPE_CHECKING:
    import pandas

VANILLA = ("frankmocap_hand", "frankmocap_body", "alphapose")
PAPER_ENCODERS = "hindex,vc1,mvp,r3m,rrl"
AREA = "area under the learning curve (% of best)"
NO_RUNS = "no finished run of an encoder"
ALONE = "no second encoder with finished runs to compare with"
INTERVALS = "Whiskers: 95 % stratified bootstrap over seeds, corrected for few seeds; the normaliser is held fixed."


def one_task_words() -> str:
    """What a reader has to know of the intervals of a single task."""
    low, high = (f"{100 * share:.0f}" for share in one_task_range(3, 5))
    return (
        f"Of one task, 95 % intervals from 3 to 5 seeds cover {low} to {high} % in simulation: what they promise where "
        "seeds are spread normally, less where they are skewed or some collapse; the shares stand under “How certain "
        "this is”."
    )


def intervals(tasks: int) -> str:
    """What a caption says of intervals over so many tasks."""
    return INTERVALS if tasks != 1 else f"{INTERVALS} {one_task_words()}"


def _covered(seeds: Iterable[float]) -> tuple[float, float] | None:
    """Simulated coverage on one task of intervals of so many seeds each; None where none has enough of them."""
    enough = [int(count) for count in seeds if count >= ENOUGH_SEEDS]
    return one_task_range(min(enough), max(enough)) if enough else None


def score_plates(suite: Suite) -> list[Plate]:
    """How well encoders do."""
    return [average_score(suite), vanilla(suite), tasks_by_score(suite), success_rates(suite)]


def learning_plates(suite: Suite) -> list[Plate]:
    """How fast they get there."""
    return [curves(suite, "return"), curves(suite, "success"), efficiency(suite)]


def statistics_plates(suite: Suite) -> list[Plate]:
    """How far to trust a difference."""
    return [aggregates(suite), profiles(suite), improvements(suite)]


def spending_plates(suite: Suite) -> list[Plate]:
    """What it takes."""
    return [expenses(suite)]


def command(suite: Suite, arguments: str) -> str:
    """A ``bench`` command on this suite's preset and folder."""
    return f"bench {arguments} --preset {quote(suite.preset)} --out {quote(str(suite.folder))}"


def paper_command(suite: Suite) -> str:
    """The runs of Figure 1."""
    return command(suite, f"run --encoder {PAPER_ENCODERS} --task all --seed 0,1,2")


def average_score(suite: Suite) -> Plate:
    """Figure 1."""
    told = (
        "Return of each encoder over the best encoder's, in per cent, averaged over the tasks; best evaluation of each "
        f"run, mean over seeds. {intervals(len(suite.comparison.tasks))}"
    )
    bars = mean_bars(suite, suite.aggregates)
    return Plate(
        "fig01_average_score",
        "Figure 1: normalised average score",
        told,
        partial(score_bars, bars) if suite.compares else None,
        paper_command(suite),
        ALONE,
        tables=("scores-return-best",),
    )


def mean_bars(suite: Suite, table: pandas.DataFrame) -> pandas.DataFrame:
    """The mean score of every row with its corrected interval; rows that lack tasks say how many they have."""
    table = table[table["statistic"] == "mean"]
    lacking = table["tasks"] < table["of_tasks"]
    table = table.assign(
        **{"low": table["corrected_low"], "high": table["corrected_high"], "synthetic": suite.synthetic},
        part=[
            f"{have} of {of} tasks" if lacks else ""
            for have, of, lacks in zip(table["tasks"], table["of_tasks"], lacking, strict=True)
        ],
        published=[_published(suite, row) for row in table["row"]],
    )
    columns = ["row", "value", "low", "high", "seeds", "tasks", "part", "published", "synthetic"]
    return table[columns].dropna(subset=["value"])


def tasks_by_score(suite: Suite) -> Plate:
    """Every encoder on every task."""
    cells = cell_scores(suite.comparison).assign(synthetic=suite.synthetic)
    seeds = [float(count) for count in cells["seeds"]]
    note = one_task_note(interval_note(seeds), _covered(seeds))
    return Plate(
        "scores_by_task",
        "Normalised score by task",
        f"100 is the best encoder of a task. {INTERVALS} {one_task_words()}",
        partial(task_dots, cells, label="normalised score", note=note) if suite.compares else None,
        paper_command(suite),
        ALONE,
        tables=("scores-return-best",),
    )


def success_rates(suite: Suite) -> Plate:
    """Success beside return."""
    import pandas

    runs = suite.runs[suite.runs["used"] & suite.runs["row"].isin(suite.comparison.rows)]
    rates = runs.groupby(["task", "row"])["success_best"].agg(value="mean", seeds="count").reset_index()
    rates["value"] *= 100
    cells = pandas.DataFrame(rates).assign(synthetic=suite.synthetic)
    return Plate(
        "success_rates",
        "Success rate by task",
        "Share of evaluation episodes that succeed, at the best evaluation of each run, mean over seeds.",
        partial(task_dots, cells, limits=(-4, 104), note="mean over seeds") if len(cells) else None,
        paper_command(suite),
        NO_RUNS,
        tables=("success-best",),
    )


def curves(suite: Suite, quantity: Literal["return", "success"]) -> Plate:
    """Figure 4, and the same of success."""
    frame = suite.curves[suite.curves["row"].isin(suite.comparison.rows)]
    several = len(frame) and frame[frame["iteration"] >= 0].groupby(["task", "row", "seed"]).size().max() > 1
    paper = quantity == "return"
    seeds = frame[frame["used"]].groupby(["task", "row"])["seed"].nunique() if len(frame) else ()
    return Plate(
        "fig04_learning_curves" if paper else "success_curves",
        "Figure 4: learning curves" if paper else "Learning curves: success rate",
        "Evaluation over environment steps, beginning with the cloned policy; mean over seeds and its 95 % band from "
        f"three seeds on, each seed a thin line below that. A cross ends a run that did not finish. {one_task_words()}",
        partial(learning_curves, frame, quantity=quantity, coverage=_covered(seeds)) if several else None,
        paper_command(suite),
        "no run that was evaluated more than once",
        wide=True,
    )


def efficiency(suite: Suite) -> Plate:
    """Sample efficiency."""
    speed = learning.learning_speed(suite.curves)
    speed = speed[speed["row"].isin(suite.comparison.rows)]
    means = speed.groupby(["task", "row"])["mean_return"].agg(value="mean", seeds="count").reset_index()
    best = means.groupby("task")["value"].transform("max")
    cells = means.assign(value=(100 * means["value"] / best).where(best > 0), synthetic=suite.synthetic)
    cells = cells.dropna(subset=["value"])
    return Plate(
        "sample_efficiency",
        "Sample efficiency",
        "Area under the learning curve from cloning on, per cent of the best encoder's: what is learned early counts. "
        "Tasks on which no encoder has a positive area are left out.",
        partial(task_dots, cells, label=AREA, note="mean over seeds") if suite.compares and len(cells) else None,
        paper_command(suite),
        ALONE,
        tables=("efficiency",),
    )


def vanilla(suite: Suite) -> Plate:
    """Figure 5."""
    rows = [row for row in suite.comparison.rows if encoder_name(row) in (*VANILLA, "r3m", "rrl", "hindex")]
    bars = shared_bars(suite, rows) if any(encoder_name(row) in VANILLA for row in rows) else None
    shared = 0 if bars is None else int(bars["tasks"].max())
    return Plate(
        "fig05_vanilla",
        "Figure 5: vanilla representations",
        "ResNet-50 encoders without adaptation beside hindex, averaged over the tasks that all of them have. "
        f"{intervals(shared)}",
        None if bars is None else partial(score_bars, bars),
        command(suite, "ablate vanilla --seed 0,1,2"),
        "no run of frankmocap_hand, frankmocap_body or alphapose on a task that the others have",
        tables=("scores-return-best",),
    )


def shared_bars(suite: Suite, rows: list[str]) -> pandas.DataFrame | None:
    """Mean scores of some rows over the tasks that all of them have; None where they share none."""
    used = suite.runs[suite.runs["used"] & suite.runs["row"].isin(rows)]
    tasks = used.groupby("row")["task"].agg(set)
    shared = set.intersection(*tasks) if len(tasks) > 1 else set()
    if not shared:
        return None
    return mean_bars(suite, scores.aggregates(scores.compare(used[used["task"].isin(shared)], rows)))


def aggregates(suite: Suite) -> Plate:
    """Mean, interquartile mean and optimality gap."""
    table = suite.aggregates
    table = table.assign(low=table["corrected_low"], high=table["corrected_high"], synthetic=suite.synthetic)
    table["statistic"] = table["statistic"].replace("interquartile mean", "IQM")
    return Plate(
        "aggregates",
        "Mean, interquartile mean (IQM) and optimality gap",
        "The interquartile mean leaves out the best and the worst quarter of all runs; the optimality gap is how far "
        f"runs stay below 100 on average, so less is better. {intervals(len(suite.comparison.tasks))}",
        partial(aggregate_panels, table) if suite.compares else None,
        paper_command(suite),
        ALONE,
        wide=True,
        tables=("aggregates-fixed",),
    )


def profiles(suite: Suite) -> Plate:
    """Performance profiles."""
    table = scores.profiles(suite.comparison)
    if len(table):
        seeds = {row: int(n[n > 0].min()) for row, n in zip(suite.comparison.rows, suite.comparison.seeds, strict=True)}
        table = table.assign(
            low=table["corrected_low"],
            high=table["corrected_high"],
            seeds=table["row"].map(seeds),
            synthetic=suite.synthetic,
        )
    return Plate(
        "performance_profiles",
        "Performance profiles",
        "The share of all runs, over tasks and seeds, whose score exceeds a threshold; higher lines are better."
        + (f" {one_task_words()}" if len(suite.comparison.tasks) == 1 else ""),
        partial(performance_profiles, table) if suite.compares else None,
        paper_command(suite),
        ALONE,
    )


def improvements(suite: Suite) -> Plate:
    """Probability of improvement of the best-known encoder, or the best one, over each other."""
    comparison, table = suite.comparison, suite.improvements
    hindex = [row for row in comparison.rows if encoder_name(row) == "hindex"]
    pairs = table
    if len(table):
        fewest = {row: int(n[n > 0].min()) for row, n in zip(comparison.rows, comparison.seeds, strict=True)}
        pairs = table[table["row"] == (hindex or comparison.rows)[0]]
        seeds = [min(fewest[row], fewest[other]) for row, other in zip(pairs["row"], pairs["other"], strict=True)]
        low, high = pairs["corrected_low"], pairs["corrected_high"]
        pairs = pairs.assign(low=low, high=high, seeds=seeds, synthetic=suite.synthetic)
    return Plate(
        "probability_of_improvement",
        "Probability of improvement",
        "The chance that a run of one encoder beats a run of another on the same task, averaged over the tasks they "
        "share; an interval that keeps clear of one half is evidence. All pairs are in the table."
        + (f" {one_task_words()}" if len(pairs) and pairs["tasks"].min() == 1 else ""),
        partial(improvement_dots, pairs) if len(pairs) else None,
        paper_command(suite),
        "fewer than two encoders with finished runs on one task",
        tables=("improvement",),
    )


def expenses(suite: Suite) -> Plate:
    """What an encoder costs."""
    table = learning.costs(suite.runs[suite.runs["variant"] == ""])
    machine = ""
    if len(table):
        device, cpu = table.groupby(["device", "cpu"])["runs"].sum().idxmax()
        table = table[(table["device"] == device) & (table["cpu"] == cpu)].assign(synthetic=suite.synthetic)
        machine = f" On {cpu} ({device}); other machines are in the table."
    return Plate(
        "costs",
        "Cost of an encoder",
        "Frames a second while rolling out (median over runs), minutes of a run by stage (mean), and peak memory "
        f"(highest).{machine}",
        partial(costs, table) if len(table) else None,
        paper_command(suite),
        NO_RUNS,
        tables=("costs",),
    )


def _published(suite: Suite, row: str) -> float:
    """The paper's own average score of an encoder on its official weights, where ``published.csv`` has it."""
    table = suite.published
    found = table[(table["encoder"] == row) & (table["task"] == "average") & (table["quantity"] == "score")]
    return float(found["value"].iloc[0]) if len(found) else float("nan")
