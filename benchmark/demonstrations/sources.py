"""The demonstrations of a run: rolled out by the shipped expert, imported, or from a named file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tasks
from encoders import cache_dir
from tasks.base import Task
from tasks.demonstrations.dataset import Demonstrations
from tasks.demonstrations.rollout import collect
from tasks.errors import DemonstrationError

from ..config import DemonstrationSettings, usable_cores
from ..errors import ConfigError
from ..store.paths import user_path

COLLECTING_SLOTS = 32


def imported_path(task: str) -> Path:
    """Return where ``bench demos import`` stores a task's demonstrations."""
    return cache_dir() / "demonstrations" / f"{task}.npz"


def locate(task: str, settings: DemonstrationSettings) -> Path | None:
    """Return the file that demonstrations come from; None for the task's expert.

    Raises:
        ConfigError: there is no such file, or no expert of this task.
    """
    source = settings.source
    if source == "expert":
        if not tasks.has_expert(task):
            raise ConfigError(f"task '{task}' has no expert; give demonstrations.source the path of a file")
        return None
    path = imported_path(task) if source == "imported" else user_path(source)
    if not os.path.isfile(path):
        raise ConfigError(
            f"no demonstrations of {task} at {path}: run `bench demos import FILE --task {task}`, "
            "or clone the shipped expert with --set demonstrations.source=expert"
        )
    return path


def gather(task: str, settings: DemonstrationSettings, options: Mapping[str, Any]) -> Demonstrations:
    """Roll out the task's expert, or read a file.

    Args:
        task: the task's name.
        settings: of a resolved configuration.
        options: of the task that is demonstrated in.

    Raises:
        ConfigError: the demonstrations are missing, of another task or scene, or too few.
        TaskError: the file is broken.
    """
    card, count = tasks.card(task), int(settings.episodes or 1)
    path = locate(task, settings)
    if path is not None:
        loaded = load(path, task)
        _check_scene(loaded, {name: options[name] for name in ("physics", "objects", *card.scene)}, path)
        return loaded.first(count)
    released = settings.scene == "released" and card.demonstration_horizon
    return collect(
        collecting_task(task, count, options),
        tasks.expert(task),
        episodes=count,
        first_seed=settings.first_seed,
        horizon=released or card.horizon,
        successful_only=settings.successful_only,
        until_success=settings.until == "success",
    )


def collecting_task(name: str, episodes: int, options: Mapping[str, Any]) -> Task:
    """Return a task that rolls out so many episodes with all cores, at most 32 of them at a time."""
    return tasks.make(name, slots=min(COLLECTING_SLOTS, episodes), threads=usable_cores(), **options)


def load(path: Path, task: str) -> Demonstrations:
    """Read demonstrations from a file in our format.

    Raises:
        ConfigError: they are of another task.
        TaskError: the file is broken, or does not fit the task.
    """
    demonstrations = Demonstrations.load(path)
    if demonstrations.task != task:
        raise ConfigError(f"{path} holds demonstrations of {demonstrations.task}, not of {task}; give another file")
    try:
        demonstrations.check_fits(tasks.card(task))
    except DemonstrationError as error:
        raise DemonstrationError(f"{path}: {error}") from error
    return demonstrations


def recorded_scene(demonstrations: Demonstrations) -> dict[str, Any]:
    """Return the task options that demonstrations were made with; none where the file does not say.

    Raises:
        DemonstrationError: the file says what no task of this name takes.
    """
    scene = dict(demonstrations.metadata.get("scene", {}))
    kinds: dict[str, Any] = {"physics": str, "objects": str}
    kinds |= dict.fromkeys(tasks.card(demonstrations.task).scene, (int, float))
    for name, value in scene.items():
        if name not in kinds or not isinstance(value, kinds[name]):
            raise DemonstrationError(
                f"demonstrations of {demonstrations.task} say that they were made with {name} {value!r}; collect or "
                "import them again"
            )
    return scene


def _check_scene(demonstrations: Demonstrations, scene: dict[str, Any], path: Path) -> None:
    """Refuse demonstrations of another scene: replayed open loop, their actions would lead elsewhere."""
    if tasks.card(demonstrations.task).has_one_scene:
        return
    made_in = demonstrations.metadata.get("scene", {})
    for name, value in scene.items():
        if (made_with := made_in.get(name, "unknown")) != value:
            raise ConfigError(
                f"{path}: demonstrations of {demonstrations.task} made with {name} {made_with}, this run has {value}; "
                "collect or import them again for this scene"
            )
