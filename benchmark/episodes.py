"""Evaluation episodes as a Parquet file: one row each, a fixed schema."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import atomic

if TYPE_CHECKING:
    import pyarrow

OWN_BACKGROUND = "default"
"""The background a task was trained on; every other one is a shift."""

COLUMNS = {
    "iteration": "int64",
    "background": "string",
    "seed": "int64",
    "return": "float64",
    "success": "bool",
    "length": "int64",
}


def read(path: Path) -> pyarrow.Table:
    """The episodes in `path`, none where there is no file."""
    import pyarrow.parquet

    if not path.is_file():
        return _schema().empty_table()
    with path.open("rb") as file:
        return pyarrow.parquet.read_table(file, schema=_schema())


def append(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Add rows with exactly the keys of `COLUMNS`; the file is replaced as a whole.

    Raises:
        ValueError: a row has other keys.
    """
    import pyarrow

    plain = [{key: _scalar(value) for key, value in row.items()} for row in rows]
    for row in plain:
        if row.keys() != COLUMNS.keys():
            raise ValueError(f"an episode has the columns {sorted(row)}, not {sorted(COLUMNS)}")
    added = pyarrow.Table.from_pylist(plain, schema=_schema())
    _write(path, pyarrow.concat_tables([read(path), added]))


def truncate(path: Path, iteration: int) -> None:
    """Keep the rows up to and including `iteration`."""
    import pyarrow.compute

    if path.is_file():
        table = read(path)
        _write(path, table.filter(pyarrow.compute.less_equal(table["iteration"], iteration)))


def _scalar(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _schema() -> pyarrow.Schema:
    import pyarrow

    types = {name: pyarrow.type_for_alias(kind) for name, kind in COLUMNS.items()}
    return pyarrow.schema([pyarrow.field(name, kind, nullable=False) for name, kind in types.items()])


def _write(path: Path, table: pyarrow.Table) -> None:
    import pyarrow
    import pyarrow.parquet

    buffer = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table, buffer)
    atomic.write_bytes(path, buffer.getvalue().to_pybytes())
