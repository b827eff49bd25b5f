"""Search an output folder for runs and what lies beside them."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import OutputError
from .paths import user_path


def run_paths(root: Path | str) -> list[Path]:
    """Return all folders named like a run's, ``seed-<n>``, in a folder, itself included, sorted.

    Raises:
        OutputError: the folder cannot be searched.
    """
    places = [user_path(root).absolute(), *below(root, "seed-*")]
    return sorted(path for path in places if re.fullmatch(r"seed-\d+", path.name) and path.is_dir())


def below(root: Path | str, pattern: str) -> list[Path]:
    """Return the paths of a pattern at any depth below a folder, sorted.

    Raises:
        OutputError: the folder cannot be searched.
    """
    try:
        return sorted(user_path(root).absolute().rglob(pattern))
    except OSError as error:
        raise OutputError(f"cannot search {root}: {error.strerror or error}: {error.filename}") from error
