"""Hashes of files, and files that get their name only when they are whole."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

_SETTLED_SECONDS = 2.0
_known: dict[tuple[str, int, int, int, int], str] = {}


def file_sha256(path: Path) -> str:
    """The sha256 of a file; computed once a process as long as the file does not change."""
    state = path.stat()
    key = (str(path.resolve()), state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    if key in _known:
        return _known[key]
    digest = _hash(path, "sha256")
    # A file that changed a moment ago can change again within the clock's tick.
    if time.time() - max(state.st_mtime, state.st_ctime) > _SETTLED_SECONDS:
        _known[key] = digest
    return digest


def file_md5(path: Path) -> str:
    """The md5 of a file, which some authors publish instead of a sha256."""
    return _hash(path, "md5")


def write_text(path: Path, text: str) -> None:
    """Replace a small text file, whole or not at all, its folder included.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _hash(path: Path, kind: str) -> str:
    digest = hashlib.new(kind, usedforsecurity=False) if kind == "md5" else hashlib.new(kind)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
