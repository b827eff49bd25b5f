"""Print this machine's speed, for `bench doctor`."""

from __future__ import annotations

from collections.abc import Mapping

import typer

MEANING = (
    "Measured one stage at a time with every core at it, from which the frames a second follow; other work on the "
    "machine makes all of it slower. Times are with {encoder}: for all {tasks} tasks, one after another, or for a run, "
    "on average over them."
)


def print_speed(device: str) -> None:
    """Measure this machine, and print the ceilings of its rollouts, their bottleneck, and what runs will take.

    Args:
        device: as configured.

    Raises:
        BenchError, EncoderError, TaskError: something the user can mend.
    """
    from rich import box
    from rich.table import Table

    from tasks.cards import GROUPS

    from ..presets import PROTOCOLS
    from ..speed.cost import ENCODER, Ceilings, estimate
    from .console import duration, output

    typer.echo("measuring, up to a minute ...", err=True)
    found = estimate(device)
    table = Table(box=box.SIMPLE)
    for heading in ("task", "frames", "encoded in"):
        table.add_column(heading)
    for heading in ("physics", "draw", "answer", "encode", "act", "frames/s"):
        table.add_column(heading, justify="right")
    table.add_column("bottleneck")

    def add(frames: str, rows: Mapping[str, Ceilings]) -> None:
        for each in rows.values():
            costs = [f"{seconds * 1e3:.3g} ms" for seconds in each.cost]
            speed = f"{each.frames_per_second:.3g}"
            table.add_row(each.task, frames, each.way, *costs, speed, each.bottleneck)

    add("fast", found.fast)
    add("paper", found.paper)
    output().print(table)
    pipeline = next(iter(found.fast.values())).pipeline
    typer.echo(f"{pipeline.workers} workers on {pipeline.cores} cores, {pipeline.callers} encode at the same time")
    for preset, seconds in found.seconds.items():
        scope = "a run" if preset in PROTOCOLS else "all tasks"
        takes = duration(seconds / len(GROUPS["all"]) if preset in PROTOCOLS else seconds)
        typer.echo(f"--preset {preset:11}  {scope:9}  about {takes}")
    typer.echo(MEANING.format(tasks=len(GROUPS["all"]), encoder=ENCODER))
