"""What ships of Stage 2: adapted BatchNorm, one file and one card per encoder and task, and first heads."""

from __future__ import annotations

from pathlib import Path

import safetensors

BUILTIN = Path(__file__).resolve().parents[1] / "builtin"
FOLDER = BUILTIN / "adapted"
HEADS = BUILTIN / "heads.safetensors"
"""Heads trained on all tasks together over the unadapted trunk; their card lies beside them."""
ADAPTED_FROM = "adapted_from"
"""In a file's header: the sha256 of the weights file that it was trained on."""


STAGE_1 = "frankmocap_hand"
"""The encoder with built-in weights, whose files lie in `FOLDER` itself; those of others in a folder of their name."""


def path(task: str, encoder: str = STAGE_1) -> Path:
    """Return the file of a task, whether there is one or not; its card lies beside it, with the suffix .json.

    Args:
        task: its name.
        encoder: the unadapted one.
    """
    return (FOLDER if encoder == STAGE_1 else FOLDER / encoder) / f"{task}.safetensors"


def fits(file: Path, weights_sha256: str | None) -> bool:
    """Whether a file is there and was trained on these weights."""
    return weights_sha256 is not None and file.is_file() and adapted_from(file) == weights_sha256


def adapted_from(file: Path) -> str | None:
    """The sha256 of the weights file that a file was trained on."""
    with safetensors.safe_open(file, "pt") as opened:
        return (opened.metadata() or {}).get(ADAPTED_FROM)
