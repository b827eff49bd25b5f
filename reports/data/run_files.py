"""The files of one run, in its folder or in a pack of results: read without trust, whichever it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from benchmark.errors import FolderError
from benchmark.store import episodes
from benchmark.store.pack import PackedRun
from benchmark.store.run_folder import EPISODES, METRICS, RunFolder

from . import records
from .reading import Problem, is_there, naming, parse_record, read_object, read_text
from .records import LARGEST, clean

if TYPE_CHECKING:
    import pandas
    import pyarrow


class RunFiles(Protocol):
    """What a report reads of one run; what cannot be used is a `reports.data.reading.Problem` that names the file.

    Attributes:
        path: where it lies, ending in ``<suite>/<task>/<encoder>/seed-<n>``; within the file, for one in a pack.
    """

    path: Path

    def status(self) -> str:
        """Return ``absent``, ``unfinished`` or ``finished``."""

    def altered(self) -> tuple[str, ...]:
        """Return the names of files that are no longer as the finished run left them."""

    def json(self, name: str) -> dict[str, Any] | None:
        """Return the object in a JSON file as it is; None where there is no file."""

    def metrics(self) -> list[records.Metrics]:
        """Return the lines of metrics."""

    def episodes(self) -> pandas.DataFrame:
        """Return the evaluation episodes with the columns of `benchmark.store.episodes`; repeated ones count once."""

    def pictures(self) -> dict[str, Path]:
        """Return the pictures by name."""

    def video(self) -> Path | None:
        """Return the film."""


class FolderFiles:
    """The files of a run folder."""

    def __init__(self, path: Path) -> None:
        """Name the folder."""
        self.path = path

    def status(self) -> str:
        """Return what the folder's files say."""
        if not self.path.is_dir():
            raise Problem("a file, not a run folder")
        return RunFolder(self.path).status

    def altered(self) -> tuple[str, ...]:
        """Return what differs from the manifest."""
        return tuple(map(clean, RunFolder(self.path).altered()))

    def json(self, name: str) -> dict[str, Any] | None:
        """Return the object in a file."""
        return read_object(self.path / name)

    def metrics(self) -> list[records.Metrics]:
        """Return the lines; what follows the last newline is left out, as its writer was killed."""
        *lines, _ = (read_text(self.path / METRICS) or "").split("\n")
        return [parse_record(line, records.Metrics, f"{METRICS} line {number}") for number, line in enumerate(lines, 1)]

    def episodes(self) -> pandas.DataFrame:
        """Return the episodes, none without a file."""
        path = self.path / EPISODES
        is_there(path)
        with naming(EPISODES):
            try:
                return _checked(episodes.read(path))
            except FolderError as error:
                words = str(error).removeprefix(f"{self.path}{os.sep}")
                raise Problem(clean(words.replace("Could not open Parquet input source '<Buffer>': ", ""))) from error

    def pictures(self) -> dict[str, Path]:
        """Return the pictures in the folder."""
        return {clean(file.stem): file for file in sorted((self.path / "frames").glob("*.png")) if file.is_file()}

    def video(self) -> Path | None:
        """Return the film in the folder."""
        video = self.path / "video.mp4"
        return video if video.is_file() else None


class PackedFiles:
    """The files of a run in a pack, whose members were checked when it was read."""

    def __init__(self, pack: Path, run: PackedRun) -> None:
        """Take a run out of a pack."""
        self.path = pack.joinpath(*run.place)
        self._run = run

    def status(self) -> str:
        """Return ``finished``: packs hold nothing else."""
        return "finished"

    def altered(self) -> tuple[str, ...]:
        """Return nothing: a pack with a changed member is not read."""
        return ()

    def json(self, name: str) -> dict[str, Any] | None:
        """Return the object in a file."""
        return self._run.files.get(name)

    def metrics(self) -> list[records.Metrics]:
        """Return the lines."""
        lines = []
        for number, line in enumerate(self._run.metrics, 1):
            with naming(f"{METRICS} line {number}"):
                lines.append(records.Metrics.model_validate(line))
        return lines

    def episodes(self) -> pandas.DataFrame:
        """Return the episodes."""
        with naming(EPISODES):
            return _checked(self._run.episodes)

    def pictures(self) -> dict[str, Path]:
        """Return none: packs hold no frames."""
        return {}

    def video(self) -> Path | None:
        """Return none."""
        return None


def _checked(table: pyarrow.Table) -> pandas.DataFrame:
    """Return episodes with numbers within bounds, each once."""
    frame = table.to_pandas()
    if not frame["return"].abs().le(LARGEST).all():
        raise Problem(f"{EPISODES}: a return is not finite, or beyond {LARGEST:g}")
    if not frame["iteration"].between(-1, LARGEST).all():
        raise Problem(f"{EPISODES}: an iteration is below -1 or beyond {LARGEST:g}")
    frame["background"] = frame["background"].map(clean)
    return frame.drop_duplicates(["iteration", "background", "seed"], ignore_index=True)
