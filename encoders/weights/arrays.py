"""Build numpy arrays from the placeholders of a pickle; numpy never sees the pickle itself."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from .unpickling import Placeholder, Refused, describe

ARRAYS = frozenset(
    {"numpy.ndarray"}
    | {f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")}
    | {f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")}
)
"""The origins of arrays and numpy scalars."""

BYTES = frozenset({"_codecs.encode", "builtins.bytes"})
"""The origins of bytes, as protocols 0 to 2 write them in Python 3."""

_MOST_DIMENSIONS = 32


class OtherType(Refused):
    """An array whose elements are neither numbers nor text."""


def array(placeholder: Placeholder) -> Any:
    """Return the array or numpy scalar that a placeholder with an origin in `ARRAYS` describes, in native byte order.

    Raises:
        OtherType: its elements are neither numbers nor text.
        Refused: it is incomplete or cut short.
    """
    name, fortran, state = placeholder.origin.rpartition(".")[2], False, placeholder.state
    if name == "_reconstruct" and isinstance(state, tuple) and len(state) in (4, 5):
        shape, dtype, fortran, raw = state[-4:]
    elif name == "scalar" and len(placeholder.args) == 2:
        shape, (dtype, raw) = (), placeholder.args
    elif name == "_frombuffer" and len(placeholder.args) == 4:
        raw, dtype, shape, order = placeholder.args
        fortran = order == "F"
    else:
        raise Refused(f"holds {describe(placeholder)} that is not complete")
    extents, element, content = extents_of(shape), _element(dtype), bytes_of(raw)
    if len(content) != math.prod(extents) * element.itemsize:
        raise Refused(f"holds {len(content)} bytes for an array {extents} of {element}; it is cut short")
    values = np.ndarray(extents, element, content, order="F" if fortran else "C")
    native = np.array(values, element.newbyteorder("="), order="C")
    return native[()] if name == "scalar" else native


def bytes_of(value: Any) -> bytes:
    """Return the bytes that a raw value represents, as written by Python 2 or any protocol of Python 3.

    Raises:
        Refused: it represents something else.
    """
    if isinstance(value, Placeholder) and value.origin == "_codecs.encode":
        if value.args[1:] not in (("latin1",), ("latin-1",)):
            raise Refused("holds text that is not in latin1, which is not read")
        value = value.args[0]
    elif isinstance(value, Placeholder) and value.origin == "builtins.bytes" and not value.args:
        return b""
    if isinstance(value, str):
        return value.encode("latin1")
    if not isinstance(value, (bytes, bytearray)):
        raise Refused(f"holds {describe(value)} where the bytes of an array should be")
    return bytes(value)


def extents_of(value: Any, what: str = "an array of a shape") -> tuple[int, ...]:
    """Return a shape, or the strides of a tensor.

    Args:
        value: what the pickle holds.
        what: it belongs to, for the message.

    Raises:
        Refused: it is not a tuple of counts.
    """
    if isinstance(value, Placeholder) and value.origin == "torch.Size" and value.args:
        value = value.args[0]
    counts = value if isinstance(value, (tuple, list)) and len(value) <= _MOST_DIMENSIONS else (None,)
    if not all(isinstance(extent, int) and 0 <= extent < 1 << 63 for extent in counts):
        raise Refused(f"holds {what} that is not a tuple of counts")
    return tuple(counts)


def _element(value: Any) -> np.dtype[Any]:
    """Return the type of an array's elements."""
    code = value.args[0] if isinstance(value, Placeholder) and value.origin == "numpy.dtype" and value.args else None
    if not isinstance(code, str) or not re.fullmatch(r"b1|[iu][1248]|f[248]|c8|c16|[SU][1-9]\d{0,6}", code):
        shown = repr(code) if isinstance(code, str) else describe(value)
        raise OtherType(f"holds an array of type {shown[:40]}; only numbers and strings are read")
    big = isinstance(value.state, tuple) and value.state[1:2] == (">",)
    return np.dtype((">" if big else "<") + code)
