"""The run folder: one cell of a suite, complete in itself.

Order of writing makes it safe to kill: metrics and episodes first, then the checkpoint, whose one
rename commits the iteration. On resume, `rewind` drops the rows that no checkpoint committed.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from encoders.weights.files import PARTIAL_SUFFIX, sync_folder

from ..errors import ConfigError, FolderError, OutputError
from . import atomic, checkpoint, episodes
from . import manifest as vouching
from . import metrics as metric_lines
from . import provenance as versions
from .episodes import REMEDY
from .identity import differences, identity_hash, same_identity, way_back
from .lock import LOCK, hold, is_there
from .manifest import MANIFEST
from .paths import user_path
from .titles import folder_name

if TYPE_CHECKING:
    import pandas

Status = Literal["absent", "unfinished", "finished"]
Tensors = dict[str, npt.NDArray[Any]]

CONFIG = "config.json"
IDENTITY = "identity.json"
ENCODER = "encoder.json"
MACHINE = "machine.json"
METRICS = "metrics.jsonl"
EPISODES = "episodes.parquet"
CHECKPOINT = "checkpoint.safetensors"
CHECKPOINT_META = "checkpoint.json"
VIDEO = "video.mp4"
PICTURES = "frames"
FAILURE = "failure.json"
VOUCHED = (CONFIG, IDENTITY, ENCODER, MACHINE, METRICS, EPISODES, CHECKPOINT, CHECKPOINT_META, VIDEO)
"""Files of a run that its manifest lists where they exist; pictures come on top."""


class RunFolder:
    """A handle on one run folder; creating the handle touches no file.

    `create` opens it for writing and holds it against other processes until `close`, the end of a
    `with` block, or the death of the process. Everything else but the writing methods works on any
    folder, finished or not, at any time.
    """

    def __init__(self, path: Path | str) -> None:
        """Name the folder `path`, `OUT/<suite>/<task>/<encoder>/seed-<n>` (see `cell_path`)."""
        self.path = user_path(path)
        self._lock: IO[str] | None = None
        self._lines: metric_lines.Digest | None = None
        self._episodes: str | None = None
        self.on_commit: Callable[[], None] | None = None
        """Called after every checkpoint."""

    def __enter__(self) -> RunFolder:
        """Return itself; the end of the block closes it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release the folder."""
        self.close()

    @property
    def status(self) -> Status:
        """`absent` before `create`, `finished` after `finish`, `unfinished` between."""
        try:
            if not (self.path / IDENTITY).exists():
                return "absent"
            return "finished" if (self.path / MANIFEST).exists() else "unfinished"
        except OSError as error:
            raise FolderError(f"cannot read {self.path}: {error.strerror or error}") from error

    @property
    def config(self) -> dict[str, Any]:
        """The resolved configuration that the run was last started with."""
        return atomic.read_json(self.path / CONFIG, REMEDY)

    @property
    def identity(self) -> dict[str, Any]:
        """Fields that determine the run's results."""
        return atomic.read_json(self.path / IDENTITY, REMEDY)

    def create(
        self,
        config: Mapping[str, Any],
        identity: Mapping[str, Any],
        encoder: Mapping[str, Any] | None = None,
        *,
        overwrite: bool = False,
    ) -> Status:
        """Open the folder for writing: a new run, or the same one to resume.

        Args:
            config: the resolved configuration, JSON values only; a resumed run records the latest.
            identity: fields that determine the results, JSON values only; compared with those stored.
            encoder: title, weights, adaptation and card of the encoder; JSON values only.
            overwrite: delete the run that is there and start again.

        Returns:
            The status found: `absent` (new or overwritten), `unfinished` (resume it) or `finished`
            (nothing was touched).

        Raises:
            OutputError: the folder cannot be written.
            FolderError: another process holds it, or it holds a run of another identity, one that was
                altered after it had finished, or what is left of one.
        """
        self.claim()
        try:
            if overwrite:
                self._wipe()
            status = self.status
            if status == "absent":
                self._require_empty()
            elif status == "finished":
                self.require_unaltered()
            if status != "absent":
                self.require_identity(identity)
            if status == "finished":
                return status
            atomic.remove_partials(self.path)
            atomic.write_json(self.path / CONFIG, config)
            atomic.write_json(self.path / MACHINE, versions.record())
            if encoder is not None:
                atomic.write_json(self.path / ENCODER, encoder)
            if status == "absent":
                atomic.write_json(self.path / IDENTITY, identity)
        except BaseException:
            self.close()
            raise
        return status

    def claim(self) -> None:
        """Make the folder and hold it before the work that leads to `create`, so that no other process does it too.

        Raises:
            FolderInUse: another process holds it.
            OutputError: the folder cannot be made.
        """
        while self._lock is None:
            with atomic.naming_failures(self.path):
                self.path.mkdir(parents=True, exist_ok=True)
            lock = hold(self.path)
            if is_there(lock, self.path):
                self._lock = lock
            else:
                lock.close()
        (self.path / FAILURE).unlink(missing_ok=True)

    def close(self) -> None:
        """Release the folder, if it is held; one that was only claimed vanishes."""
        if self._lock is None:
            return
        if [entry.name for entry in self.path.iterdir()] == [LOCK]:
            (self.path / LOCK).unlink()
            with suppress(OSError):  # the first that is not empty
                for folder in (self.path, *self.path.parents[:3]):
                    folder.rmdir()
        self._lock.close()
        self._lock = None

    def note_failure(self, reason: str) -> None:
        """Keep the line that says why the run ended early, for ``bench status``; the next start removes it."""
        if self.status == "unfinished":
            atomic.write_json(self.path / FAILURE, {"reason": reason})

    @property
    def failure(self) -> str:
        """Why the run ended early, one line; empty where it did not, or nobody knows."""
        if not (self.path / FAILURE).exists():
            return ""
        return str(atomic.read_json(self.path / FAILURE).get("reason", ""))

    def reopen(self) -> None:
        """Hold a finished folder, to add episodes to it; `finish` has to follow.

        Raises:
            FolderError: there is no finished run, it was altered, or another process holds it.
        """
        if self.status != "finished":
            raise FolderError(f"{self.path} holds no finished run; give the folder of one, seed-N")
        self._lock = self._lock or hold(self.path)
        self.require_unaltered()

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Append one line to the metrics: JSON values with an integer `iteration`.

        Numpy numbers become plain ones; numbers that are not finite become null.
        """
        line = metric_lines.append(self.path / METRICS, row)
        if self._lines is not None:
            self._lines.add(line)

    def metrics(self) -> list[dict[str, Any]]:
        """Return the metrics, one dict per line; an incomplete last line is left out.

        Raises:
            FolderError: another line cannot be read.
        """
        return [line.row for line in metric_lines.read(self.path / METRICS)]

    def truncate_metrics(self, iteration: int) -> None:
        """Keep the metrics up to and including `iteration`; drop later lines and an incomplete last one."""
        path = self.path / METRICS
        if path.exists():
            metric_lines.write(path, [line for line in metric_lines.read(path) if line.row["iteration"] <= iteration])
        self._lines = None

    def append_episodes(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append evaluation episodes, one mapping each, with exactly the keys of `episodes.COLUMNS`."""
        episodes.append(self.path / EPISODES, rows)
        self._episodes = None

    def episodes(self) -> pandas.DataFrame:
        """Return the evaluation episodes, one row each, with the columns `episodes.COLUMNS`."""
        return episodes.read(self.path / EPISODES).to_pandas()

    def truncate_episodes(self, iteration: int) -> None:
        """Keep the episodes up to and including `iteration`, on the run's own background."""
        episodes.truncate(self.path / EPISODES, iteration)
        self._episodes = None

    def rewind(self, iteration: int) -> None:
        """Drop every row after `iteration`: the checkpoint's, or the one before the first where there is none."""
        self.truncate_metrics(iteration)
        self.truncate_episodes(iteration)

    def save_checkpoint(self, tensors: Mapping[str, npt.NDArray[Any]], meta: Mapping[str, Any]) -> None:
        """Commit a checkpoint: valid whole or not at all, whenever the process is killed.

        Args:
            tensors: arrays of any shape and the dtypes safetensors knows, bit for bit.
            meta: JSON values; finite floats and integers of any size come back exactly. Digests of the metrics and
                episodes so far are added as `rows`; that of the metrics with time and memory stands in
                ``checkpoint.json``, since equal runs have equal checkpoints.
        """
        lines, own = self._rows()
        meta = {**meta, "rows": {"metrics": lines.repeatable, "episodes": own}}
        arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
        checkpoint.write(self.path / CHECKPOINT, safetensors.numpy.save(arrays), {"meta": meta})
        atomic.write_json(self.path / CHECKPOINT_META, {**meta, "metrics": lines.whole})
        if self.on_commit is not None:
            self.on_commit()

    def load_checkpoint(self) -> tuple[Tensors, dict[str, Any]] | None:
        """Return the tensors and meta of the last committed checkpoint, or None.

        Raises:
            FolderError: the file is damaged, or of another run than the folder's.
        """
        path = self.path / CHECKPOINT
        loaded = checkpoint.read(path, {"meta"}, safetensors.numpy.load, REMEDY)
        if loaded is None:
            return None
        arrays, meta = loaded[0], loaded[1]["meta"]
        if meta.get("identity", own := identity_hash(self.identity)) != own:
            raise FolderError(f"{path} is the checkpoint of another run; {REMEDY}")
        return {name: np.require(array, requirements="W") for name, array in arrays.items()}, meta

    def _rows(self) -> tuple[metric_lines.Digest, str]:
        """Return digests of the metrics and of the run's own episodes, recomputed only for what has changed."""
        if self._lines is None:
            self._lines = metric_lines.Digest(metric_lines.read(self.path / METRICS))
        if self._episodes is None:
            self._episodes = episodes.digest(episodes.read(self.path / EPISODES))
        return self._lines, self._episodes

    def finish(self) -> None:
        """Write the manifest, which marks the run as finished; later starts skip it."""
        atomic.remove_partials(self.path)
        self._write_manifest({})

    def add_evaluation(self, rows: Iterable[Mapping[str, Any]], pictures: Mapping[str, bytes]) -> None:
        """Add episodes and pictures to a finished run, and update its manifest.

        Killed in between, the folder holds some of them and still counts as unaltered.

        Args:
            rows: as for `append_episodes`.
            pictures: content by name, such as ``frames/background-01.png``.
        """
        contents = {EPISODES: episodes.appended(self.path / EPISODES, rows), **pictures}
        self._write_manifest({name: sha256(content).hexdigest() for name, content in contents.items()})
        with atomic.naming_failures(self.path / PICTURES):
            (self.path / PICTURES).mkdir(exist_ok=True)
        for name, content in contents.items():
            atomic.write_bytes(self.path / name, content)
        self.finish()

    def altered(self) -> list[str]:
        """Return the names of files that are no longer as the finished run left them, missing ones included.

        Empty for a run that is not finished; ``manifest.json`` alone where the manifest itself is damaged. Files that
        were added by others do not count. Reads every file of the run, and raises nothing for damaged ones.
        """
        if not (self.path / MANIFEST).exists():
            return []
        try:
            facts = {"identity": identity_hash(self.identity)}
        except FolderError:
            facts = {}
        changed = vouching.altered(self.path, VOUCHED, facts)
        return [name for name in changed if name == MANIFEST or _is_own(name)]

    def require_unaltered(self) -> None:
        """Make sure that a finished run is as it was left.

        Raises:
            FolderError: it is not; the message names the files.
        """
        if names := self.altered():
            raise FolderError(
                f"{self.path} was altered after the run had finished ({', '.join(names)}): its numbers are not the "
                "run's own; restore these files from a copy, or do the run again with --overwrite"
            )

    def require_identity(self, identity: Mapping[str, Any]) -> None:
        """Make sure that the folder holds the run of this identity.

        Raises:
            FolderError: it holds another one; the message says what differs, and how to go on with it.
        """
        if same_identity(self.identity, identity):
            return
        changes = differences(self.identity, identity)
        raise FolderError(
            f"{self.path} holds a run of another identity ({changes}): {way_back(self.identity, identity)}; for the "
            "new settings choose another --out, or --overwrite that run, whose results are then lost"
        )

    def _write_manifest(self, pending: Mapping[str, str]) -> None:
        pictures = [f"{PICTURES}/{file.name}" for file in (self.path / PICTURES).glob("*.png")]
        facts = {"identity": identity_hash(self.identity)}
        vouching.write(self.path, [*VOUCHED, *pictures], facts, pending)

    def _require_empty(self) -> None:
        """Refuse results without an identity, which belong to no known run."""
        left = [name for name in (MANIFEST, CHECKPOINT, METRICS, EPISODES) if (self.path / name).exists()]
        if left:
            raise FolderError(f"{self.path} holds {left[0]} but no {IDENTITY}; {REMEDY}")

    def _wipe(self) -> None:
        # The identity goes last: killed half-way, this is still the old run, with less of it done.
        with atomic.naming_failures(self.path):
            for name in (MANIFEST, CHECKPOINT):
                _delete(self.path / name)
            sync_folder(self.path)
            for entry in self.path.iterdir():
                if entry.name not in (LOCK, IDENTITY):
                    _delete(entry)
            _delete(self.path / IDENTITY)
            sync_folder(self.path)


def cell_path(out: Path | str, suite: str, task: str, encoder: str, seed: int) -> Path:
    """Return the run folder `OUT/<suite>/<task>/<encoder>/seed-<n>` of an encoder's title.

    Raises:
        ConfigError: a name cannot name a folder.
    """
    encoder = folder_name(encoder)
    for name in (suite, task, encoder):
        if not re.fullmatch(r"\w[\w.+() -]*", name):
            raise ConfigError(f"{name!r} cannot name a folder; use letters, digits, . _ + - ( )")
    return user_path(out) / suite / task / encoder / f"seed-{seed}"


def _is_own(name: str) -> bool:
    """Return whether runs write a file of this name."""
    return name in VOUCHED or (name.startswith(f"{PICTURES}/") and name.endswith(".png"))


def check_writable(out: Path | str) -> None:
    """Make the folder `out` and prove that files can be written there, before any work.

    Raises:
        OutputError: they cannot.
    """
    folder = user_path(out)
    probe = folder / f".{os.getpid()}{PARTIAL_SUFFIX}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(b"\n")
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot write to the output folder {folder}: {error.strerror}; choose another --out"
        ) from error


def _delete(path: Path) -> None:
    """Delete a file or folder, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
