"""An unpickler under which nothing runs, and the numpy arrays that come out of it.

Every class or function that a pickle names becomes a `Stub`, which only keeps what it was given; names that are not
expected are refused. Arrays are then put together from what the stubs hold: neither numpy's, torch's nor an author's
code sees the pickle. Standard sets and ordered dictionaries are the only real containers that a pickle can name.

Time and memory are bounded by `foreign_files`; here keys must be plain, too (a tuple of tuples of tuples can take
2^40 steps to hash).
"""

from __future__ import annotations

import io
import math
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np

from ..errors import PickleError
from .foreign_files import BoundedUnpickler

_SHOWN = 160
_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}
_ARRAYS = frozenset(
    {"numpy.ndarray", "numpy.dtype", "_codecs.encode", "builtins.bytes"}
    | {f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")}
    | {f"numpy.{core}.numeric._frombuffer" for core in ("core", "_core")}
)
_OBJECTS = frozenset({"builtins.getattr", "builtins.object", "copyreg._reconstructor"})
_LONGEST_KEY = 1000


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


class Reader(BoundedUnpickler):
    """An unpickler that makes stubs of the expected names and refuses all others.

    Args:
        file: the pickle.
        packages: names of packages that may be named besides numpy's arrays; stubs stand for all that is in them.
    """

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(BoundedUnpickler.dispatch)

    def __init__(self, file: io.BytesIO, packages: tuple[str, ...] = ()) -> None:
        super().__init__(file)
        self._packages = packages

    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        """Give a function that makes a real container, or a new kind of stub; refuse any other name."""
        full = f"{_PYTHON_2.get(module, module)}.{name}"
        if full in _CONTAINERS:
            return _CONTAINERS[full]
        known = full in _ARRAYS or (self._packages and full in _OBJECTS)
        if not known and module.partition(".")[0] not in self._packages:
            shown = f"{module}.{name}"[:_SHOWN]
            raise PickleError(f"names {shown}, which is refused; check where this file comes from")
        kind: type = self.named(full, lambda: type("_Named", (Stub,), {"origin": full}))
        return kind

    def persistent_load(self, pid: Any) -> Any:
        """Refuse: nothing outside of the pickle is read."""
        raise PickleError("refers to data outside of itself; give a file that pickle.dump wrote")

    def get_extension(self, code: int) -> None:
        """Refuse: extension codes mean what some process registered."""
        raise PickleError(f"uses the extension code {code}; give a file that pickle.dump wrote")

    def _build(self) -> None:
        """Set the state of a stub; leave out the attributes of a container, refuse those of anything else."""
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Stub):
            target.__setstate__(state)
        elif not isinstance(target, (OrderedDict, set)):
            raise PickleError(f"sets attributes of {describe(target)}; give a file that pickle.dump wrote")

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def _set_marked_items(self) -> None:
        self._set_items(self.pop_mark())

    def _set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise PickleError(f"sets items of {describe(target)}; give a file that pickle.dump wrote")
        target.update(_pairs(zip(items[::2], items[1::2], strict=True)))

    def _make_dictionary(self) -> None:
        items = self.pop_mark()
        self.stack.append(dict(_pairs(zip(items[::2], items[1::2], strict=True))))

    def _add_items(self) -> None:
        items, target = self.pop_mark(), self.stack[-1]
        if not isinstance(target, set):
            raise PickleError(f"adds members to {describe(target)}; give a file that pickle.dump wrote")
        target.update(_plain_keys(items))

    def _make_frozenset(self) -> None:
        self.stack.append(frozenset(_plain_keys(self.pop_mark())))

    for _code, _method in (
        (pickle.BUILD, _build),
        (pickle.SETITEM, _set_item),
        (pickle.SETITEMS, _set_marked_items),
        (pickle.DICT, _make_dictionary),
        (pickle.ADDITEMS, _add_items),
        (pickle.FROZENSET, _make_frozenset),
    ):
        dispatch[_code[0]] = _method
    del _code, _method


def _plain_keys(keys: Iterable[Any]) -> list[Any]:
    """Keys of a dictionary or members of a set, none of which takes long to hash or compare."""
    keys = list(keys)
    for key in keys:
        for part in key if type(key) is tuple else (key,):
            small = isinstance(part, (str, bytes)) and len(part) <= _LONGEST_KEY
            small = small or (isinstance(part, int) and part.bit_length() <= 64)
            if not small and not isinstance(part, (float, Stub, type(None))):
                raise PickleError(f"has {describe(part)} in a key, which is not read; give a file of plain arrays")
    return keys


def _pairs(items: Iterable[Any]) -> list[tuple[Any, Any]]:
    pairs = [(key, value) for key, value in items]
    _plain_keys(key for key, _ in pairs)
    return pairs


def _make_set(members: Iterable[Any] = ()) -> set[Any]:
    return set(_plain_keys(members))


def _make_frozenset(members: Iterable[Any] = ()) -> frozenset[Any]:
    return frozenset(_plain_keys(members))


def _make_ordered(items: Iterable[Any] = ()) -> OrderedDict[Any, Any]:
    return OrderedDict(_pairs(items))


_CONTAINERS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _make_ordered,
    "builtins.set": _make_set,
    "builtins.frozenset": _make_frozenset,
}


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
    if not isinstance(shape, tuple) or not all(isinstance(extent, int) and extent >= 0 for extent in shape):
        raise PickleError("holds an array whose shape is not a tuple of counts")
    if len(content) != math.prod(shape) * element.itemsize or not element.itemsize:
        raise PickleError(f"holds {len(content)} bytes for an array {shape} of {element}; it is cut short")
    values = np.ndarray(shape, element, content, order="F" if fortran else "C")
    native = np.array(values, element.newbyteorder("="), order="C")
    return native[()] if kind == "scalar" else native


def _dtype(stub: Any) -> np.dtype[Any]:
    if not isinstance(stub, Stub) or stub.origin != "numpy.dtype":
        raise PickleError(f"holds an array whose type is {describe(stub)}; only numbers and strings are read")
    code, order = stub.args[0] if stub.args else None, "<"
    if not isinstance(code, str):
        raise PickleError(f"holds an array whose type is {describe(code)}; only numbers and strings are read")
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
        if not isinstance(codec, str) or codec not in ("latin1", "latin-1"):
            raise PickleError("holds text that is not in latin1, which is not read")
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
