"""Many runs, one after another; one that fails does not take the others with it, and two sweeps share their work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import sleep
from typing import NamedTuple

import tasks
from encoders import EncoderError
from tasks.errors import AssetError, TaskError
from tasks.scene import ycb

from .. import memory, task_files
from ..config import RunConfig
from ..dapg import LearningDiverged
from ..demonstrations.sources import locate
from ..errors import BenchError, ConfigError, FolderError, FolderInUse, OutOfMemory, SimulationError
from ..progress import Progress, Silent
from ..store import sweeps
from ..store.paths import user_path
from ..store.run_folder import RunFolder, cell_path, check_writable
from . import encoder as stages
from . import tracking
from .runner import RunResult, run_as_weights_are
from .suite import suite_name

WAIT_SECONDS = 5.0
"""Between two looks at runs that other processes are doing."""


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
            partial(tracking.require, config.track),
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

    A run whose learning diverged, whose simulators died, or whose folder is damaged, altered or of another run is noted
    and the next one starts; what else a user can mend (a missing file, a full disk) stops the sweep, since the other
    runs would fail alike. Runs that another process is doing are left for later: so two sweeps on one folder share the
    work. A single run that another process is doing is noted.

    Raises:
        BenchError, EncoderError, TaskError: what a user can mend.
    """
    out, progress = user_path(out), progress or Silent()
    check_writable(out)
    stages.fetch_on_first_use(configs, progress)
    check_ready(configs)
    sweeps.write(out, [cell_of(config, out) for config in configs])
    outcomes: dict[int, Outcome] = {}
    left = list(range(len(configs)))
    while left:
        busy = []
        for number in left:
            outcome, in_use = attempt(configs[number], out, overwrite, progress)
            if in_use and len(configs) > 1:
                busy.append(number)
                progress.say(f"left for later: {outcome.failure.partition(';')[0]}")
            else:
                outcomes[number] = outcome
        if len(busy) == len(left):
            sleep(WAIT_SECONDS)
        left = busy
    return [outcomes[number] for number in range(len(configs))]


def cell_of(config: RunConfig, out: Path | str) -> Path:
    """Return the folder that a run will have.

    Raises:
        EncoderError, ConfigError: as for `benchmark.runner.encoder.plan`.
    """
    title = str(stages.title_parts(config, stages.plan(config)))
    return cell_path(out, suite_name(config), config.task, title, config.seed)


def attempt(config: RunConfig, out: Path, overwrite: bool, progress: Progress) -> tuple[Outcome, bool]:
    """Do one run of many; return its outcome, and whether another process is doing it.

    Raises:
        BenchError, EncoderError, TaskError: what a user can mend, and would concern other runs too.
    """
    try:
        return Outcome(config, run_as_weights_are(config, out, overwrite, progress)), False
    except FolderInUse as error:
        return Outcome(config, None, str(error)), True
    except (LearningDiverged, SimulationError, FolderError, OutOfMemory) as error:
        RunFolder(cell_of(config, out)).note_failure(str(error))
        return Outcome(config, None, str(error)), False
    finally:
        progress.close()
