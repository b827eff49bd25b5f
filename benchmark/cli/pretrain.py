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
            parser=user_path, metavar="PATH", help="Folder of checkpoint, weights and card; resumes a training in it."
        ),
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Length of the training, start and end not counted.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimisation steps.")] = None,
    workers: Annotated[int | None, typer.Option(help="Rendering processes; by default all cores but two.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    seed: Annotated[int, typer.Option(help="Of everything.")] = 0,
    preview: Annotated[
        Path | None, typer.Option(parser=user_path, metavar="PATH", help="Write a sheet of samples (.png) and stop.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, such as size=224 or batch=64."),
    ] = None,
) -> None:
    """Stage 1: train a ResNet-50 on rendered hands with their 3D pose; a killed training is resumed.

    What comes out is stage1.safetensors and card.json.
    """
    from ..overrides import parse
    from ..pretrain.config import PretrainConfig

    given = {"steps": steps, "minutes": minutes, "workers": workers, "device": device, "seed": seed}
    config = parse(PretrainConfig, given, set_ or [])
    if preview is not None:
        from ..pretrain import preview as hand_image_preview

        hand_image_preview.preview(preview, config.size, config.seed, config.egl_device)
        typer.echo(preview)
        return
    if out is None:
        raise ConfigError("give a folder with --out DIR, or a picture with --preview FILE.png")
    from ..pretrain import training
    from ..store import atomic
    from .console import ConsoleProgress

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
