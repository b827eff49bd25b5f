"""``bench pretrain``: Stage 1, our own version."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import ConfigError
from ..store.paths import user_path


def pretrain(
    out: Annotated[
        Path | None,
        typer.Option(
            parser=user_path, metavar="PATH", help="Folder of checkpoint, weights and card; a training in it goes on."
        ),
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Length of the training, start and end not counted.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimisation steps.")] = None,
    size: Annotated[int, typer.Option(help="Height and width of the images in pixels.")] = 160,
    batch: Annotated[int, typer.Option(help="Images a step.")] = 256,
    workers: Annotated[int | None, typer.Option(help="Rendering processes; by default all cores but two.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    egl_device: Annotated[int | None, typer.Option(help="The EGL device that renders.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything.")] = 0,
    reuse: Annotated[float, typer.Option(help="How often an image is trained on at most, on average.")] = 3.0,
    held_out: Annotated[int, typer.Option(help="Images for evaluation.")] = 2048,
    compile_: Annotated[bool, typer.Option("--compile", help="Compile the network with torch.")] = False,
    preview: Annotated[
        Path | None, typer.Option(parser=user_path, metavar="PATH", help="Write a sheet of samples (.png) and stop.")
    ] = None,
) -> None:
    """Stage 1: train a ResNet-50 on rendered hands with their 3D pose; a killed training goes on.

    What comes out is stage1.safetensors and card.json.
    """
    if preview is not None:
        from ..pretrain import preview as hand_image_preview

        hand_image_preview.preview(preview, size, seed, egl_device)
        typer.echo(preview)
        return
    if out is None:
        raise ConfigError("give a folder with --out DIR, or a picture with --preview FILE.png")
    from ..pretrain import training
    from ..pretrain.config import PretrainConfig
    from ..store import atomic
    from .console import ConsoleProgress

    config = PretrainConfig(
        steps=steps,
        minutes=minutes,
        size=size,
        batch=batch,
        seed=seed,
        reuse=reuse,
        held_out=held_out,
        workers=workers,
        device=device,
        egl_device=egl_device,
        compile=compile_,
    )
    progress = ConsoleProgress()
    try:
        card = training.pretrain(config, out, progress)
    finally:
        progress.close()
    with atomic.naming_gaps(out / training.CARD, "restore it from a copy, or choose another --out"):
        typer.echo(_summary(out, card))


def _summary(out: Path, card: dict[str, Any]) -> str:
    error, blind = card["held_out"]["error"], card["held_out"]["always_the_mean_pose"]
    return (
        f"{out / card['file']}: {error['keypoints_mm']:.1f} mm and {error['angles_degrees']:.1f} degrees on held-out "
        f"images (always the mean pose: {blind['keypoints_mm']:.1f} mm, {blind['angles_degrees']:.1f} degrees)"
    )
