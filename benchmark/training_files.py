"""What the trainings of Stages 1 and 2 keep so that they can go on: one checkpoint, and a line a moment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from . import atomic
from .errors import OutputError


def write_checkpoint(
    path: Path, state: dict[str, Tensor], identity: Mapping[str, Any], position: Mapping[str, Any]
) -> None:
    """One file, so that tensors and numbers belong together: valid whole or not at all."""
    header = {"identity": json.dumps(identity), "position": json.dumps(position)}
    atomic.write_bytes(path, safetensors.torch.save(state, header))


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Any]] | None:
    """Tensors, identity and position of an unfinished training; None where it has no checkpoint yet.

    Raises:
        OutputError: it is damaged.
    """
    if not path.is_file():
        return None
    try:
        with safetensors.safe_open(path, "pt") as file:
            header = file.metadata()
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        return state, json.loads(header["identity"]), json.loads(header["position"])
    except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise OutputError(f"cannot read {path}: {error}; delete it to begin anew") from error


def rewind_metrics(path: Path, step: int) -> None:
    """Drop the lines of a metrics file after ``step``, which no checkpoint committed, and torn ones."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            continue
    atomic.write_bytes(path, "".join(kept).encode())
