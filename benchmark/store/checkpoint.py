"""One checkpoint file, for runs and trainings: tensors and what is noted with them, valid whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors

from encoders.weights.sealed import seal

from ..errors import FolderError
from . import atomic, sealed

Tensors = TypeVar("Tensors")


def write(path: Path, tensors: bytes, notes: Mapping[str, Mapping[str, Any]]) -> None:
    """Write a checkpoint; equal tensors and notes give equal bytes.

    Args:
        path: the file.
        tensors: as `safetensors.numpy.save` or `safetensors.torch.save` packs them.
        notes: JSON objects by name; finite floats and integers of any size come back exactly.

    Raises:
        OutputError: the file cannot be written.
        ValueError: a number in the notes is not finite.
    """
    texts = {name: json.dumps(note, allow_nan=False) for name, note in notes.items()}
    atomic.write_bytes(path, seal(tensors, texts))


def read(
    path: Path, names: set[str], unpack: Callable[[bytes], Tensors], remedy: str
) -> tuple[Tensors, dict[str, dict[str, Any]]] | None:
    """Return the tensors and notes of a checkpoint, or None where there is no file.

    Args:
        path: the file.
        names: of the notes.
        unpack: `safetensors.numpy.load` or `safetensors.torch.load`.
        remedy: what the message of a failure advises.

    Raises:
        FolderError: the file is damaged.
    """
    if not path.exists():
        return None
    content, metadata, _ = sealed.read(path, names, remedy)
    try:
        return unpack(content), {name: atomic.parse_object(metadata[name]) for name in names}
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise FolderError(f"{path} is damaged ({error}); {remedy}") from error
