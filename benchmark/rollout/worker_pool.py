"""Worker processes: started without the caller's script, given up if they stop answering, and never left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from multiprocessing.connection import wait
from types import ModuleType
from typing import Any

from ..errors import ConfigError, SimulationError

PATIENCE_VARIABLE = "HINDEX_BENCH_WORKER_SECONDS"
PATIENCE_SECONDS = 300.0
"""An answer takes milliseconds, and the first one seconds; a machine that swaps may take minutes."""

LONGEST_SECONDS = 1e8
SLICE_SECONDS = 1.0
CLOSING_SECONDS = 5.0
_starting = threading.Lock()


def patience() -> float:
    """Return the seconds after which a worker that does not answer is given up.

    Raises:
        ConfigError: the environment variable holds no positive number.
    """
    text = os.environ.get(PATIENCE_VARIABLE)
    try:
        seconds = PATIENCE_SECONDS if not text else float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= LONGEST_SECONDS:
        raise ConfigError(f"{PATIENCE_VARIABLE}={text}: expected seconds, such as {PATIENCE_SECONDS:.0f}")
    return seconds


@contextmanager
def starting_workers() -> Iterator[None]:
    """Let processes start without importing the caller's script, which none of ours needs.

    Python would let each of them import it, under another name: a script without ``if __name__ == "__main__":`` would
    begin anew in each, and one from standard input is not there to be imported.

    Raises:
        ConfigError: this process cannot start others; the message says what can be done.
    """
    with _starting:
        caller = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        except BrokenExecutor:
            raise
        except (AssertionError, RuntimeError) as error:  # multiprocessing's words in a process that it started itself
            raise ConfigError(
                "worker processes cannot be started from a process that multiprocessing started: put what your script "
                'does below `if __name__ == "__main__":`, or set workers=0'
            ) from error
        except OSError as error:
            raise ConfigError(
                f"worker processes cannot be started ({error.strerror or error}); use fewer workers, or workers=0"
            ) from error
        finally:
            sys.modules["__main__"] = caller


def follow_parent() -> None:
    """End this worker process as soon as the one that started it is gone, whatever it is doing."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="follow parent", daemon=True).start()


class WorkerDied(SimulationError):
    """A worker process ended without an answer.

    Attributes:
        what: the first half of the message: which worker, and its exit code.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}; {remedy}")
        self.what = what


class Worker:
    """A worker process, and the parent's end of the pipe to it.

    Args:
        name: what it is, as in an error's message.
        remedy: what the user can do if it is lost.
        target: what it runs, a function of its end of the pipe and the arguments.
        arguments: the others.

    Raises:
        ConfigError: it cannot be started.
    """

    def __init__(self, name: str, remedy: str, target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        self.name, self.remedy = name, remedy
        self.doing = "starting"
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.wait_at_most(patience())
        self.process = context.Process(target=_run, args=(target, theirs, arguments), daemon=True)
        try:
            with starting_workers():
                self.process.start()
        except BaseException:
            self.pipe.close()
            raise
        finally:
            theirs.close()

    def wait_at_most(self, seconds: float) -> None:
        """Set how long an answer may take before the worker is given up."""
        self.patience = seconds
        _bound_waiting(self.pipe.fileno(), seconds)

    def send(self, message: Any, doing: str) -> None:
        """Send a message, and note what the worker does about it.

        Raises:
            WorkerDied: it died.
            SimulationError: it did not take the message.
        """
        self.doing = doing
        try:
            self.pipe.send(message)
        except BlockingIOError as error:
            raise self.silent() from error
        except OSError as error:
            raise self.died() from error

    def receive(self) -> Any:
        """Return the worker's answer.

        Raises:
            WorkerDied: it died.
            SimulationError: it did not answer.
            Exception: what it raised and sent.
        """
        try:
            # In slices, so that a machine that sleeps, or Ctrl-Z, counts as one of them.
            slices = max(1, round(self.patience / SLICE_SECONDS))
            if not any(self.pipe.poll(self.patience / slices) for _ in range(slices)):
                raise self.silent()
            answer = self.pipe.recv()
        except BlockingIOError as error:
            raise self.silent() from error
        except (EOFError, OSError) as error:
            raise self.died() from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def died(self) -> WorkerDied:
        """Return the error for a worker that has died."""
        self.process.join(timeout=1)
        return WorkerDied(f"{self.name} died (exit code {self.process.exitcode})", self.remedy)

    def silent(self) -> SimulationError:
        """End a worker that does not answer, and return the error that says so."""
        self.process.kill()
        return SimulationError(
            f"{self.name} (process {self.process.pid}) did not answer for {self.patience:g} s while {self.doing}, and "
            f"was ended; {self.remedy}, with {PATIENCE_VARIABLE} set to more seconds if the machine is only slow"
        )


def close(workers: Sequence[Worker]) -> None:
    """Ask workers to end; kill those that are still alive after some seconds."""
    for worker in workers:
        worker.pipe.close()
    deadline = time.monotonic() + CLOSING_SECONDS
    for worker in workers:
        worker.process.join(timeout=max(0.0, deadline - time.monotonic()))
    for worker in workers:
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join(timeout=CLOSING_SECONDS)


def _run(target: Callable[..., None], pipe: Any, arguments: tuple[Any, ...]) -> None:
    """Run the worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    follow_parent()
    target(pipe, *arguments)


def _bound_waiting(descriptor: int, seconds: float) -> None:
    """Let reads and writes on a pipe time out after some seconds; multiprocessing makes it a socket."""
    with socket.socket(fileno=os.dup(descriptor)) as end:
        whole = int(seconds)
        period = struct.pack("ll", whole, int((seconds - whole) * 1e6))
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            end.setsockopt(socket.SOL_SOCKET, option, period)
