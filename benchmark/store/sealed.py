"""Tensor files that notice their own damage: safetensors whose metadata holds a digest of everything else."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import FolderError
from . import atomic

DIGEST = "digest"
_METADATA = "__metadata__"
_LENGTH = struct.Struct("<Q")


class Sealed(NamedTuple):
    """The content of a file that was checked.

    Attributes:
        content: the file, for `safetensors.numpy.load` or `safetensors.torch.load`.
        metadata: its metadata without the digest.
        sealed: whether it had a digest; files written before there were digests have none.
    """

    content: bytes
    metadata: dict[str, str]
    sealed: bool


def seal(content: bytes, metadata: Mapping[str, str]) -> bytes:
    """Return safetensors `content` with `metadata` and the digest of tensors and metadata.

    Equal tensors and metadata give equal bytes.
    """
    header, tensors = _split(content)
    header.pop(_METADATA, None)
    digest = _digest(header, metadata, tensors)
    described = {_METADATA: dict(sorted({**metadata, DIGEST: digest}.items())), **header}
    text = json.dumps(described, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH.size)  # the format wants tensors aligned
    return b"".join((_LENGTH.pack(len(text)), text, tensors))


def read(path: Path, keys: set[str], remedy: str) -> Sealed:
    """Read a file that `seal` made, or one written before without a digest.

    Args:
        path: the file.
        keys: of the metadata.
        remedy: what the message of a failure advises.

    Raises:
        FolderError: the file is damaged: its digest does not match, or it is not such a file.
    """
    content = atomic.read_bytes(path, remedy)
    try:
        header, tensors = _split(content)
        metadata = header.pop(_METADATA, None)
        if not isinstance(metadata, dict) or metadata.keys() - {DIGEST} != keys:
            raise ValueError("its metadata is not that of a checkpoint")
        digest = metadata.pop(DIGEST, None)
        if digest is not None and digest != _digest(header, metadata, tensors):
            raise ValueError("its content does not match its digest")
    except ValueError as error:
        raise FolderError(f"{path} is damaged ({error}); {remedy}") from error
    return Sealed(content, metadata, digest is not None)


def require_whole(path: Path, remedy: str) -> None:
    """Make sure that a file without a digest is at least whole: a readable header, and all of the tensors it names.

    Raises:
        FolderError: it is not.
    """
    content = atomic.read_bytes(path, remedy)
    try:
        header, tensors = _split(content)
        header.pop(_METADATA, None)
        if max((entry["data_offsets"][1] for entry in header.values()), default=0) != len(tensors):
            raise ValueError("it is cut short or too long")
    except (ValueError, TypeError, LookupError) as error:
        raise FolderError(f"{path} is damaged ({error}); {remedy}") from error


def _split(content: bytes) -> tuple[dict[str, Any], memoryview]:
    """Return the header and the bytes of the tensors."""
    if len(content) < _LENGTH.size:
        raise ValueError("it is cut short")
    (length,) = _LENGTH.unpack_from(content)
    if length > len(content) - _LENGTH.size:
        raise ValueError("it is cut short")
    header = atomic.parse_object(content[_LENGTH.size : _LENGTH.size + length])
    return header, memoryview(content)[_LENGTH.size + length :]


def _digest(header: Mapping[str, Any], metadata: Mapping[str, str], tensors: memoryview) -> str:
    described = json.dumps([header, metadata], sort_keys=True, separators=(",", ":"))
    digest = sha256(described.encode())
    digest.update(tensors)
    return digest.hexdigest()
