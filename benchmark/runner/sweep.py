"""Many runs, one after another; one that fails does not take the others with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import tasks
from encoders import EncoderError
from tasks.errors import AssetError, TaskError
from tasks.scene import ycb

from .. import memory, task_files
from ..config import RunConfig
from ..dapg import LearningDiverged
from ..demonstrations.sources import locate
from ..errors import BenchError, ConfigError, FolderError, OutOfMemory, SimulationError
from ..progress import Progress, Silent
from . import encoder as stages
from .runner import RunResult, run


class Outcome(NamedTuple):
    """A run and its result, or the line that says why there is none."""

    config: RunConfig
    result: RunResult | None
    failure: str = ""


def check_ready(configs: Sequence[RunConfig]) -> None:
    """Check before any work that all weights and demonstrations are there.

    Raises:
        ConfigError: some are not; the message lists them all.
    """
    missing: dict[str, None] = {}
    for config in configs:
        try:
            task_files.check(config.task)
        except TaskError as error:
            missing[str(error)] = None
            continue
        checks: list[Callable[[], object]] = [
            partial(stages.plan, config),
            partial(locate, config.task, config.demonstrations),
            partial(check_objects, config),
            partial(check_memory, config),
        ]
        for check in checks:
            try:
                check()
            except (BenchError, EncoderError, TaskError) as error:
                missing[str(error)] = None
    if missing:
        raise ConfigError("; ".join(missing))


def check_memory(config: RunConfig) -> None:
    """Check that a run's scene options exist and that it fits into memory.

    Raises:
        ConfigError: it does not.
    """
    card = tasks.card(config.task)
    memory.require_run(config.resolve(card), card)


def check_objects(config: RunConfig) -> None:
    """Make sure that a run on the official meshes has them.

    Raises:
        AssetError: some are missing or broken.
    """
    needed = config.objects == "ycb" and "ycb" in tasks.card(config.task).packs
    lacking = ycb.missing() if needed else []
    if lacking:
        raise AssetError(f"{len(lacking)} of the YCB files are missing in {ycb.cache_folder()}: bench assets fetch ycb")


def sweep(
    configs: Sequence[RunConfig],
    out: Path | str,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Outcome]:
    """Do runs in order.

    A run whose learning diverged, whose simulators died, or whose folder is damaged, altered, in use or of another run
    is noted and the next one starts; what else a user can mend (a missing file, a full disk) stops the sweep, since the
    other runs would fail alike.

    Raises:
        BenchError, EncoderError, TaskError: what a user can mend.
    """
    progress = progress or Silent()
    check_ready(configs)
    outcomes = []
    for config in configs:
        try:
            outcomes.append(Outcome(config, run(config, out, overwrite=overwrite, progress=progress)))
        except (LearningDiverged, SimulationError, FolderError, OutOfMemory) as error:
            outcomes.append(Outcome(config, None, str(error)))
        finally:
            progress.close()
    return outcomes
