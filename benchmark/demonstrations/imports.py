"""The work of ``bench demos import``: convert published demonstrations and policies to our format."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import tasks
from tasks.base import Task
from tasks.demonstrations.dataset import Demonstrations
from tasks.demonstrations.rollout import collect, replay
from tasks.errors import TaskError

from ..config import DEMONSTRATION_SEED
from ..errors import ConfigError
from ..store.cache import require_writable
from ..store.paths import user_path
from .commands import task_options
from .first_frames import unlike_ours
from .sources import COLLECTING_SLOTS, collecting_task, imported_path, load
from .third_party.hdf5 import is_hdf5
from .third_party.published import import_hdf5, import_pickle

MINARI_FILE = "main_data.hdf5"
SAME_OBSERVATION = 1e-3
"""Largest difference between a recorded first observation and ours; D4RL stores states as float32."""


def import_to_cache(file: Path, task: str, episodes: int | None, objects: str | None = None) -> str:
    """Store published demonstrations, or rollouts of a published policy, where the paper preset looks for them.

    A policy is rolled out in the scene of the released demonstrations, with the official meshes by default. Recorded
    actions are taken again, open loop, from their initial states.
    """
    card = tasks.card(task)
    file = _published_file(user_path(file))
    path = imported_path(task)
    require_writable(path.parent)
    note = ""
    if file.suffix == ".npz":
        demonstrations = load(file, task)
        demonstrations = demonstrations.first(episodes or len(demonstrations))
    else:
        count, objects = episodes or card.demonstrations, objects or _released_objects(task)
        if is_hdf5(file):
            recorded = import_hdf5(file, task, count)
            demonstrations = replay(_released_simulators(task, objects)[0], recorded)
            note = _disagreement(recorded, demonstrations)
        else:
            demonstrations, note = _from_pickle(file, task, count, objects)
    demonstrations.save(path)
    success = f"{demonstrations.success_rate:.0%} successful when replayed here"
    return f"{path}: {len(demonstrations)} episodes of {task}, {success}{note}"


def _published_file(path: Path) -> Path:
    """The file that a user named; in a folder of Minari's, the one that holds the data."""
    if path.is_dir():
        inside = [path / "data" / MINARI_FILE, path / MINARI_FILE]
        path = next((file for file in inside if file.is_file()), inside[0])
    if not path.is_file():
        raise ConfigError(
            f"there is no file {path}; give a DAPG or mjrl pickle, an HDF5 file of D4RL or Minari, or our .npz"
        )
    return path


def _disagreement(recorded: Demonstrations, replayed: Demonstrations) -> str:
    """What to say where the file's first observations are not what this simulator shows in the same states."""
    pairs = zip(recorded.episodes, replayed.episodes, strict=True)
    largest = max(float(np.abs(one.observations[0] - other.observations[0]).max()) for one, other in pairs)
    if largest <= SAME_OBSERVATION:
        return ""
    return (
        f"; the file's first observations differ from this simulator's by up to {largest:.2g}: "
        "was it recorded in another version of the environment?"
    )


def _released_objects(task: str) -> str:
    return tasks.card(task).released_objects


def _released_simulators(task: str, objects: str) -> tuple[Task, int]:
    """Simulators of the released demonstrations' scene, and its horizon."""
    options, horizon = task_options(task, objects, "released")
    return collecting_task(task, COLLECTING_SLOTS, options), horizon


def _from_pickle(file: Path, task: str, episodes: int, objects: str) -> tuple[Demonstrations, str]:
    """Rollouts of the policy in a pickle, or its demonstrations replayed and what to say of their images."""
    from .third_party.pickles import PickleError, load_mjrl_policy

    try:
        policy = load_mjrl_policy(file)
    except PickleError as not_a_policy:
        try:
            recorded, first_frames = import_pickle(file, task, episodes)
        except TaskError as not_demonstrations:
            raise ConfigError(f"{file}: {_why_neither(file, not_demonstrations, not_a_policy)}") from None
        options, _ = task_options(task, objects, "released")
        unlike = unlike_ours(recorded, first_frames, options)
        return replay(_released_simulators(task, objects)[0], recorded), f"; {unlike}" if unlike else ""
    simulators, horizon = _released_simulators(task, objects)
    rolled_out = collect(
        simulators,
        policy,
        episodes=episodes,
        first_seed=DEMONSTRATION_SEED,
        horizon=horizon,
        successful_only=False,
    )
    return rolled_out, ""


def _why_neither(file: Path, not_demonstrations: TaskError, not_a_policy: TaskError) -> str:
    """Why a pickle is of no use, in the words of the reader that it was meant for where that is clear."""
    demonstrations, policy = (str(error).removeprefix(f"{file}: ") for error in (not_demonstrations, not_a_policy))
    if policy.startswith("the policy is a list"):
        return demonstrations
    if demonstrations == policy or demonstrations.startswith("not a list"):
        return policy
    return f"{demonstrations}; as a policy: {policy}"
