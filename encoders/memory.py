"""Recognise errors that mean exhausted memory."""

from __future__ import annotations

_WORDS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "cannot allocate memory",
    "could not allocate memory",
    "bad_alloc",
    "alloc_failed",
    "invalid buffer size",
)
"""What torch, MuJoCo, their libraries and the C library say, in lower case."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that the memory of this machine or of a GPU is exhausted."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    said = isinstance(error, (RuntimeError, ValueError))
    return said and any(word in str(error).lower() for word in _WORDS)
