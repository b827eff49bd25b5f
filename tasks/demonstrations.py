"""Demonstrations: episodes of state observations, actions and outcomes, with the initial states to restart them from.

They come from an expert (`tasks.expert_rollout.collect`) or from a published file (`import_dapg`), and are stored as
one ``.npz`` without pickles. Images are not stored: they are rendered again from the initial state and the actions.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import DemonstrationError, PickleError
from .pickles import load_plain
from .registry import card as card_of

FloatArray = npt.NDArray[np.float64]
SingleArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

_FORMAT = 1
_DTYPES = {"actions": "<f4", "observations": "<f4", "rewards": "<f8", "goals": "|b1"}
_INITIAL = "initial_"
_JOINTS = {"hammer": 33, "door": 30, "pen": 30}  # the Adroit scenes have as many velocities as positions
_FIELD_SIZES = {"board_pos": 3, "door_body_pos": 3, "desired_orien": 4}


@dataclass(frozen=True, eq=False)
class Episode:
    """One demonstrated episode of T control steps.

    Attributes:
        initial_state: what `tasks.base.Task.restore` needs, as float64.
        actions: (T, action_dim) float32, as the demonstrator gave them (the task clips to [-1, 1]).
        observations: (T, observation_dim) float32, the state observation before each step.
        rewards: (T,) float64.
        goals: (T,) bool, the goal flag after each step.
        success: whether the episode met its task's rule.
        seed: of the reset, where there was one.

    Raises:
        DemonstrationError: lengths differ, there is no step, or a number is not finite.
    """

    initial_state: Mapping[str, FloatArray]
    actions: SingleArray
    observations: SingleArray
    rewards: FloatArray
    goals: BoolArray
    success: bool
    seed: int | None = None

    def __post_init__(self) -> None:
        state = {name: _frozen(value, "<f8", name) for name, value in sorted(self.initial_state.items())}
        object.__setattr__(self, "initial_state", state)
        for name, dtype in _DTYPES.items():
            object.__setattr__(self, name, _frozen(getattr(self, name), dtype, name))
        shapes = {name: getattr(self, name).shape for name in _DTYPES}
        dimensions = [len(shape) for shape in shapes.values()]
        if dimensions != [2, 2, 1, 1] or len({shape[0] for shape in shapes.values()}) != 1 or not len(self):
            found = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise DemonstrationError(f"episode: {found}; expected (T, n), (T, d), (T,), (T,) with one T above 0")

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def total_reward(self) -> float:
        """The undiscounted return."""
        return float(self.rewards.sum())


@dataclass(frozen=True, eq=False)
class Demonstrations:
    """Episodes of one task, and where they come from.

    Attributes:
        task: name of the task.
        episodes: at least one; all with the same dimensions and the same keys of the initial state.
        metadata: JSON: source, expert and its hash, options, counts, rule of selection, versions.

    Raises:
        DemonstrationError: there is no episode, or they differ in a dimension.
    """

    task: str
    episodes: tuple[Episode, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "episodes", tuple(self.episodes))
        if not self.episodes:
            raise DemonstrationError(f"demonstrations of {self.task}: no episode")
        kinds = [_dimensions(episode) for episode in self.episodes]
        for number, kind in enumerate(kinds):
            if kind != kinds[0]:
                raise DemonstrationError(f"demonstrations of {self.task}: episode {number} has {kind}, not {kinds[0]}")

    def __len__(self) -> int:
        return len(self.episodes)

    @property
    def success_rate(self) -> float:
        """Fraction of the kept episodes that succeeded."""
        return sum(episode.success for episode in self.episodes) / len(self)

    @cached_property
    def content_hash(self) -> str:
        """Sha256 of the task's name and all arrays; neither metadata nor the file's compression count."""
        digest = hashlib.sha256(f"demonstrations {_FORMAT} {self.task};".encode())
        for name, array in sorted(self._arrays().items()):
            digest.update(f"{name} {array.dtype.str} {array.shape};".encode())
            digest.update(array.tobytes())
        return digest.hexdigest()

    def first(self, count: int) -> Demonstrations:
        """The first ``count`` episodes.

        Raises:
            DemonstrationError: there are fewer.
        """
        if not 1 <= count <= len(self):
            raise DemonstrationError(f"demonstrations of {self.task}: {count} wanted, {len(self)} there; collect more")
        return Demonstrations(self.task, self.episodes[:count], self.metadata)

    def save(self, path: str | Path) -> None:
        """Write one compressed ``.npz`` without pickles; the file appears only when it is complete.

        Raises:
            DemonstrationError: it cannot be written.
        """
        path = Path(path)
        described = {"format": _FORMAT, "task": self.task, "content_hash": self.content_hash}
        text = json.dumps({**described, "metadata": dict(self.metadata)}, sort_keys=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.partial")
        try:
            with part.open("wb") as file:
                np.savez_compressed(file, header=np.array(text), **self._arrays())  # type: ignore[arg-type]
            os.replace(part, path)
        except OSError as error:
            raise DemonstrationError(f"{path}: cannot be written ({error.strerror}); choose another folder") from error

    @classmethod
    def load(cls, path: str | Path) -> Demonstrations:
        """Read what `save` wrote.

        Raises:
            DemonstrationError: the file is missing, broken, of another kind, or its content is not what it says.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                header = json.loads(str(file["header"]))
                arrays = {name: file[name] for name in file.files if name != "header"}
            loaded = cls(header["task"], tuple(_split(arrays)), header["metadata"])
        except OSError as error:
            raise DemonstrationError(f"{path}: cannot be read ({error}); collect or import demonstrations") from error
        except (ValueError, KeyError, TypeError, IndexError, EOFError, zipfile.BadZipFile) as error:
            raise DemonstrationError(f"{path}: broken or not a demonstrations file ({error}); make it again") from error
        if header.get("format") != _FORMAT or loaded.content_hash != header.get("content_hash"):
            raise DemonstrationError(f"{path}: content and header differ; collect or import the demonstrations again")
        return loaded

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All episodes in a row; seeds that are not known are -1."""
        joined = {name: np.concatenate([getattr(episode, name) for episode in self.episodes]) for name in _DTYPES}
        for name in self.episodes[0].initial_state:
            joined[_INITIAL + name] = np.stack([episode.initial_state[name] for episode in self.episodes])
        joined["lengths"] = np.array([len(episode) for episode in self.episodes], "<i8")
        joined["successes"] = np.array([episode.success for episode in self.episodes])
        joined["seeds"] = np.array([-1 if episode.seed is None else episode.seed for episode in self.episodes], "<i8")
        return joined


def import_dapg(path: str | Path, task_name: str, episodes: int | None = None) -> Demonstrations:
    """Read a DAPG demonstration file (``hammer-v0_demos.pickle`` and so on).

    Observations and rewards are the file's (dense rewards); goal flags are unknown and off until
    `tasks.expert_rollout.replay` makes all three again, as the paper does.

    Args:
        path: the pickle; nothing in it is run.
        task_name: hammer, door or pen.
        episodes: how many to keep, from the start; the number of the paper by default.

    Raises:
        DemonstrationError: the file is refused, broken, of another task, or too short.

    Source: Rajeswaran et al. 2018, ``aravindr93/hand_dapg``.
    """
    if task_name not in _JOINTS:
        raise DemonstrationError(f"DAPG has no demonstrations for {task_name!r}, only for {', '.join(_JOINTS)}")
    wanted = card_of(task_name).demonstrations if episodes is None else episodes
    try:
        recorded = load_plain(path)
    except PickleError as error:
        raise DemonstrationError(str(error)) from error
    if not isinstance(recorded, (list, tuple)) or not all(isinstance(episode, dict) for episode in recorded):
        raise DemonstrationError(f"{path}: not a list of demonstrations; give a DAPG file such as door-v0_demos.pickle")
    if not 1 <= wanted <= len(recorded):
        raise DemonstrationError(f"{path}: {wanted} demonstrations wanted, {len(recorded)} in the file; ask for fewer")
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    kept = tuple(_dapg_episode(episode, task_name, f"{path}: demonstration {i}") for i, episode in enumerate(recorded))
    metadata = {
        "source": "DAPG file",
        "task": task_name,
        "file": Path(path).name,
        "file_sha256": digest,
        "counts": {"in_file": len(recorded), "kept": wanted},
        "selection": f"the first {wanted} of the file",
        "replayed": False,
    }
    return Demonstrations(task_name, kept[:wanted], metadata)


def _dapg_episode(recorded: Mapping[str, Any], task_name: str, where: str) -> Episode:
    card, joints = card_of(task_name), _JOINTS[task_name]
    state = recorded.get("init_state_dict")
    if not isinstance(state, dict):
        raise DemonstrationError(f"{where}: no init_state_dict; give a DAPG file of {task_name}")
    sizes = {"qpos": joints, "qvel": joints}
    if card.initial_state_field:
        sizes[card.initial_state_field] = _FIELD_SIZES[card.initial_state_field]
    initial = {name: _numbers(state, name, task_name, where).ravel() for name in sizes}
    for name, size in sizes.items():
        if initial[name].size != size:
            found = f"{name} has {initial[name].size} numbers, not {size}"
            raise DemonstrationError(f"{where}: {found}; is this a file of {task_name}?")
    arrays = {name: _numbers(recorded, name, task_name, where) for name in ("actions", "observations", "rewards")}
    for name, width in (("actions", card.action_dim), ("observations", card.observation_dim)):
        array = arrays[name]
        if array.ndim != 2 or array.shape[1] != width:
            found = f"{name} have shape {array.shape}, not (T, {width})"
            raise DemonstrationError(f"{where}: {found}; is this a file of {task_name}?")
    rewards = arrays["rewards"].ravel()
    actions, observations = arrays["actions"].astype(np.float32), arrays["observations"].astype(np.float32)
    try:
        return Episode(initial, actions, observations, rewards, np.zeros(len(rewards), bool), success=False)
    except DemonstrationError as error:
        raise DemonstrationError(f"{where}: {error}") from error


def _numbers(values: Mapping[str, Any], name: str, task_name: str, where: str) -> FloatArray:
    if name not in values:
        raise DemonstrationError(f"{where}: no {name!r}; is this a file of {task_name}?")
    try:
        return np.asarray(values[name], np.float64)
    except (TypeError, ValueError):
        raise DemonstrationError(f"{where}: {name!r} does not hold numbers; the file is broken") from None


def _split(arrays: Mapping[str, npt.NDArray[Any]]) -> Sequence[Episode]:
    stops = np.cumsum(arrays["lengths"])
    if len(stops) == 0 or any(len(arrays[name]) != stops[-1] for name in _DTYPES):
        raise ValueError("lengths do not add up")
    initial = {name.removeprefix(_INITIAL): array for name, array in arrays.items() if name.startswith(_INITIAL)}
    return [
        Episode(
            {name: array[i] for name, array in initial.items()},
            **{name: arrays[name][stop - length : stop] for name in _DTYPES},
            success=bool(arrays["successes"][i]),
            seed=None if arrays["seeds"][i] < 0 else int(arrays["seeds"][i]),
        )
        for i, (stop, length) in enumerate(zip(stops, arrays["lengths"], strict=True))
    ]


def _dimensions(episode: Episode) -> str:
    """The dimensions that all episodes of a task share."""
    state = ", ".join(f"{name} {value.shape}" for name, value in episode.initial_state.items())
    return f"actions of {episode.actions.shape[1]}, observations of {episode.observations.shape[1]}, {state}"


def _frozen(array: npt.ArrayLike, dtype: str, name: str) -> npt.NDArray[Any]:
    copy = np.array(array, dtype, order="C")
    if not np.isfinite(copy).all():
        raise DemonstrationError(f"episode: {name} holds a number that is not finite")
    copy.setflags(write=False)
    return copy
