"""Tensors inside of pickles, read without torch.

A pickled tensor is a reference into a storage. Since torch 0.4.1 the storage is a whole file of `torch.save` as bytes,
itself made of pickles; before, it was a list of numbers.
"""

from __future__ import annotations

import io
import math
import zipfile
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..errors import PickleError
from .unpickling import Reader, Stub, array_from, bytes_from, describe

AnyArray = npt.NDArray[Any]

_STORAGES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
}
_MOST_REPEATED = 1 << 24
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C


def tensor_from(value: Any) -> AnyArray:
    """The array behind a stub of a tensor, variable, parameter or numpy array.

    Raises:
        PickleError: the stub is none of these, or its storage is incomplete.
    """
    name = value.origin.rpartition(".")[2] if isinstance(value, Stub) else ""
    if name.startswith("_rebuild_parameter") or name in ("Parameter", "Variable"):
        return tensor_from(value.args[0])
    if name == "_rebuild_from_type_v2":
        return tensor_from(value.args[0](*value.args[2]))  # a stub's class: makes a stub
    if name in ("_rebuild_tensor", "_rebuild_tensor_v2"):
        storage, offset, size, stride = value.args[:4]
        return _strided(_storage(storage), offset, _size(size), _size(stride))
    return np.asarray(array_from(value))


class _Stored(NamedTuple):
    """A reference, inside of a torch file, to one storage of it."""

    key: str
    dtype: np.dtype[Any]


class _TorchReader(Reader):
    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, ("torch",))

    def persistent_load(self, pid: Any) -> _Stored:
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage" or (len(pid) > 5 and pid[5] is not None):
            raise PickleError("holds a torch object that is not a plain storage")
        if not isinstance(pid[2], (str, int)):
            raise PickleError(f"holds a storage whose key is {describe(pid[2])}")
        return _Stored(str(pid[2]), _storage_dtype(pid[1].origin))


def _size(value: Any) -> tuple[int, ...]:
    if isinstance(value, Stub):  # torch.Size
        value = value.args[0]
    return tuple(int(extent) for extent in value)


def _strided(values: AnyArray, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> AnyArray:
    """A copy of a tensor; one that was saved expanded repeats the numbers of its storage."""
    reach = offset + 1 + sum((extent - 1) * step for extent, step in zip(size, stride, strict=True))
    if min((offset, *size, *stride)) < 0 or 0 in size or reach > values.size:
        raise PickleError(f"holds a tensor of size {size} in a storage of {values.size} numbers; it is cut short")
    if math.prod(size) > max(values.size, _MOST_REPEATED):
        raise PickleError(f"holds a tensor of size {size} that repeats the {values.size} numbers of its storage")
    step = values.itemsize
    strides = tuple(step * extent for extent in stride)
    return np.lib.stride_tricks.as_strided(values[offset:], size, strides, writeable=False).copy()


def _storage(stub: Any) -> AnyArray:
    origin = stub.origin if isinstance(stub, Stub) else ""
    if origin == "torch.storage._load_from_bytes":  # since torch 0.4.1: a torch file in the pickle
        content = bytes_from(stub.args[0])
        return _read_zip(content) if content.startswith(b"PK") else _read_legacy(io.BytesIO(content))
    dtype = _storage_dtype(origin)  # before: the numbers themselves
    numbers = stub.args[0] if stub.args else []
    if not isinstance(numbers, (list, tuple)) or not all(isinstance(number, (int, float)) for number in numbers):
        raise PickleError("holds a torch storage that is not a list of numbers")
    return np.array(numbers, dtype)


def _storage_dtype(origin: str) -> np.dtype[Any]:
    package, _, name = origin.rpartition(".")
    if package not in ("torch", "torch.cuda") or name not in _STORAGES:
        raise PickleError(f"holds {origin or 'something else'} where a torch storage of numbers should be")
    return _STORAGES[name]


def _read_legacy(file: io.BytesIO) -> AnyArray:
    """The storage in a file of `torch.save` before 1.6: five pickles, then a count and the numbers."""
    magic, _, system, stored, keys = (_TorchReader(file).load() for _ in range(5))
    if magic != _TORCH_MAGIC or not isinstance(stored, _Stored) or list(keys) != [stored.key]:
        raise PickleError("holds torch data that is not one storage")
    count = int.from_bytes(file.read(8), "little")
    return _numbers(file.read(), stored.dtype, count, system.get("little_endian", True))


def _read_zip(content: bytes) -> AnyArray:
    """The storage in a zip file of `torch.save` since 1.6."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = {info.filename.partition("/")[2]: info for info in archive.infolist()}
        if any(info.flag_bits & 1 for info in entries.values()):
            raise PickleError("holds an encrypted torch file, which torch does not write")
        if any(info.compress_type != zipfile.ZIP_STORED for info in entries.values()):
            raise PickleError("holds a compressed torch file, which torch does not write")
        stored = _TorchReader(io.BytesIO(archive.read(entries["data.pkl"]))).load()
        if not isinstance(stored, _Stored):
            raise PickleError("holds torch data that is not one storage")
        raw = archive.read(entries[f"data/{stored.key}"])
        little = "byteorder" not in entries or archive.read(entries["byteorder"]) == b"little"
    return _numbers(raw, stored.dtype, len(raw) // stored.dtype.itemsize, little)


def _numbers(raw: bytes, dtype: np.dtype[Any], count: int, little_endian: bool) -> AnyArray:
    if len(raw) != count * dtype.itemsize:
        raise PickleError(f"holds {len(raw)} bytes for {count} numbers of {dtype.itemsize} bytes; it is cut short")
    return np.frombuffer(raw, dtype if little_endian else dtype.newbyteorder(">"))
