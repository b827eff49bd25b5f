"""Writes figures and tables to files and HTML: each figure is drawn once per width, as PNG, PDF and inline SVG."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path

from benchmark.errors import OutputError
from benchmark.rollout.worker_pool import PATIENCE_VARIABLE, follow_parent, patience, starting_workers
from benchmark.store.atomic import naming_failures

from ..figures import style
from ..figures.specification import PreparedFigure
from ..figures.style import COLUMN, PAGE
from ..tables import table
from ..tables.suite_tables import SectionTables
from .elements import figure, identifier, table_of
from .inline_svg import inline

RESERVED = ("figures", "tables", "report.html")
"""Names in the folder of a report that no suite's folder may take."""


@dataclass(frozen=True)
class Writer:
    """Where a suite's figures and tables go.

    Attributes:
        folder: of the report.
        below: the folder of this suite's figures and tables inside it; empty for the only suite.
        processes: that draw; None to draw here.
    """

    folder: Path
    below: str = ""
    processes: Executor | None = None

    def figures(self, prepared: Sequence[PreparedFigure]) -> str:
        """Draw and save the figures that have runs; return the HTML that shows them in a grid, empty without any."""
        jobs = [Job(self.folder, self.below, one, self._files_of_tables(one)) for one in prepared if one.drawn]
        written = _write_with(self.processes, jobs) if self.processes else [write_figure(job) for job in jobs]
        return f'<div class="figures">\n{"".join(written)}\n</div>' if written else ""

    def tables(self, tables: SectionTables) -> str:
        """Save tables as CSV and LaTeX; return the HTML that shows them."""
        if not (tables.shown or tables.more):
            return ""
        table.write(
            [*tables.shown, *(each for _, each in tables.more)], self.folder / path_of(self.below, "tables", "")
        )
        more = "".join(
            f"<details><summary>{escape(words)}</summary>{self._table(each)}</details>" for words, each in tables.more
        )
        return "".join(map(self._table, tables.shown)) + more

    def _table(self, each: table.Table) -> str:
        return table_of(each, [path_of(self.below, "tables", f"{each.name}.{ending}") for ending in ("csv", "tex")])

    def _files_of_tables(self, prepared: PreparedFigure) -> tuple[str, ...]:
        names = (path_of(self.below, "tables", f"{name}.csv") for name in prepared.specification.tables)
        return tuple(name for name in names if (self.folder / name).is_file())


@dataclass(frozen=True)
class Job:
    """One figure to draw and where it goes; what another process gets."""

    folder: Path
    below: str
    prepared: PreparedFigure
    tables: tuple[str, ...]


def write_figure(job: Job) -> str:
    """Draw a figure, save it, and return the HTML that shows it."""
    specification, caption, draw = job.prepared.specification, job.prepared.caption, job.prepared.draw
    assert draw is not None
    target = job.folder / path_of(job.below, "figures", "")
    with naming_failures(target):
        target.mkdir(parents=True, exist_ok=True)

    def written(width: float, ending: str) -> str:
        drawn = draw(width=width)
        style.save(drawn, target, f"{specification.name}{ending}")
        return inline(drawn, identifier(job.below, f"{specification.name}{ending}"), specification.title, caption)

    wide = written(PAGE, "_wide") if specification.wide else ""
    narrow = written(COLUMN, "")
    name = f"{specification.name}{'_wide' if wide else ''}"
    files = [path_of(job.below, "figures", f"{name}.{ending}") for ending in ("pdf", "png")]
    shown = f"<strong>{escape(specification.title)}.</strong> {escape(caption)}"
    return figure(wide or narrow, shown, narrow=narrow if wide else "", full=bool(wide), files=[*files, *job.tables])


def _write_with(pool: Executor, jobs: Sequence[Job]) -> list[str]:
    """Let processes draw figures; return the HTML of each.

    Raises:
        OutputError: a process died, or drew for too long.
        ConfigError: processes cannot be started from this one.
    """
    seconds = patience()
    try:
        with starting_workers():
            futures = [pool.submit(write_figure, job) for job in jobs]
        return [future.result(seconds) for future in futures]
    except BrokenExecutor as error:
        raise OutputError("a process that drew figures was killed; free some memory and run it again") from error
    except FutureTimeout as error:
        raise OutputError(
            f"figures are not drawn after {seconds:g} s; start it again, with {PATIENCE_VARIABLE} set to more seconds "
            "if the machine is only slow"
        ) from error


def path_of(below: str, kind: str, name: str) -> str:
    """Return a file's path as the page names it: ``figures/name``, in the suite's folder where there are several."""
    return "/".join(part for part in (below, kind, name) if part)


def folder_names(suites: Sequence[str]) -> list[str]:
    """Return names for the folders of suites and their ids on the page; empty for the only one.

    A suite's own name where it is plain, as names of suites are; others get a number, so that no two are alike.

    >>> folder_names(["small-builtin-paper-r2", "tables", "a/b"])
    ['small-builtin-paper-r2', 'tables-2', 'a-b-3']
    """
    if len(suites) < 2:
        return [""] * len(suites)
    found: list[str] = []
    for number, suite in enumerate(suites, 1):
        plain = re.sub(r"[^A-Za-z0-9_.+-]+", "-", suite)[:80].lstrip(".")
        alone = plain == suite and plain not in RESERVED
        alone = alone and all(identifier(plain) != identifier(other) for other in [*found, *suites[number:]])
        found.append(plain if alone and identifier(plain) else f"{plain}-{number}")
    return found


@contextmanager
def drawing_processes(count: int) -> Iterator[Executor | None]:
    """Start processes that draw; none for a count below two.

    They start afresh and import what they need, which is nothing of the calling script.
    """
    if count < 2:
        yield None
        return
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=follow_parent) as pool:
        try:
            yield pool
        except BaseException:
            for process in set(multiprocessing.active_children()) - others:
                process.kill()  # the pool would wait until they are done
            raise
