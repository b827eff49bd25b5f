"""Rows of numbers in a file that may be larger than the memory: any of them are read or written by themselves."""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from encoders.weights.files import PARTIAL_SUFFIX, sync, sync_folder

Rows = npt.NDArray[np.int64]


class RowFile:
    """An open file of rows, one after another without a header; threads may use it at the same time.

    Nothing stays in memory, and nothing is mapped into it: a full disk or a truncated file is an error, not a signal.

    Args:
        path: the file.
        shape: of a row.
        dtype: of its numbers.
        flags: of `os.open`.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, shape: Sequence[int], dtype: npt.DTypeLike, flags: int = os.O_RDONLY) -> None:
        self.path, self.shape, self.dtype = path, tuple(shape), np.dtype(dtype)
        self._size = math.prod(self.shape) * self.dtype.itemsize
        self._descriptor = os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o644)

    def __len__(self) -> int:
        """Return the number of whole rows."""
        return os.fstat(self._descriptor).st_size // self._size

    def read(self, rows: Rows) -> npt.NDArray[Any]:
        """Return rows (n,) as (n, *shape) in the file's dtype.

        Raises:
            OSError: the file ends before.
        """
        values = np.empty((len(rows), *self.shape), self.dtype)
        for row, buffer in zip(rows.tolist(), values.reshape(len(rows), -1).view(np.uint8), strict=True):
            if os.preadv(self._descriptor, [buffer.data], row * self._size) != self._size:
                raise OSError(f"{self.path} ends before row {row}")
        return values

    def write(self, row: int, values: npt.NDArray[Any]) -> None:
        """Write a row.

        Raises:
            OSError: it cannot be written, such as on a full disk.
        """
        content = np.ascontiguousarray(values, self.dtype).reshape(-1).view(np.uint8).data
        written = 0
        while written < self._size:
            written += os.pwrite(self._descriptor, content[written:], row * self._size + written)

    def truncate(self, rows: int) -> None:
        """Cut the file after so many rows."""
        os.ftruncate(self._descriptor, rows * self._size)

    def sync(self) -> None:
        """Make what was written survive a power cut."""
        sync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        """Close the file."""
        if hasattr(self, "_descriptor"):
            self.close()


@contextmanager
def written_whole(path: Path, shape: Sequence[int], dtype: npt.DTypeLike, rows: int) -> Iterator[RowFile]:
    """Give a file to write, which takes its place as a whole at the end, or not at all.

    Args:
        path: the file, in a folder that exists.
        shape: of a row.
        dtype: of its numbers.
        rows: for which room is made on the disk before the work.

    Raises:
        OSError: it cannot be written; nothing is left beside it.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}")
    file = RowFile(partial, shape, dtype, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        _make_room(file._descriptor, rows * file._size)
        yield file
        file.sync()
        partial.replace(path)
    finally:
        file.close()
        partial.unlink(missing_ok=True)
    sync_folder(path.parent)


def _make_room(descriptor: int, size: int) -> None:
    """Reserve room on the disk, where the system can; the file has this size afterwards."""
    if size and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.ftruncate(descriptor, size)
