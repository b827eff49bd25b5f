"""``bench verify`` and ``bench doctor``: are the files whole, and what can this machine do?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..store.paths import user_path


def verify(
    runs: Annotated[Path, typer.Argument(parser=user_path, help="Folder of all runs, or one below it.")] = Path("runs"),
) -> None:
    """Name every altered, missing or damaged file in run folders, adaptations and probes; change nothing."""
    from ..verify import verify as look

    verdict = look(runs)
    for fault in verdict.faults:
        typer.echo(fault)
    looked_at = ", ".join(f"{count} {name}" for name, count in verdict.counts.items())
    count = {0: "nothing is", 1: "1 file is"}.get(len(verdict.faults), f"{len(verdict.faults)} files are")
    typer.echo(f"{looked_at}: {count} altered, missing or damaged")
    if verdict.faults:
        raise typer.Exit(1)


def doctor(
    device: Annotated[str, typer.Option(help="What is measured: auto, cpu, cuda or cuda:N.")] = "auto",
    quick: Annotated[bool, typer.Option("--quick", help="Leave out what is measured, up to a minute.")] = False,
) -> None:
    """Show what this machine can do and how to fix what it cannot; measure its speed and what runs will take."""
    from .. import doctor as examination

    rows = examination.report()
    width = max(len(row.name) for row in rows)
    for row in rows:
        mark = "ok     " if row.ok else "MISSING"
        remedy = f"   -> {row.remedy}" if row.remedy else ""
        typer.echo(f"{mark} {row.name:{width}}  {row.value}{remedy}")
    if not all(row.ok for row in rows):
        raise typer.Exit(1)
    if not quick:
        from .speed import print_speed

        print_speed(device)
