"""Where a run's demonstrations come from: the shipped expert, an imported file, or a file that is named."""

from __future__ import annotations

from pathlib import Path

import tasks
from encoders import cache_dir
from tasks import experts
from tasks.demonstrations import Demonstrations
from tasks.expert_rollout import collect

from .config import RunConfig, usable_cores
from .errors import ConfigError

COLLECTING_SLOTS = 32


def imported_path(task: str) -> Path:
    """Where ``bench demos import`` stores a task's demonstrations."""
    return cache_dir() / "demonstrations" / f"{task}.npz"


def gather(config: RunConfig) -> Demonstrations:
    """The demonstrations of a resolved configuration.

    Raises:
        ConfigError: they are missing, of another task, or too few.
        TaskError: the expert is missing, or the file is broken.
    """
    wanted = config.demonstrations
    count = int(wanted.episodes or 1)
    if wanted.source == "expert":
        return collect(
            tasks.make(
                config.task,
                slots=min(COLLECTING_SLOTS, count),
                threads=usable_cores(),
                physics=config.physics,
                reward=config.reward,
            ),
            experts.shipped(config.task),
            episodes=count,
            first_seed=wanted.first_seed,
            horizon=tasks.card(config.task).horizon,
            successful_only=wanted.successful_only,
        )
    path = imported_path(config.task) if wanted.source == "imported" else Path(wanted.source).expanduser()
    if not path.is_file():
        raise ConfigError(missing_line(config.task, path))
    found = Demonstrations.load(path)
    if found.task != config.task:
        raise ConfigError(f"{path} holds demonstrations of {found.task}, not of {config.task}; give another file")
    return found.first(count)


def missing_line(task: str, path: Path) -> str:
    """What to say when a demonstrations file is not there."""
    return (
        f"no demonstrations for {task} at {path}: run `bench demos import FILE --task {task}`, "
        "or clone the shipped expert with --set demonstrations.source=expert"
    )
