"""Stage 3 in a run: which moving statistics an image belongs to, and when they restart.

Every environment slot is a stream. Training, evaluation and the replay of demonstrations have streams of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

import numpy.typing as npt
import torch

from encoders import Encoder
from encoders.ema_batchnorm import EMAStatistics, attach

from ..config import EMASettings
from ..progress import Progress

PREFIX = "ema."


class Role(IntEnum):
    """What images are drawn for."""

    TRAINING = 0
    EVALUATION = 1
    DEMONSTRATIONS = 2


LASTING = (Role.TRAINING, Role.EVALUATION)
"""Roles whose statistics are part of the checkpoint."""


def attach_statistics(encoder: Encoder, settings: EMASettings, slots: int) -> MovingStatistics:
    """Replace an encoder's BatchNorm layers by ones whose statistics move; with a momentum of 0, replace nothing.

    Args:
        encoder: changed in place; it must have been checked, and its precision settled, before.
        settings: of a resolved configuration.
        slots: environment slots.

    Raises:
        EncoderError: a momentum above 0 for an encoder without BatchNorm.

    Source: dapg.md, EMA BatchNorm and batches.
    Differs: an episode's last image, on which nobody acts, is neither drawn nor encoded, so it moves no statistics;
        in the released code it does.
    """
    streams = len(Role) * slots
    attached = attach(encoder, momentum=settings.momentum or 0.0, scope=settings.scope, streams=streams)
    return MovingStatistics(settings, slots, attached)


class MovingStatistics:
    """The moving BatchNorm statistics of a run; see `attach_statistics`.

    Args:
        settings: of a resolved configuration.
        slots: environment slots.
        attached: the statistics in the encoder's layers, a stream per role and slot.
    """

    def __init__(self, settings: EMASettings, slots: int, attached: EMAStatistics) -> None:
        self.settings = settings
        self._momentum = settings.momentum or 0.0
        self._slots = slots
        self._role = Role.TRAINING
        self._statistics = attached

    def begin(self, role: Role) -> None:
        """Turn to a role; restart its streams if the settings ask for it at every call."""
        self._role = role
        if self.settings.reset == "iteration":
            self.restart(range(self._slots))

    def restart(self, slots: Sequence[int]) -> None:
        """Reset slots of the present role to the statistics that the encoder came with."""
        self._statistics.reset(self._of(slots, self._role))

    def select(self, slots: Sequence[int]) -> None:
        """Choose the slots that the next encoded images come from."""
        self._statistics.select(self._of(slots, self._role))

    def made_by(self) -> dict[str, Any]:
        """Return the settings that features of demonstrations depend on; each episode is a fresh stream."""
        return {"ema": [self._momentum, self.settings.scope]} if self._momentum else {}

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Return the statistics of training and evaluation, for a checkpoint: ``ema.<layer>.mean``, (2, slots, C)."""
        state = self._statistics.state(self._lasting())
        return {
            PREFIX + name: tensor.cpu().reshape(len(LASTING), self._slots, -1).numpy() for name, tensor in state.items()
        }

    def load(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Restore a checkpoint's statistics."""
        state = {
            name.removeprefix(PREFIX): torch.from_numpy(array).flatten(0, 1)
            for name, array in arrays.items()
            if name.startswith(PREFIX)
        }
        self._statistics.load(state, self._lasting())

    def say(self, progress: Progress) -> None:
        """Report which statistics move, if any do."""
        if self._momentum:
            layers, until = len(self._statistics.layers), "the end"
            if self.settings.reset == "iteration":
                until = "the next iteration or evaluation"
            progress.say(
                f"EMA BatchNorm: momentum {self._momentum:g}, {'one layer' if layers == 1 else f'{layers} layers'}, "
                f"{self._slots} streams that move until {until}"
            )

    def _of(self, slots: Sequence[int], role: Role) -> list[int]:
        return [role * self._slots + slot for slot in slots]

    def _lasting(self) -> list[int]:
        return [stream for role in LASTING for stream in self._of(range(self._slots), role)]
