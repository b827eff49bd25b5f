"""Runs and packs to a ranking: lines for a terminal, one page, and a CSV for each suite."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.store.atomic import write_bytes
from benchmark.store.paths import user_path
from benchmark.store.provenance import package_version
from benchmark.store.run_folder import check_writable

from .analysis.leaderboard import ranking
from .analysis.scores import task_order
from .data import load
from .data.collect import NothingToReport
from .data.reference import FOLDER, packs
from .page import elements
from .page.elements import MISSING, identifier
from .page.page import Page, Section, render
from .page.writer import folder_names

if TYPE_CHECKING:
    import pandas

PAGE = "leaderboard.html"
HEADINGS = ("rank", "encoder", "success")


@dataclass(frozen=True)
class Board:
    """The ranking of one suite.

    Attributes:
        suite: its name.
        table: see `reports.analysis.leaderboard.ranking`.
        cells: success by row and task, in per cent.
        synthetic: whether any run is invented.
    """

    suite: str
    table: pandas.DataFrame
    cells: pandas.DataFrame
    synthetic: bool = False

    @property
    def tasks(self) -> tuple[str, ...]:
        """In the paper's order."""
        return task_order(list(self.cells["task"].unique()))

    def shown(self) -> pandas.DataFrame:
        """Return the ranking as a reader sees it: one column a task, then what each row is made of."""
        import pandas

        by_task = self.cells.pivot(index="row", columns="task", values="success")
        lines: list[dict[str, Any]] = []
        for line in self.table.to_dict("records"):
            success = f"{line['success']:.0f}"
            if not math.isnan(line["low"]):
                success += f" [{line['low']:.0f}, {line['high']:.0f}]"
            if line["tasks"] < line["of_tasks"]:
                success += f" ({line['tasks']} of {line['of_tasks']} tasks)"
            parameters = line["parameters"]
            lines.append(
                {
                    **dict(zip(HEADINGS, (_whole(line["rank"]), line["row"], success), strict=True)),
                    **{task: _whole(by_task.loc[line["row"], task]) for task in self.tasks},
                    **{"seeds": str(line["seeds"]), "minutes a run": f"{line['minutes']:.1f}", "on": line["cpu"]},
                    "parameters": f"{parameters / 1e6:.1f} M"
                    if isinstance(parameters, int) and parameters
                    else MISSING,
                    **{"weights": line["weights"] or MISSING, "runs": line["runs_sha256"], "from": line["source"]},
                }
            )
        return pandas.DataFrame(lines)


def rank(runs: Path | None = None, tasks: tuple[str, ...] = ()) -> list[Board]:
    """Return the rankings of one's own runs among the reference's, or of the reference alone.

    Args:
        runs: a folder of runs, or a pack; None for the reference alone.
        tasks: that count; all by default.

    Raises:
        NothingToReport: there is no usable run, or none of these tasks.
    """
    place = FOLDER if runs is None else user_path(runs)
    if not place.exists():
        raise NothingToReport(f"{place} is neither a folder of runs nor a pack")
    found = load.load_runs(place, packs() if runs is not None else ())
    found = found[found["used"] & (found["task"].isin(tasks) if tasks else True)]
    if found.empty:
        raise NothingToReport(f"no finished run in {place}{' of ' + ', '.join(tasks) if tasks else ''}")
    boards = []
    for suite in load.suites(found):
        own = found[found["suite"] == suite]
        boards.append(Board(suite, *ranking(own), synthetic=bool(own["synthetic"].any())))
    return boards


def write(boards: list[Board], out: Path) -> Path:
    """Write the page and a CSV for each suite; return the page's path.

    Raises:
        OutputError: `out` cannot be written.
    """
    target = user_path(out)
    check_writable(target)
    sections = []
    for board, below in zip(boards, folder_names([board.suite for board in boards]), strict=True):
        name = f"leaderboard{'-' if below else ''}{below}.csv"
        write_bytes(target / name, board.table.to_csv(index=False).encode())
        caption = (
            "Success rate of the last policy in per cent: the mean over tasks with its 95 % interval over seeds "
            "(stratified bootstrap corrected for few seeds), then by task. A row that lacks a task has no rank, "
            "nor has one that is told the simulator's state. "
            "Weights: first digits of the file's sha256; runs: of the identities of its runs."
        )
        table = elements.table(board.shown(), caption=escape(caption) + elements.file_links([name]))
        sections.append(Section(identifier("suite", board.suite), f"Suite {board.suite}", table, board.suite))
    rows = sum(len(board.table) for board in boards)
    invented = any(board.synthetic for board in boards)
    loud = '<li class="loud">synthetic: numbers invented for tests</li>' if invented else ""
    page = Page(
        title="H-InDex Bench: leaderboard",
        heading="Visual representations in dexterous manipulation",
        kicker="H-InDex Bench leaderboard",
        lede=f'<p class="lede">Encoders by the success rate of the policies learned on them. Suites have settings of '
        f'their own and are never pooled.</p><ul class="badges">{loud}<li>{rows} rows</li></ul>',
        sections=sections,
        version=package_version(),
    )
    write_bytes(target / PAGE, render(page).encode())
    return target / PAGE


def _whole(value: float) -> str:
    return MISSING if math.isnan(value) else f"{value:.0f}"
