"""What an expert has to do, and experts that are written as a rule instead of trained."""

from __future__ import annotations

import hashlib
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from types import CodeType
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..cards import TaskCard
from ..errors import ExpertError

FloatArray = npt.NDArray[np.float64]


class Actor(Protocol):
    """An expert: mean actions from state observations, plus Gaussian noise."""

    @property
    def observation_dim(self) -> int:
        """Length of the observations it reads."""

    @property
    def action_dim(self) -> int:
        """Length of its actions."""

    @property
    def log_std(self) -> FloatArray:
        """(action_dim,) natural logarithm of the standard deviation of the noise, in action units."""

    @property
    def sha256(self) -> str:
        """Hash of what determines its actions."""

    def mean(self, observations: npt.ArrayLike) -> FloatArray:
        """Return mean actions: (n, observation_dim) -> (n, action_dim), not clipped; rows are independent."""

    def sample(self, observations: npt.ArrayLike, noise: npt.ArrayLike) -> FloatArray:
        """Return actions with the given standard normal noise, (n, action_dim), not clipped."""


class ScriptedExpert(ABC):
    """An expert written as a rule; subclasses implement `mean`.

    Args:
        card: of the task it acts in.
        spread: standard deviation of its exploration noise, in action units.

    Raises:
        ExpertError: the spread is not above 0.
    """

    def __init__(self, card: TaskCard, spread: float = 0.05) -> None:
        if not spread > 0:
            raise ExpertError(f"{card.name}: the spread of an expert is above 0, got {spread}")
        self.observation_dim, self.action_dim = card.observation_dim, card.action_dim
        self.log_std: FloatArray = np.full(card.action_dim, np.log(spread))

    @abstractmethod
    def mean(self, observations: npt.ArrayLike) -> FloatArray:
        """Return mean actions: (n, observation_dim) -> (n, action_dim) float64; rows are independent."""

    def sample(self, observations: npt.ArrayLike, noise: npt.ArrayLike) -> FloatArray:
        """Return actions with the given standard normal noise, (n, action_dim), not clipped."""
        actions: FloatArray = self.mean(observations) + np.exp(self.log_std) * np.asarray(noise, np.float64)
        return actions

    @property
    def sha256(self) -> str:
        """Hash of the file that the rule stands in and of the noise; of a notebook's cell, of the rule's bytecode."""
        module = vars(sys.modules[type(self).__module__])
        source = module.get("plugin_sha256") or _file_sha256(module.get("__file__"))
        rule = source or _instructions(type(self).mean.__code__)
        return hashlib.sha256(f"{type(self).__qualname__} {rule} {self.log_std.tolist()}".encode()).hexdigest()


def _instructions(code: CodeType) -> str:
    """Return what a function does, constants and inner functions included, the same in every process."""
    constants = [_instructions(one) if isinstance(one, CodeType) else repr(one) for one in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {constants}"


def _file_sha256(file: str | None) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file and Path(file).is_file() else ""
