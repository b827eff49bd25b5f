"""One writer per folder: a lock that is released when its process dies."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import IO

from encoders.weights.files import lock as lock_file

from ..errors import FolderInUse
from . import atomic

LOCK = ".lock"
GLANCES = (0.02, 0.1)
"""Seconds to wait for a lock that is taken: `holder` has it for a moment."""


def hold(folder: Path) -> IO[str]:
    """Take the folder's lock; it is held until the returned file is closed or the process ends.

    On a file system without locks the folder is written all the same, after one warning.

    Raises:
        FolderInUse: another process has it.
    """
    path = folder / LOCK
    with atomic.naming_failures(path):
        lock = path.open("a+")
    if not _taken(lock):
        lock.seek(0)
        holder = lock.read().strip() or "another process"
        lock.close()
        raise FolderInUse(f"{folder} is being written by {holder}; wait for it, or choose another --out")
    with atomic.naming_failures(path):
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        lock.flush()
    return lock


def _taken(lock: IO[str]) -> bool:
    for pause in GLANCES:
        if lock_file(lock):
            return True
        time.sleep(pause)
    return lock_file(lock)


def is_there(lock: IO[str], folder: Path) -> bool:
    """Return whether a held lock is still the folder's: who held it before may have deleted an unused folder since."""
    try:
        return os.path.samestat(os.fstat(lock.fileno()), (folder / LOCK).stat())
    except OSError:
        return False


def holder(folder: Path) -> str:
    """Return who holds a folder's lock, such as ``process 123 on node4``; empty where nobody of another process does.

    The folder may be read-only. Not to be called by the process that holds the lock, which would lose it.

    Raises:
        OutputError: the lock cannot be read.
    """
    path = folder / LOCK
    if not path.exists():
        return ""
    with atomic.naming_failures(path), path.open("r") as lock:
        if lock_file(lock, shared=True):
            return ""
        return lock.read().strip() or "another process"
