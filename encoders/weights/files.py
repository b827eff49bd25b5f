"""Hash, lock and write files safely, also on cluster file systems without locks or sync.

Some network file systems have no locks, or do not sync folders. The work is not lost over that: one line says what is
missing, once per process.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import secrets
import stat
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, TypeAlias

logger = logging.getLogger(__name__)

IS_A_FOLDER = "is a folder"
PARTIAL_SUFFIX = ".partial"
Buffer: TypeAlias = "bytes | memoryview"

_CONTENTION = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES}
"""What POSIX lets `lockf` say where another process holds the lock; anything else is no sign of another process."""

_NOT_SUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF}
_FOLDER_NOT_OPENED = _NOT_SUPPORTED | {errno.EACCES, errno.EPERM, errno.EISDIR}
_SETTLED_SECONDS = 2.0
_warned: set[str] = set()
_known: dict[tuple[str, int, int, int, int], str] = {}


def expanded(text: str | os.PathLike[str]) -> Path:
    """Return a path with ``~`` and ``~user`` expanded; unchanged if that home folder is unknown."""
    return Path(os.path.expanduser(text))


def why_unreadable(path: Path) -> str:
    """Return why a file cannot be read, without blocking on a pipe; empty if it can be read."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return IS_A_FOLDER
        if not stat.S_ISREG(mode):
            return "is a pipe, a socket or a device"
        with path.open("rb"):
            return ""
    except FileNotFoundError:
        return "no such file"
    except (OSError, ValueError) as error:  # a null byte in the name is a ValueError
        return f"cannot be read ({getattr(error, 'strerror', None) or error})"


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, computed once per process while the file does not change."""
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
    """Return the md5 of a file, which some authors publish instead of a sha256."""
    return _hash(path, "md5")


def write_whole(path: Path, blocks: Iterable[Buffer]) -> None:
    """Replace a file atomically; after return it survives a power cut.

    Args:
        path: the file, in a folder that exists.
        blocks: its content, in order.

    Raises:
        OSError: it cannot be written; nothing is left beside it.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}")
    try:
        with partial.open("xb") as file:
            for block in blocks:
                file.write(block)
            file.flush()
            sync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Replace a small text file, as `write_bytes` does."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a small file as `write_whole` does, and make its folder.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, [content])


def lock(file: IO[Any], *, shared: bool = False) -> bool:
    """Take a lock on an open file, held until the file is closed or the process ends.

    An exclusive one needs a file that is open for writing; a shared one keeps away exclusive ones alone, and needs a
    file that is open for reading.

    A POSIX record lock rather than flock: forked workers that outlive the process do not inherit it. So it holds
    between processes, not between threads of one. Where the file system has no locks, one warning says so.

    Returns:
        False where another process holds the lock.
    """
    try:
        fcntl.lockf(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _CONTENTION:
            return False
        warn_once(
            "lock",
            f"the file system of {file.name} has no locks ({error.strerror or error}): nothing keeps a second process "
            "from writing the same files; run one at a time",
        )
    return True


def sync(descriptor: int) -> None:
    """Make the content of an open file survive a power cut, as far as its file system can.

    Raises:
        OSError: the content cannot be written, such as on a full disk.
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:
            raise
        _warn_of_power_cuts(error)


def sync_folder(folder: Path) -> None:
    """Make renames and new names in a folder survive a power cut, as far as its file system can.

    Raises:
        OSError: they cannot be written, such as on a full disk.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        if error.errno not in _FOLDER_NOT_OPENED:
            raise
        _warn_of_power_cuts(error)
        return
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def warn_once(what: str, line: str) -> None:
    """Log a warning, unless one of the same kind ``what`` was logged in this process."""
    if what not in _warned:
        _warned.add(what)
        logger.warning("%s", line)


def _warn_of_power_cuts(error: OSError) -> None:
    warn_once(
        "sync",
        f"this file system does not sync files or folders ({error.strerror or error}): a power cut may lose what was "
        "written last; a killed process loses nothing",
    )


def _hash(path: Path, kind: str) -> str:
    digest = hashlib.new(kind, usedforsecurity=False) if kind == "md5" else hashlib.new(kind)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
