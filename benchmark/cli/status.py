"""``bench status``: how far the runs of a folder are."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..store.paths import user_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Group

    from ..config import RunConfig
    from ..runner.status import Overview

WATCH_SECONDS = 5.0


def status(
    runs: Annotated[Path, typer.Argument(parser=user_path, help="Folder of all runs.")] = Path("runs"),
    watch: Annotated[bool, typer.Option("--watch", help="Show it live, until interrupted.")] = False,
) -> None:
    """Show which runs are done, running, stopped, failed and waiting, and the command that goes on with them."""
    from ..runner.status import overview
    from .console import output

    console = output()
    if not watch:
        console.print(_shown(overview(runs)))
        return
    from rich.live import Live

    with Live(_shown(overview(runs)), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(WATCH_SECONDS)
            live.update(_shown(overview(runs)), refresh=True)


def _shown(found: Overview) -> Group:
    """Return the counts, a table of what is not done, and the commands."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from ..runner.status import State
    from .console import duration

    counts = {state: sum(run.state is state for run in found.runs) for state in State}
    lines = [Text(", ".join(f"{count} {state.value}" for state, count in counts.items() if count) or "no runs")]
    table = Table("task", "encoder", "seed", "state", "left", "")
    for run in found.runs:
        if run.state is not State.DONE:
            left = "" if run.seconds_left is None else duration(run.seconds_left)
            table.add_row(run.task, run.title, str(run.seed), run.state.value, left, run.detail)
    commands = [Text(f"go on: {command}") for command in found.commands]
    return Group(*lines, *([table] if table.rows else []), *commands)


def print_matrix(configs: Sequence[RunConfig], out: Path) -> None:
    """Print the runs of a sweep, what they are at, and what those that are not done will take here.

    Raises:
        BenchError, EncoderError, TaskError: something the user can mend.
    """
    from rich.table import Table

    from ..runner.status import State
    from ..runner.status import status as status_of
    from ..runner.sweep import cell_of, check_ready
    from ..speed.matrix import matrix_seconds
    from .console import duration, output

    check_ready(configs)
    found = [status_of(cell_of(config, out).absolute()) for config in configs]
    left = [config for config, run in zip(configs, found, strict=True) if run.state is not State.DONE]
    seconds = iter(matrix_seconds(left, lambda line: typer.echo(line, err=True)))
    table, total = Table("task", "encoder", "seed", "state", "takes"), 0.0
    for run in found:
        spent = 0.0 if run.state is State.DONE else next(seconds)
        total += spent
        takes = duration(spent) if spent else ""
        table.add_row(run.task, run.title, str(run.seed), run.state.value, takes)
    console = output()
    console.print(table)
    console.print(f"{len(found)} runs, {len(found) - len(left)} done; the others take about {duration(total)} here")
