"""Runs as Ray tasks, on this machine or on a cluster whose nodes share the folder of runs.

A node that dies takes no run with it: Ray gives the task to another node, which goes on from the run folder.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..config import RunConfig
from ..errors import BenchError, ConfigError, OutputError
from ..progress import Progress, Silent
from ..store import sweeps
from ..store.paths import user_path
from ..store.run_folder import RunFolder, check_writable

if TYPE_CHECKING:
    from .runner import RunResult
    from .sweep import Outcome

RETRIES = 5
"""How often a run is begun again because its node or its process died."""

LATER_SECONDS = 5.0
"""Between two tries of a run that another process is doing."""

OBJECT_STORE_BYTES = 100_000_000
"""Of a Ray that is started here: tasks pass a few kilobytes, and Ray's default is a third of the memory."""

PASSED_ON = ("OMP_WAIT_POLICY",)
PASSED_ON_PREFIX = "HINDEX_BENCH_"
"""Environment variables that a task has from the driver."""


class Cluster(NamedTuple):
    """Where runs are done, and what each of them takes.

    Attributes:
        address: of a Ray cluster, ``auto`` for the one of this machine or job; empty to start Ray here for this sweep.
        cpus_per_run: CPUs; as many simulation processes, unless the configuration says otherwise.
        gpus_per_run: GPUs, such as 0.25 for four runs on each; 0 computes on CPUs.
    """

    address: str = ""
    cpus_per_run: int = 1
    gpus_per_run: float = 0.0


class Report(NamedTuple):
    """What a task returns: a result, or why there is none, and whether another process is doing the run."""

    result: RunResult | None
    failure: str
    in_use: bool


def launch(
    configs: Sequence[RunConfig],
    out: Path | str,
    cluster: Cluster,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Outcome]:
    """Do runs as Ray tasks, as many at a time as the cluster has room for.

    A run that fails, for whatever reason, is noted and the others go on. Runs that another process is doing are tried
    again later. Killed, the same call goes on. A connection to Ray that this process has already is used.

    Args:
        configs: what to run.
        out: the folder of all runs, which every node mounts at the same path.
        cluster: where, and what each run takes.
        overwrite: begin anew where the folder holds a run already.
        progress: receives a line for every run that ended.

    Returns:
        An outcome per configuration, in their order.

    Raises:
        ConfigError: Ray is not installed or cannot be reached, a setting does not go with it, or weights or
            demonstrations are missing.
        OutputError: the folder of runs cannot be written.
    """
    from .encoder import fetch_on_first_use
    from .sweep import cell_of, check_ready

    require_ray()
    out, progress = user_path(out).absolute(), progress or Silent()
    configs = [placed(config, cluster) for config in configs]
    check_writable(out)
    fetch_on_first_use(configs, progress)
    check_ready(configs)
    cells = [cell_of(config, out) for config in configs]
    record = sweeps.write(out, cells)
    with _connected(cluster.address):
        _say_where(len(configs), cluster, progress)
        return _collect(_Tasks(configs, cells, record, cluster, overwrite), Tally(len(configs)), progress)


def require_ray() -> None:
    """Make sure that Ray is installed.

    Raises:
        ConfigError: it is not.
    """
    try:
        import ray  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"--launcher ray needs Ray ({error}): pip install 'hindex-bench[ray]'") from None


def placed(config: RunConfig, cluster: Cluster) -> RunConfig:
    """Return a configuration whose simulation processes and device are those that a task has.

    Raises:
        ConfigError: it asks for a GPU that Ray does not give it, or for one by number.
    """
    if config.device.startswith("cuda:"):
        raise ConfigError(f"--device {config.device}: Ray chooses the GPU of each run; use --device cuda")
    if config.device == "cuda" and not cluster.gpus_per_run:
        raise ConfigError("--device cuda with --launcher ray: give each run a share of a GPU, --gpus-per-run 0.25")
    if "workers" in config.model_fields_set:
        return config
    return config.model_copy(update={"workers": cluster.cpus_per_run})


class Tally:
    """Counts the runs of a sweep that ended, and estimates when the rest will have."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = self.failed = self.found = 0
        self._began = time.monotonic()

    def count(self, outcome: Outcome) -> str:
        """Count a run that ended, and return a line: ``3 of 8 done, 1 failed, about 0:04:30 left; ...``."""
        if outcome.result is None:
            self.failed += 1
        else:
            self.done += 1
            self.found += outcome.result.found
        failed = f", {self.failed} failed" if self.failed else ""
        ended, new = self.done + self.failed, self.done + self.failed - self.found
        left = (time.monotonic() - self._began) / new * (self.total - ended) if new else 0
        estimate = f", about {timedelta(seconds=round(left))} left" if left else ""
        which = f"{outcome.config.encoder} on {outcome.config.task}, seed {outcome.config.seed}"
        how = outcome.failure or ("was finished" if outcome.result and outcome.result.found else "finished")
        return f"{self.done} of {self.total} done{failed}{estimate}; {which}: {how}"


class _Tasks:
    """Starts the runs of a sweep as Ray tasks, and reads what became of them."""

    def __init__(
        self, configs: Sequence[RunConfig], cells: Sequence[Path], record: Path, cluster: Cluster, overwrite: bool
    ) -> None:
        import ray

        self.configs = configs
        self._cells, self._overwrite, self._record = cells, overwrite, record
        shares = {"num_cpus": cluster.cpus_per_run, "num_gpus": cluster.gpus_per_run}
        self._task = ray.remote(_do).options(**shares, max_retries=RETRIES)
        self._environment = {
            name: value for name, value in os.environ.items() if name in PASSED_ON or name.startswith(PASSED_ON_PREFIX)
        }

    def start(self, number: int) -> Any:
        """Start a run and return the reference to its report."""
        settings = self.configs[number].model_dump(mode="json")
        return self._task.remote(settings, str(self._record), self._overwrite, os.getcwd(), self._environment)

    def report(self, number: int, reference: Any) -> Report:
        """Return the report of a task that ended; a task that died or failed has one too."""
        from ray import get
        from ray.exceptions import RayError, RayTaskError

        try:
            report: Report = get(reference)
            return report
        except RayTaskError as error:
            failure = _one_line(error.cause if isinstance(error.cause, Exception) else error)
        except RayError as error:
            failure = f"its task was given up after {RETRIES} retries ({_one_line(error)})"
        RunFolder(self._cells[number]).note_failure(failure)
        return Report(None, failure, False)


def _collect(tasks: _Tasks, tally: Tally, progress: Progress) -> list[Outcome]:
    """Wait for all tasks; start those again whose run another process was doing."""
    from ray import wait

    from .sweep import Outcome

    outcomes: dict[int, Outcome] = {}
    running = {tasks.start(number): number for number in range(len(tasks.configs))}
    later: deque[tuple[float, int]] = deque()
    while running or later:
        if not running:
            time.sleep(LATER_SECONDS)
        for reference in wait(list(running), timeout=LATER_SECONDS)[0] if running else ():
            number = running.pop(reference)
            report = tasks.report(number, reference)
            if report.in_use:
                later.append((time.monotonic() + LATER_SECONDS, number))
                progress.say(f"left for later: {report.failure.partition(';')[0]}")
            else:
                outcomes[number] = Outcome(tasks.configs[number], report.result, report.failure)
                progress.say(tally.count(outcomes[number]))
        while later and later[0][0] <= time.monotonic():
            number = later.popleft()[1]
            running[tasks.start(number)] = number
    return [outcomes[number] for number in range(len(tasks.configs))]


def _do(
    settings: Mapping[str, Any], record: str, overwrite: bool, folder: str, environment: Mapping[str, str]
) -> Report:
    """Do one run in a process of Ray's.

    Args:
        settings: the configuration, as JSON.
        record: what the driver wrote on the sweep into the folder of runs.
        overwrite: begin anew where the folder holds a run already.
        folder: the driver's, from which relative paths are meant.
        environment: variables of the driver's.

    Raises:
        OutputError: this node does not see the folder of runs.
        BenchError, EncoderError, TaskError: what a user can mend.
    """
    os.environ.update(environment)  # before torch is imported
    if not Path(record).exists():
        out = Path(record).parents[1]
        raise OutputError(f"{out} on node {os.uname().nodename} is not the folder that the command wrote to; mount it")
    if Path(folder).is_dir():
        os.chdir(folder)
    import ray

    from .sweep import attempt

    config = RunConfig.model_validate(settings)
    gpu = next(iter(ray.get_gpu_ids()), None)
    if config.egl_device is None and str(gpu).isdecimal():  # EGL counts all GPUs, torch only the task's
        config = config.model_copy(update={"egl_device": int(str(gpu))})
    outcome, in_use = attempt(config, Path(record).parents[1], overwrite, Silent())
    return Report(outcome.result, outcome.failure, in_use)


@contextmanager
def _connected(address: str) -> Iterator[None]:
    """Connect to a cluster, or start Ray here, and leave it at the end; a connection that is there already stays.

    Raises:
        ConfigError: there is no cluster, or it is of another version.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    own: dict[str, Any] = {} if address else {"object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
    if not address:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray.init(address or "local", logging_level=logging.WARNING, **own)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(
            f"--address {address}: no Ray cluster can be used there ({_one_line(error)}); start one with "
            "`ray start --head`, or leave out --address to use this machine alone"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _say_where(runs: int, cluster: Cluster, progress: Progress) -> None:
    """Say what the runs take and what there is, and that they wait where no node is large enough."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus, gpus = (sum(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU"))
    share = f"{cluster.cpus_per_run} CPUs and {cluster.gpus_per_run:g} GPUs"
    progress.say(f"{runs} runs of {share} each; Ray has {len(nodes)} nodes with {cpus:g} CPUs and {gpus:g} GPUs")
    needs = {"CPU": cluster.cpus_per_run, "GPU": cluster.gpus_per_run}
    if not any(all(node.get(kind, 0) >= needed for kind, needed in needs.items()) for node in nodes):
        progress.say(
            f"no node has {share}: waiting for one; else interrupt, and lower --cpus-per-run or --gpus-per-run"
        )


def _one_line(error: Exception) -> str:
    """Return the first line of an error, with its kind where it is none of a user's mistakes."""
    from encoders import EncoderError
    from tasks.errors import TaskError

    line = next(iter(str(error).strip().splitlines()), "")
    return line if isinstance(error, BenchError | EncoderError | TaskError) else f"{type(error).__name__}: {line}"
