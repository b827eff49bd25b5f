"""What a reader has to know before trusting a page: findings about a set of runs, in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..analysis.scores import FEW_SEEDS, main_rows
from .records import clean

if TYPE_CHECKING:
    import pandas

Kind = Literal[
    "altered",
    "unreadable",
    "unfinished",
    "diverged",
    "outdated",
    "duplicate",
    "suites",
    "weights",
    "unstable",
    "seeds",
    "missing",
    "negative",
    "stand-in",
    "synthetic",
    "reference",
]


ALTERED = "altered since they finished and left out of scores, curves and tables: these files are no longer as recorded"


@dataclass(frozen=True)
class Finding:
    """One thing to know.

    Attributes:
        kind: what sort, for grouping and colour.
        text: a sentence, with what was done about it.
        count: how many runs, rows or cells it concerns.
        items: names of what it concerns, a line each, where a reader has to know every one.
    """

    kind: Kind
    text: str
    count: int = 1
    items: tuple[str, ...] = ()

    def lines(self, most: int) -> list[str]:
        """Return the items, or the first of them and how many more there are."""
        more = len(self.items) - most
        return [*self.items[:most], *([f"and {more} more"] if more > 0 else [])]


def reference_rows(runs: pandas.DataFrame) -> list[Finding]:
    """Return what says which rows are the reference's and not one's own; empty without any."""
    theirs = runs[runs["reference"]]
    if theirs.empty:
        return []
    names = ", ".join(dict.fromkeys(theirs["row"]))
    text = f"{len(theirs)} runs are the reference results that ship, on the same tasks: {names}"
    return [Finding("reference", f"{text}; --no-reference leaves them out", len(theirs))]


def problems(runs: pandas.DataFrame, *side_files: pandas.DataFrame) -> list[Finding]:
    """Return findings about the runs of `reports.data.load.load_runs`, worst first; empty where all is well.

    Args:
        runs: of any number of suites.
        side_files: tables of `load_probe` and `load_adaptations`, for files of theirs that cannot be read.
    """
    found = [*_altered(runs), *_unreadable(runs[runs["status"] != "altered"], "run folders")]
    for table in side_files:
        found += _unreadable(table, "files")
    if runs.empty:
        return found
    found += [*_not_finished(runs), *_outdated(runs), *_duplicates(runs), *_suites(runs)]
    found += [*_two_weights(runs), *_unstable(runs)]
    for suite, group in runs[runs["used"]].groupby("suite"):
        found += [*_few_seeds(str(suite), group), *_missing(str(suite), group), *_negative(str(suite), group)]
    return [*found, *_stand_ins(runs), *_synthetic(runs)]


def refused_places(places: Sequence[tuple[Path, str]], what: str) -> list[Finding]:
    """Return the finding on folders that could not be searched, or packs that could not be read, with the reasons."""
    if not places:
        return []
    items = tuple(f"{clean(str(path))} ({why})" for path, why in places)
    return [Finding("unreadable", what, len(items), items)]


def _altered(runs: pandas.DataFrame) -> Iterator[Finding]:
    some = runs[runs["status"] == "altered"].to_dict("records")
    if some:
        items = tuple(f"{clean(str(run['path']))} ({', '.join(run['altered'])})" for run in some)
        yield Finding("altered", ALTERED, len(some), items)


def _unreadable(table: pandas.DataFrame, what: str) -> Iterator[Finding]:
    bad = table[table["problem"] != ""].to_dict("records")
    if bad:
        items = tuple(f"{clean(str(row['path']))} ({row['problem']})" for row in bad)
        yield Finding("unreadable", f"{what} that cannot be read and are left out", len(bad), items)


def _not_finished(runs: pandas.DataFrame) -> Iterator[Finding]:
    why = {
        "unfinished": "not finished (stopped, crashed or still running)",
        "diverged": "given up because the updates were no longer finite",
    }
    for status, text in why.items():
        some = runs[runs["status"] == status]
        if len(some):
            kind: Kind = "diverged" if status == "diverged" else "unfinished"
            yield Finding(kind, f"{text}, left out of scores but drawn in curves: {_cells(some)}", len(some))


def _outdated(runs: pandas.DataFrame) -> Iterator[Finding]:
    old = runs[(runs["status"] == "finished") & runs["outdated"]]
    if len(old):
        text = (
            "made before the numbers of the task or its frames changed (an earlier results version) and left out of "
            "scores; run again: "
        )
        yield Finding("outdated", text + _cells(old), len(old))


def _duplicates(runs: pandas.DataFrame) -> Iterator[Finding]:
    extra = runs[(runs["status"] == "finished") & ~runs["used"] & ~runs["outdated"]]
    if len(extra):
        yield Finding("duplicate", f"a second run of one cell, left out: {_cells(extra)}", len(extra))


def _suites(runs: pandas.DataFrame) -> Iterator[Finding]:
    counts = runs["suite"].value_counts()
    if len(counts) > 1:
        shown = ", ".join(f"{name} (runs: {count})" for name, count in counts.items())
        yield Finding("suites", f"several suites, reported apart and never pooled: {shown}", len(counts))


def _two_weights(runs: pandas.DataFrame) -> Iterator[Finding]:
    split = runs[runs["row"] != runs["title"]]
    for (suite, title), group in split.groupby(["suite", "title"]):
        same = runs[(runs["suite"] == suite) & (runs["title"] == title)]
        rows = ", ".join(sorted(same.loc[same["task"].isin(group["task"]), "row"].unique()))
        text = f"{title} ran on more than one set of weights in {suite}, so it has more than one row: {rows}"
        yield Finding("weights", text, len(group))


def _unstable(runs: pandas.DataFrame) -> Iterator[Finding]:
    some = runs[runs["unstable"] > 0]
    if len(some):
        total = int(some["unstable"].sum())
        yield Finding("unstable", f"episodes that became unstable and ended early, in {_cells(some)}", total)


def _few_seeds(suite: str, used: pandas.DataFrame) -> Iterator[Finding]:
    seeds = used.groupby(["row", "task"])["seed"].nunique()
    one, few = seeds[seeds == 1], seeds[(seeds > 1) & (seeds < FEW_SEEDS)]
    if len(one):
        rows = ", ".join(sorted(one.index.get_level_values("row").unique()))
        yield Finding("seeds", f"one seed only, so no interval, in {suite}: {rows}", len(one))
    if len(few):
        rows = ", ".join(sorted(few.index.get_level_values("row").unique()))
        text = f"fewer than {FEW_SEEDS} seeds, so intervals say little, in {suite}: {rows}"
        yield Finding("seeds", text, len(few))


def _missing(suite: str, used: pandas.DataFrame) -> Iterator[Finding]:
    tasks = set(used["task"])
    lacking = {row: tasks - set(group["task"]) for row, group in used[used["variant"] == ""].groupby("row")}
    lacking = {row: gone for row, gone in lacking.items() if gone}
    if lacking:
        shown = "; ".join(f"{row} lacks {_some(sorted(gone))}" for row, gone in sorted(lacking.items()))
        count = sum(map(len, lacking.values()))
        yield Finding("missing", f"tasks without a usable run in {suite}; averages are over the others: {shown}", count)


def _negative(suite: str, used: pandas.DataFrame) -> Iterator[Finding]:
    compared = used[used["row"].isin(main_rows(used))]
    best = compared.groupby(["task", "row"])["return_best"].mean().groupby("task").max()
    tasks = sorted(best[best <= 0].index)
    if tasks:
        text = f"the best return is not positive on {_some(tasks)} in {suite}; scores there are min-max over encoders"
        yield Finding("negative", text, len(tasks))


def _stand_ins(runs: pandas.DataFrame) -> Iterator[Finding]:
    some = runs[runs["weights_label"] != ""]
    if len(some):
        rows = ", ".join(sorted(some["row"].unique()))
        yield Finding("stand-in", f"not on official weights, and so called everywhere: {rows}", len(some))


def _synthetic(runs: pandas.DataFrame) -> Iterator[Finding]:
    count = int(runs["synthetic"].sum())
    if count:
        yield Finding("synthetic", "synthetic runs: their numbers are invented, for tests", count)


def _cells(runs: pandas.DataFrame) -> str:
    return _some([f"{run['title']} on {run['task']} seed {run['seed']}" for run in runs.to_dict("records")])


def _some(names: list[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
