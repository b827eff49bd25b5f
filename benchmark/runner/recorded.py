"""Settings that a run left to the machine, read from its folder when it is resumed or found on another machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from encoders.backend import TORCH

from ..config import RunConfig
from ..store.run_folder import Status


class KnownRun(Protocol):
    """A run that was begun: a run folder, or a run in a pack."""

    @property
    def status(self) -> Status:
        """``absent``, ``unfinished`` or ``finished``."""

    @property
    def identity(self) -> dict[str, Any]:
        """Fields that determine the run's results."""

    def metrics(self) -> list[dict[str, Any]]:
        """Return the metrics, one dict per line."""


class Recorded(NamedTuple):
    """What the machine decided when a run was begun; None for what the user decides.

    Attributes:
        device: ``cpu`` or ``cuda``.
        precision: in which format the encoder computes.
        backend: what computes it.
    """

    device: str | None = None
    precision: str | None = None
    backend: str | None = None


def recorded(folder: KnownRun, asked: RunConfig) -> Recorded:
    """Return the machine's decisions in a run folder that the configuration leaves open; nothing for a new run.

    Args:
        folder: there or not.
        asked: the configuration as the user gave it.

    Raises:
        FolderError: the folder's identity is damaged.
    """
    if folder.status == "absent":
        return Recorded()
    identity = folder.identity
    device = identity.get("device")
    precision = _entry(identity, "encoder", "precision")
    backend = _entry(identity, "encoder", "backend") or TORCH
    return Recorded(
        device if asked.device == "auto" and device in ("cpu", "cuda") else None,
        precision if asked.precision == "auto" and isinstance(precision, str) else None,
        backend if asked.backend == "auto" and isinstance(backend, str) else None,
    )


def _entry(identity: Mapping[str, Any], part: str, name: str) -> Any:
    content = identity.get(part)
    return content.get(name) if isinstance(content, dict) else None
