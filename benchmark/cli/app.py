"""The ``bench`` command: parse, call, print. Everything heavy is imported inside the commands."""

from __future__ import annotations

import errno
import importlib.util
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import environment, signals
from ..errors import BenchError, IntruderError, SimulationError
from ..store.paths import user_path
from . import assets as assets_cli
from . import demonstrations as demos_cli
from . import encoders as encoders_cli
from . import results as results_cli
from . import tasks as tasks_cli
from . import weights as weights_cli
from .adapt import adapt
from .evaluate import backgrounds, evaluate, evaluate_all
from .leaderboard import leaderboard
from .lists import TASKS, listed, seeds, task_names
from .pretrain import pretrain
from .probe import probe
from .status import status

if TYPE_CHECKING:
    from pydantic import BaseModel

    from ..config import RunConfig
    from ..runner.ray_launcher import Cluster
    from ..runner.runner import RunResult

HOUSE = ("benchmark", "encoders", "tasks", "reports")
FIRST_LOOK = (
    "quickstart is a first look, not a result: {demonstrations} demonstrations cloned, {iterations} DAPG iterations, "
    "{episodes} episodes an evaluation. Use --preset small or paper for learning."
)

WEIGHTS_MEANING = {
    "(builtin)": "weights of our own that ship, not the official ones",
    "(random)": "weights that were never trained",
}

RESUMED = ("run", "ablate", "eval", "probe", "adapt", "pretrain")
"""Commands that go on with what they had done."""

LONGEST_PATH = 120
"""Characters of a path in a message about its name; the middle of a longer one is left out."""

LONGEST_WORD = 400
"""Characters of any other word, likewise."""

# Typer carries its own copy of click; this is the base of what it raises for a wrong command line.
UsageError: Any = typer.BadParameter.__bases__[0]

app = typer.Typer(
    name="bench",
    help="The comparative benchmark for visual representations in dexterous manipulation. "
    "A mistake is reported in one line; --debug, anywhere, adds the traceback.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(demos_cli.app, name="demos")
app.add_typer(weights_cli.app, name="weights")
app.add_typer(assets_cli.app, name="assets")
app.add_typer(tasks_cli.app, name="tasks")
app.add_typer(encoders_cli.app, name="encoders")
app.add_typer(results_cli.app, name="results")

Out = Annotated[Path, typer.Option(parser=user_path, metavar="PATH", help="Folder of all runs.")]
ObjectsPack = Annotated[str | None, typer.Option(help="Objects of the DexMV scenes: builtin shapes or ycb meshes.")]
BackgroundNumber = Annotated[int | None, typer.Option(help="0 for the training scene, 1 to 10 for shifted ones.")]


@app.command()
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


@app.command()
def report(
    runs: Annotated[Path, typer.Argument(parser=user_path, help="Folder of all runs, or a pack.")] = Path("runs"),
    out: Annotated[
        Path | None,
        typer.Option(parser=user_path, metavar="PATH", help="Where to write; the folder `report` in RUNS by default."),
    ] = None,
    suite: Annotated[str | None, typer.Option(help="Only this suite; all by default, each apart.")] = None,
    figure: Annotated[
        str | None, typer.Option(help="Only these figures, comma-separated, such as costs; all by default.")
    ] = None,
    reference: Annotated[
        bool, typer.Option(help="Draw the reference results that ship beside runs of the same suite and tasks.")
    ] = True,
) -> None:
    """Write the page, every figure (PNG, PDF) and every table (CSV, LaTeX) from run folders and packs of results."""
    from reports.build import build

    from ..config import usable_cores

    figures = listed(figure) if figure else []
    made = build(runs, out, suite, figures=figures, processes=min(usable_cores(), 4), reference=reference)
    typer.echo(f"{made.page.resolve()}\n{made.summary}")


@app.command()
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


@app.command()
def verify(
    runs: Annotated[Path, typer.Argument(parser=user_path, help="Folder of all runs, or one below it.")] = Path("runs"),
) -> None:
    """Name every altered, missing or damaged file in run folders, adaptations and probes; change nothing."""
    from ..verify import verify as look

    verdict = look(runs)
    for fault in verdict.faults:
        typer.echo(fault)
    looked_at = ", ".join(f"{count} {name}" for name, count in verdict.counts.items())
    count = {0: "nothing is", 1: "1 file is"}.get(len(verdict.faults), f"{len(verdict.faults)} files are")
    typer.echo(f"{looked_at}: {count} altered, missing or damaged")
    if verdict.faults:
        raise typer.Exit(1)


app.command("leaderboard")(leaderboard)
app.command("status")(status)
app.command("eval")(evaluate)
app.command("probe")(probe)
app.command("adapt")(adapt)
app.command("pretrain")(pretrain)


@app.command()
def doctor(
    device: Annotated[str, typer.Option(help="What is measured: auto, cpu, cuda or cuda:N.")] = "auto",
    quick: Annotated[bool, typer.Option("--quick", help="Leave out what is measured, up to a minute.")] = False,
) -> None:
    """Show what this machine can do and how to fix what it cannot; measure its speed and what runs will take."""
    from .. import doctor as examination

    rows = examination.report()
    width = max(len(row.name) for row in rows)
    for row in rows:
        mark = "ok     " if row.ok else "MISSING"
        remedy = f"   -> {row.remedy}" if row.remedy else ""
        typer.echo(f"{mark} {row.name:{width}}  {row.value}{remedy}")
    if not all(row.ok for row in rows):
        raise typer.Exit(1)
    if not quick:
        from .speed import print_speed

        print_speed(device)


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


def check_house() -> None:
    """Check that our packages are not shadowed by others of the same name.

    Raises:
        IntruderError: another package of the same name comes first on Python's path.
    """
    home = Path(__file__).resolve().parents[2]
    for name in HOUSE:
        spec = importlib.util.find_spec(name)
        origin = Path(spec.origin).resolve() if spec and spec.origin else None
        if origin is None or origin.parents[1] != home:
            raise IntruderError(
                f"package '{name}' comes from {origin or 'nowhere'} and not from {home}: remove it from Python's path, "
                "or install hindex-bench into an environment of its own"
            )


def main() -> None:
    """Run the command line; a user's mistake is one line and exit code 2."""
    # Torch's threads would spin at the end of every loop of an update. On a machine that does nothing else an update
    # takes up to 1.4 times as long without that, beside two busy processes 0.4 times.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    environment.print_what_fits()
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, format="bench: %(message)s")
    with signals.raising_terminated():
        code = _guarded(lambda: app(args=arguments, prog_name="bench", standalone_mode=False), debug)
    sys.exit(code)


def _guarded(action: Callable[[], Any], debug: bool) -> int:
    """Run an action, print a user's mistake in one line, and return the exit code."""
    try:
        check_house()
    except IntruderError as error:
        return _complain(str(error))
    from encoders.errors import EncoderError
    from encoders.memory import is_out_of_memory
    from tasks.errors import TaskError

    try:
        code = action()
    except (BenchError, EncoderError, TaskError) as error:
        if isinstance(error, SimulationError) and signals.ended():  # it reached the workers first
            return _say_ended(signals.exit_code())
        if debug:
            raise
        return _complain(str(error))
    except UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            typer.echo(error.ctx.get_help())
            return 0
        command = error.ctx.command_path if error.ctx else "bench"
        return _complain(f"{_setting_instead(error) or error.format_message()} (see `{command} --help`)")
    except (KeyboardInterrupt, typer.Abort):
        code = signals.INTERRUPTED
    except (MemoryError, RuntimeError, ValueError) as error:
        if debug or not is_out_of_memory(error):
            raise
        return _complain("out of memory; ask for less at a time, or use another --device")
    except OSError as error:
        if debug or error.filename is None:
            raise
        return _complain(_refused(error))
    if code == signals.INTERRUPTED:  # newer versions of typer return it, older ones raise
        return _say_ended(signals.exit_code())
    return code if isinstance(code, int) else 0


def _setting_instead(error: Any) -> str:
    """Return what to give instead of an option that is a setting, such as ``bench adapt --steps``; else nothing."""
    command, option = error.ctx.info_name if error.ctx else "", getattr(error, "option_name", "")
    if not option or command not in ("run", "ablate", "adapt", "pretrain"):
        return ""
    from ..adapt.config import AdaptConfig
    from ..config import RunConfig
    from ..overrides import dotted_keys
    from ..pretrain.config import PretrainConfig

    models: dict[str, type[BaseModel]] = {"adapt": AdaptConfig, "pretrain": PretrainConfig}
    model = models.get(command, RunConfig)
    name = option.lstrip("-").replace("-", "_")
    keys = [key for key in dotted_keys(model) if key.rpartition(".")[2] == name]
    return f"there is no option {option}: give --set {keys[0]}=VALUE instead" if keys else ""


def _say_ended(code: int) -> int:
    """Print that a signal ended the command, and how to resume."""
    what = "terminated" if code == signals.TERMINATED else "interrupted"
    command = next((argument for argument in sys.argv[1:] if not argument.startswith("-")), "")
    how = "goes on from the last iteration" if command in RESUMED else "begins anew"
    typer.echo(f"bench: {what}; the same command {how}", err=True)
    return code


def _refused(error: OSError) -> str:
    """Return one line on what the operating system refused: the path, shortened, and why."""
    path, reason = os.fsdecode(error.filename), error.strerror or type(error).__name__
    if error.errno == errno.ENAMETOOLONG:
        longest = max(map(len, path.split("/")))
        return f"{_short(path)}: a name of {longest:,} characters is too long for a file; give a shorter one"
    return f"cannot use {_short(path)}: {reason}"


def _short(path: str) -> str:
    return path if len(path) <= LONGEST_PATH else f"{path[: LONGEST_PATH // 2]}...{path[-LONGEST_PATH // 2 :]}"


def _complain(line: str) -> int:
    words = (_short(word) if len(word) > LONGEST_WORD else word for word in line.split())
    typer.echo(f"bench: {' '.join(words)}", err=True)
    return 2
