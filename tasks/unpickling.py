"""An unpickler under which nothing runs, and the numpy arrays that come out of it.

Every class or function that a pickle names becomes a `Stub`, which only keeps what it was given; names that are not
expected are refused. Arrays are then put together from what the stubs hold: neither numpy's, torch's nor an author's
code sees the pickle. Standard sets and ordered dictionaries are the only real classes that a pickle can reach.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from collections import OrderedDict
from typing import Any

import numpy as np

from .errors import PickleError

_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}
_CONTAINERS: dict[str, type] = {
    "collections.OrderedDict": OrderedDict,
    "builtins.set": set,
    "builtins.frozenset": frozenset,
}
_ARRAYS = frozenset(
    {"numpy.ndarray", "numpy.dtype", "_codecs.encode", "builtins.bytes"}
    | {f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")}
    | {f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")}
)
_OBJECTS = frozenset({"builtins.getattr", "builtins.object", "copyreg._reconstructor"})


class Stub:
    """Stands for an object of a class, or the result of a function, that a pickle names: remembers, does nothing."""

    origin = ""
    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any, **_: Any) -> Stub:
        """Keep the arguments that the pickle gives."""
        stub = super().__new__(cls)
        stub.args = args
        stub.state = None
        return stub

    def __setstate__(self, state: Any) -> None:
        self.state = state


class Reader(pickle.Unpickler):
    """An unpickler that makes stubs of the expected names and refuses all others.

    Args:
        file: the pickle.
        packages: names of packages that may be named besides numpy's arrays; stubs stand for all that is in them.
    """

    def __init__(self, file: io.BytesIO, packages: tuple[str, ...] = ()) -> None:
        super().__init__(file, encoding="latin1")
        self._packages = packages

    def find_class(self, module: str, name: str) -> type:
        """Give a real container or a new kind of stub; refuse any other name."""
        full = f"{_PYTHON_2.get(module, module)}.{name}"
        if full in _CONTAINERS:
            return _CONTAINERS[full]
        known = full in _ARRAYS or (self._packages and full in _OBJECTS)
        if not known and module.partition(".")[0] not in self._packages:
            raise PickleError(f"names {module}.{name}, which is refused; check where this file comes from")
        return type("_Named", (Stub,), {"origin": full})

    def persistent_load(self, pid: Any) -> Any:
        """Refuse: nothing outside of the pickle is read."""
        raise PickleError("refers to data outside of itself; give a file that pickle.dump wrote")


def array_from(stub: Any) -> Any:
    """The numpy array, numpy scalar or bytes that a stub describes.

    Raises:
        PickleError: it describes something else, another type than numbers and strings, or is incomplete.
    """
    if not isinstance(stub, Stub) or stub.origin not in _ARRAYS:
        raise PickleError(f"holds {describe(stub)} where an array should be")
    kind, fortran, state = stub.origin.rpartition(".")[2], False, stub.state
    if kind in ("encode", "bytes"):
        return bytes_from(stub)
    if kind == "_reconstruct" and isinstance(state, tuple) and len(state) in (4, 5):
        shape, dtype, fortran, raw = state[-4:]
    elif kind == "scalar" and len(stub.args) == 2:
        shape, (dtype, raw) = (), stub.args
    elif kind == "_frombuffer" and len(stub.args) == 4:
        raw, dtype, shape, order = stub.args
        fortran = order == "F"
    else:
        raise PickleError(f"holds {describe(stub)} that is not complete")
    element, content = _dtype(dtype), bytes_from(raw)
    if len(content) != math.prod(shape) * element.itemsize or not element.itemsize:
        raise PickleError(f"holds {len(content)} bytes for an array {shape} of {element}; it is cut short")
    values = np.ndarray(shape, element, content, order="F" if fortran else "C")
    native = np.array(values, element.newbyteorder("="), order="C")
    return native[()] if kind == "scalar" else native


def _dtype(stub: Any) -> np.dtype[Any]:
    if not isinstance(stub, Stub) or stub.origin != "numpy.dtype":
        raise PickleError(f"holds an array whose type is {describe(stub)}; only numbers and strings are read")
    code, order = str(stub.args[0]), "<"
    if not re.fullmatch(r"b1|[iu][1248]|f[248]|c8|c16|[SU][1-9]\d{0,6}", code):
        raise PickleError(f"holds an array of type {code!r}; only numbers and strings are read")
    if isinstance(stub.state, tuple) and len(stub.state) > 1 and stub.state[1] == ">":
        order = ">"
    return np.dtype(order + code)


def bytes_from(value: Any) -> bytes:
    """The bytes that a value stands for, as Python 2 or any protocol of Python 3 writes them.

    Raises:
        PickleError: it stands for something else.
    """
    if isinstance(value, Stub) and value.origin == "_codecs.encode":  # protocols 0 to 2 in Python 3
        text, codec = (*value.args, None, None)[:2]
        if codec not in ("latin1", "latin-1"):
            raise PickleError(f"holds text in codec {codec!r}, which is not read")
        value = text
    if isinstance(value, Stub) and value.origin == "builtins.bytes" and not value.args:  # there, empty ones
        return b""
    if isinstance(value, str):  # Python 2
        return value.encode("latin1")
    if not isinstance(value, (bytes, bytearray)):
        raise PickleError(f"holds {describe(value)} where the bytes of an array should be")
    return bytes(value)


def describe(value: Any) -> str:
    """What a value is, for a message."""
    if isinstance(value, Stub) or (isinstance(value, type) and issubclass(value, Stub)):
        return f"a {value.origin}"
    return f"a {type(value).__name__}"
