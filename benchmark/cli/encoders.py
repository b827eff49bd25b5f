"""``bench encoders``: a table of the encoders, one card in full, checks of an encoder of one's own, and speeds."""

from __future__ import annotations

import difflib
import os
import sys
import textwrap
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from ..errors import ConfigError

if TYPE_CHECKING:
    from encoders import Card, Encoder

NARROW = 80  # characters; below, cells other than names are folded
UNLIMITED = 200  # in a pipe an encoder is one line
HEADINGS = ("encoder", "feature", "params", "input", "weights here", "commercial use", "licence")
NUMBERS = {"feature", "params"}
NOTES = (
    "feature: its length. input: normalisation of the images. weights here: official ones in the cache, builtin ones "
    "of the package, or none. commercial use: whether the licence of the official weights permits it. `bench encoders "
    "show NAME` prints a card in full, `bench encoders check mine.py:Mine` holds an encoder to its contract."
)
CHECKS = (
    "feature_dim is a whole number that fits",
    "frozen: no parameter wants a gradient",
    "in evaluation mode, all of it",
    "(N, 3, 224, 224) in [0, 1] becomes (N, feature_dim) floating point",
    "features are finite",
    "the input is left as it was",
    "the same images give the same bits",
    "an image's feature depends on no other image of its batch",
)
BATCH = 16
LEAST_LICENCE = 10  # characters; below, licences have no room in the table
_SAW_BENCHMARK = {
    True: "; images of this benchmark among them",
    False: "",
    None: "; unknown whether images of this benchmark are among them",
}
_USE = {True: "yes", False: "no", None: "unclear"}


class _PatternOrCommand(TyperGroup):
    """``bench encoders dino*`` is ``bench encoders list dino*``."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Read what is no command as a pattern."""
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["list", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_PatternOrCommand,
    help="The encoders: a table (bench encoders, bench encoders 'dino*'), one card, or checks of your own.",
    invoke_without_command=True,
)


@app.callback()
def all_encoders(context: typer.Context) -> None:
    """List the encoders; `show` prints one, `check` tests one, `speed` times them."""
    if context.invoked_subcommand is None:
        print_encoders("*")


@app.command("list")
def list_encoders(pattern: Annotated[str, typer.Argument(help="Names to list; * matches anything.")] = "*") -> None:
    """List the encoders."""
    print_encoders(pattern)


@app.command()
def show(name: Annotated[str, typer.Argument(help="The encoder.")]) -> None:
    """Print an encoder's card: network, feature, input, files, licence, deviations."""
    import encoders

    card = encoders.card(name)
    width = min(_console().width, 100)
    for title, text in _of_card(card) if card is not None else _without_card(name):
        lines = textwrap.wrap(text, max(width - 14, 20), break_long_words=False, break_on_hyphens=False)
        typer.echo(f"{title:12}  " + f"\n{'':14}".join(lines or [""]))


@app.command()
def check(
    spec: Annotated[str, typer.Argument(help="path/to/file.py:Class, or a name; a name gets random weights.")],
    weights: Annotated[
        str | None, typer.Option(help="auto, official, builtin, random, or a file; by default the above.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="The task, for encoders with one weights file each.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    precision: Annotated[str, typer.Option(help="The format to time beside float32; auto is the fast one.")] = "auto",
    backend: Annotated[str, typer.Option(help="What computes in it: auto, torch or openvino.")] = "auto",
) -> None:
    """Check an encoder against its contract with three images of noise; measure its size and speed here."""
    import encoders
    from encoders.contract import has_tokens

    card = encoders.card(spec)
    chosen = weights or ("random" if card is not None and card.uses_images else "auto")
    encoder, origin = encoders.build(spec, weights=chosen, task=task, device=device)
    typer.echo(f"{origin.title(encoder.name or spec)}: feature of {getattr(encoder, 'feature_dim', '?')} numbers")
    encoders.check_encoder(encoder)
    for line in CHECKS if encoder.uses_images else CHECKS[:1]:
        typer.echo(f"ok  {line}")
    if has_tokens(encoder):
        encoders.check_tokens(encoder)
        typer.echo("ok  tokens: shape, type, finite, the same twice and alone in the batch")
    numbers = sum(parameter.numel() for parameter in encoder.parameters())
    held = [*encoder.parameters(), *encoder.buffers()]
    megabytes = sum(tensor.numel() * tensor.element_size() for tensor in held) / 1e6
    typer.echo(f"size   {numbers:,} parameters, {megabytes:.1f} MB with buffers")
    if encoder.uses_images:
        _print_speed(encoder, precision, backend)


@app.command()
def speed(
    pattern: Annotated[str, typer.Argument(help="Encoders, comma-separated; * matches anything.")] = "*",
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    precision: Annotated[str, typer.Option(help="The fast format: auto, float32, tf32, bfloat16 or float16.")] = "auto",
    backend: Annotated[str, typer.Option(help="What computes in it: auto, torch or openvino.")] = "auto",
    batch: Annotated[
        int, typer.Option(min=1, max=4096, help="Images in a batch; fewer for large networks on a CPU.")
    ] = BATCH,
    compiled: Annotated[bool, typer.Option("--compiled", help="Compile the network for the fast format.")] = False,
    cpu_time: Annotated[bool, typer.Option("--cpu-time", help="Count processor time: for a busy machine.")] = False,
    weights: Annotated[str, typer.Option(help="auto takes random ones where there are no others.")] = "auto",
) -> None:
    """Time encoders by PyTorch in float32 and in the fast way, on frames of three tasks, and compare their features."""
    import encoders
    from encoders.errors import EncoderError

    from ..speed import encoders as speeds

    names = [name for each in pattern.split(",") for name in ([each] if ":" in each else encoders.names(each))]
    names = [name for name in names if encoders.get(name).uses_images]
    if not names:
        raise ConfigError(f"no encoder matches '{pattern}'; `bench encoders` lists all")
    clock = time.process_time if cpu_time else time.perf_counter
    frames, failed = speeds.task_frames(batch), 0
    typer.echo("\n".join(speeds.markdown([])))
    for name in names:
        try:
            encoder, origin = encoders.build(name, weights=weights, allow_random=True, device=device)
            title = origin.title(encoder.name)
            row = speeds.measure(
                encoder,
                title,
                frames,
                precision=precision,
                backend=backend,
                batch=batch,
                compiled=compiled,
                clock=clock,
            )
        except EncoderError as error:
            failed += 1
            typer.echo(f"bench: {error}", err=True)
        else:
            typer.echo(speeds.markdown([row])[-1])
    if failed:
        raise typer.Exit(1)


def print_encoders(pattern: str) -> None:
    """Print the table.

    Raises:
        ConfigError: no name matches.
    """
    from rich import box
    from rich.table import Table

    import encoders

    names = encoders.names(pattern)
    if not names:
        near = difflib.get_close_matches(pattern, encoders.names(), n=1)
        hint = f"did you mean '{near[0]}'?" if near else "`bench encoders` lists all"
        raise ConfigError(f"no encoder matches '{pattern}': {hint}")
    terminal, console = sys.stdout.isatty(), _console()
    rows = [_cells(name) for name in names]
    titles = [heading.replace(" ", "\n") if _sized() else heading for heading in HEADINGS]
    # The box's own divider is one more character between the columns.
    lines, room = (box.SIMPLE_HEAD, 1) if terminal else (None, 2)
    columns = list(zip(titles, *rows, strict=True))[:-1]
    taken = sum(2 + max(len(line) for cell in column for line in cell.split("\n")) for column in columns)
    left = console.width - taken - (3 if terminal else 0)
    shown = len(HEADINGS) if left >= LEAST_LICENCE else len(HEADINGS) - 1
    table = Table(box=lines, padding=(0, room, 0, 0), pad_edge=False, show_edge=False)
    for heading, title in zip(HEADINGS[:shown], titles, strict=False):
        whole = heading == HEADINGS[0] or console.width >= NARROW  # names are never cut
        justify: Literal["left", "right"] = "right" if heading in NUMBERS else "left"
        table.add_column(title, justify=justify, no_wrap=whole, overflow="fold")
    for row in rows:
        licence = row[-1] if len(row[-1]) <= left else row[-1][: max(left - 3, 0)].rstrip(" ;,(") + "..."
        table.add_row(*(*row[:-1], licence)[:shown])
    console.print(table)
    if terminal:
        console.print(f"\n{NOTES}", style="dim")


def _sized() -> bool:
    return sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()


def _console() -> Any:
    from rich.console import Console

    return Console(width=None if _sized() else UNLIMITED, highlight=False)


def _cells(name: str) -> tuple[str, ...]:
    card = _card_at_hand(name)
    if card is None:
        return name, "?", "?", "?", "own", "?", "plug-in; see `bench encoders show`"
    millions = f"{card.parameters / 1e6:.1f}M" if card.parameters else "0"
    normalisation = card.normalisation.name if card.uses_images else "none"
    return (
        name,
        str(card.feature_dim),
        millions,
        normalisation,
        _weights_here(card),
        _USE[card.commercial_use],
        card.licence,
    )


def _card_at_hand(name: str) -> Card | None:
    """Return the card, or None if another package would have to be imported to read it."""
    from encoders.cards import CARDS

    return CARDS.get(name)


def _weights_here(card: Card) -> str:
    from encoders.weights.official import cached_path

    if not card.sources:
        return "not needed"
    cached = sum(os.path.isfile(cached_path(card, source)) for source in card.sources)
    if cached:
        return "official" if card.files_needed == 1 else f"official {cached}/{card.files_needed}"
    return "builtin" if card.builtin else "none"


def _of_card(card: Card) -> Iterator[tuple[str, str]]:
    from encoders.weights import licences

    yield "encoder", card.name
    effort = f", {card.gmacs:g} GMACs per image" if card.gmacs else ""
    yield "network", f"{card.architecture}; {card.parameters:,} parameters{effort}"
    yield "feature", f"{card.feature_dim} numbers: {card.feature}" if card.uses_images else card.feature
    if card.uses_images:
        yield "input", f"(N, 3, 224, 224) RGB in [0, 1], then {_normalisation(card.normalisation)}"
        if card.native is not None:
            yield "trained on", _normalisation(card.native)
    if card.trained_on:
        yield "data", card.trained_on + _SAW_BENCHMARK[card.saw_benchmark]
    yield "weights here", _weights_here(card)
    for source in card.sources:
        for place in (source.url, *source.mirrors) if source.task is None else ():
            yield "file", f"{source.filename} from {place}" + ("" if source.direct else " (by hand)")
        if source.wheel is not None:
            yield "wheel", f"{source.wheel.filename}, sha256 {source.wheel.sha256}"
        if source.task is None and source.sha256:
            yield "sha256", source.sha256
    per_task = [source for source in card.sources if source.task is not None]
    if per_task:
        yield (
            "files",
            f"{len(per_task)}, one a task, from {per_task[0].url}: " + ", ".join(s.filename for s in per_task),
        )
    yield "licence", card.licence
    yield "commercial", _USE[card.commercial_use]
    if licences.restricted(card):
        yield (
            "accepted",
            "yes" if licences.accepted(card) else f"no; `bench weights fetch {card.name} --accept-licence`",
        )
    yield "cite", card.citation
    for deviation in card.deviations:
        yield "note", deviation
    for unused in card.unused:
        yield "left out", unused
    yield "version", f"{card.results_version} (results version)"


def _without_card(name: str) -> Iterator[tuple[str, str]]:
    import encoders

    found = encoders.get(name)
    yield "encoder", found.name or name
    yield "class", f"{found.__module__}.{found.__qualname__}"
    yield "feature", f"{getattr(found, 'feature_dim', 'set by its __init__')} numbers"
    if found.plugin_file:
        yield "file", f"{found.plugin_file}, sha256 {found.plugin_sha256}"
    yield "about", (found.__doc__ or "nobody wrote a card").strip().split("\n\n")[0]
    yield "check it", f"`bench encoders check {name}`"


def _normalisation(how: Any) -> str:
    order = "BGR, " if how.bgr else ""
    if not any(how.mean) and all(one == 1.0 for one in how.std):
        return f"{how.name}: {order}as it is"
    return f"{how.name}: {order}minus {how.mean}, over {how.std}"


def _print_speed(encoder: Encoder, precision: str, backend: str) -> None:
    """Print the speed by PyTorch in float32 and in the fast way, and what the latter does to the features."""
    from ..speed import encoders as speeds

    frames = speeds.task_frames(BATCH)
    row = speeds.measure(encoder, encoder.name, frames, precision=precision, backend=backend, batch=BATCH)
    typer.echo(f"speed  {row.exact:.1f} images/s in float32, batches of {row.batch} on {encoder.device}")
    if row.gate is None:
        typer.echo("       float32 is the fast format here")
    else:
        refused = "" if row.gate.passed else ", which a run refuses"
        typer.echo(f"       {row.fast:.1f} images/s in {row.gate.way}{refused}")
        typer.echo(f"       {row.gate.verdict()}")
