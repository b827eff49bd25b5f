"""``bench adapt``: Stage 2."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..store.paths import user_path
from .lists import task_names

REMEDY = "restore it from a copy, or move its folder away to adapt anew"


def adapt(
    encoder: Annotated[str, typer.Option(help="Encoder with BatchNorm: a name, or path/to/file.py:Class.")] = (
        "frankmocap_hand"
    ),
    task: Annotated[str, typer.Option(help="Tasks, comma-separated, or all.")] = "door",
    together: Annotated[
        bool, typer.Option("--together", help="Adapt to all these tasks at once, not to one after the other.")
    ] = False,
    out: Annotated[
        Path,
        typer.Option(parser=user_path, metavar="PATH", help="Folder of all runs; a killed adaptation in it goes on."),
    ] = Path("runs"),
    weights: Annotated[str, typer.Option(help="auto, official, builtin, random, or a file.")] = "auto",
    mode: Annotated[
        str, typer.Option(help="What of the encoder is trained: none, affine (BatchNorm's scale and offset), all.")
    ] = "affine",
    shortcuts: Annotated[
        bool, typer.Option(help="Train the BatchNorm of the shortcuts too (as released: 0.21 %; without: 0.18 %).")
    ] = True,
    size: Annotated[int | None, typer.Option(help="Height and width of the frames in pixels (paper: 224).")] = None,
    batch: Annotated[int | None, typer.Option(help="Pairs of frames a step (paper: 8).")] = None,
    steps: Annotated[int | None, typer.Option(help="Updates (paper: 100000).")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of Adam (paper: 1e-4).")] = None,
    warm_up: Annotated[
        int | None, typer.Option(help="Steps before the keypoints move; a tenth of all by default (paper: 0).")
    ] = None,
    map_rate: Annotated[
        float | None, typer.Option(help="Learning rate of the layers that give the maps, relative (paper: 1).")
    ] = None,
    cool_down: Annotated[
        float | None, typer.Option(help="Share of the steps, at the end, in which the learning rate falls (paper: 0).")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of everything but the frames.")] = 0,
    perceptual: Annotated[
        str, typer.Option(help="Network of the perceptual loss: auto, vgg16, stage1, none.")
    ] = "auto",
    precision: Annotated[str, typer.Option(help="float32, tf32 or bfloat16.")] = "float32",
    heads: Annotated[
        str, typer.Option(help="First heads: auto, shipped, drawn, or a file: penn_joint.pth, heads.safetensors.")
    ] = "auto",
    camera: Annotated[str, typer.Option(help="task: the policy's. released: backview for every DexMV task.")] = "task",
    quality: Annotated[str, typer.Option(help="Rendering: fast, shadows or paper.")] = "fast",
    objects: Annotated[str, typer.Option(help="Objects of the DexMV scenes: builtin or ycb.")] = "builtin",
    videos: Annotated[int | None, typer.Option(help="Episodes of the task's expert.")] = None,
    held_out: Annotated[int | None, typer.Option(help="The last so many are for evaluation.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    workers: Annotated[int | None, typer.Option(help="Rendering processes; 0 for none. Speed only.")] = None,
    egl_device: Annotated[int | None, typer.Option(help="The EGL device that renders.")] = None,
) -> None:
    """Stage 2: adapt an encoder's BatchNorm to a task by predicting keypoints without labels; a killed one goes on.

    What comes out is OUT/adapt/TASK/ENCODER with batchnorm.safetensors, card.json and pictures.
    """
    from encoders import build

    from ..adapt import training as stage2
    from ..adapt.config import configure
    from ..adapt.folder import CARD
    from ..doctor import require_gl
    from ..store import atomic
    from .console import ConsoleProgress

    given: dict[str, Any] = {
        "size": size,
        "batch": batch,
        "steps": steps,
        "learning_rate": learning_rate,
        "warm_up": warm_up,
        "map_rate": map_rate,
        "cool_down": cool_down,
        "videos": videos,
        "held_out": held_out,
        "workers": workers,
    }
    config = configure(
        mode=mode,
        shortcuts=shortcuts,
        seed=seed,
        perceptual=perceptual,
        precision=precision,
        heads=heads,
        camera=camera,
        quality=quality,
        objects=objects,
        device=device,
        egl_device=egl_device,
        **{name: value for name, value in given.items() if value is not None},
    )
    names = task_names(task)
    require_gl()
    progress = ConsoleProgress()
    for group in [tuple(names)] if together else [(name,) for name in names]:
        built, origin = build(encoder, weights=weights, task=group[0] if len(group) == 1 else None)
        try:
            folder = stage2.adapt(built, origin, group, out, config, progress)
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
