"""A run, ready to learn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from encoders import Choice
from tasks.demonstrations.dataset import Demonstrations

from .context import RunContext


@dataclass(frozen=True)
class Work:
    """A run, ready to learn.

    Attributes:
        title: The encoder's name as every table shows it.
        record: What the run folder keeps about the encoder.
        identity: What determines the results.
        context: The parts that rollouts need.
        demonstrations: What is cloned.
        choice: How the encoder computes, and how its features compare with those of PyTorch in float32.
        notes: Lines that say what another machine decided when the run was begun.
    """

    title: str
    record: dict[str, Any]
    identity: dict[str, Any]
    context: RunContext
    demonstrations: Demonstrations
    choice: Choice
    notes: list[str] = field(default_factory=list)


def described(demonstrations: Demonstrations) -> dict[str, Any]:
    """Return what the metrics keep of the demonstrations."""
    return {"content_hash": demonstrations.content_hash, **demonstrations.metadata}
