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
    """SIGTERM arrived: what schedulers and system managers send before they kill."""


def ended() -> bool:
    """Whether a signal has asked the action to end."""
    return bool(_received)


def exit_code() -> int:
    """The exit code of an action that a signal has ended."""
    return TERMINATED if signal.SIGTERM in _received else INTERRUPTED


@contextmanager
def raising_terminated() -> Iterator[None]:
    """Let SIGTERM end a block as Ctrl-C does, so that files are closed and workers stopped; only the main thread can.

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


@contextmanager
def stop_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Let SIGTERM and Ctrl-C call ``stop`` and nothing else; only the main thread can."""
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
