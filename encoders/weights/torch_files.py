"""The files of `torch.save`, zip files and the older series of pickles: their pickle and their storages."""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from .arrays import bytes_of
from .unpickling import OUTSIDE, Placeholder, Refused, Unpickler, describe, entries

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ENCRYPTED = 1
_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}
_MOST_REPEATED = 1 << 24
"""Numbers of a tensor that was saved expanded, so that fewer of them stand in the file."""


@dataclass(eq=False)
class Storage:
    """Numbers that tensors of a checkpoint share: raw bytes and their type."""

    dtype: torch.dtype
    raw: Tensor

    def strided(self, dtype: torch.dtype, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        """Return a view of it as a tensor.

        Raises:
            Refused: it exceeds the storage, or repeats its numbers too often.
        """
        count = self.raw.numel() // dtype.itemsize
        if len(size) != len(stride):
            raise Refused(f"holds a tensor of size {size} with stride {stride}")
        if 0 in size:
            return torch.empty(size, dtype=dtype)
        reach = offset + 1 + sum((extent - 1) * step for extent, step in zip(size, stride, strict=True))
        if reach > count:
            raise Refused(f"holds a tensor of size {size} in a storage of {count} numbers: it is cut short")
        if math.prod(size) > max(count, _MOST_REPEATED):  # saved expanded, its numbers stand there once
            raise Refused(
                f"holds a tensor of size {size} that repeats the {count} numbers of its storage more than "
                f"{_MOST_REPEATED:,} times: save it with .contiguous()"
            )
        if self.raw.data_ptr() % dtype.itemsize or self.raw.storage_offset() % dtype.itemsize:
            self.raw = self.raw.clone()
        numbers = self.raw[: count * dtype.itemsize].view(dtype)
        return numbers.as_strided(size, stride, numbers.storage_offset() + offset)


@dataclass(frozen=True)
class TorchFile:
    """A file of `torch.save`: the content of its pickle, and a function that finds its storages."""

    content: Any
    storage: Callable[[Any], Storage]


def open_torch(file: IO[bytes], mapped: Callable[[], Tensor]) -> TorchFile:
    """Read a file of `torch.save`.

    Args:
        file: the file, at its beginning.
        mapped: returns the file's bytes as a tensor.
    """
    if file.read(4) == b"PK\x03\x04":
        return _opened_zip(file, mapped)
    file.seek(0)
    return _opened_legacy(file, mapped)


def storage_inside(value: Placeholder, spend: Callable[[int], None]) -> Storage:
    """Return a storage inside a pickle: a torch file since torch 0.4.1, a list of numbers before.

    Args:
        value: the storage's placeholder.
        spend: receives the number of bytes to read, and may refuse.
    """
    if value.origin == "torch.storage._load_from_bytes":
        content = bytes_of(value.args[0])
        spend(len(content))
        inside = open_torch(io.BytesIO(content), lambda: torch.frombuffer(bytearray(content), dtype=torch.uint8))
        if not isinstance(inside.content, Placeholder) or inside.content.origin != OUTSIDE:
            raise Refused("holds torch data that is not one storage")
        return inside.storage(inside.content.args[0])
    dtype = _dtype(value.origin)
    numbers = value.args[0] if value.args else []
    if not isinstance(numbers, (list, tuple)) or not all(isinstance(number, (int, float)) for number in numbers):
        raise Refused("holds a torch storage that is not a list of numbers")
    spend(len(numbers) * dtype.itemsize)
    return Storage(dtype, torch.tensor(numbers, dtype=dtype).view(torch.uint8))


def _reference(pid: Any) -> tuple[str, torch.dtype]:
    """Return the key and the type of a referenced storage."""
    if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage" or (len(pid) > 5 and pid[5] is not None):
        raise Refused("holds a torch object that is not a plain storage")
    if not isinstance(pid[2], (str, int)):
        raise Refused(f"holds a storage whose key is {describe(pid[2])}")
    return str(pid[2]), _dtype(str(getattr(pid[1], "origin", "")))


def _dtype(origin: str) -> torch.dtype:
    package, _, name = origin.rpartition(".")
    if package not in ("torch", "torch.cuda", "torch.storage") or name not in _STORAGES:
        raise Refused(f"holds {origin[:160] or 'something else'} where a storage of numbers should be")
    return _STORAGES[name]


def _opened_zip(file: IO[bytes], mapped: Callable[[], Tensor]) -> TorchFile:
    """Read what `torch.save` writes since 1.6: a pickle and one uncompressed entry per storage, in one folder."""
    with zipfile.ZipFile(file) as archive:
        members = {info.filename.partition("/")[2]: info for info in archive.infolist()}
        if "data.pkl" not in members:
            some = ", ".join(info.filename for info in archive.infolist()[:3])
            raise Refused(f"is an archive ({some}, ...) and no checkpoint: unpack it, or import it by its name")
        if "constants.pkl" in members:
            raise Refused(
                "holds a TorchScript program and not named tensors; run in Python: "
                f"torch.save(torch.jit.load('{Path(getattr(file, 'name', 'FILE')).name}').state_dict(), 'tensors.pth')"
            )
        if any(info.flag_bits & _ENCRYPTED for info in members.values()):
            raise Refused("is an encrypted zip file, which torch does not write")
        if any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
            raise Refused("is a compressed zip file, which torch does not write")
        whole = mapped()
        raw = {name: _member_range(file, info, whole.numel()) for name, info in members.items()}
    known: dict[str, Storage] = {}

    def content(name: str) -> Tensor:
        """Return a member's bytes, checked against their checksum if there is one."""
        start, size = raw[name]
        inside = whole[start : start + size]
        checksum = members[name].CRC
        if checksum and zlib.crc32(inside.numpy().data) != checksum:  # 0 where torch was told not to compute any
            raise Refused(f"damaged: {members[name].filename} is not what was written")
        return inside

    def storage(pid: Any) -> Storage:
        key, dtype = _reference(pid)
        if key not in known:
            known[key] = Storage(dtype, content(f"data/{key}"))
        return known[key]

    if "byteorder" in members and content("byteorder").numpy().tobytes() != b"little":
        raise Refused("was written by a big-endian machine, which is not read")
    return TorchFile(Unpickler(io.BytesIO(content("data.pkl").numpy().tobytes())).load(), storage)


def _member_range(file: IO[bytes], info: zipfile.ZipInfo, size: int) -> tuple[int, int]:
    """Return the offset and the number of a member's bytes."""
    file.seek(info.header_offset)
    magic, name_length, extra_length = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    start = info.header_offset + _LOCAL_HEADER.size + name_length + extra_length
    if magic != b"PK\x03\x04" or start + info.file_size > size:
        raise Refused("damaged: it is cut short")
    return start, info.file_size


def _opened_legacy(file: IO[bytes], mapped: Callable[[], Tensor]) -> TorchFile:
    """Read what `torch.save` wrote before 1.6: five pickles, then for each storage a count and its numbers."""
    if Unpickler(file).load() != _MAGIC or Unpickler(file).load() != _PROTOCOL:
        raise Refused("is a pickle that torch.save did not write")
    if entries(Unpickler(file).load()).get("little_endian") is False:
        raise Refused("was written by a big-endian machine, which is not read")
    unpickler = Unpickler(file)
    content, keys = unpickler.load(), Unpickler(file).load()
    types = dict(map(_reference, unpickler.references))
    whole = mapped()
    known: dict[str, Storage] = {}
    for key in map(str, keys):
        length = int.from_bytes(file.read(8), "little") * types[key].itemsize
        start = file.tell()
        if start + length > whole.numel():
            raise Refused("damaged: it is cut short")
        known[key] = Storage(types[key], whole[start : start + length])
        file.seek(length, 1)
    missing = types.keys() - known.keys()
    if missing:
        raise Refused(f"damaged: {len(missing)} of its storages are missing")
    return TorchFile(content, lambda pid: known[_reference(pid)[0]])
