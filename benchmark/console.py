"""Progress and results on the terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

if TYPE_CHECKING:
    from .runner import RunResult

PLAIN_LINE_SECONDS = 20.0


class ConsoleProgress:
    """A live bar with an ETA on a terminal; elsewhere, a line now and then."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._title = self._stage = ""
        self._done = self._total = 0
        self._began = self._last = 0.0

    def begin(self, title: str, steps: int) -> None:
        """Start a run's bar."""
        self._title, self._stage, self._done, self._total = title, "", 0, steps
        self._began = self._last = time.monotonic()
        self._console.print(title, style="bold")
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description:24}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("steps"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(elapsed_when_finished=False),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task("", total=steps)
            self._bar.start()

    def stage(self, name: str) -> None:
        """Name what is being done."""
        self._stage = name
        if self._bar is not None:
            self._bar.update(self._task, description=name)

    def advance(self, steps: int) -> None:
        """Move the bar."""
        self._done += steps
        if self._bar is not None:
            self._bar.advance(self._task, steps)
        elif time.monotonic() - self._last > PLAIN_LINE_SECONDS:
            self._last = time.monotonic()
            self.say(f"{self._stage}: {self._done}/{self._total} steps, {self._left()} left")

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._console.print(f"  {line}")

    def end(self) -> None:
        """Say how long it took."""
        self.close()
        self.say(f"done in {_clock(time.monotonic() - self._began)}")

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _left(self) -> str:
        spent = time.monotonic() - self._began
        return _clock(spent * (self._total - self._done) / max(self._done, 1))


def print_results(results: Sequence[tuple[str, int, RunResult]], caption: str) -> None:
    """A table of runs: (task, seed, result) each, on standard output."""
    table = Table(title="Results: evaluation return (success rate)", caption=caption, caption_justify="left")
    for heading in ("task", "encoder", "seed"):
        table.add_column(heading)
    for heading in ("untrained", "cloned", "final", "best"):
        table.add_column(heading, justify="right")
    for task, seed, result in results:
        scores = result.evaluations
        best = max(scores, key=lambda iteration: scores[iteration][0])
        cells = [_score(scores.get(-1)), _score(scores.get(0)), _score(scores[max(scores)]), _score(scores[best])]
        table.add_row(task, result.title, str(seed), *cells)
    Console(width=None if sys.stdout.isatty() else 110).print(table)


def _score(score: tuple[float, float] | None) -> str:
    return "-" if score is None else f"{score[0]:.1f} ({score[1]:.0%})"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
