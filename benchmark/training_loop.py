"""The loop of a resumable training, for Stages 1 and 2: step, log, evaluate, commit, and stop when asked to."""

from __future__ import annotations

import time
from threading import Event
from typing import Any, Protocol

CHECKPOINT_SECONDS = 60.0
LOG_STEPS = 20


class Position(Protocol):
    """How far a training is; part of its checkpoint.

    Attributes:
        step: Updates so far.
        seconds: Time spent on them, over all sessions.
    """

    step: int
    seconds: float


class Training(Protocol):
    """What the loop asks of a training."""

    @property
    def position(self) -> Position:
        """How far the training is; the loop moves ``seconds`` along, `step` the rest."""

    def finished(self) -> bool:
        """Return whether nothing is left to do."""

    def step(self) -> None:
        """Make one update."""

    def losses(self) -> dict[str, Any]:
        """Return the mean losses since the last call, for the metrics; waits for the device.

        Raises:
            OutputError: A loss is not finite.
        """

    def log(self, losses: dict[str, Any], steps_per_second: float) -> None:
        """Write a line of the metrics."""

    def evaluation_due(self) -> bool:
        """Return whether the last step is one to evaluate after."""

    def evaluate(self) -> None:
        """Evaluate on held-out data, and write a line of the metrics."""

    def checkpoint(self) -> None:
        """Write all that a later session needs."""


def train(training: Training, stop: Event) -> None:
    """Train to the end, or until stopped; commit every minute and at the end.

    Args:
        training: Ready for its next step.
        stop: Set from outside to stop after the step in hand.
    """
    position, first = training.position, training.position.step
    began, before = time.monotonic(), position.seconds
    saved = logged = began
    steps = 0
    while not stop.is_set() and not training.finished():
        training.step()
        steps += 1
        now = time.monotonic()
        position.seconds = before + now - began
        due = now - saved > CHECKPOINT_SECONDS
        if position.step % LOG_STEPS == 0 or due or stop.is_set() or training.finished():
            losses = training.losses()
            now = time.monotonic()
            position.seconds = before + now - began
            training.log(losses, steps / max(now - logged, 1e-9))
            logged, steps = now, 0
        if training.evaluation_due():
            training.evaluate()
            logged = time.monotonic()
        if due:
            training.checkpoint()
            saved = logged = time.monotonic()
    position.seconds = before + time.monotonic() - began
    if position.step > first:
        training.checkpoint()
