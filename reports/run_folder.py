"""One run folder as one row: everything a table or legend says about a run, read from its files alone."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.episodes import OWN_BACKGROUND
from benchmark.errors import BenchError
from benchmark.identity import identity_hash
from benchmark.store import CONFIG, ENCODER, IDENTITY, MACHINE, RunFolder

if TYPE_CHECKING:
    import pandas

Row = dict[str, Any]

UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, NotImplementedError, BenchError)
"""What reading a damaged, foreign or half-written file may raise."""

CLONED = 0
"""The iteration that behaviour cloning ends with; -1 is the untrained policy."""

ROLLING = ("simulate", "encode", "act")
"""Stages whose time frames per second is measured over."""

SKIPPED_IN_A_ROW = 3
"""Updates that were not finite, in a row, after which the learner gives up."""

PLACE = ("suite", "task", "title", "seed")
WHO = ("row", "encoder", "variant", "weights_kind", "weights_sha256", "weights_label", "adaptation_sha256")
STAGES = ("adapt", "ema_momentum", "ema_scope", "ema_reset", "ema_streams", "normalise", "precision")
SCORES = tuple(f"{name}_{when}" for name in ("return", "success") for when in ("first", "cloned", "last", "best"))
PROGRESS = ("iteration", "steps", "evaluations", "episodes", "unstable", "backgrounds")
COSTS = ("wall_seconds", "seconds", "frames_per_second", "memory_mb", "gpu_memory_mb")
RECORDS = ("device", "machine", "config", "card", "adaptation", "identity", "video", "pictures", "path")
COLUMNS = (
    *PLACE,
    "status",
    "used",
    "outdated",
    "task_version",
    "synthetic",
    *WHO,
    *STAGES,
    *SCORES,
    *PROGRESS,
    *COSTS,
    *RECORDS,
    "problem",
)
"""The columns of `reports.load.load_runs`, which says what they hold."""


def empty_row(path: Path) -> Row:
    """A row that knows only where the run lies: ``OUT/<suite>/<task>/<title>/seed-<n>``."""
    suite, task, title, seed = path.parts[-4:]
    nothing: Row = dict.fromkeys(COLUMNS)
    numbers = ("ema_momentum", "ema_streams", *SCORES, *PROGRESS, "wall_seconds", "frames_per_second")
    nothing |= dict.fromkeys((*numbers, "memory_mb", "gpu_memory_mb"), math.nan)
    nothing |= dict.fromkeys((*WHO, "adapt", "ema_scope", "ema_reset", "normalise", "precision", "device"), "")
    encoder, variant, label = split_title(title)
    nothing |= {"evaluations": 0, "episodes": 0, "unstable": 0, "backgrounds": (), "pictures": {}, "seconds": {}}
    nothing |= {"machine": {}, "config": {}, "card": {}, "adaptation": {}}
    return nothing | {
        **{"suite": suite, "task": task, "title": title, "seed": int(seed.removeprefix("seed-"))},
        **{"encoder": encoder, "variant": variant, "weights_label": label, "row": title, "path": path},
        **{
            "status": "unreadable",
            "used": False,
            "outdated": False,
            "task_version": 1,
            "synthetic": False,
            "problem": "",
        },
    }


def split_title(title: str) -> tuple[str, str, str]:
    """The encoder, the changed stage settings and the label of a title.

    >>> split_title("hindex+ema-0 (builtin)")
    ('hindex', 'ema-0', '(builtin)')
    """
    name, label = re.fullmatch(r"(.*?)\s*(\([^()]*\))?", title).groups()  # type: ignore[union-attr]
    encoder, _, variant = name.partition("+")
    return encoder, variant, label or ""


def read_run(path: Path) -> Row:
    """The row of a run folder; a folder that cannot be read is a row of status `unreadable` that says why."""
    row = empty_row(path)
    try:
        folder = RunFolder(path)
        if folder.status == "absent":
            return row | {"problem": f"{IDENTITY} is missing"}
        identity, metrics = folder.identity, folder.metrics()
        config = folder.config if (path / CONFIG).is_file() else dict(identity.get("config", {}))
        encoder = _json(path / ENCODER)
        row |= {"identity": identity_hash(identity), "config": config, "device": str(identity.get("device", ""))}
        row["task_version"] = int(identity.get("task_results_version", 1))
        row |= {"synthetic": bool(config.get("synthetic") or encoder.get("synthetic"))}
        row |= _who(row, identity, encoder) | _stages(config, encoder)
        row |= _scores(folder.episodes()) | _progress(metrics) | _costs(metrics)
        row |= {"machine": _json(path / MACHINE), **_pictures(path)}
        row["status"] = _status(folder.status, metrics)
    except UNREADABLE as error:
        return row | {"status": "unreadable", "problem": f"{type(error).__name__}: {error}"}
    return row


def own_evaluations(episodes: pandas.DataFrame, by: Sequence[str] = ("iteration",)) -> pandas.DataFrame:
    """Mean `return` and `success` and number of `episodes`, on the training scene, by the columns `by`."""
    own = episodes[episodes["background"] == OWN_BACKGROUND]
    groups = own.groupby(list(by))
    means = groups[["return", "success"]].mean()
    means["episodes"] = groups.size()
    return means


def _json(path: Path) -> Row:
    """The object in a JSON file, empty where there is no file."""
    if not path.is_file():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise TypeError(f"{path.name} holds no JSON object")
    return content


def _who(row: Row, identity: Mapping[str, Any], encoder: Row) -> Row:
    """The weights and the card; folders from before `encoder.json` tell the first in their identity."""
    told = identity.get("encoder", {})
    weights = encoder.get("weights") or {}
    adaptation = encoder.get("adaptation") or {}
    return {
        "weights_kind": str(weights.get("kind") or told.get("weights") or ""),
        "weights_sha256": str(weights.get("sha256") or told.get("weights_sha256") or ""),
        "weights_label": str(weights.get("label", row["weights_label"]) or ""),
        "adaptation_sha256": str(adaptation.get("sha256") or told.get("adaptation_sha256") or ""),
        "adaptation": dict(adaptation),
        "card": dict(encoder.get("card") or {}),
    }


def _stages(config: Row, encoder: Row) -> Row:
    ema = {**(encoder.get("ema") or {}), **(config.get("ema") or {})}
    momentum, streams = ema.get("momentum"), ema.get("streams")
    return {
        "adapt": str(config.get("adapt") or ""),
        "ema_momentum": math.nan if momentum is None else float(momentum),
        "ema_scope": str(ema.get("scope") or ""),
        "ema_reset": str(ema.get("reset") or ""),
        "ema_streams": math.nan if streams is None else float(streams),
        "normalise": str(config.get("normalise") or ""),
        "precision": str(config.get("precision") or ""),
    }


def _scores(episodes: pandas.DataFrame) -> Row:
    shifted = [name for name in episodes["background"].unique() if name != OWN_BACKGROUND]
    means = own_evaluations(episodes)
    row: Row = {"evaluations": len(means), "backgrounds": tuple(sorted(map(str, shifted)))}
    if means.empty:
        return row
    row["episodes"] = int(means["episodes"].iloc[-1])
    for name in ("return", "success"):
        values = means[name]
        row |= {f"{name}_first": float(values.iloc[0]), f"{name}_last": float(values.iloc[-1])}
        row |= {f"{name}_best": float(values.max()), f"{name}_cloned": float(values.get(CLONED, math.nan))}
    return row


def _progress(metrics: Sequence[Mapping[str, Any]]) -> Row:
    if not metrics:
        return {}
    kinds = ("unstable", "evaluation_unstable")
    unstable = sum(int(line.get(kind) or 0) for line in metrics for kind in kinds)
    return {"iteration": metrics[-1]["iteration"], "steps": metrics[-1]["steps"], "unstable": unstable}


def _costs(metrics: Sequence[Mapping[str, Any]]) -> Row:
    """Seconds by stage over the whole run, speed of the rollouts, and peak memory."""
    seconds: dict[str, float] = {}
    frames = rolling = 0.0
    for line in metrics:
        spent = line.get("seconds") or {}
        for stage, value in spent.items():
            seconds[stage] = seconds.get(stage, 0.0) + float(value)
        if line.get("steps_per_second"):
            rolled = sum(float(spent.get(stage, 0.0)) for stage in ROLLING)
            frames, rolling = frames + float(line["steps_per_second"]) * rolled, rolling + rolled
    return {
        "seconds": seconds,
        "wall_seconds": sum(seconds.values()) if seconds else math.nan,
        "frames_per_second": frames / rolling if rolling else math.nan,
        **{key: max((float(line[key]) for line in metrics if line.get(key)), default=math.nan) for key in COSTS[3:]},
    }


def _pictures(path: Path) -> Row:
    pictures = {file.stem: file for file in sorted((path / "frames").glob("*.png"))}
    video = path / "video.mp4"
    return {"pictures": pictures, "video": video if video.is_file() else None}


def _status(stored: str, metrics: Sequence[Mapping[str, Any]]) -> str:
    last = metrics[-SKIPPED_IN_A_ROW:]
    if stored == "unfinished" and len(last) == SKIPPED_IN_A_ROW and all(line.get("skipped") for line in last):
        return "diverged"
    return stored
