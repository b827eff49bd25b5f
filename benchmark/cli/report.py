"""``bench report``: the page, the figures and the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..store.paths import user_path
from .lists import listed


def report(
    runs: Annotated[Path, typer.Argument(parser=user_path, help="Folder of all runs, or a pack.")] = Path("runs"),
    out: Annotated[
        Path | None,
        typer.Option(parser=user_path, metavar="PATH", help="Where to write; the folder `report` in RUNS by default."),
    ] = None,
    suite: Annotated[str | None, typer.Option(help="Only this suite; all by default, each apart.")] = None,
    figure: Annotated[
        str | None, typer.Option(help="Only these figures, comma-separated, such as costs; all by default.")
    ] = None,
    reference: Annotated[
        bool, typer.Option(help="Draw the reference results that ship beside runs of the same suite and tasks.")
    ] = True,
) -> None:
    """Write the page, every figure (PNG, PDF) and every table (CSV, LaTeX) from run folders and packs of results."""
    from reports.build import build

    from ..config import usable_cores

    figures = listed(figure) if figure else []
    made = build(runs, out, suite, figures=figures, processes=min(usable_cores(), 4), reference=reference)
    typer.echo(f"{made.page.resolve()}\n{made.summary}")
