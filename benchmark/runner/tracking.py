"""Trackers: what a run's metrics are passed on to while it learns. The run folder stays the truth.

Rows are passed on once their checkpoint is committed, each at most once: ``tracking.json`` in the run folder says up to
which iteration, and is written before. So a killed run that goes on repeats nothing.
"""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ..config import RunConfig
from ..errors import ConfigError
from ..progress import Progress
from ..store import atomic
from ..store.run_folder import RunFolder

NOTE = "tracking.json"
FOLDER = "tracking"
PROJECT = "hindex-bench"
SPEED = {"steps_per_second": "frames_per_second"}
"""Names that trackers show otherwise than the metrics."""


class Tracker(Protocol):
    """Receives the metrics of one run."""

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        """Add the values of an iteration."""

    def close(self) -> None:
        """Write what is left."""


class TrackedRun(NamedTuple):
    """A run as trackers know it.

    Attributes:
        name: its folder below the folder of all runs, such as ``SUITE/door/hindex/seed-0``.
        id: made when the run began; a resumed run has the same.
        folder: where a tracker that writes files writes them.
        config: settings by dotted key.
    """

    name: str
    id: str
    folder: Path
    config: dict[str, Any]


class TensorBoard:
    """Event files, for ``tensorboard --logdir OUT/tracking/tensorboard``."""

    def __init__(self, run: TrackedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # A folder named seed-N would be taken for a run.
        self._writer: Any = SummaryWriter(str(run.folder / run.name.replace("/seed-", " seed ")))

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        """Add the values of an iteration."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, iteration)
        self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()


class WeightsAndBiases:
    """A run of Weights & Biases: offline, for ``wandb sync``, unless ``WANDB_MODE`` says otherwise."""

    def __init__(self, run: TrackedRun) -> None:
        import wandb

        run.folder.mkdir(parents=True, exist_ok=True)
        self._run: Any = wandb.init(
            project=PROJECT,
            id=run.id,
            name=run.name,
            dir=str(run.folder),
            config=run.config,
            resume="allow",
            mode=os.environ.get("WANDB_MODE", "offline"),
            settings=wandb.Settings(silent=True, console="off"),
        )

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        """Add the values of an iteration."""
        self._run.log(dict(values), step=iteration)

    def close(self) -> None:
        """Write what is left."""
        self._run.finish()


class MLflow:
    """A run of MLflow: in files, unless ``MLFLOW_TRACKING_URI`` names a server."""

    ID = "hindex_bench.run"

    def __init__(self, run: TrackedRun) -> None:
        from mlflow import MlflowClient

        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if not uri:
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            run.folder.mkdir(parents=True, exist_ok=True)
            uri = run.folder.absolute().as_uri()
        self._client: Any = MlflowClient(tracking_uri=uri)
        found = self._client.get_experiment_by_name(PROJECT)
        experiment = found.experiment_id if found else self._client.create_experiment(PROJECT)
        begun = self._client.search_runs([experiment], f"tags.`{self.ID}` = '{run.id}'")
        if begun:
            self._run = begun[0].info.run_id
            return
        created = self._client.create_run(experiment, run_name=run.name, tags={self.ID: run.id})
        self._run = created.info.run_id
        for name, value in run.config.items():
            self._client.log_param(self._run, name, value)

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        """Add the values of an iteration."""
        for name, value in values.items():
            self._client.log_metric(self._run, name, value, step=iteration)

    def close(self) -> None:
        """End the run."""
        self._client.set_terminated(self._run)


class Trackio:
    """A run of trackio: in its local store, ``TRACKIO_DIR`` or OUT/tracking/trackio."""

    def __init__(self, run: TrackedRun) -> None:
        os.environ.setdefault("TRACKIO_DIR", str(run.folder.absolute()))  # read when trackio is imported
        import trackio

        self._trackio: Any = trackio
        name = f"{run.name} {run.id}"
        trackio.init(project=PROJECT, name=name, config=run.config, resume="allow", embed=False)

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        """Add the values of an iteration."""
        self._trackio.log(dict(values), step=iteration)

    def close(self) -> None:
        """Write what is left."""
        self._trackio.finish()


TRACKERS: dict[str, Callable[[TrackedRun], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
    "trackio": Trackio,
}
"""By the name of the package, which is the extra's name, too."""


def require(names: Sequence[str]) -> None:
    """Make sure that the packages of trackers are installed.

    Raises:
        ConfigError: some are not.
    """
    if missing := [name for name in names if find_spec(name) is None]:
        extras = ",".join(missing)
        raise ConfigError(f"--track {extras}: not installed; pip install 'hindex-bench[{extras}]'")


@contextmanager
def tracked(config: RunConfig, folder: RunFolder, out: Path, progress: Progress) -> Iterator[None]:
    """Pass the metrics of a run on to its trackers while the block runs.

    Args:
        config: the run's; ``track`` names the trackers.
        folder: the run's, held and created.
        out: the folder of all runs.
        progress: receives one line from each tracker that fails; the run goes on without it.
    """
    if not config.track:
        yield
        return
    feed = _Feed(config, folder, out, progress)
    folder.on_commit = feed.update
    try:
        yield
        feed.update()  # what was committed before a kill, of a run that had nothing left to learn
    finally:
        folder.on_commit = None
        feed.close()


class _Feed:
    """The trackers of one run that still work, and how far each of them is."""

    def __init__(self, config: RunConfig, folder: RunFolder, out: Path, progress: Progress) -> None:
        self._folder, self._progress = folder, progress
        path = folder.path / NOTE
        self._note: dict[str, Any] = atomic.read_json(path) if path.exists() else {"id": secrets.token_hex(8)}
        name = folder.path.absolute().relative_to(out.absolute()).as_posix()
        settings = dict(_dotted(config.model_dump(mode="json")))
        self._trackers: dict[str, Tracker] = {}
        for tool in config.track:
            run = TrackedRun(name, self._note["id"], out / FOLDER / tool, settings)
            with self._saying_failures(tool):
                self._trackers[tool] = TRACKERS[tool](run)

    def update(self) -> None:
        """Pass on the committed rows that a tracker does not have yet."""
        rows = self._folder.metrics()
        for tool, tracker in list(self._trackers.items()):
            new = [row for row in rows if row["iteration"] > self._note.get(tool, -1)]
            if new:
                self._note[tool] = new[-1]["iteration"]
                atomic.write_json(self._folder.path / NOTE, self._note)
            with self._saying_failures(tool):
                for row in new:
                    tracker.log(row["iteration"], values_of(row))

    def close(self) -> None:
        """Close all trackers."""
        for tool, tracker in list(self._trackers.items()):
            with self._saying_failures(tool):
                tracker.close()

    @contextmanager
    def _saying_failures(self, tool: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001  whatever a tracker does, the run goes on
            self._trackers.pop(tool, None)
            line = next(iter(str(error).strip().splitlines()), "")
            self._progress.say(f"{tool} failed and gets no more of this run ({type(error).__name__}: {line})")


def values_of(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a row of metrics by name; of a list of losses the last one."""
    values: dict[str, float] = {}
    for name, entry in row.items():
        value = entry[-1] if isinstance(entry, list) and entry else entry
        if name != "iteration" and isinstance(value, int | float) and math.isfinite(value):
            values[SPEED.get(name, name)] = float(value)
    return values


def _dotted(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
