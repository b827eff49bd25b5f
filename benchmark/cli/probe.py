"""``bench probe``: what an encoder sees, as a table by task and quantity."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ..errors import ConfigError
from ..limits import LARGEST_SEED
from .lists import TASKS, listed, task_names
from .options import OBJECTS, Out

if TYPE_CHECKING:
    from rich.table import Table

    from ..probe.probe import Cell
    from ..probe.ridge import Interval

UNLIMITED = 200  # in a pipe a quantity is one line
TITLE = "Probe: R² of ridge regression on held-out episodes [95 % interval]"
CAPTION = (
    "0: the training mean; 1: perfect. clock: the same regression from the time in the episode alone. constant: varies "
    "by less than 1 mm, 1 mrad or 2 % of the frames. contact: balanced accuracy in parentheses. Cells in {out}."
)


def probe(
    encoder: Annotated[str, typer.Option(help="Encoders, comma-separated: names, or path/to/file.py:Class.")],
    task: Annotated[str, typer.Option(help=TASKS)] = "all",
    weights: Annotated[str, typer.Option(help="auto, official, builtin, random, or a file.")] = "auto",
    adapt: Annotated[
        str, typer.Option(help="Stage 2: none, affine or all; by default what the encoder's card asks for.")
    ] = "auto",
    pooling: Annotated[
        str, typer.Option(help="What is probed: pooled (the feature), or the mean or spatial_softmax of the tokens.")
    ] = "pooled",
    out: Out = Path("runs"),
    episodes: Annotated[int, typer.Option(min=6, help="Expert episodes a task; the last third is held out.")] = 60,
    frames: Annotated[int, typer.Option(min=1, help="Frames of an episode, evenly spaced.")] = 12,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Of resets, noise and intervals.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    objects: Annotated[str, typer.Option(help=OBJECTS)] = "builtin",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Probe anew what is there already.")] = False,
) -> None:
    """Regress hand, object, target and contact from frozen features of task frames; report how much each encoder sees.

    Cells that are done are skipped, and a killed probe goes on where it was.
    """
    import encoders
    from tasks.cards import PACKS

    names, chosen = listed(encoder), task_names(task)
    for name in names:
        encoders.card(name)  # an unknown one is refused before anything is touched
    if objects not in PACKS:
        raise ConfigError(f"--objects {objects}: expected {' or '.join(PACKS)}")
    if pooling not in ("pooled", "mean", "spatial_softmax"):
        raise ConfigError(f"--pooling {pooling}: expected pooled, mean or spatial_softmax")
    from ..doctor import require_gl

    require_gl()
    from ..probe import probe as probing
    from .console import ConsoleProgress

    progress = ConsoleProgress()
    settings = probing.ProbeSettings(episodes=episodes, frames=frames, seed=seed, objects=objects)
    try:
        cells = probing.probe(
            names,
            chosen,
            out,
            weights=weights,
            adapt=adapt,
            pooling=cast("probing.Pooling", pooling),
            settings=settings,
            device=device,
            overwrite=overwrite,
            progress=progress,
        )
    finally:
        progress.close()
    print_cells(cells, len(names), CAPTION.format(out=(out / "probe").resolve()), seed)


def print_cells(cells: Sequence[Cell], encoders: int, caption: str, seed: int) -> None:
    """Print the table of R², then the margins of the first encoder over each of the others.

    Args:
        cells: by task, then by encoder.
        encoders: how many of them a task has.
        caption: under the table.
        seed: of the margins' intervals.
    """
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else UNLIMITED, highlight=False)
    by_task = [cells[begin : begin + encoders] for begin in range(0, len(cells), encoders)]
    console.print(_scores(by_task, caption))
    if encoders > 1:
        console.print(_margins(by_task, seed))


def _scores(by_task: Sequence[Sequence[Cell]], caption: str) -> Table:
    titles = [cell.title for cell in by_task[0]]
    table = _table(TITLE, ("task", "quantity"), (*titles, "clock"), caption)
    for row_of in by_task:
        for rows in zip(*(cell.scores.rows for cell in row_of), strict=True):
            clock = "" if rows[0].clock_r2 is None else f"{rows[0].clock_r2:.2f}"
            table.add_row(row_of[0].task, rows[0].quantity, *map(_score, rows), clock)
        table.add_section()
    return table


def _margins(by_task: Sequence[Sequence[Cell]], seed: int) -> Table:
    from ..probe.score import bootstrap_generator, compare

    first, *others = (cell.title for cell in by_task[0])
    title = f"Margin: R² of {first} minus that of the column [paired 95 % interval]"
    table = _table(title, ("task", "quantity"), others, "above 0: the first encoder sees more.")
    for leader, *rest in by_task:
        compared = [compare(leader.scores, cell.scores, bootstrap_generator(seed)) for cell in rest]
        for quantity in leader.scores.total:
            table.add_row(leader.task, quantity, *(_interval(margins[quantity], "+.2f") for margins in compared))
        table.add_section()
    return table


def _table(title: str, left: Sequence[str], right: Sequence[str], caption: str) -> Table:
    from rich.table import Table

    table = Table(title=title, caption=caption, caption_justify="left")
    for heading in left:
        table.add_column(heading)
    for heading in right:
        table.add_column(heading, justify="right")
    return table


def _score(row: Any) -> str:
    if row.constant:
        return "constant"
    accuracy = "" if row.balanced_accuracy is None else f" ({row.balanced_accuracy:.0%})"
    return f"{row.r2:.2f} [{row.low:.2f}, {row.high:.2f}]{accuracy}"


def _interval(interval: Interval, form: str) -> str:
    return f"{interval.value:{form}} [{interval.low:{form}}, {interval.high:{form}}]"
