"""One writer per folder: a lock that is released when its process dies."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import IO

from encoders.weights.files import lock as lock_file

from ..errors import FolderInUse
from . import atomic

LOCK = ".lock"


def hold(folder: Path) -> IO[str]:
    """Take the folder's lock; it is held until the returned file is closed or the process ends.

    On a file system without locks the folder is written all the same, after one warning.

    Raises:
        FolderInUse: another process has it.
    """
    path = folder / LOCK
    with atomic.naming_failures(path):
        lock = path.open("a+")
    if not lock_file(lock):
        lock.seek(0)
        holder = lock.read().strip() or "another process"
        lock.close()
        raise FolderInUse(f"{folder} is being written by {holder}; wait for it, or choose another --out")
    with atomic.naming_failures(path):
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        lock.flush()
    return lock


def is_there(lock: IO[str], folder: Path) -> bool:
    """Return whether a held lock is still the folder's: who held it before may have deleted an unused folder since."""
    try:
        return os.path.samestat(os.fstat(lock.fileno()), (folder / LOCK).stat())
    except OSError:
        return False


def holder(folder: Path) -> str:
    """Return who holds a folder's lock, such as ``process 123 on node4``; empty where nobody of another process does.

    Raises:
        OutputError: the lock cannot be read.
    """
    path = folder / LOCK
    if not path.exists():
        return ""
    with atomic.naming_failures(path), path.open("a+") as lock:
        if lock_file(lock):
            return ""
        lock.seek(0)
        return lock.read().strip() or "another process"
