"""``bench assets``: which asset packs are here, and how to get the others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ConfigError
from ..store.paths import user_path

FETCHED = ("ycb",)

app = typer.Typer(help="Object meshes of the scenes: what ships, what is fetched.", no_args_is_help=True)


@app.command("fetch")
def fetch(
    name: Annotated[str, typer.Argument(help="The pack: ycb.")],
    from_: Annotated[
        Path | None,
        typer.Option("--from", parser=user_path, metavar="DIR", help="Copy from this folder instead of downloading."),
    ] = None,
) -> None:
    """Download an asset pack into the cache and check every file's hash; keep what is there already."""
    if name not in FETCHED:
        raise ConfigError(f"unknown asset pack '{name}'; available: {', '.join(FETCHED)}")

    from .. import assets
    from .console import ConsoleProgress

    progress = ConsoleProgress()
    outcome = assets.fetch_ycb(progress) if from_ is None else assets.import_ycb(from_, progress)
    for line in outcome.lines():
        typer.echo(line)


@app.command("list")
def list_packs() -> None:
    """List the asset packs and how much of each is on this machine."""
    from tasks.scene import ycb

    manifest = ycb.manifest()
    total, lacking = len(manifest.required), len(ycb.missing())
    textures = ycb.textures()
    if lacking == 0:
        state = f"complete, {total} files"
    elif lacking == total:
        state = f"absent, 0 of {total} files; run `bench assets fetch ycb`"
    else:
        state = f"{total - lacking} of {total} files; run `bench assets fetch ycb`"
    megabytes = sum(file.size or 0 for file in manifest.required.values()) / 1e6
    found = f"{len(textures)} of {len(manifest.optional)} optional textures"
    typer.echo("builtin  always there: parametric objects that ship with the package; MIT")
    typer.echo(f"ycb      {state}; {megabytes:.1f} MB, {found}; {manifest.licence}; {ycb.cache_folder()}")
