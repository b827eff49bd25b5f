"""Convert official checkpoints in the cache to safetensors once, beside the original; memory-map them afterwards.

The nesting of a checkpoint is kept as JSON in the safetensors metadata, with its numbers and text; tensors are stored
under the path of their keys, joined by ``/``. So `tensors` returns the same nested dicts as `pickles.read`, without
training state (`LEFT_OUT`). The metadata also has the sha256 of the original and a digest of the conversion (see
`sealed`): if the original changes or the conversion is damaged, it is converted again.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import pickles, tflite_files
from .cache import cache_dir
from .files import PARTIAL_SUFFIX, file_sha256, write_whole
from .sealed import beginning, check
from .unpickling import Placeholder

logger = logging.getLogger(__name__)

SUFFIX = ".safetensors"
LEFT_OUT = frozenset({"optimizer", "optimizers", "optimizer_states", "optim", "lr_schedulers", "scheduler", "scaler"})
"""Top-level entries that only its training needs; a `Placeholder` replaces them."""

_FORMAT = "2"
"""Format 1 had no digest; such conversions are made again from the original."""

_STALE_SECONDS = 3600.0
_MOST_GROWTH = 4
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def tensors(path: Path) -> Any:
    """Return the content of a checkpoint as `pickles.read` does, from its conversion if it is in the cache.

    A cached checkpoint without a valid conversion is converted first. Outside the cache, or if the conversion cannot be
    written, the checkpoint itself is read.

    Raises:
        WeightsInvalid: as in `encoders.weights.pickles.read`.
        OSError: the file cannot be opened.
    """
    path = Path(path)
    read = tflite_files.read if path.suffix == tflite_files.SUFFIX else pickles.read
    if path.suffix == SUFFIX or not _in_cache(path):
        return read(path)
    converted, digest = converted_path(path), file_sha256(path)
    with suppress(_NotOurs):
        return _load(converted, digest)
    content = read(path)
    if isinstance(content, dict):
        content = {key: pickles.placeholder("left out") if key in LEFT_OUT else value for key, value in content.items()}
    try:
        _write(converted, content, digest, _MOST_GROWTH * path.stat().st_size)
        return _load(converted, digest)
    except (OSError, _CannotConvert, _NotOurs):  # a full disk, a cache that others own; a type that safetensors lacks
        return content


def converted_path(path: Path) -> Path:
    """Return the path of the conversion of a cached checkpoint."""
    return path.with_name(path.name + SUFFIX)


class _NotOurs(Exception):
    """There is no valid conversion of this original."""


class _CannotConvert(Exception):
    """The checkpoint holds something that safetensors cannot store."""


def _in_cache(path: Path) -> bool:
    """Return whether a file is in its final place in the cache; unchecked ones are in hidden folders."""
    home, there = (cache_dir() / "weights").resolve(), path.resolve()
    return there.is_relative_to(home) and not any(part.startswith(".") for part in there.relative_to(home).parts)


def _load(path: Path, digest: str) -> Any:
    from safetensors import safe_open

    try:
        if not check(path):
            raise _NotOurs
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format_version") != _FORMAT or metadata.get("original_sha256") != digest:
                raise _NotOurs
            return _from_json(json.loads(metadata["tree"]), file)
    except (_NotOurs, OSError) as error:
        raise _NotOurs from error
    except Exception as error:  # something else damaged it: it is made anew
        logger.warning("%s is damaged (%s); converting it again from %s", path, error, path.name.removesuffix(SUFFIX))
        raise _NotOurs from error


def _write(path: Path, content: Any, digest: str, limit: int) -> None:
    """Write the conversion, tensor by tensor."""
    stored: dict[str, Tensor] = {}
    tree = _to_json(content, "", stored, {})
    header: dict[str, Any] = {}
    begin = 0
    for name, tensor in stored.items():
        end = begin + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
        begin = end
    if begin > limit:  # tensors that were saved expanded
        raise _CannotConvert(f"{begin} bytes")
    metadata = {"format_version": _FORMAT, "original_sha256": digest, "tree": json.dumps(tree)}
    _sweep(path)
    first = beginning(header, metadata, _bytes_of(stored.values()))
    write_whole(path, chain([first], _bytes_of(stored.values())))


def _bytes_of(stored: Iterable[Tensor]) -> Iterator[memoryview]:
    for tensor in stored:
        if tensor.numel():
            yield tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data


def _sweep(path: Path) -> None:
    """Remove what killed conversions of this file left behind."""
    for partial in path.parent.glob(f".{path.name}.*{PARTIAL_SUFFIX}"):
        with suppress(OSError):
            if time.time() - partial.stat().st_mtime > _STALE_SECONDS:
                partial.unlink()


def _to_json(value: Any, name: str, stored: dict[str, Tensor], names: dict[int, str]) -> Any:
    """Return a value as JSON: plain values unchanged, others as an object with one key that names their kind."""
    if value is None or isinstance(value, (bool, str)) or type(value) in (int, float):
        return value
    if isinstance(value, np.ndarray):
        return {"array": _stored_name(torch.from_numpy(value), value, name, stored, names)}
    if isinstance(value, np.generic):
        return {"scalar": _stored_name(torch.from_numpy(np.asarray(value).reshape(1)), value, name, stored, names)}
    if isinstance(value, Tensor):
        return {"tensor": _stored_name(value, value, name, stored, names)}
    if isinstance(value, Placeholder):
        return {"opaque": value.origin}
    if isinstance(value, Mapping):
        items = (
            [_to_json(key, "", stored, names), _to_json(item, f"{name}/{key}" if name else str(key), stored, names)]
            for key, item in value.items()
        )
        return {"dict": list(items)}
    for kind in (list, tuple, set, frozenset):
        if isinstance(value, kind):
            return {kind.__name__: [_to_json(item, f"{name}/{i}", stored, names) for i, item in enumerate(value)]}
    raise _CannotConvert(type(value).__name__)


def _stored_name(tensor: Tensor, value: Any, name: str, stored: dict[str, Tensor], names: dict[int, str]) -> str:
    """Return the name under which a tensor is stored; the same tensor is stored once."""
    if tensor.dtype not in _DTYPES or tensor.layout != torch.strided:
        raise _CannotConvert(str(tensor.dtype))
    if id(value) not in names:
        unique, number = name, 1
        while unique in stored or unique in ("", "__metadata__"):
            number += 1
            unique = f"{name}#{number}"
        stored[unique] = tensor.detach()
        names[id(value)] = unique
    return names[id(value)]


def _from_json(tree: Any, file: Any) -> Any:
    """Return the value that `_to_json` encoded."""
    if not isinstance(tree, dict):
        return tree
    ((kind, inside),) = tree.items()
    if kind == "tensor":
        return file.get_tensor(inside)
    if kind == "array":
        return file.get_tensor(inside).numpy()
    if kind == "scalar":
        return file.get_tensor(inside).numpy()[0]
    if kind == "opaque":
        return pickles.placeholder(inside)
    if kind == "dict":
        return {_hashable(_from_json(key, file)): _from_json(item, file) for key, item in inside}
    return {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}[kind](
        _from_json(item, file) for item in inside
    )


def _hashable(key: Any) -> Any:
    return tuple(key) if isinstance(key, list) else key
