"""Read ``.npz`` files of plain arrays, with memory and time limited by the size of the file."""

from __future__ import annotations

import io
import math
import os
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import TaskError

_LARGEST_ARRAYS = 2**30
_LARGEST_RATIO = 1100  # deflate reaches 1032
_KINDS = "biufU"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_LONGEST_HEADER = 10_000
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, MemoryError, RecursionError),
    *(ValueError, TypeError, OverflowError, RuntimeError, SyntaxError, tokenize.TokenError),
)
"""What zipfile and numpy's parser of headers raise on damaged files; RuntimeError has NotImplementedError in it."""


class BrokenArchive(TaskError):
    """A file is not an ``.npz`` of plain arrays; the message is the reason only, without the file name."""


class _Header(NamedTuple):
    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]


def read_arrays(path: str | Path) -> dict[str, npt.NDArray[Any]]:
    """Read all arrays of an ``.npz``: booleans, whole and real numbers, and text.

    Nothing is allocated before the archive's directory has said that the bytes are there, and checksums are compared.

    Raises:
        BrokenArchive: it is damaged, encrypted, compressed in another way, larger than 1 GiB when unpacked, or holds
            anything but plain arrays.
        OSError: it cannot be opened.
    """
    with Path(path).open("rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                members = _members(archive, os.fstat(file.fileno()).st_size)
                return {name: _array(archive, info) for name, info in members.items()}
        except BrokenArchive:
            raise
        except _DAMAGE as error:
            raise BrokenArchive(_reason(error)) from error


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Return the files in an archive of ``size`` bytes, by the names of their arrays.

    Raises:
        BrokenArchive: one of them cannot be an array that numpy wrote, or together they are too large.
    """
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        shown = repr(name[:40])
        if name in members:
            raise BrokenArchive(f"holds {shown} twice")
        if info.flag_bits & _ENCRYPTED:
            raise BrokenArchive(f"{shown} is encrypted")
        if info.compress_type not in _METHODS:
            raise BrokenArchive(f"{shown} is compressed by method {info.compress_type}, which numpy does not use")
        if info.header_offset + info.compress_size > size:
            raise BrokenArchive(f"{shown} is cut short")
        if info.file_size > _LARGEST_RATIO * (info.compress_size + 1):
            raise BrokenArchive(f"{shown} says that it holds {info.file_size:,} bytes, which cannot be")
        members[name] = info
    total = sum(info.file_size for info in members.values())
    if total > _LARGEST_ARRAYS:
        raise BrokenArchive(f"says that it holds {total:,} bytes, more than {_LARGEST_ARRAYS:,}")
    return members


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> npt.NDArray[Any]:
    with archive.open(info) as member:
        content = member.read()
    stream = io.BytesIO(content)
    header = _header(stream)
    shown = repr(info.filename[:40])
    if header.dtype.kind not in _KINDS or not header.dtype.itemsize:
        raise BrokenArchive(f"{shown} holds {header.dtype}, not plain numbers or text")
    count, there = math.prod(header.shape), len(content) - stream.tell()
    if count * header.dtype.itemsize != there or any(extent < 0 for extent in header.shape):
        raise BrokenArchive(f"{shown} declares shape {header.shape} of {header.dtype}, and holds {there:,} bytes")
    flat = np.frombuffer(content, header.dtype, count, stream.tell())
    return flat.reshape(header.shape, order="F" if header.fortran_order else "C")


def _header(stream: io.BytesIO) -> _Header:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return _Header(*np.lib.format.read_array_header_1_0(stream, max_header_size=_LONGEST_HEADER))
    if version == (2, 0):
        return _Header(*np.lib.format.read_array_header_2_0(stream, max_header_size=_LONGEST_HEADER))
    raise BrokenArchive(f"holds an array of format {version}, which is not read")


def _reason(error: BaseException) -> str:
    """Return one line for an error of the standard library's readers."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."
