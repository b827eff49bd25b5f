"""``bench adapt``: Stage 2."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..store.paths import user_path
from .lists import TASKS, task_names

REMEDY = "restore it from a copy, or move its folder away to adapt anew"


def adapt(
    encoder: Annotated[str, typer.Option(help="Encoder with BatchNorm: a name, or path/to/file.py:Class.")] = (
        "frankmocap_hand"
    ),
    task: Annotated[str, typer.Option(help=TASKS)] = "door",
    together: Annotated[
        bool, typer.Option("--together", help="Adapt to all these tasks at once, not to one after the other.")
    ] = False,
    preset: Annotated[
        str, typer.Option(help="The settings of a run's own adaptation under quickstart, small or paper.")
    ] = "quickstart",
    out: Annotated[
        Path,
        typer.Option(parser=user_path, metavar="PATH", help="Folder of all runs; resumes a killed adaptation in it."),
    ] = Path("runs"),
    weights: Annotated[str, typer.Option(help="auto, official, builtin, random, or a file.")] = "auto",
    mode: Annotated[
        str, typer.Option(help="What of the encoder is trained: none, affine (BatchNorm's scale and offset), all.")
    ] = "affine",
    heads: Annotated[
        str,
        typer.Option(help="First heads: auto, shipped, renderer, drawn, or a file: penn_joint.pth, heads.safetensors."),
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Of everything but the frames.")] = 0,
    objects: Annotated[
        str | None, typer.Option(help="Objects of the DexMV scenes: builtin or ycb; the preset's by default.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    workers: Annotated[int | None, typer.Option(help="Rendering processes; 0 for none. Speed only.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, such as steps=3000 or size=224."),
    ] = None,
) -> None:
    """Stage 2: adapt an encoder's BatchNorm to a task by predicting keypoints without labels; resumes a killed one.

    What comes out is OUT/adapt/TASK/ENCODER with batchnorm.safetensors, card.json and pictures.
    """
    from encoders import resolve

    from ..adapt import training as stage2
    from ..adapt.config import configure
    from ..adapt.folder import CARD
    from ..doctor import require_gl
    from ..store import atomic
    from .console import ConsoleProgress

    given = {"mode": mode, "heads": heads, "seed": seed, "device": device, "objects": objects, "workers": workers}
    config = configure(preset, set_ or [], **{name: value for name, value in given.items() if value is not None})
    names = task_names(task)
    require_gl()
    progress = ConsoleProgress()
    for group in [tuple(names)] if together else [(name,) for name in names]:
        origin = resolve(encoder, weights, task=group[0] if len(group) == 1 else None)
        try:
            folder = stage2.adapt_named(encoder, origin, group, out, config, progress)
        finally:
            progress.close()
        with atomic.naming_gaps(folder / CARD, REMEDY):
            typer.echo(_summary(folder, stage2.read_card(folder)))


def _summary(folder: Path, card: dict[str, Any]) -> str:
    trained, rows = card["trained"], card["held_out"]["psnr"]
    drawn, copied, blind = (rows[name]["mean"] for name in ("reconstruction", "copy_of_the_source", "mean_image"))
    return (
        f"{folder}: {trained['encoder_numbers']} numbers ({trained['percent']:.2f} %) of {card['encoder']['title']}; "
        f"held-out PSNR {drawn:.2f} dB (the source frame {copied:.2f} dB, the mean image {blind:.2f} dB)"
    )
