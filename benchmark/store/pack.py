"""Packed results: finished runs in one small archive, without weights, frames and films.

A pack is a zip file that any tool opens::

    manifest.json      format, version, and the sha256 of every other member
    runs.json          one object per run: its cell, its JSON files, hashes of the folder that it came from
    episodes.parquet   evaluation episodes as run folders keep them, and the number of their run
    metrics.parquet    lines of metrics likewise; nested entries as JSON text, in columns named ``<entry>.json``
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import ConfigError, FolderError, PackError
from . import atomic, episodes
from .identity import identity_hash
from .manifest import DIGEST, MANIFEST
from .paths import user_path
from .provenance import package_version
from .run_folder import CHECKPOINT, CONFIG, ENCODER, EPISODES, IDENTITY, MACHINE, METRICS, cell_path
from .titles import title_of

if TYPE_CHECKING:
    import pyarrow

SUFFIX = ".pack.zip"
"""The end of a pack's name, by which it is found beside run folders."""

FORMAT = "hindex-bench results"
VERSION = 1

RUNS, METRICS_TABLE = "runs.json", "metrics.parquet"
MEMBERS = (MANIFEST, RUNS, EPISODES, METRICS_TABLE)
FILES = (CONFIG, IDENTITY, ENCODER, MACHINE)
"""Files of a run folder that a pack holds as they are."""

TRACED = (IDENTITY, METRICS, EPISODES, CHECKPOINT)
"""Files of a run folder whose hashes a pack keeps."""

RUN, NESTED = "run", ".json"
LARGEST_MEMBER = 256_000_000
"""Bytes of a member at most, unpacked."""

MOST_ROWS = 20_000_000
"""Rows of a table at most."""

REMEDY = "get it anew from where it came from"

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class PackedRun:
    """A finished run, as a pack holds it.

    Attributes:
        place: suite, task, the encoder's folder and ``seed-<n>``, the last four parts of its run folder's path.
        files: content of its JSON files by name, of `FILES`.
        hashes: sha256 of `TRACED` files of the run folder, by name.
        metrics: its lines of metrics; what was null in them is left out.
        episodes: its evaluation episodes, as `benchmark.store.episodes.read` returns them.
    """

    place: tuple[str, str, str, str]
    files: dict[str, dict[str, Any]]
    hashes: dict[str, str]
    metrics: Rows
    episodes: pyarrow.Table


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Manifest(_Model):
    """``manifest.json`` of a pack: what it is, and the sha256 of its other members."""

    format: Literal["hindex-bench results"]
    version: int = Field(ge=1)
    made_with: str
    sha256: dict[str, str]
    digest: str


class Entry(_Model):
    """A run in ``runs.json``."""

    suite: str
    task: str
    encoder: str = Field(description="The encoder's folder, named after its title.")
    seed: int = Field(ge=0, le=10**12)
    files: dict[str, dict[str, Any]] = Field(description="Content of the run folder's JSON files, by name.")
    sha256: dict[str, str] = Field(description="Hashes of files of the run folder, by name.")

    def place(self, pack: Path) -> tuple[str, str, str, str]:
        """Return `PackedRun.place`.

        Raises:
            ValueError: names that cannot be folders.
        """
        try:
            path = cell_path(pack, self.suite, self.task, title_of(self.encoder), self.seed)
        except ConfigError as error:
            raise ValueError(str(error)) from error
        suite, task, encoder, seed = path.parts[-4:]
        return suite, task, encoder, seed


class Runs(_Model):
    """``runs.json``."""

    runs: list[Entry]


def is_pack(path: Path) -> bool:
    """Return whether a path is named like a pack."""
    return path.name.endswith(SUFFIX)


def write(path: Path, runs: Sequence[PackedRun]) -> None:
    """Write a pack; the same runs give the same bytes under the same versions.

    Raises:
        PackError: metrics that no table holds.
        OutputError: the file cannot be written.
    """
    runs = sorted(runs, key=lambda run: run.place)
    members = {
        RUNS: _runs_content(runs),
        EPISODES: _parquet(_numbered([run.episodes for run in runs])),
        METRICS_TABLE: _parquet(_metrics_table(runs)),
    }
    hashes = {name: sha256(content).hexdigest() for name, content in members.items()}
    manifest = {"format": FORMAT, "version": VERSION, "made_with": package_version(), "sha256": hashes}
    members = {MANIFEST: atomic.json_content(manifest | {DIGEST: identity_hash(manifest)}), **members}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)  # without the time of day
            info.compress_type = zipfile.ZIP_STORED if name.endswith(".parquet") else zipfile.ZIP_DEFLATED
            archive.writestr(info, content, compresslevel=9)
    atomic.write_bytes(path, buffer.getvalue())


def read(path: Path | str) -> list[PackedRun]:
    """Return the runs of a pack, after making sure that every member is as it was packed.

    Raises:
        PackError: there is no pack, or a member is missing, changed or none; the message names it.
    """
    path = user_path(path)
    members = _members(path)
    entries = _parse(path, RUNS, members[RUNS], Runs).runs
    episode_parts = _split(path, EPISODES, members[EPISODES], len(entries))
    metric_parts = _split(path, METRICS_TABLE, members[METRICS_TABLE], len(entries))
    runs = []
    for entry, own_episodes, own_metrics in zip(entries, episode_parts, metric_parts, strict=True):
        try:
            place, table = entry.place(path), episodes.checked(own_episodes, Path(EPISODES))
            runs.append(PackedRun(place, entry.files, entry.sha256, _metric_rows(own_metrics), table))
        except (ValueError, FolderError, RecursionError) as error:
            raise PackError(f"{path}: {str(error).removesuffix(f'; {episodes.REMEDY}')}; {REMEDY}") from error
    places = [run.place for run in runs]
    if len(set(places)) < len(places):
        raise PackError(f"{path}: {RUNS} has a run twice; {REMEDY}")
    return runs


def _members(path: Path) -> dict[str, bytes]:
    """Return the content of the members of a pack by name, held to its manifest."""
    try:
        content = atomic.read_bytes(path, REMEDY)
    except FolderError as error:
        raise PackError(str(error)) from error
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _require_members(path, archive.namelist())
            members = {name: _unpacked(archive, name) for name in MEMBERS}
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise PackError(f"{path} is damaged ({error}); {REMEDY}") from error
    manifest = _parse(path, MANIFEST, members[MANIFEST], Manifest)
    facts = manifest.model_dump()
    if facts.pop(DIGEST) != identity_hash(facts):
        raise PackError(f"{path}: {MANIFEST} was changed; {REMEDY}")
    if manifest.version > VERSION:
        raise PackError(f"{path} was packed by version {manifest.made_with}, which is newer; update hindex-bench")
    for name in MEMBERS[1:]:
        if sha256(members[name]).hexdigest() != manifest.sha256.get(name):
            raise PackError(f"{path}: {name} was changed since it was packed; {REMEDY}")
    return members


def _require_members(path: Path, names: Sequence[str]) -> None:
    wrong = [f"lacks {name}" for name in MEMBERS if name not in names]
    wrong += [f"holds {name[:80]!r}" for name in names if name not in MEMBERS]
    wrong += [f"holds {name} twice" for name in MEMBERS if names.count(name) > 1]
    if wrong:
        raise PackError(f"{path} {wrong[0]}, so it is no pack of results; {REMEDY}")


def _unpacked(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > LARGEST_MEMBER:
        raise ValueError(f"{name} has more than {LARGEST_MEMBER // 1_000_000} MB")
    try:
        return archive.read(name)
    except Exception as error:  # zlib's own error is no kind of another
        raise ValueError(f"{name}: {error}") from error


def _parse(path: Path, name: str, content: bytes, kind: type[_Model]) -> Any:
    try:
        return kind.model_validate(atomic.parse_object(content))
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, fault["loc"]))[:200]
        raise PackError(f"{path}: {name} is not as its schema says (at {where}: {fault['msg']}); {REMEDY}") from error
    except ValueError as error:
        raise PackError(f"{path}: {name} is damaged ({error}); {REMEDY}") from error


def _runs_content(runs: Sequence[PackedRun]) -> bytes:
    """Return ``runs.json``, one line per run."""
    lines = []
    for run in runs:
        suite, task, encoder, seed = run.place
        number = int(seed.removeprefix("seed-"))
        entry = Entry(suite=suite, task=task, encoder=encoder, seed=number, files=run.files, sha256=run.hashes)
        lines.append(json.dumps(entry.model_dump(), allow_nan=False, ensure_ascii=False, separators=(",", ":")))
    return ('{"runs": [\n' + ",\n".join(lines) + "\n]}\n").encode()


def _numbered(tables: Sequence[pyarrow.Table]) -> pyarrow.Table:
    """Return tables below each other, with the number of their run in column `RUN`."""
    import pyarrow

    # Runs of different versions may differ in columns: those that a run lacks are null in all of its rows.
    nullable = [table.cast(pyarrow.schema([field.with_nullable(True) for field in table.schema])) for table in tables]
    whole = pyarrow.concat_tables(nullable, promote_options="default").combine_chunks()
    numbers = np.repeat(np.arange(len(tables), dtype=np.int32), [len(table) for table in tables])
    return whole.add_column(0, RUN, pyarrow.array(numbers))


def _metrics_table(runs: Sequence[PackedRun]) -> pyarrow.Table:
    import pyarrow

    rows = [row for run in runs for row in run.metrics]
    columns = {RUN: pyarrow.array(np.repeat(np.arange(len(runs), dtype=np.int32), [len(run.metrics) for run in runs]))}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        if (kind := _type([value for value in values if value is not None])) is not None:
            columns[name] = pyarrow.array(values, kind)
        else:
            texts = [None if value is None else json.dumps(value, allow_nan=False) for value in values]
            columns[name + NESTED] = pyarrow.array(texts, pyarrow.string())
    return pyarrow.table(columns)


def _type(values: Sequence[Any]) -> pyarrow.DataType | None:
    """Return the type of a column that holds these values exactly; None where only JSON does."""
    import pyarrow

    types = {type(value) for value in values}
    if types == {list} and {type(item) for value in values for item in value} == {float}:
        return pyarrow.list_(pyarrow.float64())
    if types == {int} and not all(-(2**63) <= value < 2**63 for value in values):
        return None
    plain = {bool: pyarrow.bool_(), int: pyarrow.int64(), float: pyarrow.float64(), str: pyarrow.string()}
    return plain.get(types.pop()) if len(types) == 1 else None


def _metric_rows(table: pyarrow.Table) -> Rows:
    """Return the lines of metrics in a table."""
    return [
        {
            name.removesuffix(NESTED): json.loads(value) if name.endswith(NESTED) else value
            for name, value in row.items()
            if value is not None
        }
        for row in table.to_pylist()
    ]


def _parquet(table: pyarrow.Table) -> bytes:
    import pyarrow
    import pyarrow.parquet

    buffer = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table, buffer, compression="zstd", compression_level=19)
    content: bytes = buffer.getvalue().to_pybytes()
    return content


def _split(path: Path, name: str, content: bytes, runs: int) -> list[pyarrow.Table]:
    """Return the rows of each run in a table whose column `RUN` counts runs."""
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(content))
        if file.metadata.num_rows > MOST_ROWS:
            raise ValueError(f"more than {MOST_ROWS:,} rows")
        table = file.read()
        numbers = table[RUN].to_numpy()
        if len(numbers) and (numbers.dtype.kind != "i" or np.any(np.diff(numbers) < 0)):
            raise ValueError(f"column '{RUN}' does not count runs")
        if len(numbers) and not 0 <= numbers[0] <= numbers[-1] < runs:
            raise ValueError(f"rows of a run that {RUNS} does not have")
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, LookupError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise PackError(f"{path}: {name} is damaged ({line}); {REMEDY}") from error
    table = table.drop_columns([RUN])
    ends = np.searchsorted(numbers, np.arange(runs + 1))
    return [_own_columns(table.slice(ends[number], ends[number + 1] - ends[number])) for number in range(runs)]


def _own_columns(table: pyarrow.Table) -> pyarrow.Table:
    """Return the rows of a run without columns that other runs brought."""
    return table.select([name for name in table.schema.names if not len(table) or table[name].null_count < len(table)])
