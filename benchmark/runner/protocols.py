"""What a protocol of imitation reports of its runs, and what honest judging says of the same runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..config import RunConfig
from ..intervals import mean_interval
from ..presets import PROTOCOLS, Protocol
from ..store.episodes import UNTRAINED
from .runner import RunResult
from .suite import changed_settings


class Finished(NamedTuple):
    """A run of a protocol and its result."""

    config: RunConfig
    result: RunResult


def last_success(result: RunResult) -> float:
    """Return the success rate of the last evaluation."""
    return result.evaluations[max(result.evaluations)][1]


def best_success(result: RunResult) -> float:
    """Return the success rate of the best evaluation of a trained policy."""
    return result.evaluations[_best(result)][1]


def judged_last(result: RunResult) -> list[bool]:
    """Return the successes of the held-out episodes that judged the last policy; none where there are none."""
    return result.held_out.get(max(result.evaluations), [])


def judged_best(result: RunResult) -> list[bool]:
    """Return those that judged the policy which the evaluations found best; none where there are none."""
    return result.held_out.get(_best(result), [])


def _best(result: RunResult) -> int:
    """Return the epoch that a run keeps as its best: by success, then by return; the earliest of equals."""
    trained = [iteration for iteration in result.evaluations if iteration != UNTRAINED]
    return max(trained, key=lambda i: (result.evaluations[i][1], result.evaluations[i][0], -i))


def summary(runs: Sequence[Finished]) -> list[str]:
    """Return one line per encoder: the protocol's number, and what honest judging says.

    Args:
        runs: finished ones of one preset, any encoders, tasks and seeds; no lines where the preset is no protocol.
    """
    if not runs or runs[0].config.preset not in PROTOCOLS:
        return []
    protocol, preset = PROTOCOLS[runs[0].config.preset], runs[0].config.preset
    titles = dict.fromkeys(result.title for _, result in runs)
    return [
        f"{_name(preset, protocol, runs)} · {title}: "
        + _of_encoder(protocol, [run for run in runs if run.result.title == title])
        for title in titles
    ]


def _name(preset: str, protocol: Protocol, runs: Sequence[Finished]) -> str:
    """Return the preset's name; with other tasks or settings than the published ones, the runs are only like it."""
    others = {config.task for config, _ in runs} - set(protocol.published_tasks)
    changed = any(changed_settings(config) for config, _ in runs)
    return f"{preset}-like" if changed or (others and protocol.published_tasks) else preset


def _of_encoder(protocol: Protocol, runs: Sequence[Finished]) -> str:
    reported = best_success if protocol.selection == "best" else last_success
    by_task: dict[str, list[float]] = {}
    for config, result in runs:
        by_task.setdefault(config.task, []).append(100 * reported(result))
    evaluations = len(runs[0].result.evaluations)
    which = f"best of {evaluations} evaluations" if protocol.selection == "best" else "last policy"
    seeds = max(len(values) for values in by_task.values())
    means = ", ".join(f"{task} {np.mean(values):.1f}" for task, values in by_task.items())
    line = f"success {np.mean([np.mean(values) for values in by_task.values()]):.1f} % ({which}"
    line += f"; {means}; {seeds} {'seed' if seeds == 1 else 'seeds'})"
    honest = {
        "last policy": {name: [judged_last(r) for c, r in runs if c.task == name] for name in by_task},
        "chosen by the evaluations": {name: [judged_best(r) for c, r in runs if c.task == name] for name in by_task},
    }
    parts = [f"{name} {_judged(successes)}" for name, successes in honest.items() if all(map(all, successes.values()))]
    return f"{line}; on held-out episodes: {', '.join(parts)}" if parts else line


def _judged(successes: Mapping[str, Sequence[Sequence[bool]]]) -> str:
    """Return the mean over tasks of the success of all held-out episodes, with an interval over episodes."""
    pooled = [np.concatenate([np.asarray(run, float) for run in runs]) for runs in successes.values()]
    found = mean_interval([100 * values for values in pooled])
    return f"{found.mean:.1f} % [{found.low:.1f}, {found.high:.1f}]"
