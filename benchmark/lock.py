"""One writer a folder: a lock that the death of its process releases."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from typing import IO

from . import atomic
from .errors import OutputError

LOCK = ".lock"


def hold(folder: Path) -> IO[str]:
    """Take the folder's lock; it is held until the returned file is closed or the process ends.

    A POSIX record lock rather than flock: forked workers that outlive a killed run do not inherit
    it. So it holds between processes, not between threads of one.

    Raises:
        OutputError: another process has it.
    """
    path = folder / LOCK
    with atomic.naming_failures(path):
        lock = path.open("a+")
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.seek(0)
        holder = lock.read().strip() or "another process"
        lock.close()
        raise OutputError(f"{folder} is being written by {holder}; wait for it, or choose another --out") from error
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    lock.flush()
    return lock
