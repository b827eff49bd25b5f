"""``bench run`` and ``bench ablate``: do runs, and print what came of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .evaluate import backgrounds, evaluate_all
from .lists import TASKS, listed, seeds, task_names
from .options import BackgroundNumber, ObjectsPack, Out
from .report import report

if TYPE_CHECKING:
    from ..config import RunConfig
    from ..runner.ray_launcher import Cluster
    from ..runner.runner import RunResult

FIRST_LOOK = (
    "quickstart is a first look, not a result: {demonstrations} demonstrations cloned, {iterations} DAPG iterations, "
    "{episodes} episodes an evaluation. Use --preset small or paper for learning."
)

WEIGHTS_MEANING = {
    "(builtin)": "weights of our own that ship, not the official ones",
    "(random)": "weights that were never trained",
}


def run(
    encoder: Annotated[
        str, typer.Option(help="Encoders, comma-separated: names, or path/to/file.py:Class.")
    ] = "hindex",
    task: Annotated[str | None, typer.Option(help=f"{TASKS} By default the protocol's, else all.")] = None,
    seed: Annotated[str | None, typer.Option(help="Seeds, comma-separated; by default the protocol's, else 0.")] = None,
    preset: Annotated[
        str,
        typer.Option(
            help="quickstart (minutes, a first look), small (an afternoon), paper; or a protocol of imitation: "
            "imitation, cortexbench, r3m."
        ),
    ] = "quickstart",
    out: Out = Path("runs"),
    weights: Annotated[str, typer.Option(help="auto, official, builtin, random, or a file.")] = "auto",
    adapt: Annotated[
        str | None, typer.Option(help="Stage 2: none, affine or all; by default what the encoder's card asks for.")
    ] = None,
    adapted: Annotated[str | None, typer.Option(help="Stage 2 from: official files, or own training.")] = None,
    ema_momentum: Annotated[
        float | None,
        typer.Option(help="Stage 3: momentum; 0 for none, by default the task's where the card asks for it."),
    ] = None,
    ema_scope: Annotated[str | None, typer.Option(help="Stage 3: stem (as released) or all BatchNorm layers.")] = None,
    normalise: Annotated[
        str | None, typer.Option(help="Input: imagenet, unit or native; the card's by default.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[str | None, typer.Option(help="auto, float32, tf32, bfloat16 or float16.")] = None,
    backend: Annotated[str | None, typer.Option(help="What computes the encoder: auto, torch or openvino.")] = None,
    objects: ObjectsPack = None,
    background: BackgroundNumber = None,
    workers: Annotated[int | None, typer.Option(help="Simulation processes; 0 for none. Speed only.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin anew where a run is already.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list the runs, and what they will take on this machine.")
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, such as learner.step_size=0.02."),
    ] = None,
    track: Annotated[
        str | None,
        typer.Option(help="Also pass metrics on to these, comma-separated: tensorboard, wandb, mlflow, trackio."),
    ] = None,
    launcher: Annotated[
        str | None, typer.Option(help="ray: do the runs as Ray tasks; by default one after another in this process.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="With --launcher ray: the cluster, or auto for the one that is running; by default none."),
    ] = None,
    cpus_per_run: Annotated[
        int | None, typer.Option(min=1, help="With --launcher ray: CPUs of each run, and its --workers; 1 by default.")
    ] = None,
    gpus_per_run: Annotated[
        float | None, typer.Option(min=0, help="With --launcher ray: GPUs of each run, such as 0.25; 0 by default.")
    ] = None,
) -> None:
    """Run encoders on tasks: clone demonstrations, improve by DAPG, evaluate, and write run folders.

    Finished runs are skipped and killed ones go on from their last iteration.
    """
    from .. import config as configuration
    from ..presets import PROTOCOLS, Protocol
    from .launchers import chosen_cluster

    cluster = chosen_cluster(launcher, address, cpus_per_run, gpus_per_run)
    protocol = PROTOCOLS.get(preset, Protocol())
    given = {"workers": workers, "objects": objects, "background": background, "precision": precision}
    given |= {"backend": backend, "adapt": adapt, "adapted": adapted, "normalise": normalise}
    stage_3 = {"ema.momentum": ema_momentum, "ema.scope": ema_scope}
    overrides = [*(set_ or []), *(f"{name}={value}" for name, value in stage_3.items() if value is not None)]
    options: dict[str, Any] = {"weights": weights, "device": device}
    options |= {name: value for name, value in given.items() if value is not None}
    options |= {"track": listed(track)} if track else {}
    configs = [
        configuration.configure(preset, overrides, encoder=name, task=each, seed=number, **options)
        for name in listed(encoder)
        for each in task_names(task or protocol.tasks)
        for number in seeds(seed or protocol.seeds)
    ]
    if dry_run:
        from .status import print_matrix

        print_matrix(configs, out)
    elif len(_sweep(configs, out, overwrite, cluster)) < len(configs):
        raise typer.Exit(1)


def ablate(
    name: Annotated[str, typer.Argument(help="stages, momentum, adaptation, vanilla or background.")],
    task: Annotated[str | None, typer.Option(help=f"{TASKS} By default the ablation's.")] = None,
    seed: Annotated[str, typer.Option(help="Seeds, comma-separated.")] = "0",
    preset: Annotated[str, typer.Option(help="quickstart, small or paper.")] = "quickstart",
    out: Out = Path("runs"),
    weights: Annotated[str, typer.Option(help="auto, official, builtin or random.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    workers: Annotated[int | None, typer.Option(help="Simulation processes; 0 for none. Speed only.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting of all runs.")
    ] = None,
) -> None:
    """Do the runs of one of the paper's ablations, skip finished ones, and write the report with its figure."""
    from ..runner import ablations

    chosen = ablations.ablation(name)
    given = {"weights": weights, "device": device, "workers": workers}
    configs = ablations.runs_of(
        chosen,
        preset=preset,
        task_names=task_names(task) if task else (),
        seeds=seeds(seed),
        overrides=set_ or [],
        **{key: value for key, value in given.items() if value is not None},
    )
    typer.echo(f"{chosen.name}: {chosen.question} ({chosen.figures}); {len(configs)} runs")
    finished = _sweep(configs, out)
    well = len(finished) == len(configs)
    if chosen.evaluate_backgrounds:
        well &= evaluate_all([result.path for result in finished], backgrounds("all"))
    report(out)
    if not well:
        raise typer.Exit(1)


def _sweep(
    configs: Sequence[RunConfig], out: Path, overwrite: bool = False, cluster: Cluster | None = None
) -> list[RunResult]:
    """Do the runs, print results and failures, and return the results of those that succeeded.

    They are done one after another, or on a cluster.
    """
    import encoders

    names = list(dict.fromkeys(config.encoder for config in configs))
    cards = [encoders.card(name) for name in names]  # an unknown one is refused before anything is touched
    from ..doctor import require_gl
    from ..store.run_folder import check_writable

    check_writable(out)
    if cluster is None and any(card is None or card.uses_images for card in cards):
        require_gl()  # tasks on a cluster look for it where they run

    from ..runner.protocols import Finished, summary
    from ..runner.ray_launcher import launch
    from ..runner.sweep import sweep
    from .console import ConsoleProgress, duration, print_results

    progress, began = ConsoleProgress(), time.monotonic()
    if cluster is None:
        outcomes = sweep(configs, out, overwrite=overwrite, progress=progress)
    else:
        outcomes = launch(configs, out, cluster, overwrite=overwrite, progress=progress)
    finished = [(o.config.task, o.config.seed, o.result) for o in outcomes if o.result is not None]
    if finished:
        caption, c = f"Run folders in {out.resolve()}.", configs[0]
        if c.preset == "quickstart":
            scale = {"demonstrations": c.demonstrations.episodes, "iterations": c.learner.iterations}
            scale |= {"episodes": c.evaluation.episodes}
            caption = f"{FIRST_LOOK.format(**scale)} {caption}"
        labels = {result.weights_label for *_, result in finished}
        meanings = [f"{label}: {meaning}" for label, meaning in WEIGHTS_MEANING.items() if label in labels]
        print_results(finished, ". ".join([*meanings, caption]))
        runs = [Finished(o.config, o.result) for o in outcomes if o.result is not None]
        for line in summary(runs):
            typer.echo(f"{line}; {duration(time.monotonic() - began)}")
    for outcome in outcomes:
        if outcome.result is None:
            typer.echo(f"bench: {outcome.config.encoder} on {outcome.config.task}: {outcome.failure}", err=True)
    return [result for *_, result in finished]
