"""Write files atomically, and expand the paths that users type."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

_NOT_SUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


def expanded(text: str | os.PathLike[str]) -> Path:
    """Return a path with ``~`` and ``~user`` expanded; unchanged if that home folder is unknown."""
    return Path(os.path.expanduser(text))


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file atomically; a failure leaves nothing behind.

    Raises:
        OSError: it cannot be written.
    """
    partial = path.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        with partial.open("xb") as file:
            file.write(content)
            file.flush()
            _sync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _sync(descriptor: int) -> None:
    """Make a file's content survive a power cut, if the file system supports it."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:
            raise
