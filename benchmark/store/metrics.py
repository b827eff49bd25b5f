"""The metrics of a run as a text file: one JSON object per iteration and line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import FolderError
from . import atomic
from .episodes import REMEDY

WAITING = "wait"
ROLLING_STAGES = ("physics", "draw", "encode", "act", WAITING)
"""Stages of `seconds` that rollouts take; ``steps_per_second`` is measured over them."""

SIMULATED = "simulate"
"""Physics and drawing in one, up to results version 2."""

MOST_SKIPPED = 3
"""Updates in a row that were not finite, after which the learner gives up."""

COSTS = ("seconds", "steps_per_second", "memory_mb", "gpu_memory_mb")
"""Entries that differ each time a run is repeated."""


def spending(row: Mapping[str, Any]) -> str:
    """Return where the time of a row of metrics went, largest first: ``41 frames/s, encode 78 %, draw 14 %, ...``.

    Stages below 1 % are left out.
    """
    seconds = sorted(row["seconds"].items(), key=lambda item: -item[1])
    whole = sum(spent for _, spent in seconds)
    shares = [f"{stage} {spent / whole:.0%}".replace("%", " %") for stage, spent in seconds if spent >= whole / 100]
    speed = [f"{row['steps_per_second']:.3g} frames/s"] if row["steps_per_second"] else []
    return ", ".join(speed + shares)


class Line(NamedTuple):
    """A line of the file.

    Attributes:
        text: as it is in the file, without its newline.
        row: what it says, with an integer `iteration`.
    """

    text: str
    row: dict[str, Any]


def read(path: Path) -> list[Line]:
    """Return the lines of `path`, none where there is no file; a torn last line is left out.

    Raises:
        FolderError: another line is no JSON object with an iteration, or the file cannot be read.
    """
    if not path.exists():
        return []
    # What follows the last newline is nothing, or a line whose writer was killed.
    complete = atomic.read_bytes(path, REMEDY).split(b"\n")[:-1]
    lines = []
    for number, content in enumerate(complete, 1):
        try:
            row = atomic.parse_object(content)
            if type(row.get("iteration")) is not int:
                raise ValueError("no iteration")
        except ValueError as error:
            raise FolderError(f"{path} is damaged (line {number}: {error}); {REMEDY}") from error
        lines.append(Line(content.decode("utf-8"), row))
    return lines


def append(path: Path, row: Mapping[str, Any]) -> Line:
    """Add one line to a file and return it.

    Numpy numbers become plain ones; numbers that are not finite become null.

    Args:
        path: the file.
        row: JSON values with an integer `iteration`.
    """
    plain = _plain(row)
    int(plain["iteration"])
    text = json.dumps(plain, allow_nan=False)
    atomic.append_line(path, text)
    return Line(text, plain)


def write(path: Path, lines: list[Line]) -> None:
    """Replace a file by these lines."""
    atomic.write_bytes(path, "".join(line.text + "\n" for line in lines).encode())


class Digest:
    """Two sha256 of the metrics, updated line by line: of the lines, and of what a repeated run has in common."""

    def __init__(self, lines: list[Line]) -> None:
        """Start with the lines written so far."""
        self._whole, self._repeatable = sha256(), sha256()
        for line in lines:
            self.add(line)

    def add(self, line: Line) -> None:
        """Update both with one more line."""
        self._whole.update(line.text.encode() + b"\n")
        repeatable = {name: value for name, value in line.row.items() if name not in COSTS}
        self._repeatable.update(json.dumps(repeatable, sort_keys=True).encode() + b"\n")

    @property
    def whole(self) -> str:
        """Return the digest of the lines themselves."""
        return self._whole.hexdigest()

    @property
    def repeatable(self) -> str:
        """Return the digest without time and memory, which is equal for runs with equal results."""
        return self._repeatable.hexdigest()


def _plain(value: Any) -> Any:
    """Return nested containers of plain and numpy values as JSON values; null for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
