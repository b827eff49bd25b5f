"""One run as one row: everything a table or legend says about it, read from its files alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.store.episodes import CLONED, OWN_BACKGROUND, UNTRAINED, own_evaluations
from benchmark.store.identity import identity_hash
from benchmark.store.metrics import MOST_SKIPPED, ROLLING_STAGES, SIMULATED
from benchmark.store.run_folder import CONFIG, ENCODER, IDENTITY, MACHINE
from benchmark.store.titles import parts_of_folder, title_of

from . import records
from .reading import Problem, R, naming
from .records import clean
from .run_files import RunFiles

if TYPE_CHECKING:
    import pandas

RunRow = dict[str, Any]
"""Values of `COLUMNS`, or of some of them."""

LEFT_OUT = ("altered", "unreadable")
"""Statuses of runs that no score, curve or table uses."""

PLACE = ("suite", "task", "title", "seed")
WHO = ("row", "encoder", "variant", "weights_kind", "weights_sha256", "weights_label", "adaptation_sha256", "suffix")
DEFAULT_BACKEND = "torch"
"""Of identities that name none."""
STAGES = ("adapt", "ema_momentum", "ema_scope", "ema_reset", "ema_streams", "normalise", "precision")
SCORES = tuple(f"{name}_{when}" for name in ("return", "success") for when in ("first", "cloned", "last", "best"))
PROGRESS = ("iteration", "steps", "evaluations", "episodes", "unstable", "backgrounds")
COSTS = ("computed", "wall_seconds", "seconds", "frames_per_second", "memory_mb", "gpu_memory_mb")
RECORDS = ("device", "machine", "config", "card", "adaptation", "identity", "video", "pictures", "path")
CONTENTS = ("episode_table", "steps_at")
COLUMNS = (
    *(*PLACE, "status", "used", "outdated", "task_version", "frames_version", "synthetic", "reference"),
    *(*WHO, *STAGES, *SCORES, *PROGRESS, *COSTS),
    *(*RECORDS, *CONTENTS, "altered", "problem"),
)
"""The columns of `reports.data.load.load_runs`, which says what they hold."""


def empty_row(path: Path) -> RunRow:
    """Return a row that knows only where the run lies: ``OUT/<suite>/<task>/<encoder>/seed-<n>``."""
    suite, task, encoder_folder, seed = map(clean, path.parts[-4:])
    title = title_of(encoder_folder)
    nothing: RunRow = dict.fromkeys(COLUMNS)
    numbers = ("ema_momentum", "ema_streams", *SCORES, *PROGRESS, "wall_seconds", "frames_per_second")
    nothing |= dict.fromkeys((*numbers, "frames_version", "memory_mb", "gpu_memory_mb"), math.nan)
    nothing |= dict.fromkeys(
        (*WHO, "adapt", "ema_scope", "ema_reset", "normalise", "precision", "computed", "device"), ""
    )
    encoder, variant, label = parts_of_folder(encoder_folder)
    nothing |= {"evaluations": 0, "episodes": 0, "unstable": 0, "backgrounds": (), "pictures": {}, "seconds": {}}
    nothing |= {"machine": {}, "config": {}, "card": {}, "adaptation": {}, "altered": ()}
    return nothing | {
        **{"suite": suite, "task": task, "title": title, "seed": int(seed.removeprefix("seed-"))},
        **{"encoder": encoder, "variant": variant, "weights_label": label, "row": title, "path": path},
        **{"status": "unreadable", "used": False, "outdated": False, "task_version": 1},
        **{"synthetic": False, "reference": False},
        "problem": "",
    }


def read_run(files: RunFiles) -> RunRow:
    """Return the row of a run.

    A finished run whose files no longer match its manifest has the status `altered` and no numbers; one that cannot be
    read is `unreadable` and says why in `problem`.
    """
    row = empty_row(files.path)
    try:
        stored = files.status()
        if altered := files.altered():
            why = f"altered since it finished: {', '.join(altered)}"
            return row | {"status": "altered", "altered": altered, "problem": why}
        return row | _contents(files, row, stored)
    except (Problem, OSError) as error:
        return row | {"status": "unreadable", "problem": clean(str(error))}


def _contents(files: RunFiles, row: RunRow, stored: str) -> RunRow:
    """Return what the files hold, each read and checked once."""
    stored_identity = files.json(IDENTITY)
    if stored_identity is None:
        raise Problem(f"{IDENTITY} is missing")
    with naming(IDENTITY):
        digest = identity_hash(stored_identity)
        identity = records.Identity.model_validate(stored_identity)
    config = _record(files, CONFIG, records.Config) or identity.config or records.Config()
    encoder = _record(files, ENCODER, records.Encoder) or records.Encoder()
    machine = _record(files, MACHINE, records.Machine) or records.Machine()
    metrics, episodes = files.metrics(), files.episodes()
    # Pictures and films are written last: only those of a finished run are known to be whole.
    shown = {"pictures": files.pictures(), "video": files.video()} if stored == "finished" else {}
    return {
        **{"status": _status(stored, metrics), "identity": digest, "device": identity.device or ""},
        **{"config": _plain(config), "machine": _plain(machine), "task_version": identity.task_results_version},
        "frames_version": identity.frames_results_version if identity.encoder.uses_images else math.nan,
        "synthetic": bool(config.synthetic or encoder.synthetic),
        **_who(row, identity.encoder, encoder),
        **_stages(config, encoder),
        **_scores(episodes),
        **_progress(metrics),
        "computed": _way(identity.encoder),
        **_costs(metrics),
        **shown,
        "episode_table": episodes,
        "steps_at": {UNTRAINED: 0, CLONED: 0} | {line.iteration: line.steps for line in metrics},
    }


def _record(files: RunFiles, name: str, kind: type[R]) -> R | None:
    """Return the object in a JSON file, checked; None where there is no file."""
    content = files.json(name)
    if content is None:
        return None
    with naming(name):
        return kind.model_validate(content)


def _plain(record: records.Record) -> RunRow:
    return record.model_dump(exclude_unset=True)


def _who(row: RunRow, identity: records.IdentityEncoder, encoder: records.Encoder) -> RunRow:
    """Return the weights and the card; folders from before `encoder.json` have the weights in their identity."""
    weights = encoder.weights or records.Weights()
    adaptation = encoder.adaptation or records.Adaptation()
    label = weights.label if "label" in weights.model_fields_set else row["weights_label"]
    return {
        **(_plain(encoder.parts) if encoder.parts else {}),
        "weights_kind": weights.kind or identity.weights or "",
        "weights_sha256": weights.sha256 or identity.weights_sha256 or "",
        "weights_label": label or "",
        "adaptation_sha256": adaptation.sha256 or identity.adaptation_sha256 or "",
        "adaptation": _plain(adaptation),
        "card": _plain(encoder.card) if encoder.card else {},
    }


def _stages(config: records.Config, encoder: records.Encoder) -> RunRow:
    recorded, asked = encoder.ema or records.EMA(), config.ema or records.EMA()
    ema = records.EMA.model_validate(_plain(recorded) | _plain(asked))
    return {
        "adapt": config.adapt or "",
        "ema_momentum": math.nan if ema.momentum is None else ema.momentum,
        "ema_scope": ema.scope or "",
        "ema_reset": ema.reset or "",
        "ema_streams": math.nan if ema.streams is None else float(ema.streams),
        "normalise": config.normalise or "",
        "precision": config.precision or "",
    }


def _scores(episodes: pandas.DataFrame) -> RunRow:
    shifted = [name for name in episodes["background"].unique() if name != OWN_BACKGROUND]
    means = own_evaluations(episodes)
    row: RunRow = {"evaluations": len(means), "backgrounds": tuple(sorted(map(str, shifted)))}
    if means.empty:
        return row
    row["episodes"] = int(means["episodes"].iloc[-1])
    for name in ("return", "success"):
        values = means[name]
        row |= {f"{name}_first": float(values.iloc[0]), f"{name}_last": float(values.iloc[-1])}
        row |= {f"{name}_best": float(values.max()), f"{name}_cloned": float(values.get(CLONED, math.nan))}
    return row


def _progress(metrics: Sequence[records.Metrics]) -> RunRow:
    if not metrics:
        return {}
    unstable = sum((line.unstable or 0) + (line.evaluation_unstable or 0) for line in metrics)
    return {"iteration": metrics[-1].iteration, "steps": metrics[-1].steps, "unstable": unstable}


def _way(encoder: records.IdentityEncoder) -> str:
    """Return in which precision and by which backend features were computed; empty where there are none."""
    if not encoder.uses_images or encoder.precision is None:
        return ""
    return f"{encoder.precision} by {encoder.backend or DEFAULT_BACKEND}"


def _costs(metrics: Sequence[records.Metrics]) -> RunRow:
    """Return seconds by stage over the whole run, speed of the rollouts, and peak memory."""
    seconds: dict[str, float] = {}
    frames = rolling = 0.0
    for line in metrics:
        spent = line.seconds or {}
        for stage, value in spent.items():
            seconds[stage] = seconds.get(stage, 0.0) + value
        if line.steps_per_second:
            rolled = sum(spent.get(stage, 0.0) for stage in (SIMULATED, *ROLLING_STAGES))
            frames, rolling = frames + line.steps_per_second * rolled, rolling + rolled
    return {
        "seconds": seconds,
        "wall_seconds": sum(seconds.values()) if seconds else math.nan,
        "frames_per_second": frames / rolling if rolling else math.nan,
        "memory_mb": max((line.memory_mb for line in metrics if line.memory_mb), default=math.nan),
        "gpu_memory_mb": max((line.gpu_memory_mb for line in metrics if line.gpu_memory_mb), default=math.nan),
    }


def _status(stored: str, metrics: Sequence[records.Metrics]) -> str:
    last = metrics[-MOST_SKIPPED:]
    if stored == "unfinished" and len(last) == MOST_SKIPPED and all(line.skipped for line in last):
        return "diverged"
    return stored
