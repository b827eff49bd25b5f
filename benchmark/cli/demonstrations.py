"""``bench demos``: demonstrations and experts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..limits import LARGEST_SEED, MOST_EPISODES
from ..store.paths import user_path
from .lists import task_name
from .options import BackgroundNumber, ObjectsPack

TaskName = Annotated[str, typer.Option("--task", help="Task: a name, or path/to/file.py:Class.")]

app = typer.Typer(help="List, collect, play, import and export demonstrations and experts.", no_args_is_help=True)


@app.command("list")
def list_demonstrations() -> None:
    """List the shipped experts and the imported demonstrations."""
    from ..demonstrations import commands as demo_commands

    for line in demo_commands.overview():
        typer.echo(line)


@app.command("collect")
def collect_demonstrations(
    task: TaskName,
    out: Annotated[Path, typer.Option(parser=user_path, metavar="PATH", help="The file to write (.npz).")],
    episodes: Annotated[int, typer.Option(min=1, max=MOST_EPISODES, help="Episodes to keep.")] = 25,
    seed: Annotated[int | None, typer.Option(min=0, max=LARGEST_SEED, help="Reset seed of the first episode.")] = None,
    expert: Annotated[
        Path | None,
        typer.Option(parser=user_path, metavar="PATH", help="An expert's file; the shipped one by default."),
    ] = None,
    keep_failures: Annotated[bool, typer.Option("--keep-failures", help="Keep failed episodes too.")] = False,
    mean: Annotated[bool, typer.Option("--mean", help="The expert's mean action, without its noise.")] = False,
    objects: ObjectsPack = None,
    scene: Annotated[
        str, typer.Option(help="matched to the rollouts, or released: the paper's demonstration scene.")
    ] = "matched",
) -> None:
    """Roll out an expert and store its episodes."""
    from ..demonstrations import commands as demo_commands

    task = task_name(task)
    found = demo_commands.collect_to(
        task,
        out,
        episodes=episodes,
        seed=seed,
        expert=expert,
        successful_only=not keep_failures,
        stochastic=not mean,
        objects=objects,
        scene=scene,
    )
    counts = found.metadata["counts"]
    typer.echo(
        f"{out}: {len(found)} episodes of {task} ({counts['successes']} successes in {counts['attempts']} attempts)"
    )


@app.command("play")
def play_demonstrations(
    task: TaskName,
    out: Annotated[Path, typer.Option(parser=user_path, metavar="PATH", help="The film to write (.mp4).")],
    source: Annotated[
        Path | None,
        typer.Option(parser=user_path, metavar="PATH", help="A demonstrations file; the shipped expert by default."),
    ] = None,
    episode: Annotated[int, typer.Option(min=0, max=MOST_EPISODES, help="Which episode.")] = 0,
    quality: Annotated[str, typer.Option(help="paper, shadows or fast.")] = "paper",
    objects: ObjectsPack = None,
    background: BackgroundNumber = 0,
) -> None:
    """Film one demonstration through the task's camera."""
    from ..demonstrations import commands as demo_commands

    task = task_name(task)
    task = task_name(task)
    typer.echo(
        demo_commands.play(
            task, out, source=source, episode=episode, quality=quality, objects=objects, background=background or 0
        )
    )


@app.command("import")
def import_demonstrations(
    file: Annotated[
        Path,
        typer.Argument(
            parser=user_path, help="A DAPG or mjrl pickle, an HDF5 file of D4RL or Minari (or its folder), or our .npz."
        ),
    ],
    task: TaskName,
    episodes: Annotated[
        int | None, typer.Option(min=1, max=MOST_EPISODES, help="Episodes to keep; the paper's number by default.")
    ] = None,
    objects: ObjectsPack = None,
) -> None:
    """Read published demonstrations (or a policy, which is rolled out) into the cache; nothing in a pickle is run."""
    from ..demonstrations import imports as demo_import

    typer.echo(demo_import.import_to_cache(file, task_name(task), episodes, objects))


@app.command("export")
def export_expert(
    folder: Annotated[Path, typer.Argument(parser=user_path, help="Folder of a finished run with --encoder state.")],
    out: Annotated[
        Path, typer.Option(parser=user_path, metavar="PATH", help="The expert's file to write (.safetensors).")
    ],
    episodes: Annotated[int, typer.Option(min=1, max=MOST_EPISODES, help="Episodes that its card reports.")] = 100,
) -> None:
    """Make an expert from a state-based run and evaluate it."""
    from ..demonstrations import commands as demo_commands

    typer.echo(demo_commands.export_expert(folder, out, episodes))
