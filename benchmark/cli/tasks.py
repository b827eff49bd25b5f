"""``bench tasks``: a table of the tasks, one of them in pictures, and checks of a task of one's own."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ..errors import ConfigError, OutputError
from ..store.paths import user_path
from .lists import task_name
from .options import OBJECTS

if TYPE_CHECKING:
    from tasks.cards import TaskCard
    from tasks.experts import Actor
    from tasks.rendering.qualities import Quality

NARROW = 80  # characters; below, cells other than names are folded
WIDE = 120  # characters; from here on the success rules have room in the table
EXPERT_EPISODES = 10
UNLIMITED = 200  # in a pipe a task is one line
HEADINGS = ("task", "suite", "action size", "steps", "camera", "demos", "expert success")
NUMBERS = {"action size", "steps", "demos", "expert success"}
RULE = "success rule"
NO_EXPERT = "{name}: no expert ships for this task; showing the resting scene, the hand at zero action"
RESTING = "resting scene, zero action: no expert ships yet"
NOTES = (
    "steps: the horizon, in control steps of 0.01 s. demos: demonstrations of the paper's run. expert success: of the "
    "shipped expert on state observations, mean action. `bench tasks show NAME` draws a task."
)

app = typer.Typer(
    help="The tasks: a table, one of them in pictures, or checks of your own.", invoke_without_command=True
)


@app.callback()
def list_tasks(context: typer.Context) -> None:
    """List the tasks; `show` draws one, `check` examines one of your own."""
    if context.invoked_subcommand is None:
        print_tasks()


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="The task: a name, or path/to/file.py:Class.")],
    out: Annotated[
        Path | None,
        typer.Option(parser=user_path, metavar="FILE.png", help="The picture; NAME.png in this folder by default."),
    ] = None,
    backgrounds: Annotated[
        bool, typer.Option("--backgrounds", help="One initial state under all backgrounds instead of an episode.")
    ] = False,
    background: Annotated[
        int | None, typer.Option(help="0, the default, for the training scene, 1 to 10 for shifted ones.")
    ] = None,
    objects: Annotated[str, typer.Option(help=OBJECTS)] = "builtin",
    quality: Annotated[str, typer.Option(help="paper, shadows or fast.")] = "paper",
    seed: Annotated[int, typer.Option(min=0, help="Reset seed; a failing expert goes on with the next ones.")] = 0,
    frames: Annotated[int, typer.Option(min=2, max=24, help="Frames of the strip, evenly spaced.")] = 6,
    interactive: Annotated[
        bool, typer.Option("--interactive", help="Play the expert in MuJoCo's viewer; needs a display.")
    ] = False,
) -> None:
    """Draw one successful expert episode from the task's camera as a film strip, its backgrounds, or play it live."""
    import tasks

    name = task_name(name)
    card = tasks.card(name)
    if backgrounds and (interactive or background is not None):
        raise ConfigError("--backgrounds shows all of them at once; leave out --background and --interactive")
    if interactive and out is not None:
        raise ConfigError("--interactive opens a window and writes no file; leave out --out or --interactive")
    options: dict[str, Any] = {"objects": objects}
    if interactive:
        _play(card, options | {"background": background or 0}, seed)
        return
    path = out or Path(f"{name}-backgrounds.png" if backgrounds else f"{name}.png")
    _check_picture(path)
    from ..doctor import require_gl

    require_gl()
    if backgrounds:
        _draw_backgrounds(card, options, path, cast("Quality", quality), seed)
    else:
        _draw_episode(card, options | {"background": background or 0}, path, cast("Quality", quality), seed, frames)


@app.command()
def check(
    spec: Annotated[str, typer.Argument(metavar="TASK", help="path/to/file.py:Class, or a task's name.")],
    draw: Annotated[bool, typer.Option(help="Look at frames too, which needs OpenGL.")] = True,
) -> None:
    """Hold a task to its contract in three short episodes, and say how often its expert succeeds."""
    import tasks
    from tasks import contract

    name = task_name(spec)
    kind, card = tasks.get(name), tasks.card(name)
    typer.echo(f"{name}: {card.summary}; observation of {card.observation_dim}, action of {card.action_dim} numbers")
    if draw:
        from ..doctor import require_gl

        require_gl()
    contract.check_task(kind, draw=draw)
    for line in (*contract.CHECKS, *((contract.DRAWN,) if draw else ())):
        typer.echo(f"ok  {line}")
    from tasks.demonstrations.rollout import evaluate

    from ..config import DEMONSTRATION_SEED, usable_cores

    simulated = tasks.make(name, slots=EXPERT_EPISODES, threads=usable_cores())
    model, began = simulated.model, time.perf_counter()
    if kind.expert() is None:
        typer.echo("expert  none: give demonstrations with --set demonstrations.source=FILE")
    else:
        actor = tasks.expert(name)
        returns, successes = evaluate(simulated, actor, episodes=EXPERT_EPISODES, first_seed=DEMONSTRATION_SEED)
        typer.echo(
            f"expert  {int(successes.sum())} of {EXPERT_EPISODES} episodes succeed, mean return {returns.mean():.1f}; "
            f"{time.perf_counter() - began:.1f} s for up to {EXPERT_EPISODES * card.horizon} control steps"
        )
    typer.echo(f"scene   {model.nbody} bodies, {model.ngeom} geoms, {model.nq} positions, {model.nu} actuators")


def print_tasks() -> None:
    """Print the table, with the success rules below it if the terminal is narrow."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    import tasks
    from tasks.cards import CARDS
    from tasks.registration import REGISTERED

    terminal = sys.stdout.isatty()
    sized = terminal or os.environ.get("COLUMNS", "").isdigit()
    console = Console(width=None if sized else UNLIMITED, highlight=False)
    wide = console.width >= WIDE
    # The box's own divider is one more character between the columns.
    lines, room = (box.SIMPLE_HEAD, 1) if terminal else (None, 2)
    table = Table(box=lines, padding=(0, room, 0, 0), pad_edge=False, show_edge=False)
    for heading in HEADINGS:
        table.add_column(
            heading.replace(" ", "\n") if sized else heading,
            justify="right" if heading in NUMBERS else "left",
            no_wrap=heading == HEADINGS[0] or console.width >= NARROW,  # names are never cut
            overflow="fold",
        )
    if wide:
        table.add_column(RULE)
    # What other packages offer is listed without importing it.
    known = {**CARDS, **{name: kind.card for name, kind in REGISTERED.items()}}
    cards = list(known.values())
    for card in cards:
        table.add_row(*_cells(card), *([card.success_rule] if wide else []))
    for name in tasks.names():
        if name not in known:
            table.add_row(name, *["?"] * (len(HEADINGS) - 1), *(["of another package"] if wide else []))
    console.print(table)
    if not wide:
        _print_rules(cards)
    if terminal:
        console.print(f"\n{NOTES}", style="dim")


def _cells(card: TaskCard) -> tuple[str, ...]:
    from tasks import experts

    success = "none"
    if card.name in experts.shipped_names():
        success = f"{experts.shipped_card(card.name)['evaluation']['mean_action']['success']:.2f}"
    numbers = str(card.action_dim), str(card.horizon), card.camera, str(card.demonstrations)
    return card.name, card.source, *numbers, success


def _print_rules(cards: Sequence[TaskCard]) -> None:
    """Print one line per success rule, with the tasks that share it."""
    import tasks

    rules: dict[str, list[str]] = {}
    for card in cards:
        rules.setdefault(card.success_rule, []).append(card.name)
    typer.echo(f"\n{RULE}")
    for rule, names in rules.items():
        families = {tasks.card(name).family for name in names}
        shared = f"{families.pop()}-*" if len(names) > 1 and len(families) == 1 else ", ".join(names)
        typer.echo(f"{shared:12} {rule}")


def _check_picture(path: Path) -> None:
    """Check that the picture can be written, before any work."""
    if path.suffix.lower() != ".png":
        raise ConfigError(f"--out {path}: the picture is a PNG; give a name that ends in .png")
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder; choose another --out")
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {path.parent}; make it, or choose another --out")
    from ..store.run_folder import check_writable

    check_writable(path.parent)


def _expert(card: TaskCard) -> Actor | None:
    import tasks

    return tasks.expert(card.name) if tasks.has_expert(card.name) else None


def _draw_episode(card: TaskCard, options: dict[str, Any], path: Path, quality: Quality, seed: int, count: int) -> None:
    import numpy as np

    import tasks

    from . import task_pictures as pictures

    task = tasks.make(card.name, **options)
    expert = _expert(card)
    note, acted, verdict = NO_EXPERT.format(name=card.name), [RESTING], ""
    if expert is None:
        task.reset([seed])
        shown = pictures.film(task, task.initial_state(0), np.zeros((card.horizon, card.action_dim)), count, quality)
    else:
        episode = pictures.expert_episode(task, expert, seed)
        shown = pictures.film(task, episode.initial_state, episode.actions, count, quality)
        acted, first, seed = [], seed, cast("int", episode.seed)
        verdict = "no success" if shown.succeeded is None else f"success at step {shown.succeeded}"
        tried = f"seeds {first} to {first + pictures.ATTEMPTS - 1}"
        note = "" if episode.success else f"{card.name}: the expert fails from {tried}; showing its best return"
    if note:
        typer.echo(note)
    outcome = [f"{shown.length} steps", f"return {shown.total_reward:.1f}"]
    details = [*_paper_name(card), card.summary, *acted, *_pack(card, options), *_look(options), *outcome]
    what = "an expert episode" if expert else "the resting scene (zero action, no expert)"
    outcomes = ", ".join([*outcome, verdict] if verdict else outcome)
    scene = ", ".join(_scene(card, options, seed))
    about = f"{what} of {_names(card)}, {count} frames up to step {shown.steps[-1]}, {scene}; {outcomes}"
    _save(path, pictures.strip(shown, card.name, details, verdict), about)


def _draw_backgrounds(card: TaskCard, options: dict[str, Any], path: Path, quality: Quality, seed: int) -> None:
    from . import task_pictures as pictures

    frames = pictures.background_frames(card.name, seed, quality, **options)
    scene = _scene(card, options, seed)
    about = f"one initial state of {_names(card)} under backgrounds 0 to {len(frames) - 1}, {', '.join(scene)}"
    details = [*_paper_name(card), "one initial state, eleven backgrounds", *scene]
    _save(path, pictures.contact_sheet(frames, card, details), about)


def _play(card: TaskCard, options: dict[str, Any], seed: int) -> None:
    from . import task_pictures as pictures

    pictures.require_display()

    import tasks

    expert = _expert(card)
    task = tasks.make(card.name, **options)
    if expert is None:
        typer.echo(NO_EXPERT.format(name=card.name))
    typer.echo(f"{card.name}: playing at a quarter of real time; close the window or press Ctrl-C to end")
    try:
        pictures.watch(task, expert, seed)
    except KeyboardInterrupt:
        typer.echo("")


def _save(path: Path, picture: Any, about: str) -> None:
    from ..store import atomic
    from .task_pictures import png

    atomic.write_bytes(path, png(picture, about))
    typer.echo(f"{path}: {about}")


def _names(card: TaskCard) -> str:
    return " ".join([card.name, *(f"({name})" for name in _paper_name(card))])


def _paper_name(card: TaskCard) -> list[str]:
    return [] if card.paper_name in ("", card.name) else [f"{card.paper_name} in the paper"]


def _scene(card: TaskCard, options: dict[str, Any], seed: int) -> list[str]:
    return [f"camera {card.camera}", *_pack(card, options), *_look(options), f"seed {seed}"]


def _pack(card: TaskCard, options: dict[str, Any]) -> list[str]:
    """Return the packs of objects, if there is a choice."""
    if len(card.packs) == 1:
        return []
    return ["official YCB meshes" if options["objects"] == "ycb" else "builtin objects"]


def _look(options: dict[str, Any]) -> list[str]:
    number = options.get("background", 0)
    if number == 0:
        return []
    from tasks.scene.backgrounds import background

    return [f"background {number}, {background(number).name}"]
