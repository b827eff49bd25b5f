"""Evaluation episodes as a Parquet file: one row each, a fixed schema."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FolderError
from . import atomic

if TYPE_CHECKING:
    import pandas
    import pyarrow

UNTRAINED, CLONED = -1, 0
"""Iterations of the first two evaluations; those of DAPG follow from 1 on."""

OWN_BACKGROUND = "default"
"""The background that the run was trained on; every other one is a shift."""

REMEDY = "restore it from a copy, or begin the run anew with --overwrite, which loses all its iterations so far"

SCHEDULE, HELD_OUT = "schedule", "held_out"
"""Splits: episodes of the evaluations on the run's schedule, and those that judge policies after the last iteration."""

FIRST_COLUMNS = {
    "iteration": "int64",
    "background": "string",
    "seed": "int64",
    "return": "float64",
    "success": "bool",
    "length": "int64",
}
"""All columns of files from before goals and splits were kept."""

COLUMNS = FIRST_COLUMNS | {"goal_steps": "int64", "goal_at_end": "bool", "split": "string"}


def read(path: Path) -> pyarrow.Table:
    """Return the episodes in `path`, none where there is no file.

    Raises:
        FolderError: the file cannot be read, or holds other columns than `COLUMNS` or `FIRST_COLUMNS`.
    """
    import pyarrow
    import pyarrow.parquet

    if not path.exists():
        return _schema().empty_table()
    content = atomic.read_bytes(path, REMEDY)
    try:
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(content))
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, LookupError) as error:
        raise FolderError(f"{path} is damaged ({_first_line(error)}); {REMEDY}") from error
    return checked(table, path)


def checked(table: pyarrow.Table, path: Path) -> pyarrow.Table:
    """Return a table of episodes, after making sure that it is one.

    Args:
        table: as a Parquet file holds it.
        path: of the file, for the message.

    Raises:
        FolderError: it holds other columns than `COLUMNS` or `FIRST_COLUMNS`, or lacks values.
    """
    schema = _schema(FIRST_COLUMNS if table.schema.names == list(FIRST_COLUMNS) else COLUMNS)
    if table.schema.names != schema.names or table.schema.types != schema.types:
        columns = ", ".join(f"{field.name} {field.type}" for field in table.schema) or "none"
        raise FolderError(f"{path} has the wrong columns ({columns[:200]}); {REMEDY}")
    if any(column.null_count for column in table.columns):
        raise FolderError(f"{path} lacks values in some rows; {REMEDY}")
    return table.cast(schema)


def scheduled(episodes: pandas.DataFrame) -> pandas.DataFrame:
    """Return the episodes of the evaluations on the run's schedule."""
    return episodes[episodes["split"] == SCHEDULE] if "split" in episodes else episodes


def judged(episodes: pandas.DataFrame) -> pandas.DataFrame:
    """Return the episodes that judge policies after the last iteration; in older files there are none."""
    return episodes[episodes["split"] == HELD_OUT] if "split" in episodes else episodes.iloc[:0]


def own_evaluations(episodes: pandas.DataFrame, by: Sequence[str] = ("iteration",)) -> pandas.DataFrame:
    """Return mean `return` and `success` and number of `episodes`, on the run's own background, by the columns `by`."""
    own = episodes[episodes["background"] == OWN_BACKGROUND]
    groups = scheduled(own).groupby(list(by))
    means = groups[["return", "success"]].mean()
    means["episodes"] = groups.size()
    return means


def append(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add rows with exactly the keys of `COLUMNS`; the file is replaced as a whole, and keeps the columns it has.

    Raises:
        ValueError: a row has other keys.
    """
    atomic.write_bytes(path, appended(path, rows))


def appended(path: Path, rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Return the content that the file would have with these rows added.

    Raises:
        ValueError: a row has other keys.
    """
    import pyarrow

    plain = [{key: _scalar(value) for key, value in row.items()} for row in rows]
    for row in plain:
        if row.keys() != COLUMNS.keys():
            raise ValueError(f"an episode has the columns {sorted(row)}, not {sorted(COLUMNS)}")
    before = read(path)
    added = pyarrow.Table.from_pylist(plain, schema=_schema()).select(before.schema.names)
    return _content(pyarrow.concat_tables([before, added]))


def truncate(path: Path, iteration: int) -> None:
    """Keep the scheduled rows up to and including `iteration`, on the run's own background."""
    import pyarrow.compute

    if path.exists():
        own = own_rows(read(path))
        kept = own.filter(pyarrow.compute.less_equal(own["iteration"], iteration))
        atomic.write_bytes(path, _content(kept))


def own_rows(table: pyarrow.Table) -> pyarrow.Table:
    """Return the scheduled episodes on the run's own background."""
    import pyarrow.compute

    own = table.filter(pyarrow.compute.equal(table["background"], OWN_BACKGROUND))
    return own.filter(pyarrow.compute.equal(own["split"], SCHEDULE)) if "split" in own.schema.names else own


def digest(table: pyarrow.Table) -> str:
    """Return the sha256 of the scheduled episodes on the run's own background, the ones that checkpoints vouch for."""
    own = own_rows(table)
    hashed = sha256()
    for name in own.schema.names:
        if name not in ("background", "split"):
            hashed.update(own[name].to_numpy().tobytes())
    return hashed.hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _scalar(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _schema(columns: Mapping[str, str] = COLUMNS) -> pyarrow.Schema:
    import pyarrow

    types = {name: pyarrow.type_for_alias(kind) for name, kind in columns.items()}
    return pyarrow.schema([pyarrow.field(name, kind, nullable=False) for name, kind in types.items()])


def _content(table: pyarrow.Table) -> bytes:
    import pyarrow
    import pyarrow.parquet

    buffer = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table, buffer)
    content: bytes = buffer.getvalue().to_pybytes()
    return content
