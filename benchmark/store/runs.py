"""All runs of an output folder as one table, for the results at the end of a command."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OutputError
from .episodes import OWN_BACKGROUND
from .identity import identity_hash
from .paths import user_path
from .run_folder import RunFolder
from .titles import title_of

if TYPE_CHECKING:
    import pandas

_PLACE = ("suite", "task", "encoder", "seed")
_SCORES = tuple(f"{name}_{when}" for name in ("return", "success") for when in ("first", "last", "best"))


def load_runs(out: Path | str) -> pandas.DataFrame:
    """One row a run folder under `out`, finished or not, sorted by place.

    Columns: `suite`, `task`, `encoder`, `seed`, `status`, `identity` (hash), `iteration` (last with
    metrics), `episodes` (in the last evaluation), `return_first`, `return_last`, `return_best`,
    `success_first`, `success_last`, `success_best` (means over an evaluation's episodes on the
    task's own background; NaN before the first), and `path`.
    """
    import pandas

    paths = [path for path in run_paths(out) if RunFolder(path).status != "absent"]
    columns = (*_PLACE, "status", "identity", "iteration", "episodes", *_SCORES, "path")
    return pandas.DataFrame([_run_row(RunFolder(path)) for path in paths], columns=list(columns))


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


def _run_row(folder: RunFolder) -> dict[str, Any]:
    suite, task, encoder, seed = folder.path.parts[-4:]
    metrics, episodes = folder.metrics(), folder.episodes()
    own = episodes[episodes["background"] == OWN_BACKGROUND]
    row: dict[str, Any] = {
        "suite": suite,
        "task": task,
        "encoder": title_of(encoder),
        "seed": int(seed.removeprefix("seed-")),
        "status": folder.status,
        "identity": identity_hash(folder.identity),
        "iteration": metrics[-1]["iteration"] if metrics else math.nan,
        "episodes": 0,
        "path": folder.path,
    }
    if own.empty:
        return row | dict.fromkeys(_SCORES, math.nan)
    evaluations = own.groupby("iteration")[["return", "success"]].mean()
    row["episodes"] = int((own["iteration"] == evaluations.index[-1]).sum())
    for name in ("return", "success"):
        row[f"{name}_first"] = float(evaluations[name].iloc[0])
        row[f"{name}_last"] = float(evaluations[name].iloc[-1])
        row[f"{name}_best"] = float(evaluations[name].max())
    return row
