"""The reference results that ship: packs of runs, drawn beside those of a newcomer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from .run_folder import RunRow

FOLDER = Path(__file__).parents[1] / "reference"
"""Holds the packs, and nothing that a folder of runs could not hold."""


def packs() -> tuple[Path, ...]:
    """Return the packs that ship."""
    return tuple(sorted(FOLDER.glob("*.pack.zip")))


def beside(own: Sequence[RunRow], reference: Sequence[RunRow]) -> list[RunRow]:
    """Return the reference runs that may stand beside one's own.

    They are of the same suite and task, and of the same results versions of task and frames, so that a newcomer's rows
    are compared on their tasks alone. A title that is among one's own runs is not taken: one's own stand for it.
    """
    tasks = {(row["suite"], row["task"], row["task_version"]) for row in own}
    frames = {row["frames_version"] for row in own if not math.isnan(row["frames_version"])}
    titles = {(row["suite"], row["title"]) for row in own}
    return [
        row
        for row in reference
        if (row["suite"], row["task"], row["task_version"]) in tasks
        and (not frames or math.isnan(row["frames_version"]) or row["frames_version"] in frames)
        and (row["suite"], row["title"]) not in titles
    ]
