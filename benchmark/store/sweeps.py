"""What was asked for in a folder of runs: the cells of every sweep, so that `bench status` knows what is missing."""

from __future__ import annotations

import hashlib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import FolderError
from . import atomic
from .paths import user_path

FOLDER = ".sweeps"
REMEDY = "delete it; the runs are not concerned"


class Sweep(NamedTuple):
    """A sweep that was begun in a folder of runs.

    Attributes:
        command: that began it, for a shell; empty where Python did.
        cells: the folders of its runs.
    """

    command: str
    cells: tuple[Path, ...]


def write(out: Path | str, cells: Sequence[Path]) -> Path:
    """Keep the cells of a sweep in a file of the folder, and return its path; the same cells are kept once.

    Raises:
        OutputError: the folder cannot be written.
    """
    root = user_path(out)
    places = sorted({str(cell.relative_to(root)) for cell in cells})
    name = hashlib.sha256("\n".join(places).encode()).hexdigest()[:16]
    command = shlex.join(["bench", *sys.argv[1:]]) if Path(sys.argv[0]).name == "bench" else ""
    folder = root / FOLDER
    with atomic.naming_failures(folder):
        folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    atomic.write_json(path, {"command": command, "cells": places})
    return path


def read(out: Path | str) -> list[Sweep]:
    """Return the sweeps that were begun in a folder of runs.

    Raises:
        FolderError: the record of one is damaged.
    """
    root, found = user_path(out), []
    for path in sorted((root / FOLDER).glob("*.json")):
        content = atomic.read_json(path, REMEDY)
        command, places = content.get("command"), content.get("cells")
        sound = isinstance(places, list) and all(isinstance(place, str) for place in places)
        cells = [Path(place) for place in places] if sound and isinstance(places, list) else []
        if not sound or not isinstance(command, str) or any(len(c.parts) != 4 or ".." in c.parts for c in cells):
            raise FolderError(f"{path} is damaged; {REMEDY}")
        found.append(Sweep(command, tuple(root / cell for cell in cells)))
    return found
