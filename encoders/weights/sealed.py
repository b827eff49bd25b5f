"""Safetensors files that hold a digest of their own content, so that damage in the cache is found when they are read.

The digest stands in the metadata and covers everything else: the other metadata, names, types, shapes and numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

DIGEST = "content_sha256"
_METADATA = "__metadata__"
_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000
"""What the safetensors library allows."""

_BLOCK = 1 << 20


class Damaged(Exception):
    """The file is not as it was written; the message says in what."""


def header_bytes(header: Mapping[str, Any], blocks: Iterable[Any]) -> bytes:
    """Return the beginning of a file: the length and the text of the header, with the digest added.

    Args:
        header: of the safetensors format, with or without metadata.
        blocks: the bytes that follow it, in order, as anything with the buffer protocol.
    """
    metadata = {**header.get(_METADATA, {}), DIGEST: _digest(header, blocks)}
    encoded = json.dumps({**header, _METADATA: metadata}).encode()
    encoded += b" " * (-len(encoded) % 8)
    return len(encoded).to_bytes(_LENGTH_BYTES, "little") + encoded


def sealed(content: bytes) -> bytes:
    """Return the content of a safetensors file with the digest added to its metadata."""
    begin = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    body = memoryview(content)[begin:]
    return header_bytes(json.loads(content[_LENGTH_BYTES:begin]), [body]) + bytes(body)


def check(path: Path) -> bool:
    """Compare a file with the digest in it.

    Returns:
        Whether there is a digest; without one, the file was written before there were digests, and may be damaged.

    Raises:
        Damaged: it is another content than was written.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        header = _read_header(file)
        metadata = header.get(_METADATA) or {}
        if not isinstance(metadata, dict):
            raise Damaged("its metadata is no object")
        if DIGEST not in metadata:
            return False
        digest = metadata.pop(DIGEST)
        if _digest(header, _blocks(file)) != digest:
            raise Damaged("its content is another than was written")
    return True


def _read_header(file: IO[bytes]) -> dict[str, Any]:
    length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    if not 0 < length <= _LONGEST_HEADER:
        raise Damaged("it has no header")
    try:
        header = json.loads(file.read(length))
    except (ValueError, RecursionError) as error:
        raise Damaged("its header cannot be read") from error
    if not isinstance(header, dict):
        raise Damaged("its header is no object")
    return header


def _digest(header: Mapping[str, Any], blocks: Iterable[Any]) -> str:
    described = {name: value for name, value in header.items() if name != _METADATA or value}
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block
