"""The adapted BatchNorm that ships with the package: one file and one card a task, for the built-in Stage 1."""

from __future__ import annotations

from pathlib import Path

import safetensors

FOLDER = Path(__file__).resolve().parents[1] / "builtin" / "adapted"
ADAPTED_FROM = "adapted_from"
"""In the file's header: the sha256 of the weights file that it was trained on."""


def path(task: str) -> Path:
    """The file of a task, whether there is one or not; its card lies beside it, with the suffix .json."""
    return FOLDER / f"{task}.safetensors"


def adapted_from(file: Path) -> str | None:
    """The sha256 of the weights that the scales and offsets belong to."""
    with safetensors.safe_open(file, "pt") as opened:
        return (opened.metadata() or {}).get(ADAPTED_FROM)
