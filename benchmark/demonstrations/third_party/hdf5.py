"""Demonstrations of Adroit's tasks in HDF5, in D4RL's and Minari's layouts.

What a published episode gives is its initial state and its actions; `tasks.demonstrations.rollout.replay` makes
observations, rewards and success again. Both collections were recorded from DAPG's scenes with actions in [-1, 1].

D4RL (``door-human-v1.hdf5``) has one flat array per quantity, ``(N, ...)`` over all episodes; ``timeouts`` or
``terminals`` is on at the last step of each. ``infos/qpos``, ``infos/qvel`` and ``infos/door_body_pos`` (hammer:
``board_pos``, pen: ``desired_orien``, relocate: ``obj_pos`` and ``target_pos``) are the states before each step.

Minari (``data/main_data.hdf5``) has a group ``episode_0, episode_1, ...`` for each episode, with one observation more
than actions. Its initial state lies in the group's attributes ``options/initial_state_dict/qpos`` and so on (what the
reset was given; since Minari 0.5) or in the arrays ``state/qpos`` or ``infos/qpos`` (before). A file without any of
these cannot be replayed and is refused.

Source: ``scripts/generation/hand_dapg_demos.py`` of D4RL; ``scripts/D4RL/adroit`` of Minari's dataset generation
scripts, ``HDF5Storage`` of Minari.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.errors import DemonstrationError

if TYPE_CHECKING:
    import h5py

SIGNATURE = b"\x89HDF\r\n\x1a\n"
_LONGEST_EPISODE = 100_000
_MOST_STEPS = 100_000_000
_LARGEST_CHUNK = 2**28
_FLAT = ("actions", "observations", "rewards")


class Recorded(NamedTuple):
    """Episodes of a file, each with the keys of a DAPG demonstration.

    Attributes:
        layout: ``D4RL`` or ``Minari``.
        episodes: mappings of ``init_state_dict``, ``actions``, ``observations`` and ``rewards``.
        in_file: how many episodes the file has.
    """

    layout: str
    episodes: Sequence[Mapping[str, Any]]
    in_file: int


def is_hdf5(path: str | Path) -> bool:
    """Return whether a file starts with the signature of HDF5.

    Raises:
        OSError: it cannot be read.
    """
    with Path(path).open("rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE


def read_episodes(path: str | Path, state_names: Sequence[str], count: int) -> Recorded:
    """Read the first episodes of a D4RL or Minari file of an Adroit task.

    Args:
        path: the file.
        state_names: of the initial state, such as qpos, qvel and door_body_pos.
        count: how many episodes to read at most; nothing else of a large file is read.

    Raises:
        DemonstrationError: h5py is not installed, the file is damaged or of another layout, or it does not say where
            its episodes begin or from which state.
    """
    with _opened(path) as file:
        numbers = _episode_numbers(file)
        if numbers:
            records = [_minari_episode(_group(file, f"episode_{n}"), state_names) for n in numbers[:count]]
            return Recorded("Minari", records, len(numbers))
        if not all(name in file for name in _FLAT):
            raise DemonstrationError(
                "neither D4RL's layout (actions, observations, rewards, timeouts) nor Minari's (episode_0, ...); give "
                "one of D4RL's files such as door-human-v1.hdf5, or main_data.hdf5 of a Minari data set"
            )
        stops = _d4rl_stops(file)
        steps = islice(zip([0, *stops], stops, strict=False), count)
        return Recorded("D4RL", [_d4rl_episode(file, state_names, *each) for each in steps], len(stops))


@contextmanager
def _opened(path: str | Path) -> Iterator[h5py.File]:
    try:
        import h5py
    except ImportError:
        raise DemonstrationError(
            f'{path}: is an HDF5 file, which needs h5py; run `pip install "hindex-bench[hdf5]"`'
        ) from None
    try:
        with h5py.File(path, "r") as file:
            yield file
    except DemonstrationError as error:
        raise DemonstrationError(f"{path}: {error}") from error
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise DemonstrationError(f"{path}: damaged, or not an HDF5 file of demonstrations ({reason})") from error


def _episode_numbers(file: h5py.File) -> list[int]:
    """Return the numbers of Minari's episode groups, in order."""
    found = (re.fullmatch(r"episode_(\d{1,9})", name) for name in file)
    return sorted(int(match.group(1)) for match in found if match)


def _minari_episode(group: h5py.Group, state_names: Sequence[str]) -> dict[str, Any]:
    actions = _rows(group, "actions")
    observations = _rows(group, "observations")
    if len(observations) != len(actions) + 1:
        raise DemonstrationError(
            f"{group.name}: {len(observations)} observations and {len(actions)} actions, expected one more"
        )
    return {
        "init_state_dict": {name: _minari_state(group, name) for name in state_names},
        "actions": actions,
        "observations": observations[:-1],
        "rewards": _rows(group, "rewards"),
    }


def _minari_state(group: h5py.Group, name: str) -> npt.NDArray[np.float64]:
    """Return one quantity of an episode's initial state, from where any version of Minari keeps it."""
    option = f"options/initial_state_dict/{name}"
    if option in group.attrs:
        return np.asarray(group.attrs[option], np.float64)
    for place in (f"state/{name}", f"infos/state/{name}", f"infos/{name}"):
        if _leads_to(group, place):
            return _rows(group, place, stop=1)
    raise DemonstrationError(
        f"{group.name}: no initial {name} (neither {option} nor state/{name} nor infos/{name}), so its actions cannot "
        "be replayed; give D4RL's file of the same data (door-human-v1.hdf5 and so on), or DAPG's pickle"
    )


def _d4rl_stops(file: h5py.File) -> list[int]:
    """Return one past the last step of each complete episode; later steps are ignored."""
    steps = _dataset(file, "actions").shape[0]
    if not 0 < steps <= _MOST_STEPS:
        raise DemonstrationError(f"{steps:,} steps; expected 1 to {_MOST_STEPS:,}")
    ends = np.zeros(steps, bool)
    flags = [name for name in ("timeouts", "terminals") if name in file]
    for name in flags:
        ends |= _rows(file, name, stop=_MOST_STEPS, flat=True, steps=steps).astype(bool)
    if not ends.any():
        raise DemonstrationError("neither timeouts nor terminals are on anywhere, so no step ends an episode")
    return [int(last) + 1 for last in np.flatnonzero(ends)]


def _d4rl_episode(file: h5py.File, state_names: Sequence[str], start: int, stop: int) -> dict[str, Any]:
    missing = [name for name in state_names if not _leads_to(file, f"infos/{name}")]
    if missing:
        raise DemonstrationError(
            f"no infos/{missing[0]}, so the state that episodes begin in is not known; give D4RL's v1 file of this task"
        )
    state = {name: _rows(file, f"infos/{name}", start, start + 1) for name in state_names}
    return {"init_state_dict": state, **{name: _rows(file, name, start, stop) for name in _FLAT}}


def _rows(
    parent: h5py.Group,
    name: str,
    start: int = 0,
    stop: int | None = None,
    *,
    flat: bool = False,
    steps: int | None = None,
) -> npt.NDArray[np.float64]:
    """Return rows of an array of numbers, (stop - start, ...) float64.

    Args:
        parent: where the array is.
        name: its path.
        start: first row.
        stop: one past the last; all by default, of an episode's length at most.
        flat: whether one number per row is expected, and more rows than an episode has are read.
        steps: how many rows the array has to have.
    """
    dataset = _dataset(parent, name)
    stop = dataset.shape[0] if stop is None else min(stop, dataset.shape[0])
    where = f"{dataset.name}: shape {dataset.shape}"
    if steps is not None and dataset.shape[0] != steps:
        raise DemonstrationError(f"{where}, expected {steps} rows; it is damaged")
    if not 0 <= start < stop or (flat and dataset.ndim != 1):
        raise DemonstrationError(f"{where} has no rows {start} to {stop}; it is damaged")
    if not flat and (stop - start > _LONGEST_EPISODE or int(np.prod(dataset.shape[1:], dtype=object)) > 1000):
        raise DemonstrationError(f"{where}: rows {start} to {stop} are more than an episode of Adroit has")
    with np.errstate(invalid="ignore"):  # a damaged number becomes NaN, and is refused
        return np.asarray(dataset[start:stop], np.float64)


def _dataset(parent: h5py.Group, name: str) -> h5py.Dataset:
    """Return an array of numbers in the file itself.

    Raises:
        DemonstrationError: it is something else, or its content is in other files.
    """
    import h5py

    if not _leads_to(parent, name):
        raise DemonstrationError(f"{parent.name.rstrip('/')}/{name} is missing; it is damaged or of another layout")
    found = parent[name]
    if not isinstance(found, h5py.Dataset) or not found.ndim or found.dtype.kind not in "biuf":
        raise DemonstrationError(f"{found.name} is not an array of numbers")
    if found.external or found.is_virtual:
        raise DemonstrationError(f"{found.name} has its numbers in other files, which are not read")
    if found.chunks and int(np.prod(found.chunks, dtype=object)) * found.dtype.itemsize > _LARGEST_CHUNK:
        raise DemonstrationError(f"{found.name} is stored in pieces of more than {_LARGEST_CHUNK // 2**20} MiB")
    return found


def _group(parent: h5py.Group, name: str) -> h5py.Group:
    import h5py

    found = parent[name] if _leads_to(parent, name) else None
    if not isinstance(found, h5py.Group):
        raise DemonstrationError(f"{name} is not a group; it is damaged or of another layout")
    return found


def _leads_to(parent: h5py.Group, path: str) -> bool:
    """Return whether a path exists in this file through hard links only; other links can leave the file."""
    import h5py

    group: Any = parent
    for name in path.split("/"):
        if not isinstance(group, h5py.Group) or not isinstance(group.get(name, getlink=True), h5py.HardLink):
            return False
        group = group[name]
    return True
