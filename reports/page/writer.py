"""Plates to files and HTML: each is drawn once a width and saved as PNG, PDF and inline SVG."""

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
from ..figures.specification import Plate
from ..figures.style import COLUMN, PAGE
from ..tables import table
from ..tables.suite_tables import Shelf
from .elements import figure, identifier, table_of
from .inline_svg import inline

RESERVED = ("figures", "tables", "report.html")
"""Names in the folder of a report that no suite's folder may take."""


@dataclass(frozen=True)
class Press:
    """Where a suite's figures and tables go.

    Attributes:
        folder: of the report.
        below: the folder of this suite's figures and tables inside it; empty for the only suite.
        helpers: processes that draw; None to draw here.
    """

    folder: Path
    below: str = ""
    helpers: Executor | None = None

    def figures(self, plates: Sequence[Plate]) -> str:
        """Draw and save the plates that have runs; the HTML that shows them in a grid, empty without any."""
        places = [
            Place(self.folder, self.below, plate, self._files_of_tables(plate)) for plate in plates if plate.drawn
        ]
        printed = _print_with(self.helpers, places) if self.helpers else [print_plate(place) for place in places]
        return f'<div class="figures">\n{"".join(printed)}\n</div>' if printed else ""

    def tables(self, shelf: Shelf) -> str:
        """Save tables as CSV and LaTeX; the HTML that shows them."""
        if not (shelf.shown or shelf.more):
            return ""
        table.write([*shelf.shown, *(each for _, each in shelf.more)], self.folder / path_of(self.below, "tables", ""))
        more = "".join(
            f"<details><summary>{escape(words)}</summary>{self._table(each)}</details>" for words, each in shelf.more
        )
        return "".join(map(self._table, shelf.shown)) + more

    def _table(self, each: table.Table) -> str:
        return table_of(each, [path_of(self.below, "tables", f"{each.name}.{ending}") for ending in ("csv", "tex")])

    def _files_of_tables(self, plate: Plate) -> tuple[str, ...]:
        names = (path_of(self.below, "tables", f"{name}.csv") for name in plate.tables)
        return tuple(name for name in names if (self.folder / name).is_file())


@dataclass(frozen=True)
class Place:
    """One plate and where it goes; what a helper process gets."""

    folder: Path
    below: str
    plate: Plate
    tables: tuple[str, ...]


def print_plate(place: Place) -> str:
    """Draw a plate, save it, and return the HTML that shows it."""
    plate = place.plate
    assert plate.draw is not None
    target = place.folder / path_of(place.below, "figures", "")
    with naming_failures(target):
        target.mkdir(parents=True, exist_ok=True)
    key = identifier(place.below, plate.key)
    wide = ""
    if plate.wide:
        drawn = plate.draw(width=PAGE)
        style.save(drawn, target, f"{plate.key}_wide")
        wide = inline(drawn, f"{key}-wide", plate.title, plate.caption)
    drawn = plate.draw(width=COLUMN)
    style.save(drawn, target, plate.key)
    narrow = inline(drawn, key, plate.title, plate.caption)
    name = f"{plate.key}_wide" if wide else plate.key
    files = [path_of(place.below, "figures", f"{name}.{ending}") for ending in ("pdf", "png")]
    caption = f"<strong>{escape(plate.title)}.</strong> {escape(plate.caption)}"
    return figure(
        wide or narrow, caption, narrow=narrow if wide else "", full=plate.wide, files=[*files, *place.tables]
    )


def _print_with(pool: Executor, places: Sequence[Place]) -> list[str]:
    """Let processes draw plates; the HTML of each.

    Raises:
        OutputError: a process died, or drew for too long.
        ConfigError: processes cannot be started from this one.
    """
    seconds = patience()
    try:
        with starting_workers():
            futures = [pool.submit(print_plate, place) for place in places]
        return [future.result(seconds) for future in futures]
    except BrokenExecutor as error:
        raise OutputError("a process that drew figures was killed; free some memory and run it again") from error
    except FutureTimeout as error:
        raise OutputError(
            f"figures are not drawn after {seconds:g} s; start it again, with {PATIENCE_VARIABLE} set to more seconds "
            "if the machine is only slow"
        ) from error


def path_of(below: str, kind: str, name: str) -> str:
    """The path of a file as the page names it: ``figures/name``, below the suite's folder where there are several."""
    return "/".join(part for part in (below, kind, name) if part)


def own_names(suites: Sequence[str]) -> list[str]:
    """Names for the folders of suites, and for their ids on the page; empty for the only one.

    A suite's own name where it is plain, as names of suites are; others get a number, so that no two are alike.

    >>> own_names(["small-builtin-paper-r2", "tables", "a/b"])
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
def helpers(count: int) -> Iterator[Executor | None]:
    """Processes that draw; none for a count below two.

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
