"""Official checkpoints read without running anything in them: tensors, numbers, text and plain containers come out.

The formats: ``torch.save`` since 1.6 (a zip file) and before (pickles one after the other), whatever the suffix, and
safetensors. Tensors lie in the memory-mapped file where its layout permits. What a pickle names besides tensors
(optimisers, settings) comes out as an `Opaque`, which is nothing but that name; see `encoders.weights.unpickling`.
"""

from __future__ import annotations

import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import WeightsInvalid, WeightsMissing
from .foreign_files import PlainCopy, TooMuch, why_unreadable
from .unpickling import MODULE, Opaque, Reader, opaque

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
_ARRAYS = frozenset(
    f"numpy.{core}.{name}"
    for core in ("core", "_core")
    for name in ("multiarray._reconstruct", "multiarray.scalar", "numeric._frombuffer")
)


_MOST_REPEATED = 1 << 24
"""Numbers of a tensor that was saved expanded, so that fewer of them stand in the file."""


def read(path: Path) -> Any:
    """What a checkpoint holds: tensors on the CPU in plain dicts, lists and tuples, numbers and text.

    Numpy arrays and scalars come as themselves, parameters as tensors, everything else as `Opaque`. The tensors may lie
    in the file itself: it must not be written while they are in use. They are not checked against damage inside of
    the file; its hash is there for that.

    Raises:
        WeightsInvalid: the file is damaged, of another format, or names what no honest checkpoint does; nothing in it
            has run.
        WeightsMissing: there is no such file, or it cannot be opened.
    """
    unreadable = why_unreadable(path)
    if unreadable:
        raise WeightsMissing(f"weights {path}: {unreadable}; give a checkpoint that can be read")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with path.open("rb") as file:
            content = _read_zip(path, file) if file.read(4) == b"PK\x03\x04" else _read_legacy(path, file)
        return _Plain(path.stat().st_size)(content)
    except (WeightsInvalid, TooMuch) as error:
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


@dataclass(eq=False)
class _Storage:
    """The numbers that tensors of a checkpoint share: raw bytes once they are known, and their type."""

    dtype: torch.dtype
    raw: Tensor | None = None

    def __setstate__(self, state: Any) -> None:
        raise WeightsInvalid("changes a storage, which torch.save does not do")

    def strided(self, dtype: torch.dtype, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        """A tensor of it.

        Raises:
            WeightsInvalid: it reaches beyond the storage, or repeats its numbers without measure.
        """
        raw = self.raw if self.raw is not None else torch.empty(0, dtype=torch.uint8)
        count = raw.numel() // dtype.itemsize
        if len(size) != len(stride) or min((offset, *size, *stride), default=0) < 0:
            raise WeightsInvalid(f"holds a tensor of size {size} with stride {stride} and offset {offset}")
        if 0 in size:
            return torch.empty(size, dtype=dtype)
        reach = offset + 1 + sum((extent - 1) * step for extent, step in zip(size, stride, strict=True))
        if reach > count:
            raise WeightsInvalid(f"holds a tensor of size {size} in a storage of {count} numbers: it is cut short")
        if math.prod(size) > max(count, _MOST_REPEATED):  # saved expanded, its numbers stand there once
            raise WeightsInvalid(
                f"holds a tensor of size {size} that repeats the {count} numbers of its storage more than "
                f"{_MOST_REPEATED:,} times: save it with .contiguous()"
            )
        if raw.data_ptr() % dtype.itemsize or raw.storage_offset() % dtype.itemsize:
            raw = self.raw = raw.clone()
        numbers = raw[: count * dtype.itemsize].view(dtype)
        return numbers.as_strided(size, stride, numbers.storage_offset() + offset)


class _Reference(NamedTuple):
    key: str
    dtype: torch.dtype


def _reference(pid: Any) -> _Reference:
    if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage" or (len(pid) > 5 and pid[5] is not None):
        raise WeightsInvalid("holds a torch object that is no plain storage")
    return _Reference(str(pid[2]), _storage_dtype(pid[1]))


def _storage_dtype(kind: Any) -> torch.dtype:
    origin = str(getattr(kind, "origin", ""))
    package, _, name = origin.rpartition(".")
    if package not in ("torch", "torch.cuda", "torch.storage") or name not in _STORAGES:
        raise WeightsInvalid(f"holds {origin or 'something else'} where a storage of numbers should be")
    return _STORAGES[name]


def _mapped(path: Path) -> Tensor:
    """The whole file as bytes, mapped and private: what is written to them stays in this process."""
    return torch.from_file(str(path), shared=False, size=path.stat().st_size, dtype=torch.uint8)


def _read_zip(path: Path, file: IO[bytes]) -> Any:
    """Read what `torch.save` writes since 1.6: a pickle and one uncompressed entry per storage, in one folder."""
    with zipfile.ZipFile(file) as archive:
        entries = {info.filename.partition("/")[2]: info for info in archive.infolist()}
        if "data.pkl" not in entries:
            some = ", ".join(info.filename for info in archive.infolist()[:3])
            raise WeightsInvalid(f"is an archive ({some}, ...) and no checkpoint: unpack it, or import it by its name")
        if "constants.pkl" in entries:
            raise WeightsInvalid(
                "holds a TorchScript program and not named tensors; run in Python: "
                f"torch.save(torch.jit.load('{path.name}').state_dict(), 'tensors.pth')"
            )
        if any(info.flag_bits & _ENCRYPTED for info in entries.values()):
            raise WeightsInvalid("is an encrypted zip file, which torch does not write")
        if any(info.compress_type != zipfile.ZIP_STORED for info in entries.values()):
            raise WeightsInvalid("is a compressed zip file, which torch does not write")
    whole = _mapped(path)
    if "byteorder" in entries and _bytes_of(file, entries["byteorder"], whole) != b"little":
        raise WeightsInvalid("was written by a big-endian machine, which is not read")
    known: dict[str, _Storage] = {}

    def stored(pid: Any) -> _Storage:
        reference = _reference(pid)
        if reference.key not in known:
            raw = _entry(file, entries[f"data/{reference.key}"], whole)
            known[reference.key] = _Storage(reference.dtype, raw)
        return known[reference.key]

    return Reader(io.BytesIO(_bytes_of(file, entries["data.pkl"], whole)), stored).load()


def _entry(file: IO[bytes], info: zipfile.ZipInfo, whole: Tensor) -> Tensor:
    """Return an entry's bytes in the mapped file, compared with their checksum where one was written."""
    file.seek(info.header_offset)
    magic, name_length, extra_length = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
    start = info.header_offset + _LOCAL_HEADER.size + name_length + extra_length
    if magic != b"PK\x03\x04" or start + info.file_size > whole.numel():
        raise WeightsInvalid("damaged: it is cut short")
    raw = whole[start : start + info.file_size]
    if info.CRC and zlib.crc32(raw.numpy().data) != info.CRC:  # 0 where torch was told not to compute any
        raise WeightsInvalid(f"damaged: {info.filename} is not what was written")
    return raw


def _bytes_of(file: IO[bytes], info: zipfile.ZipInfo, whole: Tensor) -> bytes:
    return _entry(file, info, whole).numpy().tobytes()


def _read_legacy(path: Path, file: IO[bytes]) -> Any:
    """`torch.save` before 1.6: five pickles, then for each storage a count and its numbers."""
    file.seek(0)
    if Reader(file).load() != _MAGIC or Reader(file).load() != _PROTOCOL:
        raise WeightsInvalid("is a pickle that torch.save did not write")
    system = Reader(file).load()
    if isinstance(system, Mapping) and system.get("little_endian") is False:
        raise WeightsInvalid("was written by a big-endian machine, which is not read")
    known: dict[str, _Storage] = {}

    def stored(pid: Any) -> Any:
        if isinstance(pid, tuple) and pid[:1] == ("module",):  # a class, and its source code behind it
            return pid[1]
        reference = _reference(pid)
        return known.setdefault(reference.key, _Storage(reference.dtype))

    content, keys = Reader(file, stored).load(), Reader(file).load()
    whole = _mapped(path)
    for key in keys:
        storage = known[str(key)]
        length = int.from_bytes(file.read(8), "little") * storage.dtype.itemsize
        start = file.tell()
        if start + length > whole.numel():
            raise WeightsInvalid("damaged: it is cut short")
        storage.raw = whole[start : start + length]
        file.seek(length, 1)
    lacking = [key for key, storage in known.items() if storage.raw is None]
    if lacking:
        raise WeightsInvalid(f"damaged: it lacks {len(lacking)} of its storages")
    return content


class _Plain(PlainCopy):
    """Makes plain containers, tensors and arrays of what the unpickler left: placeholders.

    Args:
        size: bytes of the file, which its numpy arrays cannot exceed.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self._bytes_left = size

    def other(self, value: Any) -> Any:
        """Rebuild what a placeholder stands for, or leave a placeholder."""
        if not isinstance(value, Opaque):
            return opaque(getattr(value, "origin", value.__name__) if isinstance(value, type) else type(value).__name__)
        rebuild = _REBUILD.get(value.origin)
        if rebuild is not None:
            return rebuild(self, value)
        if value.origin in _ARRAYS:
            return self._counted(_array(value))
        if value.origin == "_codecs.encode" and value.args[1:] in (("latin1",), ("latin-1",)):
            return _bytes(value)
        return opaque(value.origin, MODULE if _is_module(value.state) else None)

    def _counted(self, array: Any) -> Any:
        self._bytes_left -= getattr(array, "nbytes", 0)
        if self._bytes_left < 0:
            raise TooMuch("holds arrays that share their bytes, larger than the file together")
        return array

    def tensor(self, value: Opaque) -> Tensor:
        """``_rebuild_tensor`` (storage, offset, size, stride), with more that is not needed behind."""
        storage, offset, size, stride = value.args[:4]
        if not isinstance(storage, _Storage):
            raise WeightsInvalid("holds a tensor without a storage")
        dtype: Any = storage.dtype
        if value.origin.endswith("_v3"):  # raw bytes, and the type beside them
            dtype = getattr(torch, getattr(value.args[6], "origin", "").removeprefix("torch."), None)
            if not isinstance(dtype, torch.dtype):
                raise WeightsInvalid("holds a tensor of unknown type")
        return storage.strided(dtype, int(offset), _size(size), _size(stride))

    def first(self, value: Opaque) -> Any:
        """``_rebuild_parameter`` and the like: the tensor comes first."""
        return self(value.args[0])

    def typed(self, value: Opaque) -> Any:
        """``_rebuild_from_type_v2`` (function, class, its arguments, state): as if the class were Tensor."""
        function, _, args = value.args[:3]
        if not (isinstance(function, type) and issubclass(function, Opaque)):
            return opaque(value.origin)
        return self(function(*args))


_REBUILD: dict[str, Callable[[_Plain, Opaque], Any]] = {
    "torch._utils._rebuild_tensor": _Plain.tensor,
    "torch._utils._rebuild_tensor_v2": _Plain.tensor,
    "torch._utils._rebuild_tensor_v3": _Plain.tensor,
    "torch._utils._rebuild_parameter": _Plain.first,
    "torch._utils._rebuild_parameter_with_state": _Plain.first,
    "torch.nn.parameter.Parameter": _Plain.first,
    "torch._tensor._rebuild_from_type_v2": _Plain.typed,
    "torch.Size": lambda _, value: _size(value),
}


def _is_module(state: Any) -> bool:
    """Whether this is the state of an object of torch.nn.Module."""
    return isinstance(state, dict) and {"_parameters", "_modules"} <= state.keys()


def _size(value: Any) -> tuple[int, ...]:
    if isinstance(value, Opaque):  # torch.Size
        value = value.args[0]
    return tuple(int(extent) for extent in value)


def _array(value: Opaque) -> Any:
    """A numpy array or scalar of numbers; one of anything else stays opaque."""
    state = value.state
    if value.origin.endswith("scalar") and len(value.args) == 2:
        shape, fortran, (dtype, raw) = (), False, value.args
    elif value.origin.endswith("_frombuffer") and len(value.args) == 4:
        raw, dtype, shape, order = value.args
        fortran = order == "F"
    elif isinstance(state, tuple) and len(state) in (4, 5):
        shape, dtype, fortran, raw = state[-4:]
    else:
        return opaque(value.origin)
    code = str(dtype.args[0]) if isinstance(dtype, Opaque) and dtype.origin == "numpy.dtype" and dtype.args else ""
    if not re.fullmatch(r"b1|[iu][1248]|f[248]|c8|c16", code):
        return opaque(value.origin)
    endian = ">" if isinstance(dtype.state, tuple) and dtype.state[1:2] == (">",) else "<"
    content, element = _bytes(raw), np.dtype(endian + code)
    if len(content) != math.prod(shape) * element.itemsize:
        raise WeightsInvalid(f"holds {len(content)} bytes for an array {shape} of {element}: it is cut short")
    values = np.ndarray(shape, element, content, order="F" if fortran else "C")
    native = np.array(values, element.newbyteorder("="), order="C")
    return native[()] if value.origin.endswith("scalar") else native


def _bytes(value: Any) -> bytes:
    if isinstance(value, Opaque) and value.origin == "_codecs.encode":  # protocols 0 to 2 in Python 3
        value = value.args[0]
    if isinstance(value, Opaque) and value.origin == "builtins.bytes" and not value.args:
        return b""
    if isinstance(value, str):
        return value.encode("latin1")
    if not isinstance(value, (bytes, bytearray)):
        raise WeightsInvalid("holds an array without its bytes")
    return bytes(value)
