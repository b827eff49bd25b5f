"""Things that do not survive a fork: threads and OpenGL contexts stay behind in the process that made them.

A forked child that used one would wait for ever, and one that let go of it could crash. So children refuse the first
and never do the second.
"""

from __future__ import annotations

import os
import weakref

from .errors import TaskError

REMEDY = (
    'start the process by spawn instead: AsyncVectorEnv(..., context="spawn"), gymnasium.make_vec(..., '
    'vectorization_mode="async", vector_kwargs={"context": "spawn"}), or multiprocessing.get_context("spawn")'
)

_made_here: weakref.WeakSet[object] = weakref.WeakSet()
_left_behind: list[object] = []
_watching: list[bool] = []


class ForkedError(TaskError):
    """A process was forked from one whose threads or OpenGL context it would need."""


def keep_in_children(thing: object) -> None:
    """Let children that are forked from now on never destroy `thing`, whose threads or context they do not have."""
    if not _watching and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: _left_behind.extend(_made_here))
        _watching.append(True)
    _made_here.add(thing)


def require_process(maker: int, what: str) -> None:
    """Make sure that this is the process that made something.

    Args:
        maker: the process's number.
        what: the beginning of the message, such as ``door: its threads stayed``.

    Raises:
        ForkedError: it is another one.
    """
    if maker != os.getpid():
        raise ForkedError(f"{what} in the process that this one was forked from; {REMEDY}")
