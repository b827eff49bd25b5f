"""Many runs, one after another; one that fails does not take the others with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

from .config import RunConfig
from .dapg import LearningDiverged
from .errors import BenchError
from .progress import Progress
from .runner import RunResult, run


class Outcome(NamedTuple):
    """A run and what came of it: a result, or the line that says why there is none."""

    config: RunConfig
    result: RunResult | None
    failure: str = ""


def grid(encoders: Sequence[str], tasks: Sequence[str], seeds: Sequence[int]) -> list[tuple[str, str, int]]:
    """All (encoder, task, seed), with the seed changing fastest."""
    return list(product(encoders, tasks, seeds))


def sweep(
    configs: Sequence[RunConfig],
    out: Path | str,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    on_failure: Callable[[RunConfig, str], None] | None = None,
) -> list[Outcome]:
    """Do runs in order.

    A run whose learning diverged or whose simulators died is reported and the next one starts; what a user can mend
    (a missing file, a wrong folder) stops the sweep, since the other runs would fail alike.
    """
    from .errors import SimulationError

    outcomes = []
    for config in configs:
        try:
            outcomes.append(Outcome(config, run(config, out, overwrite=overwrite, progress=progress)))
        except (LearningDiverged, SimulationError) as error:
            if progress is not None:
                progress.end()
            outcomes.append(Outcome(config, None, str(error)))
            if on_failure is not None:
                on_failure(config, str(error))
        except BenchError:
            if progress is not None:
                progress.end()
            raise
    return outcomes
