"""How well features predict each physical quantity of a frame: R² on held-out episodes, and margins between features.

R² is pooled over the numbers of a quantity (weighted by their variance) and 0 for predicting the training mean. Its
95 % interval is that of a bootstrap over held-out episodes; it says nothing of other training episodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ConfigError
from .frames import ProbeFrames, clock_features
from .quantities import CONTACT
from .ridge import Array, Interval, episode_sums, explained, margin, predict

BOOTSTRAP_STREAM = 3
STILL = 1e-3
"""A number that varies less than this (standard deviation; 1 mm, 1 mrad) is constant."""
RARE = 0.02
"""A flag is constant where one of its values is on in less than this share of the frames."""


@dataclass(frozen=True)
class Row:
    """One quantity.

    Attributes:
        quantity: its name.
        dimensions: the names of its numbers.
        r2: pooled over the numbers that vary; None where none does.
        low: lower end of the 95 % interval.
        high: upper end.
        constant: whether no number varies.
        r2_by_dimension: of each number by itself; None for those that do not vary.
        penalty: of the ridge regression, a multiple of the number of training frames.
        clock_r2: the R² of a regression from the time in the episode alone.
        balanced_accuracy: of the flag at the training share of its ones; None for what is no flag.
    """

    quantity: str
    dimensions: tuple[str, ...]
    r2: float | None = None
    low: float | None = None
    high: float | None = None
    constant: bool = False
    r2_by_dimension: tuple[float | None, ...] = ()
    penalty: float | None = None
    clock_r2: float | None = None
    balanced_accuracy: float | None = None


@dataclass(frozen=True)
class Scores:
    """The rows of an encoder on a task, and the errors that margins are computed from.

    Attributes:
        rows: one per quantity.
        residual: quantity to (E, d) squared errors summed over each held-out episode, of the d numbers that vary.
        total: the same of predicting the training mean.
    """

    rows: list[Row]
    residual: Mapping[str, Array]
    total: Mapping[str, Array]


def score(frames: ProbeFrames, features: npt.ArrayLike, generator: np.random.Generator) -> Scores:
    """Regress every quantity on the features of the training episodes, and score it on the others.

    Args:
        frames: with targets and split.
        features: (N, F), one row per frame.
        generator: of the bootstrap.
    """
    train = frames.training
    varying = {name: _varying(name, values, train) for name, values in frames.targets.items()}
    columns = [values[:, varying[name]] for name, values in frames.targets.items()]
    bounds: list[int] = np.cumsum([0] + [values.shape[1] for values in columns]).tolist()
    groups = [slice(begin, end) for begin, end in pairwise(bounds) if end > begin]
    targets = np.concatenate(columns, axis=1)
    predicted, penalties = _held_out(frames, np.asarray(features, float), targets, groups)
    by_clock, _ = _held_out(frames, clock_features(frames.clock), targets, groups)
    truth, mean, episode = targets[~train], targets[train].mean(axis=0), frames.episode[~train]
    errors = (predicted - truth, by_clock - truth, mean - truth)
    sums = [episode_sums(error**2, episode) for error in errors]
    rows, residual, total = [], {}, {}
    for name, (begin, end) in zip(frames.targets, pairwise(bounds), strict=True):
        row = Row(name, frames.dimensions[name], constant=begin == end)
        if not row.constant:
            own, clock, whole = (part[:, begin:end] for part in sums)
            residual[name], total[name] = own, whole
            r2, low, high = explained(own, whole, generator)
            row = replace(
                row,
                r2=r2,
                low=low,
                high=high,
                r2_by_dimension=_by_dimension(own, whole, varying[name]),
                penalty=float(penalties[begin]),
                clock_r2=float(1.0 - clock.sum() / whole.sum()),
            )
            if name == CONTACT:
                said = predicted[:, begin] > mean[begin]
                row = replace(row, balanced_accuracy=balanced_accuracy(said, truth[:, begin] > 0.5))
        rows.append(row)
    return Scores(rows, residual, total)


def compare(one: Scores, other: Scores, generator: np.random.Generator) -> dict[str, Interval]:
    """By quantity, the R² of one feature minus that of another on the same frames, with its paired 95 % interval.

    Args:
        one: scores of the feature that is asked about.
        other: of the one it is measured against.
        generator: of the bootstrap over held-out episodes.

    Raises:
        ConfigError: the two were not scored on the same frames.
    """
    same = one.total.keys() == other.total.keys()
    if not same or not all(np.array_equal(one.total[name], other.total[name]) for name in one.total):
        raise ConfigError("the two probes are of different frames; probe both with the same options and --seed")
    return {name: margin(one.residual[name], other.residual[name], one.total[name], generator) for name in one.total}


def bootstrap_generator(seed: int) -> np.random.Generator:
    """Return the generator of a probe's intervals."""
    return np.random.default_rng([seed, BOOTSTRAP_STREAM])


def balanced_accuracy(said: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> float:
    """Return the mean of the shares of ones and of zeros that were recognised; 0.5 for guessing."""
    return float((said[true].mean() + (~said[~true]).mean()) / 2)


def plain(row: Row) -> dict[str, Any]:
    """Return the row for JSON."""
    return {**vars(row), "dimensions": list(row.dimensions), "r2_by_dimension": list(row.r2_by_dimension)}


def _held_out(frames: ProbeFrames, inputs: Array, targets: Array, groups: list[slice]) -> tuple[Array, Array]:
    train = frames.training
    return predict(inputs[train], targets[train], frames.episode[train], inputs[~train], groups)


def _varying(name: str, values: Array, train: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """(d,) which numbers of a quantity vary, in the training episodes and in the others."""
    moves = np.ones(values.shape[1], bool)
    for part in (values[train], values[~train]):
        if name == CONTACT:
            moves &= (part.mean(axis=0) >= RARE) & (part.mean(axis=0) <= 1.0 - RARE)
        else:
            moves &= part.std(axis=0) >= STILL
    return moves


def _by_dimension(own: Array, whole: Array, varying: npt.NDArray[np.bool_]) -> tuple[float | None, ...]:
    values = iter(1.0 - own.sum(axis=0) / whole.sum(axis=0))
    return tuple(float(next(values)) if moves else None for moves in varying)
