"""Progress and results on the terminal."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from ..store.episodes import CLONED, UNTRAINED

if TYPE_CHECKING:
    from ..runner.runner import RunResult

PLAIN_LINE_SECONDS = 20.0
PACE_SECONDS = 300.0
"""Seconds of recent progress from which the remaining time is estimated; stages differ in speed."""
PIPE_WIDTH = 140
RUN, SCORES = ("task", "encoder", "seed"), ("untrained", "cloned", "final", "best")


class SpeedColumn(ProgressColumn):
    """Frames per second of late, where a step is a frame."""

    def render(self, task: Task) -> Text:
        """Return the text of the column."""
        return Text("" if task.speed is None else f"{task.speed:.3g}/s")


class ConsoleProgress:
    """A live bar with an ETA on a terminal; elsewhere, an occasional line."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._title = self._stage = ""
        self._done = self._total = 0
        self._began = self._since = 0.0
        self._kinds: set[str] = set()
        self._marks: deque[tuple[float, int]] = deque()

    def begin(self, title: str, steps: int) -> None:
        """Start a run's bar."""
        self._title, self._stage, self._total = title, "", steps
        self._done = 0
        self._began = self._since = time.monotonic()
        self._kinds.clear()
        self._marks.clear()
        self._console.print(title, style="bold")
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description:24}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("steps"),
                SpeedColumn(),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(elapsed_when_finished=False),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task("", total=steps)
            self._bar.start()

    def stage(self, name: str) -> None:
        """Name the current stage; its first word says of what kind it is."""
        self._stage = name
        kind = name.split(" ")[0]
        if kind not in self._kinds:  # the pace so far tells nothing about work of another kind
            self._kinds.add(kind)
            self._since = time.monotonic()
            self._marks.clear()
        if self._bar is not None:
            self._bar.update(self._task, description=name)

    def advance(self, steps: int) -> None:
        """Move the bar."""
        self._done += steps
        if self._bar is not None:
            self._bar.advance(self._task, steps)
        else:
            self._advance_plain(time.monotonic())

    def _advance_plain(self, now: float) -> None:
        """Print a line now and then, with the speed from the second on: preparations would spoil that of the first."""
        last = self._marks[-1][0] if self._marks else self._since
        speak = now - last > PLAIN_LINE_SECONDS
        if speak:
            self.say(f"{self._stage}: {self._done}/{self._total} steps{self._speed(now)}")
        if speak or not self._marks:
            self._marks.append((now, self._done))
        while len(self._marks) > 1 and now - self._marks[0][0] > PACE_SECONDS:
            self._marks.popleft()

    def _speed(self, now: float) -> str:
        """Return steps per second since the last line and the remaining time; nothing on the first line."""
        if not self._marks:
            return ""
        (first, done_then), (last, done_last) = self._marks[0], self._marks[-1]
        speed = (self._done - done_last) / (now - last)
        left = (now - first) * (self._total - self._done) / max(self._done - done_then, 1)
        return f", {speed:.3g}/s, {duration(left)} left"

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._console.print(f"  {line}")

    def end(self) -> None:
        """Print how long it took."""
        self.close()
        self.say(f"done in {duration(time.monotonic() - self._began)}")

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def print_results(results: Sequence[tuple[str, int, RunResult]], caption: str) -> None:
    """Print (task, seed, result) of each run: a table, or two lines per run where the terminal is too narrow for it."""
    title = "Results: evaluation return (success rate)"
    once = all(len(result.evaluations) == 1 for *_, result in results)
    columns = [_columns(result, once) for *_, result in results]
    headings = [name for name in SCORES if any(name in scores for scores in columns)]
    rows = [
        (task, result.title, str(seed), *(_score(scores.get(name)) for name in headings))
        for (task, seed, result), scores in zip(results, columns, strict=True)
    ]
    console = output()
    widths = [max(map(len, column)) for column in zip((*RUN, *headings), *rows, strict=True)]
    if sum(widths) + 3 * len(widths) + 1 > console.width:
        _print_lines(console, title, headings, rows, caption)
        return
    table = Table(title=title, caption=caption, caption_justify="left")
    for heading in RUN:
        table.add_column(heading, no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _columns(result: RunResult, once: bool) -> dict[str, tuple[float, float]]:
    """Return a run's scores by heading; ``once`` where no run was evaluated more than once, so all of them cloned."""
    scores = result.evaluations
    if once:
        return {"cloned": next(iter(scores.values()))}
    named = {"untrained": UNTRAINED, "cloned": CLONED, "final": max(scores)}
    named["best"] = max(scores, key=lambda iteration: scores[iteration][0])
    return {name: scores[iteration] for name, iteration in named.items() if iteration in scores}


def output() -> Console:
    """Return a console for tables on standard output, wide where it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)


def _print_lines(
    console: Console, title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], caption: str
) -> None:
    """Print the same without columns; scores stay whole."""
    console.print(title, style="italic")
    for task, encoder, seed, *scores in rows:
        console.print(f"{task} · {encoder} · seed {seed}", soft_wrap=True)
        line = ""
        for name, score in zip(headings, scores, strict=True):
            if line and len(f"{line}   {name} {score}") > console.width:
                console.print(line)
                line = ""
            line = f"{line}   {name} {score}" if line else f"  {name} {score}"
        console.print(line)
    console.print(caption)


def _score(score: tuple[float, float] | None) -> str:
    return "-" if score is None else f"{score[0]:.1f} ({score[1]:.0%})"


def duration(seconds: float) -> str:
    """Return a time in words: ``0:04:30``, ``2 days, 3:00:00``."""
    return str(timedelta(seconds=round(seconds)))
