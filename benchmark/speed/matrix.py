"""How long a matrix of runs will take on this machine, from a short measurement per encoder and suite of scenes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

import tasks

from ..config import RunConfig
from .cost import Ceilings, frames_of, update_seconds
from .stages import measure, rehearse

SHOWN = 8
"""Demonstrations of a measurement."""


def matrix_seconds(configs: Sequence[RunConfig], say: Callable[[str], None] = lambda line: None) -> list[float]:
    """Return the seconds that each run will take at most; features that later seeds find again are counted each time.

    Args:
        configs: the runs.
        say: receives a line for each measurement, which takes some seconds.

    Raises:
        BenchError, EncoderError, TaskError: something the user can mend.
    """
    measured: dict[tuple[str, str], Ceilings] = {}
    update, found = 0.0, []
    for config in configs:
        card = tasks.card(config.task)
        frames, steps = frames_of(config, card)
        if steps and not update:
            update = update_seconds()
        key = config.encoder, card.source
        if key not in measured:
            say(f"measuring {config.encoder} on {config.task}")
            measured[key] = _measured(config)
        rollouts = measured[key]
        found.append(rollouts.start + frames / rollouts.frames_per_second + steps * update)
    return found


def _measured(config: RunConfig) -> Ceilings:
    began = perf_counter()
    fewer = config.demonstrations.model_copy(update={"episodes": SHOWN, "source": "expert"})
    run = rehearse(config.model_copy(update={"demonstrations": fewer}))
    return Ceilings(config.task, run.way, measure(run), run.pipeline, perf_counter() - began)
