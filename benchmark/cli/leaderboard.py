"""``bench leaderboard``: encoders by the success rate of the policies learned on them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..store.paths import user_path
from .lists import task_names


def leaderboard(
    runs: Annotated[
        Path | None,
        typer.Argument(
            parser=user_path, help="Folder of runs, or a pack, ranked among the reference results that ship."
        ),
    ] = None,
    task: Annotated[str | None, typer.Option(help="Tasks that count, comma-separated; all by default.")] = None,
    out: Annotated[
        Path | None, typer.Option(parser=user_path, metavar="DIR", help="Write leaderboard.html and CSV files there.")
    ] = None,
) -> None:
    """Rank encoders by the success rate of their last policies, suite by suite, and write the ranking as a page."""
    from rich.table import Table

    from reports import leaderboard as boards

    from .console import output

    found = boards.rank(runs, tuple(task_names(task)) if task else ())
    console = output()
    for board in found:
        shown = board.shown().drop(columns=["on", "parameters", "weights", "runs"])
        table = Table(*shown.columns, title=f"{board.suite}: success (%)", title_justify="left")
        for line in shown.itertuples(index=False):
            table.add_row(*line)
        console.print(table)
    if out is not None:
        typer.echo(boards.write(found, out).resolve())
