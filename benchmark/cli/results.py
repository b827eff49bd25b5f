"""``bench results``: finished runs as one small file that others can check, compare with and report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..store.paths import user_path

Runs = Annotated[
    list[Path], typer.Argument(parser=user_path, metavar="RUNS...", help="Folders of runs, or packs to join.")
]
Pack = Annotated[Path, typer.Argument(parser=user_path, help="A pack, NAME.pack.zip.")]

app = typer.Typer(help="Results as packs: small files without weights, to keep and to share.", no_args_is_help=True)


@app.command()
def pack(
    runs: Annotated[
        list[Path], typer.Argument(parser=user_path, metavar="RUNS...", help="Folders of runs, or packs to join.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            parser=user_path, metavar="FILE", help="NAME.pack.zip; by default named after RUNS, and beside it."
        ),
    ] = None,
) -> None:
    """Write the finished runs of RUNS into one archive: episodes, metrics, cards and identities."""
    from ..store import packing

    made = packing.make(runs, out)
    for line in made.left_out:
        typer.echo(f"left out: {line}", err=True)
    count = f"{made.runs} run{'' if made.runs == 1 else 's'}"
    typer.echo(f"{made.path}: {count}, {made.path.stat().st_size / 1000:.0f} kB")


@app.command()
def add(
    file: Pack,
    to: Annotated[Path, typer.Option(parser=user_path, metavar="DIR", help="Folder of all runs.")] = Path("runs"),
) -> None:
    """Check a pack's members and copy it into a folder of runs, where `bench report` takes it too."""
    from ..store import packing

    typer.echo(packing.add(file, to))
