"""Settings that a run left to the machine, read from its folder when it is resumed or found on another machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from encoders.backend import TORCH

from ..config import RunConfig
from ..store.run_folder import RunFolder


class Recorded(NamedTuple):
    """What the machine decided when a run was begun; None for what the user decides.

    Attributes:
        torch_threads: torch's threads on the CPU.
        device: ``cpu`` or ``cuda``.
        precision: in which format the encoder computes.
        backend: what computes it.
    """

    torch_threads: int | None = None
    device: str | None = None
    precision: str | None = None
    backend: str | None = None


def recorded(folder: RunFolder, asked: RunConfig) -> Recorded:
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
    threads = _entry(identity, "config", "torch_threads")
    device = identity.get("device")
    precision = _entry(identity, "encoder", "precision")
    backend = _entry(identity, "encoder", "backend") or TORCH
    return Recorded(
        threads if "torch_threads" not in asked.model_fields_set and type(threads) is int and threads > 0 else None,
        device if asked.device == "auto" and device in ("cpu", "cuda") else None,
        precision if asked.precision == "auto" and isinstance(precision, str) else None,
        backend if asked.backend == "auto" and isinstance(backend, str) else None,
    )


def _entry(identity: Mapping[str, Any], part: str, name: str) -> Any:
    content = identity.get(part)
    return content.get(name) if isinstance(content, dict) else None
