"""Read official checkpoints without running code in them: tensors, numbers, text and plain containers.

Formats: ``torch.save`` since 1.6 (a zip file) and before (a series of pickles), with any suffix, and safetensors.
Tensors are memory-mapped where the layout permits. Anything else that a pickle names (optimisers, settings) becomes a
`Placeholder` without content; see `encoders.weights.unpickling`.

`torch.load(weights_only=True)` is not used: it refuses files with settings or arrays beside their tensors (FrankMocap
body, VC-1, MoCo, HaMeR, WiLoR), and does not limit the depth and the number of instructions of a pickle.
"""

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

from ..errors import WeightsInvalid, WeightsMissing
from .arrays import ARRAYS, BYTES, OtherType, array, bytes_of, extents_of
from .files import why_unreadable
from .unpickling import OUTSIDE, Placeholder, Plain, Refused, Unpickler, describe, entries, kind

MODULE = "module"
"""The state that a placeholder of a whole pickled `torch.nn.Module` keeps."""

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
_MOST_ATTRIBUTES = 200
_MOST_REPEATED = 1 << 24
"""Numbers of a tensor that was saved expanded, so that fewer of them stand in the file."""


def read(path: Path) -> Any:
    """Return what a checkpoint holds: tensors on the CPU in plain dicts, lists and tuples, numbers and text.

    Numpy arrays and scalars are returned as such, parameters as tensors, everything else as `Placeholder`. Tensors may
    be memory-mapped: do not write the file while they are in use.

    Raises:
        WeightsInvalid: the file is damaged, of another format, or names something that no genuine checkpoint does; no
            code in it has run.
        WeightsMissing: there is no such file, or it cannot be opened.
    """
    unreadable = why_unreadable(path)
    if unreadable:
        raise WeightsMissing(f"weights {path}: {unreadable}; give a checkpoint that can be read")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        size = path.stat().st_size
        with path.open("rb") as file:
            opened = _opened(file, lambda: torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8))
        return Contents(size, opened.storage)(opened.content)
    except Refused as error:
        raise WeightsInvalid(
            f"weights {path}: {error}; give a checkpoint that torch.save or safetensors wrote, from where its authors "
            "published it"
        ) from error
    except Exception as error:  # a damaged or hostile file can break its reader anywhere
        reason = str(error).strip().split("\n")[0][:160]
        raise WeightsInvalid(
            f"weights {path}: damaged, or no checkpoint of torch.save or safetensors "
            f"({type(error).__name__}: {reason}); fetch it again"
        ) from error


class Contents(Plain):
    """Turns placeholders into tensors and arrays, in plain containers; others keep only their name.

    Args:
        size: of the file in bytes; its numpy arrays cannot be much larger in total.
        storage: finds the numbers that the pickle refers to; by default the pickle contains them.
    """

    def __init__(self, size: int, storage: Callable[[Any], _Storage] | None = None) -> None:
        super().__init__()
        self._bytes_left = 4 * size + 2**20
        self._storage = storage
        self._inside: dict[int, _Storage] = {}

    def other(self, value: Any) -> Any:
        """Rebuild what a placeholder stands for, or return a placeholder."""
        if not isinstance(value, Placeholder):
            return placeholder(describe(value).removeprefix("a "))
        rebuild = _REBUILD.get(value.origin)
        if rebuild is not None:
            return rebuild(self, value)
        if value.origin in BYTES:
            content = bytes_of(value)
            self.spend(len(content))
            return content
        if value.origin in ARRAYS:
            return self.array(value)
        return type(value)((), MODULE if _is_module(value.state) else None)

    def array(self, value: Placeholder) -> Any:
        """Return the array or numpy scalar of a placeholder; arrays of anything but numbers stay placeholders."""
        try:
            rebuilt = array(value)
        except OtherType:
            return type(value)()
        self.spend(rebuilt.nbytes)
        return type(value)() if rebuilt.dtype.kind in "SU" else rebuilt

    def spend(self, size: int) -> None:
        """Count bytes of the rebuilt content.

        Raises:
            Refused: they exceed the size of the file by far.
        """
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise Refused("holds the same numbers again and again: arrays that are larger than the file together")

    def _tensor(self, value: Placeholder) -> Tensor:
        """``_rebuild_tensor`` (storage, offset, size, stride), with more that is not needed behind."""
        where, offset, size, stride = value.args[:4]
        storage = self._storage_of(where)
        dtype: Any = storage.dtype
        if value.origin.endswith("_v3"):  # raw bytes, and the type beside them
            dtype = getattr(torch, getattr(value.args[6], "origin", "").removeprefix("torch."), None)
            if not isinstance(dtype, torch.dtype):
                raise Refused("holds a tensor of unknown type")
        what = "a tensor of size, stride or offset"
        (start,) = extents_of((offset,), what)
        return storage.strided(dtype, start, extents_of(size, what), extents_of(stride, what))

    def _storage_of(self, value: Any) -> _Storage:
        """Return the storage of a tensor: outside the pickle, or inside it as a torch file or a list."""
        if not isinstance(value, Placeholder):
            raise Refused("holds a tensor without a storage")
        if value.origin == OUTSIDE:
            if self._storage is None:
                raise Refused("refers to data outside of itself")
            return self._storage(value.args[0])
        if id(value) not in self._inside:
            self.spend(8 * len(value.args[0]) if value.args and isinstance(value.args[0], (bytes, list)) else 0)
            self._inside[id(value)] = _storage_inside(value)
        return self._inside[id(value)]

    def _first(self, value: Placeholder) -> Any:
        """``_rebuild_parameter`` and the like: the tensor comes first."""
        return self(value.args[0])

    def _typed(self, value: Placeholder) -> Any:
        """``_rebuild_from_type_v2`` (function, class, its arguments, state): as if the class were Tensor."""
        function, _, args = value.args[:3]
        if not isinstance(function, type) or not isinstance(args, tuple):
            return placeholder(value.origin)
        return self(function(args))


_REBUILD: dict[str, Callable[[Contents, Placeholder], Any]] = {
    "torch._utils._rebuild_tensor": Contents._tensor,
    "torch._utils._rebuild_tensor_v2": Contents._tensor,
    "torch._utils._rebuild_tensor_v3": Contents._tensor,
    "torch._utils._rebuild_parameter": Contents._first,
    "torch._utils._rebuild_parameter_with_state": Contents._first,
    "torch.nn.parameter.Parameter": Contents._first,
    "torch.autograd.variable.Variable": Contents._first,
    "torch._tensor._rebuild_from_type_v2": Contents._typed,
    "torch.Size": lambda _, value: extents_of(value),
}


def placeholder(origin: str, state: Any = None) -> Placeholder:
    """Return a placeholder of this origin."""
    return kind(origin)((), state)


def _is_module(state: Any) -> bool:
    """Return whether this is the state of a `torch.nn.Module`."""
    items = state.items if isinstance(state, Placeholder) and len(state.items) <= _MOST_ATTRIBUTES else []
    return {"_parameters", "_modules"} <= {pair[0] for pair in items if isinstance(pair[0], str)}


@dataclass(eq=False)
class _Storage:
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
class _Opened:
    """A file of `torch.save`: the content of its pickle, and a function that finds its storages."""

    content: Any
    storage: Callable[[Any], _Storage]


def _opened(file: IO[bytes], mapped: Callable[[], Tensor]) -> _Opened:
    """Read a file of `torch.save`.

    Args:
        file: the file, at its beginning.
        mapped: returns the file's bytes as a tensor.
    """
    if file.read(4) == b"PK\x03\x04":
        return _opened_zip(file, mapped)
    file.seek(0)
    return _opened_legacy(file, mapped)


def _storage_inside(value: Placeholder) -> _Storage:
    """Return a storage inside a pickle: a torch file since torch 0.4.1, a list of numbers before."""
    if value.origin == "torch.storage._load_from_bytes":
        content = bytes_of(value.args[0])
        opened = _opened(io.BytesIO(content), lambda: torch.frombuffer(bytearray(content), dtype=torch.uint8))
        if not isinstance(opened.content, Placeholder) or opened.content.origin != OUTSIDE:
            raise Refused("holds torch data that is not one storage")
        return opened.storage(opened.content.args[0])
    dtype = _dtype(value.origin)
    numbers = value.args[0] if value.args else []
    if not isinstance(numbers, (list, tuple)) or not all(isinstance(number, (int, float)) for number in numbers):
        raise Refused("holds a torch storage that is not a list of numbers")
    return _Storage(dtype, torch.tensor(numbers, dtype=dtype).view(torch.uint8))


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


def _opened_zip(file: IO[bytes], mapped: Callable[[], Tensor]) -> _Opened:
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
    known: dict[str, _Storage] = {}

    def content(name: str) -> Tensor:
        """Return a member's bytes, checked against their checksum if there is one."""
        start, size = raw[name]
        inside = whole[start : start + size]
        checksum = members[name].CRC
        if checksum and zlib.crc32(inside.numpy().data) != checksum:  # 0 where torch was told not to compute any
            raise Refused(f"damaged: {members[name].filename} is not what was written")
        return inside

    def storage(pid: Any) -> _Storage:
        key, dtype = _reference(pid)
        if key not in known:
            known[key] = _Storage(dtype, content(f"data/{key}"))
        return known[key]

    if "byteorder" in members and content("byteorder").numpy().tobytes() != b"little":
        raise Refused("was written by a big-endian machine, which is not read")
    return _Opened(Unpickler(io.BytesIO(content("data.pkl").numpy().tobytes())).load(), storage)


def _member_range(file: IO[bytes], info: zipfile.ZipInfo, size: int) -> tuple[int, int]:
    """Return the offset and the number of a member's bytes."""
    file.seek(info.header_offset)
    magic, name_length, extra_length = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    start = info.header_offset + _LOCAL_HEADER.size + name_length + extra_length
    if magic != b"PK\x03\x04" or start + info.file_size > size:
        raise Refused("damaged: it is cut short")
    return start, info.file_size


def _opened_legacy(file: IO[bytes], mapped: Callable[[], Tensor]) -> _Opened:
    """Read what `torch.save` wrote before 1.6: five pickles, then for each storage a count and its numbers."""
    if Unpickler(file).load() != _MAGIC or Unpickler(file).load() != _PROTOCOL:
        raise Refused("is a pickle that torch.save did not write")
    if entries(Unpickler(file).load()).get("little_endian") is False:
        raise Refused("was written by a big-endian machine, which is not read")
    unpickler = Unpickler(file)
    content, keys = unpickler.load(), Unpickler(file).load()
    types = dict(map(_reference, unpickler.references))
    whole = mapped()
    known: dict[str, _Storage] = {}
    for key in map(str, keys):
        length = int.from_bytes(file.read(8), "little") * types[key].itemsize
        start = file.tell()
        if start + length > whole.numel():
            raise Refused("damaged: it is cut short")
        known[key] = _Storage(types[key], whole[start : start + length])
        file.seek(length, 1)
    missing = types.keys() - known.keys()
    if missing:
        raise Refused(f"damaged: {len(missing)} of its storages are missing")
    return _Opened(content, lambda pid: known[_reference(pid)[0]])
