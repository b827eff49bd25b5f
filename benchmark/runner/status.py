"""How far the runs of a folder are: done, running, stopped, failed or waiting."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from ..config import RunConfig
from ..errors import BenchError
from ..store import sweeps
from ..store.lock import holder
from ..store.paths import user_path
from ..store.run_folder import RunFolder
from ..store.runs import run_paths
from ..store.titles import title_of
from .packed import find_packed


class State(Enum):
    """What a run is at."""

    DONE = "done"
    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"
    WAITING = "waiting"


class RunStatus(NamedTuple):
    """One run.

    Attributes:
        task, title, seed: which.
        state: what it is at.
        detail: who runs it, how far it is, or why it failed; one line.
        seconds_left: until its end, as its iterations so far took; None where that is unknown.
        path: its folder.
    """

    task: str
    title: str
    seed: int
    state: State
    detail: str
    seconds_left: float | None
    path: Path


class Overview(NamedTuple):
    """The runs of a folder.

    Attributes:
        runs: in order of their folders.
        commands: that go on with what is not done.
    """

    runs: list[RunStatus]
    commands: list[str]


def overview(out: Path | str) -> Overview:
    """Look at every run in a folder, and at those that a sweep was asked for; nothing is changed.

    Raises:
        BenchError: the folder cannot be read.
    """
    begun = sweeps.read(out)
    cells = sorted({*run_paths(user_path(out)), *(cell.absolute() for sweep in begun for cell in sweep.cells)})
    runs = [_in_pack(status(cell), out) for cell in cells]
    done = {run.path for run in runs if run.state is State.DONE}
    commands = [one.command for one in begun if one.command and any(cell.absolute() not in done for cell in one.cells)]
    return Overview(runs, commands)


def _in_pack(run: RunStatus, out: Path | str) -> RunStatus:
    """Return a run that waits as done where a pack has it."""
    if run.state is State.WAITING and find_packed(out, run.path) is not None:
        return run._replace(state=State.DONE)
    return run


def status(path: Path) -> RunStatus:
    """Look at one run folder, which may be missing."""
    _, task, encoder, seed = path.parts[-4:]

    def found(state: State, detail: str = "", seconds_left: float | None = None) -> RunStatus:
        number = int(seed.removeprefix("seed-"))
        return RunStatus(task, title_of(encoder), number, state, detail, seconds_left, path)

    folder = RunFolder(path)
    try:
        stored = folder.status
        if stored == "finished":
            return found(State.DONE)
        if by := holder(path):
            progress, left = _progress(folder) if stored == "unfinished" else ("begins", None)
            return found(State.RUNNING, f"{progress}, {by}", left)
        if reason := folder.failure:
            return found(State.FAILED, reason)
        return found(State.STOPPED, _progress(folder)[0]) if stored == "unfinished" else found(State.WAITING)
    except BenchError as error:
        return found(State.FAILED, str(error))


def _progress(folder: RunFolder) -> tuple[str, float | None]:
    """Return how far an unfinished run is, and the seconds that are left at the pace so far."""
    rows = folder.metrics()
    try:
        config = RunConfig.model_validate(folder.config)
    except ValidationError:
        return "settings cannot be read", None
    cloning = config.learner.algorithm == "bc"
    last = config.learner.bc_epochs - 1 if cloning else int(config.learner.iterations or 0)
    if not rows:
        return "before the first evaluation", None
    done = int(rows[-1]["iteration"])
    timed = [sum(_seconds(row)) for row in rows if cloning or row["iteration"] > 0]
    left = (last - done) * sum(timed) / len(timed) if timed else None
    return f"{'epoch' if cloning else 'iteration'} {done} of {last}", left


def _seconds(row: Mapping[str, Any]) -> list[float]:
    seconds = row.get("seconds")
    return [float(value) for value in seconds.values()] if isinstance(seconds, dict) else []
