"""Whether the runs in a pack of results can be what they say: complete, consistent, and as configured.

Hashes tell damage, not fraud: whoever changes a number can write new hashes. What is checked here has to fit together
from several files, which takes more than a changed number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.config import RunConfig
from benchmark.marks import COMPARED, without
from benchmark.store import pack
from benchmark.store.episodes import CLONED, judged, own_evaluations
from benchmark.store.pack import PackedRun
from benchmark.store.run_folder import CONFIG, ENCODER, EPISODES, IDENTITY, METRICS
from benchmark.store.titles import folder_name, title_of
from tasks.cards import CARDS

from .pack_schema import fault_of
from .records import clean
from .run_files import PackedFiles
from .run_folder import RunRow, read_run

if TYPE_CHECKING:
    import pandas

CLOSE = 1e-9
"""Relative difference that two sums of the same numbers may have."""


@dataclass(frozen=True)
class Verdict:
    """What a check of a pack found.

    Attributes:
        runs: how many it has.
        faults: a line per contradiction, which names the run.
        notes: a line per thing that a reader has to know, mainly of what the encoders were trained on.
    """

    runs: int
    faults: tuple[str, ...]
    notes: tuple[str, ...]


def check(path: Path) -> Verdict:
    """Check a pack of results.

    Raises:
        PackError: it is no pack, or a member was changed.
    """
    runs = pack.read(path)
    rows = [read_run(PackedFiles(path, run)) for run in runs]
    faults = []
    for run, row in zip(runs, rows, strict=True):
        where = clean("/".join(run.place))
        faults += [f"{where}: {fault}" for fault in _faults(run, row)]
    return Verdict(len(runs), (*faults, *_mixed_suites(runs)), tuple(_notes(runs)))


def _faults(run: PackedRun, row: RunRow) -> Iterator[str]:
    """Yield in what one run contradicts itself; what cannot be read is not looked into further."""
    fault = row["problem"] or fault_of(run.files)
    if fault:
        yield fault
        return
    yield from _place_faults(run)
    yield from _setting_faults(run)
    yield from _episode_faults(run.files[CONFIG], row["episode_table"])
    yield from _metric_faults(run, row["episode_table"])


def _place_faults(run: PackedRun) -> Iterator[str]:
    """Yield where a run's cell is not that of its settings."""
    suite, task, encoder, seed = run.place
    config, identity = run.files[CONFIG], run.files[IDENTITY]
    expected = f"{config['preset']}-{config['objects']}-{config['physics']}-r{identity['results_version']}"
    own = (suite.partition("+")[0], task, encoder, seed)
    settings = (expected, config["task"], folder_name(run.files[ENCODER]["title"]), f"seed-{config['seed']}")
    for name, placed, said in zip(("suite", "task", "encoder", "seed"), own, settings, strict=True):
        if placed != said:
            yield clean(f"its {name} is {placed}, but its settings are of {said}")


def _setting_faults(run: PackedRun) -> Iterator[str]:
    """Yield where identity, configuration and encoder disagree."""
    identity, encoder = run.files[IDENTITY], run.files[ENCODER]
    config = _flat(run.files[CONFIG])
    for name, value in _flat(identity["config"]).items():
        if name in config and config[name] != value:
            yield clean(f"{name} is {value} in {IDENTITY}, but {config[name]} in {CONFIG}")
    if identity["encoder"]["weights_sha256"] != encoder["weights"]["sha256"]:
        yield f"{IDENTITY} and {ENCODER} name different weights"


def _episode_faults(config: Mapping[str, Any], episodes: pandas.DataFrame) -> Iterator[str]:
    """Yield where episodes are not as configured, or impossible."""
    configured = config["evaluation"]["episodes"]
    counts = own_evaluations(episodes)["episodes"]
    for iteration, count in counts[counts != configured].items():
        yield f"{EPISODES}: {count} episodes at iteration {iteration}, but {configured} are configured"
    configured = config["evaluation"].get("held_out_episodes", 0)
    counted = judged(episodes).groupby("iteration").size()
    for iteration, count in counted[counted != configured].items():
        yield f"{EPISODES}: {count} held-out episodes judge iteration {iteration}, but {configured} are configured"
    if not len(counts):
        yield f"{EPISODES}: no evaluation"
    horizon = (config.get("rollout") or {}).get("horizon")
    lengths = episodes["length"]
    if (lengths < 1).any() or (horizon is not None and (lengths > horizon).any()):
        yield f"{EPISODES}: an episode of {lengths.min()} or {lengths.max()} steps, but the horizon is {horizon}"
    if "goal_steps" in episodes:
        yield from _goal_faults(config["task"], episodes)


def _goal_faults(task: str, episodes: pandas.DataFrame) -> Iterator[str]:
    """Yield where success does not follow from the steps at the goal."""
    steps = episodes["goal_steps"]
    if (steps < 0).any() or (steps > episodes["length"]).any() or (episodes["goal_at_end"] & (steps == 0)).any():
        yield f"{EPISODES}: an episode has more steps at the goal than steps, or ends there without one"
    if task in CARDS and (episodes["success"] != (steps >= CARDS[task].goal_steps)).any():
        yield f"{EPISODES}: success is not at least {CARDS[task].goal_steps} steps at the goal, as {task} counts it"


def _metric_faults(run: PackedRun, episodes: pandas.DataFrame) -> Iterator[str]:
    """Yield where lines of metrics are missing, or their means are not those of the episodes."""
    iterations = [row["iteration"] for row in run.metrics]
    if not iterations or iterations != list(range(CLONED, len(iterations))):
        yield f"{METRICS}: iterations are not {CLONED}, 1, 2, ... in order"
        return
    learner = run.files[CONFIG].get("learner") or {}
    last = learner.get("iterations")
    if learner.get("algorithm", "dapg") == "dapg" and last is not None and iterations[-1] != last:
        yield f"{METRICS}: ends at iteration {iterations[-1]}, but {last} are configured"
    means = own_evaluations(episodes)
    evaluated = {row["iteration"]: row for row in run.metrics if "evaluation_return" in row}
    different = sorted(set(evaluated) ^ {int(iteration) for iteration in means.index if iteration >= CLONED})
    if different:
        yield f"{METRICS} and {EPISODES} do not have the same evaluations (iteration {different[0]})"
        return
    if iterations[-1] not in evaluated:
        yield f"{METRICS}: the last policy was not evaluated"
    for iteration, row in evaluated.items():
        for name in ("return", "success"):
            said, found = row.get(f"evaluation_{name}"), float(means.loc[iteration, name])
            if not isinstance(said, (int, float)) or not np.isclose(said, found, rtol=CLOSE, atol=CLOSE):
                yield f"the mean {name} of iteration {iteration} is {said} in {METRICS}, but {found} in {EPISODES}"


def _mixed_suites(runs: Sequence[PackedRun]) -> Iterator[str]:
    """Yield where runs of one suite and task differ in settings that make results incomparable."""
    first: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
    for run in runs:
        config = run.files.get(CONFIG)
        if config is None:
            continue
        where, settings = clean("/".join(run.place)), _compared(config)
        other, known = first.setdefault(run.place[:2], (where, settings))
        for name in sorted(settings.keys() & known.keys()):
            if settings[name] != known[name]:
                yield clean(
                    f"{where}: {name} is {settings[name]}, but {known[name]} in {other} of the same suite; results of "
                    "different settings are not comparable"
                )
                break


def _compared(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that must be equal within a suite, by dotted name."""
    excluded = set(_names(without(RunConfig, COMPARED)))
    settings = _flat({name: value for name, value in config.items() if name in RunConfig.model_fields})
    parts = {name: value for name, value in settings.items() if not {name, name.partition(".")[0]} & excluded}
    return {name: value for name, value in parts.items() if name != "demonstrations.source"}  # a path may be anywhere


def _names(excluded: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, inner in excluded.items():
        if inner is True:
            yield f"{prefix}{name}"
        else:
            yield from _names(inner, f"{prefix}{name}.")


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted name."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _notes(runs: Sequence[PackedRun]) -> Iterator[str]:
    """Yield what each encoder was trained on, as far as it bears on these results or is unknown."""
    by_title: dict[str, list[PackedRun]] = {}
    for run in runs:
        by_title.setdefault(clean(title_of(run.place[2])), []).append(run)
    for title, own in by_title.items():
        for note in dict.fromkeys(note for run in own for note in _contamination(run.files.get(ENCODER) or {})):
            yield f"{title}: {note}"
        if any((run.files.get(CONFIG) or {}).get("synthetic") for run in own):
            yield f"{title}: synthetic, its numbers are invented"


def _contamination(encoder: Mapping[str, Any]) -> Iterator[str]:
    """Yield whether an encoder's training saw images of this benchmark, from its ``encoder.json``."""
    card, weights = encoder.get("card"), encoder.get("weights")
    kind = weights.get("kind") if isinstance(weights, dict) else None
    if kind == "builtin":
        yield "the builtin weights were trained on renderings of this benchmark's hand"
    elif kind not in ("random", "none"):
        card = card if isinstance(card, dict) else {}
        if card.get("saw_benchmark"):
            yield clean(f"trained on images of this benchmark ({card.get('trained_on')})")
        elif not card.get("trained_on"):
            yield "nothing says what it was trained on (`trained_on` in its card)"
        elif card.get("saw_benchmark") is None:
            yield "unknown whether it was trained on images of this benchmark (`saw_benchmark` in its card)"
    if encoder.get("adaptation"):
        yield "Stage 2 adapted it to frames of the tasks"
