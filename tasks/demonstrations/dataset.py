"""Demonstrations: episodes of state observations, actions and outcomes, with the initial states to restart them from.

They come from an expert (`rollout.collect`) or from a published file (see `published`), and are stored
as one ``.npz`` without pickles. Images are not stored: they are rendered again from the initial state and the actions.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..cards import TaskCard
from ..errors import DemonstrationError
from ..files import expanded, write_whole
from .npz import read_arrays

FloatArray = npt.NDArray[np.float64]
SingleArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

_FORMAT = 1
_DTYPES = {"actions": "<f4", "observations": "<f4", "rewards": "<f8", "goals": "|b1"}
_INITIAL = "initial_"


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

    def check_fits(self, card: TaskCard) -> None:
        """Make sure that a task can take these actions and give these observations.

        Raises:
            DemonstrationError: they are of another task or have other dimensions.
        """
        first = self.episodes[0]
        shapes = (first.actions.shape[1], first.observations.shape[1])
        if (self.task, *shapes) != (card.name, card.action_dim, card.observation_dim):
            raise DemonstrationError(
                f"demonstrations of {self.task} with actions of {shapes[0]} and observations of {shapes[1]} "
                f"do not fit {card.name} ({card.action_dim}, {card.observation_dim})"
            )

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
        path = expanded(path)
        described = {"format": _FORMAT, "task": self.task, "content_hash": self.content_hash}
        text = json.dumps({**described, "metadata": dict(self.metadata)}, sort_keys=True)
        content = io.BytesIO()
        np.savez_compressed(content, header=np.array(text), **self._arrays())  # type: ignore[arg-type]
        try:
            write_whole(path, content.getvalue())
        except OSError as error:
            raise DemonstrationError(f"{path}: cannot be written ({error.strerror}); choose another folder") from error

    @classmethod
    def load(cls, path: str | Path) -> Demonstrations:
        """Read what `save` wrote.

        Raises:
            DemonstrationError: the file is missing, broken, of another kind, or its content is not what it says.
        """
        path = expanded(path)
        try:
            arrays = read_arrays(path)
            header = _header(arrays.pop("header", None))
            loaded = cls(header["task"], tuple(_split(arrays)), header["metadata"])
        except OSError as error:
            reason = error.strerror or error
            raise DemonstrationError(f"{path}: cannot be read ({reason}); collect or import demonstrations") from error
        except (ValueError, KeyError, TypeError, IndexError) as error:
            reason = " ".join(str(error).split())[:200]
            what = f"broken or not a demonstrations file ({reason})"
            raise DemonstrationError(f"{path}: {what}; make it again") from error
        if header["format"] != _FORMAT or loaded.content_hash != header["content_hash"]:
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


def _header(stored: npt.NDArray[Any] | None) -> dict[str, Any]:
    """What `Demonstrations.save` says of its arrays."""
    if stored is None or stored.shape != () or stored.dtype.kind != "U":
        raise ValueError("no header of text")
    try:
        header = json.loads(str(stored))
    except RecursionError:
        raise ValueError("a header that is nested too deep") from None
    kinds = {"format": int, "task": str, "content_hash": str, "metadata": dict}
    if not isinstance(header, dict) or any(not isinstance(header.get(name), kind) for name, kind in kinds.items()):
        raise ValueError(f"the header is not an object with {', '.join(kinds)}")
    if not isinstance(header["metadata"].get("scene", {}), dict):
        raise ValueError("the scene in the header is not an object")
    return header


def _split(arrays: Mapping[str, npt.NDArray[Any]]) -> Sequence[Episode]:
    lengths, successes, seeds = (arrays[name] for name in ("lengths", "successes", "seeds"))
    count = len(lengths) if lengths.ndim == 1 else 0
    if not count or lengths.dtype.kind not in "iu" or lengths.min() < 1:
        raise ValueError("no lengths of episodes")
    if (successes.shape, successes.dtype.kind) != ((count,), "b") or (seeds.shape, seeds.dtype.kind) != ((count,), "i"):
        raise ValueError(f"not {count} seeds and successes for {count} episodes")
    initial = {name.removeprefix(_INITIAL): array for name, array in arrays.items() if name.startswith(_INITIAL)}
    steps = sum(int(length) for length in lengths)
    for name, length in {**dict.fromkeys(_DTYPES, steps), **{_INITIAL + name: count for name in initial}}.items():
        if arrays[name].ndim < 1 or len(arrays[name]) != length or arrays[name].dtype.kind == "U":
            found = f"{arrays[name].dtype} of shape {arrays[name].shape}"
            raise ValueError(f"{name}: {found}, not {length} rows of numbers")
    stops = np.cumsum(lengths)
    return [
        Episode(
            {name: array[i] for name, array in initial.items()},
            **{name: arrays[name][stop - length : stop] for name in _DTYPES},
            success=bool(successes[i]),
            seed=None if seeds[i] < 0 else int(seeds[i]),
        )
        for i, (stop, length) in enumerate(zip(stops, lengths, strict=True))
    ]


def _dimensions(episode: Episode) -> str:
    """The dimensions that all episodes of a task share."""
    state = ", ".join(f"{name} {value.shape}" for name, value in episode.initial_state.items())
    return f"actions of {episode.actions.shape[1]}, observations of {episode.observations.shape[1]}, {state}"


def _frozen(array: npt.ArrayLike, dtype: str, name: str) -> npt.NDArray[Any]:
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
        copy = np.array(array, dtype, order="C")
    if not np.isfinite(copy).all():
        raise DemonstrationError(f"episode: {name} holds a number that is not finite")
    copy.setflags(write=False)
    return copy
