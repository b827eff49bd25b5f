"""The files of a resumable training, for Stages 1 and 2: its folder, its checkpoint and its metrics."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import safetensors.torch
from torch import Tensor

from ..errors import FolderError
from . import atomic, checkpoint
from .identity import differences, same_identity
from .lock import hold

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    PositionT = TypeVar("PositionT", bound=DataclassInstance)
else:
    PositionT = TypeVar("PositionT")

REMEDY = "restore it from a copy, or move the folder away to begin this training anew (all its steps are then lost)"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Create a training's folder and hold it against other processes; partial files of killed writers are deleted.

    Raises:
        OutputError: the folder cannot be made.
        FolderError: another process holds it.
    """
    with atomic.naming_failures(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with hold(folder):
        atomic.remove_partials(folder)
        yield


def write_checkpoint(
    path: Path, state: dict[str, Tensor], identity: Mapping[str, Any], position: Mapping[str, Any]
) -> None:
    """Write tensors, identity and position into one file, so that they belong together."""
    checkpoint.write(path, safetensors.torch.save(state), {"identity": identity, "position": position})


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]] | None:
    """Return tensors, identity and position of an unfinished training; None where it has no checkpoint yet.

    Raises:
        FolderError: it is damaged.
    """
    loaded = checkpoint.read(path, {"identity", "position"}, safetensors.torch.load, REMEDY)
    return loaded and (loaded[0], loaded[1]["identity"], loaded[1]["position"])


def load_checkpoint(
    path: Path, identity: Mapping[str, Any], start: PositionT
) -> tuple[dict[str, Tensor] | None, PositionT]:
    """Return the tensors and position to resume a training from: None and ``start`` where it has no checkpoint yet.

    Args:
        path: the checkpoint.
        identity: of the training that is asked for.
        start: the position of a new training, whose fields and types count.

    Raises:
        FolderError: the checkpoint is damaged, or of another training.
    """
    loaded = read_checkpoint(path)
    if loaded is None:
        return None, start
    state, recorded, position = loaded
    if not same_identity(recorded, identity):
        changes = differences(recorded, identity)
        raise FolderError(f"{path} is of another training ({changes}); choose another --out, or {REMEDY}")
    return state, _restored(start, position, path)


def _restored(start: PositionT, recorded: Mapping[str, Any], path: Path) -> PositionT:
    """Return a position as a checkpoint holds it."""
    expected = asdict(start)
    numbers = {int: (int,), float: (int, float)}
    right = recorded.keys() == {field.name for field in fields(start)} and all(
        isinstance(recorded[name], numbers.get(type(value), (type(value),))) and not isinstance(recorded[name], bool)
        for name, value in expected.items()
    )
    if not right:
        raise FolderError(f"{path} does not say how far the training is; {REMEDY}")
    return type(start)(**recorded)


def require_alike(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> None:
    """Check that a checkpoint fits a training that has not stepped yet.

    Args:
        state: of the checkpoint; an optimiser's tensors may come on top.
        expected: of the training.
        path: the checkpoint, for the message.

    Raises:
        FolderError: a tensor is missing, unknown, or of another shape or dtype.
    """
    own = {name for name in state if not name.startswith("optimiser.")}
    wrong = sorted(own ^ {name for name in expected if not name.startswith("optimiser.")}) or [
        name
        for name in sorted(own)
        if (state[name].shape, state[name].dtype) != (expected[name].shape, expected[name].dtype)
    ]
    if wrong:
        raise FolderError(f"{path} does not fit this training (at {wrong[0]}); {REMEDY}")


def rewind_metrics(path: Path, step: int) -> None:
    """Drop the lines of a metrics file after ``step``, which no checkpoint committed, and incomplete ones."""
    if not path.exists():
        return
    kept = []
    for line in atomic.read_bytes(path, REMEDY).splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + b"\n")
        except (ValueError, LookupError, TypeError, RecursionError):
            continue
    atomic.write_bytes(path, b"".join(kept))
