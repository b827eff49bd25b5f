"""Safetensors files that detect their own damage: the metadata contains a digest of everything else."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

DIGEST = "digest"
_EARLIER_DIGEST = "content_sha256"
"""The digest of earlier cached files, computed differently."""

_METADATA = "__metadata__"
_LENGTH = struct.Struct("<Q")
_LONGEST_HEADER = 100_000_000
"""What the safetensors library allows."""

_BLOCK = 1 << 20


class Damaged(ValueError):
    """The file is not as it was written; the message says how it differs."""


class Parts(NamedTuple):
    """The parts of a safetensors file.

    Attributes:
        header: names, types, shapes and places of the tensors.
        metadata: texts by name, the digest among them.
        tensors: the bytes of all tensors.
    """

    header: dict[str, Any]
    metadata: dict[str, str]
    tensors: memoryview


def split(content: bytes) -> Parts:
    """Split a file into its parts.

    Raises:
        Damaged: it is not a safetensors file.
    """
    if len(content) < _LENGTH.size:
        raise Damaged("it is cut short")
    (length,) = _LENGTH.unpack_from(content)
    if length > len(content) - _LENGTH.size:
        raise Damaged("it is cut short")
    header, metadata = _parsed(content[_LENGTH.size : _LENGTH.size + length])
    return Parts(header, metadata, memoryview(content)[_LENGTH.size + length :])


def seal(content: bytes, metadata: Mapping[str, str] | None = None) -> bytes:
    """Return a safetensors file with this metadata and a digest added.

    Equal tensors and metadata give equal bytes.
    """
    header, _, tensors = split(content)
    return b"".join((beginning(header, metadata or {}, [tensors]), tensors))


def beginning(header: Mapping[str, Any], metadata: Mapping[str, str], blocks: Iterable[Any]) -> bytes:
    """Return the bytes before the tensors: the length and the text of the header, with the digest.

    Args:
        header: of the safetensors format, without metadata.
        metadata: texts by name.
        blocks: the bytes of the tensors, in order, as objects with the buffer protocol.
    """
    sealed = {**metadata, DIGEST: digest(header, metadata, blocks)}
    text = json.dumps({_METADATA: dict(sorted(sealed.items())), **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH.size)  # the format wants tensors aligned
    return _LENGTH.pack(len(text)) + text


def digest(header: Mapping[str, Any], metadata: Mapping[str, str], blocks: Iterable[Any]) -> str:
    """Return the digest of a file's parts; ``metadata`` without the digest itself."""
    return _sha256(json.dumps([header, metadata], sort_keys=True, separators=(",", ":")), blocks)


def check(path: Path) -> bool:
    """Check a file against the digest in it, block by block.

    Returns:
        Whether it has a digest; without one, damage cannot be detected.

    Raises:
        Damaged: the content is not what was written.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(_LENGTH.size)
        length = _LENGTH.unpack(start)[0] if len(start) == _LENGTH.size else 0
        if not 0 < length <= _LONGEST_HEADER:
            raise Damaged("it has no header")
        header, metadata = _parsed(file.read(length))
        earlier, known = metadata.pop(_EARLIER_DIGEST, None), metadata.pop(DIGEST, None)
        if earlier is not None:
            whole = {**header, _METADATA: metadata} if metadata else header
            known, found = earlier, _sha256(json.dumps(whole, sort_keys=True), _blocks(file))
        elif known is not None:
            found = digest(header, metadata, _blocks(file))
        if known is not None and found != known:
            raise Damaged("its content is not what was written")
    return known is not None


def _parsed(text: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the header and the metadata."""
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Damaged("its header cannot be read") from error
    if not isinstance(header, dict):
        raise Damaged("its header is no object")
    metadata = header.pop(_METADATA, None) or {}
    if not isinstance(metadata, dict):
        raise Damaged("its metadata is no object")
    return header, metadata


def _sha256(text: str, blocks: Iterable[Any]) -> str:
    found = hashlib.sha256(text.encode())
    for block in blocks:
        found.update(block)
    return found.hexdigest()


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block
