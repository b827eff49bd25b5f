"""``bench eval``: finished policies under shifted backgrounds."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ConfigError, FolderError
from ..limits import MOST_EPISODES
from ..store.paths import user_path
from ..store.titles import title_of
from .lists import listed, task_name

if TYPE_CHECKING:
    from ..runner.backgrounds import Shift


def evaluate(
    run: Annotated[
        Path, typer.Argument(parser=user_path, help="Folder of a finished run, seed-N, or one above several.")
    ],
    task: Annotated[
        str | None,
        typer.Option(help="path/to/file.py:Class of a task from outside, if its file is no longer where it was."),
    ] = None,
    background: Annotated[str, typer.Option(help="all, or numbers from 0 to 10, comma-separated.")] = "all",
    episodes: Annotated[
        int | None, typer.Option(min=1, max=MOST_EPISODES, help="A background; by default as in the run.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Simulation processes. Speed only.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N; by default as in the run.")] = None,
) -> None:
    """Run finished policies under other backgrounds, from the same initial states; add the rows to their folders.

    A run that was altered or is damaged is named and left as it is, and the others are evaluated.
    """
    from ..runner.backgrounds import run_folders

    if task is not None:
        task_name(task)
    if not evaluate_all(run_folders(run), backgrounds(background), episodes=episodes, workers=workers, device=device):
        raise typer.Exit(1)


def evaluate_all(folders: Sequence[Path], numbers: Sequence[int], **options: Any) -> bool:
    """Evaluate runs one by one and print their tables; an unusable folder does not stop the others.

    Args:
        folders: of finished runs.
        numbers: of the backgrounds.
        **options: further arguments of `benchmark.runner.backgrounds.evaluate_backgrounds`.

    Returns:
        Whether all could be evaluated.
    """
    from ..runner.backgrounds import evaluate_backgrounds
    from .console import ConsoleProgress

    progress, well = ConsoleProgress(), True
    for folder in folders:
        try:
            shifts = evaluate_backgrounds(folder, numbers, progress=progress, **options)
        except FolderError as error:
            typer.echo(f"bench: {error}", err=True)
            well = False
            continue
        finally:
            progress.close()
        print_shifts(folder, shifts)
    return well


def backgrounds(text: str) -> list[int]:
    """Return the numbers in a comma-separated list, or all.

    Raises:
        ConfigError: something else than numbers from 0 to 10.
    """
    from ..runner.backgrounds import BACKGROUNDS

    if text == "all":
        return list(BACKGROUNDS)
    try:
        numbers = [int(part) for part in listed(text)]
    except (ValueError, ConfigError):
        numbers = [-1]
    if not all(number in BACKGROUNDS for number in numbers):
        raise ConfigError(f"--background {text}: expected all, or numbers from 0 to {BACKGROUNDS[-1]}, comma-separated")
    return numbers


def print_shifts(folder: Path, shifts: Sequence[Shift]) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    task, encoder, seed = folder.absolute().parts[-3:]
    table = Table(title=f"{title_of(encoder)} · {task} · {seed}: mean action under shifted backgrounds")
    for heading in ("background", "episodes", "return", "success", "drop"):
        table.add_column(heading, justify="right")
    own = next((shift.mean_return for shift in shifts if shift.own), None)
    for shift in shifts:
        drop = "-" if shift.own or not own or own <= 0 else f"{1 - shift.mean_return / own:.1%}"
        name = f"{shift.background} (trained on)" if shift.own else str(shift.background)
        table.add_row(name, str(shift.episodes), f"{shift.mean_return:.1f}", f"{shift.success:.0%}", drop)
    Console(width=None if sys.stdout.isatty() else 110).print(table)
