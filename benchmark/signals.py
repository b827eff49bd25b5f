"""Signals that end an action: at once, or a long one after the step in hand."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells give it."""

TERMINATED = 143
"""Exit code after SIGTERM."""

_received: set[int] = set()


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived, which schedulers and system managers send before they kill."""


def ended() -> bool:
    """Return whether a signal has asked the action to end."""
    return bool(_received)


def exit_code() -> int:
    """Return the exit code of an action that a signal has ended."""
    return TERMINATED if signal.SIGTERM in _received else INTERRUPTED


@contextmanager
def raising_terminated() -> Iterator[None]:
    """End a block on SIGTERM as Ctrl-C does, so that files are closed and workers stopped; for the main thread only.

    The first one raises `Terminated`, later ones do not disturb the way out.
    """
    _received.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _: FrameType | None) -> None:
        _received.add(number)
        signal.signal(number, signal.SIG_IGN)
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        _received.clear()


@contextmanager
def stop_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` on SIGTERM and Ctrl-C and do nothing else; for the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(number: int, _: FrameType | None) -> None:
        _received.add(number)
        stop()

    names = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(name, note) for name in names]
    try:
        yield
    finally:
        for name, handler in zip(names, before, strict=True):
            signal.signal(name, handler)
