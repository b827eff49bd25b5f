"""The check that a task from outside passes once before work begins, so that a mistake shows at once.

Each failure is one line that says what is wrong and what to change.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .cards import PACKS, TaskCard
from .engine import mujoco
from .errors import RenderError, TaskContract, TaskError, in_words

if TYPE_CHECKING:
    from .base import Reading, Task

CHECKS = (
    "the card's numbers fit together",
    "the scene's files are part of the hash",
    "the scene has the camera, actuators and names that card and subject say",
    "observation, proprioception, reward and flags have their shapes and types, and are finite",
    "a reading does not change with later steps",
    "the same seed gives the same episode in any slot, and other seeds give others",
    "a state that is saved and restored continues bit for bit",
    "an initial state that is restored is the same",
    "a background changes nothing but the picture",
    "the expert's actions fit, and each depends on its own observation alone",
)
DRAWN = "the camera sees something, and different initial states look different"

SEEDS = (11, 12, 13)
STEPS = 4
TIMESTEP = 0.002


def check_task(kind: type[Task], *, draw: bool = False) -> None:
    """Hold a task to its contract with three short episodes.

    Args:
        kind: the task's class.
        draw: whether frames are drawn and looked at, too.

    Raises:
        TaskContract: it breaks the contract; the message says what to change.
        TaskError: it cannot be built, or nothing can be drawn here.
    """
    try:
        _check_card(kind.card)
        _check_field(kind)
        task = kind(slots=len(SEEDS))
        _check_data_files(task)
        _check_scene(task)
        start = task.reset(SEEDS)
        _check_reading(task, start)
        actions = np.random.default_rng(0).uniform(-1, 1, (STEPS, len(SEEDS), kind.card.action_dim))
        _check_steps(task, start, actions)
        _check_seeds(task, actions)
        _check_states(task, actions)
        _check_background(kind, start)
        _check_expert(kind, start)
        if draw:
            _check_picture(task)
    except (TaskError, MemoryError):
        raise
    except Exception as error:  # the task's author may raise anything
        what = f"{in_words(error)}{_place(error, kind)}"
        raise _broken(kind.card, what, "mend it in the task's class") from error


def _check_card(card: TaskCard) -> None:
    for name in ("action_dim", "observation_dim", "horizon", "iterations", "trajectories_per_iteration"):
        _require_count(card, name)
    for name in ("demonstrations", "ema_streams"):
        _require_count(card, name)
    if not 1 <= card.goal_steps <= card.horizon:
        raise _broken(card, f"goal_steps is {card.goal_steps}", f"expected 1 to the horizon, {card.horizon}")
    if not 0.0 <= card.ema_momentum <= 1.0:
        raise _broken(card, f"ema_momentum is {card.ema_momentum}", "expected 0 to 1; 0 for no moving statistics")
    start, stop = card.proprioception
    if not 0 <= start < stop:
        raise _broken(card, f"proprioception is {card.proprioception}", "expected (first, last + 1) of qpos")
    if not card.packs or not set(card.packs) <= set(PACKS):
        raise _broken(card, f"packs are {card.packs}", f"expected some of {PACKS}")


def _require_count(card: TaskCard, name: str) -> None:
    value = getattr(card, name)
    if not isinstance(value, int) or value < 1:
        raise _broken(card, f"{name} is {value!r}", "expected a whole number above 0")


def _check_data_files(task: Task) -> None:
    """Refuse a scene from files beside the class's own that its hash does not cover."""
    kind = type(task)
    if kind.plugin_file is None or kind.data_files:
        return
    folder, scene = Path(kind.plugin_file).parent, task.build().modelfiledir
    if scene and Path(scene).resolve().is_relative_to(folder):
        raise _broken(
            kind.card,
            f"the scene is read from {scene}, and a change of it would go unnoticed",
            'name what is read in the class, as in data_files = ("scene.xml", "meshes/*.stl")',
        )


def _check_field(kind: type[Task]) -> None:
    field, key = kind.field_name, kind.card.initial_state_field
    if bool(field) != bool(key):
        raise _broken(
            kind.card,
            f"field_name is {field!r}, the card's initial_state_field {key!r}",
            "set both, for a reset that places a body, or none",
        )


def _check_scene(task: Task) -> None:
    card, model, subject = task.card, task.model, task.subject
    if model.nu != card.action_dim:
        raise _broken(card, f"the scene has {model.nu} actuators", f"set action_dim = {model.nu} in the card")
    unlimited = [model.actuator(i).name for i in range(model.nu) if not np.ptp(model.actuator_ctrlrange[i]) > 0]
    if unlimited:
        raise _broken(card, f"actuator '{unlimited[0]}' has no control range", "set its ctrlrange in the scene")
    if model.opt.timestep != TIMESTEP:
        raise _broken(
            card, f"the timestep is {model.opt.timestep:g} s", f"set spec.option.timestep = {TIMESTEP} in build"
        )
    if card.proprioception[1] > model.nq:
        raise _broken(card, f"proprioception ends at {card.proprioception[1]}", f"qpos has {model.nq} numbers")
    kinds = mujoco.mjtObj
    hand = subject.hand
    ends = *(subject.axis or ()), *(subject.target_axis or ())
    sites = [subject.site, *ends, *subject.translucent, hand.palm, *hand.fingertips.values()]
    for names, allowed, what in (
        ([card.camera], (kinds.mjOBJ_CAMERA,), "camera"),
        ([card.adaptation_camera], (kinds.mjOBJ_CAMERA,), "camera"),
        ([subject.handled, hand.root], (kinds.mjOBJ_BODY,), "body"),
        ([subject.target], (kinds.mjOBJ_BODY, kinds.mjOBJ_SITE), "body or site"),
        (sites, (kinds.mjOBJ_SITE,), "site"),
    ):
        for name in names:
            if name is not None and all(mujoco.mj_name2id(model, kind, name) < 0 for kind in allowed):
                there = sorted(
                    {mujoco.mj_id2name(model, kind, i) for kind in allowed for i in _ids(model, kind)} - {None}
                )
                raise _broken(card, f"the scene has no {what} '{name}'", f"it has {', '.join(there) or 'none'}")


def _ids(model: mujoco.MjModel, kind: mujoco.mjtObj) -> range:
    counts = {mujoco.mjtObj.mjOBJ_CAMERA: model.ncam, mujoco.mjtObj.mjOBJ_BODY: model.nbody}
    return range(counts.get(kind, model.nsite))


def _check_reading(task: Task, reading: object) -> None:
    from .base import Reading

    card, slots = task.card, task.slots
    if not isinstance(reading, Reading):
        raise _broken(card, f"read gives a {type(reading).__name__}", "return Reading(observation, ...)")
    for name, shape, kind in (
        ("observation", (slots, card.observation_dim), "f"),
        ("proprioception", (slots, card.proprioception_dim), "f"),
        ("reward", (slots,), "f"),
        ("goal_measurement", (slots,), "f"),
        ("goal", (slots,), "b"),
        ("terminated", (slots,), "b"),
        ("unstable", (slots,), "b"),
    ):
        value = getattr(reading, name)
        if not isinstance(value, np.ndarray) or value.shape != shape:
            found = value.shape if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
            setting = f"; set {name}_dim = {found[-1]}" if name == "observation" and len(found) == 2 else ""
            raise _broken(card, f"read gives {name} {found}", f"expected an array of shape {shape}{setting}")
        if value.dtype.kind != kind:
            expected = "bool" if kind == "b" else "float64"
            raise _broken(card, f"read gives {name} of {value.dtype}", f"expected {expected}")
        if kind == "f" and not np.isfinite(value).all():
            bad = int((~np.isfinite(value)).sum())
            raise _broken(
                card, f"{bad} of {value.size} numbers of {name} are NaN or infinite", "check what read divides"
            )
    start, stop = card.proprioception
    if not np.array_equal(reading.proprioception, task.batch.bind("qpos")[:, start:stop]):
        raise _broken(card, "proprioception is not the slice of qpos that the card says", f"give qpos[{start}:{stop}]")


def _check_steps(task: Task, start: Reading, actions: npt.NDArray[np.float64]) -> None:
    first, *others = actions
    readings = start, task.step(first)
    kept = [[column.copy() for column in reading] for reading in readings]
    for action in others:
        _check_reading(task, task.step(action))
    for reading, copies in zip(readings, kept, strict=True):
        for name, before, after in zip(reading._fields, copies, reading, strict=True):
            if not np.array_equal(before, after):
                raise _broken(
                    task.card, f"an earlier {name} changed with later steps", "give a copy in read, not a view"
                )


def _check_seeds(task: Task, actions: npt.NDArray[np.float64]) -> None:
    card = task.card
    first, again, turned = (_episode(task, seeds, actions) for seeds in (SEEDS, SEEDS, SEEDS[::-1]))
    if not np.array_equal(first[0], again[0]):
        raise _broken(card, "the same seed gave another initial state", "draw from the generator alone in draw")
    if not np.array_equal(first, again):
        raise _broken(card, "the same seed and actions gave another episode", "keep no state between episodes in read")
    if not np.array_equal(first[0], turned[0, ::-1]):
        raise _broken(card, "a seed gave another initial state in another slot", "read each slot's own row")
    if np.array_equal(first[0, 0], first[0, 1]) and np.array_equal(first[0, 0], first[0, 2]):
        raise _broken(
            card, "all seeds gave the same observation", "randomise a position in draw, and let observations show it"
        )


def _episode(task: Task, seeds: tuple[int, ...], actions: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(STEPS + 1, slots, observation_dim): the observations of an episode per slot, the same actions in each."""
    observations = [task.reset(seeds).observation]
    observations += [task.step(np.repeat(action[:1], len(seeds), axis=0)).observation for action in actions]
    return np.stack(observations)


def _check_states(task: Task, actions: npt.NDArray[np.float64]) -> None:
    card, half = task.card, len(actions) // 2
    task.reset(SEEDS)
    for action in actions[:half]:
        task.step(action)
    saved, rest = task.get_state(), [task.step(action) for action in actions[half:]]
    task.reset([seed + 100 for seed in SEEDS])
    task.set_state(saved)
    for action, expected in zip(actions[half:], rest, strict=True):
        for name, one, other in zip(expected._fields, expected, task.step(action), strict=True):
            if not np.array_equal(one, other):
                raise _broken(card, f"{name} differs after a state was restored", "let read use the simulation alone")
    start = task.reset(SEEDS)
    states = [task.initial_state(slot) for slot in range(task.slots)]
    task.reset([seed + 100 for seed in SEEDS])
    if not np.array_equal(task.restore(states).observation, start.observation):
        raise _broken(
            card,
            "an initial state that was restored gives another observation",
            "let draw change qpos and the model field that field_name and field_body name, and nothing else",
        )


def _check_background(kind: type[Task], start: Reading) -> None:
    shifted = kind(slots=len(SEEDS), background=1).reset(SEEDS)
    if not np.array_equal(shifted.observation, start.observation):
        raise _broken(
            kind.card, "another background gives another observation", "let it change textures alone in build"
        )


def _check_expert(kind: type[Task], start: Reading) -> None:
    card, expert = kind.card, kind.expert()
    if expert is None:
        return
    if (expert.observation_dim, expert.action_dim) != (card.observation_dim, card.action_dim):
        raise _broken(
            card,
            f"the expert has observations of {expert.observation_dim} and actions of {expert.action_dim} numbers",
            f"expected {card.observation_dim} and {card.action_dim}",
        )
    actions = expert.mean(start.observation)
    expected = (len(SEEDS), card.action_dim)
    if np.shape(actions) != expected or not np.isfinite(actions).all():
        raise _broken(card, f"the expert gives actions {np.shape(actions)}", f"expected finite numbers {expected}")
    alone = np.concatenate([expert.mean(row[None]) for row in start.observation])
    if not np.array_equal(alone, actions):
        raise _broken(
            card, "the expert's action depends on other observations or on earlier ones", "let mean use each row alone"
        )


def _check_picture(task: Task) -> None:
    from .rendering.render import Renderer

    task.reset(SEEDS)
    data, frames = mujoco.MjData(task.model), []
    with Renderer(task.model, task.card.camera, "fast") as renderer:
        for slot in range(task.slots):
            task.load_data(slot, data)
            try:
                frames.append(renderer.render(data).copy())
            except RenderError as error:  # a black frame
                what = f"camera '{task.card.camera}' sees nothing but black"
                raise _broken(task.card, what, "turn it to the scene, and light that") from error
    if all(np.array_equal(frames[0], frame) for frame in frames[1:]):
        raise _broken(
            task.card,
            f"camera '{task.card.camera}' sees no difference between initial states",
            "show what draw randomises, such as a marker of the target",
        )


def _place(error: Exception, kind: type[Task]) -> str:
    """Return the line of the task's own file, or else of any file, where it failed."""
    frames = traceback.extract_tb(error.__traceback__)
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    own = [frame for frame in frames if frame.filename == file]
    return f" ({(own or frames)[-1].filename}, line {(own or frames)[-1].lineno})"


def _broken(card: TaskCard, what: str, remedy: str) -> TaskContract:
    return TaskContract(f"task '{card.name}': {what}; {remedy}")
