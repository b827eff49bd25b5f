"""Read pickles from untrusted sources, checkpoints and demonstrations, without running anything in them.

No module is imported and nothing named in a pickle is called. Every class or function named there becomes a
`Placeholder`, and so does every dictionary and set, so nothing is hashed before its size is checked;
`encoders.weights.plain` then turns the result into plain values. Memory and time are limited, even for a hostile file.
"""

from __future__ import annotations

import os
import pickle
import struct
import sys
from collections.abc import Callable
from typing import IO, Any, ClassVar

MOST_STEPS = 2_000_000
"""Instructions of a pickle, plus placeholders and arguments; the largest genuine files have some hundred thousand."""
MOST_NAMES = 2_000
"""Distinct classes and functions named in a pickle."""

DICT, SET, FROZENSET = "builtins.dict", "builtins.set", "builtins.frozenset"
MAPPINGS = frozenset({DICT, "collections.OrderedDict"})
OUTSIDE = "a reference to data outside the pickle"
"""The origin of placeholders for data outside the pickle, such as a storage of torch."""

_STEPS_PER_PLACEHOLDER = 8  # by the memory that one takes
_SHOWN = 160
_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}
_INERT_BUILTINS = frozenset(
    {"bool", "bytes", "bytearray", "complex", "dict", "float", "frozenset", "getattr", "int", "list", "long", "object"}
    | {"range", "set", "slice", "str", "tuple", "type", "unicode", "xrange", "Ellipsis", "NoneType"}
    | {"NotImplementedType"}
)
_INERT_MODULES = frozenset(
    {"argparse", "array", "collections", "copyreg", "dataclasses", "datetime", "decimal", "enum", "fractions"}
    | {"functools", "itertools", "logging", "math", "numbers", "operator", "pathlib", "random", "re", "string"}
    | {"time", "typing", "uuid", "weakref", "zoneinfo", "_codecs"}
)
_INERT = frozenset({"types.SimpleNamespace", "io.BytesIO"})
_LOADERS = frozenset(
    {"torch.load", "torch.serialization.load", "torch.jit.load", "torch.hub.load", "torch.utils.cpp_extension.load"}
    | {"torch.hub.load_state_dict_from_url", "numpy.load", "numpy.testing._private.utils.runstring"}
)


class Refused(ValueError):
    """A pickle contains something that no genuine one does; the message continues after the file name."""

    def __init__(self, message: str) -> None:
        """Keep the message, which may quote the file, as a single line."""
        super().__init__(" ".join(message.split()))


class Placeholder:
    """Stands for anything named in a pickle: a class, the result of a call, an object. Does nothing.

    Attributes:
        origin: the name in the pickle, such as ``torch.optim.adam.Adam``.
        args: the arguments that the pickle calls it with.
        state: the state that the pickle sets on it.
        items: pairs of a mapping, or members of a set.
    """

    __slots__ = ("args", "items", "state")
    origin = ""

    def __init__(self, args: tuple[Any, ...] = (), state: Any = None) -> None:
        self.args, self.state = args, state
        self.items: list[Any] = []

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Keep a pair of a mapping."""
        self.items.append((key, value))

    def add(self, member: Any) -> None:
        """Keep a member of a set."""
        self.items.append(member)

    def append(self, value: Any) -> None:
        """Drop an element of a list of a named class."""

    def __repr__(self) -> str:
        return f"Placeholder({self.origin})"


def kind(origin: str) -> type[Placeholder]:
    """Return a class of placeholders with this origin."""
    return type("Placeholder", (Placeholder,), {"__slots__": (), "origin": origin})


_Dict, _Set, _FrozenSet, _Outside = kind(DICT), kind(SET), kind(FROZENSET), kind(OUTSIDE)


class Unpickler(pickle._Unpickler):
    """The standard library's unpickler, in Python, with placeholders for everything it would import, call or hash.

    The one in C would allocate memory before anything can be refused.

    Args:
        file: the pickle, seekable; it is left where the pickle ends.

    Attributes:
        references: the identifiers of data outside the pickle, in order.
    """

    stack: list[Any]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]
    readline: Callable[[], bytes]
    pop_mark: Callable[[], list[Any]]
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: IO[bytes]) -> None:
        self._bounded = _Bounded(file)
        super().__init__(self._bounded, encoding="latin1")
        self._kinds: dict[str, type[Placeholder]] = {}
        self.references: list[Any] = []

    def find_class(self, module: str, name: str) -> type[Placeholder]:
        """Return the placeholder class of a name.

        Raises:
            Refused: no genuine file uses the name, or there are too many names.
        """
        origin = f"{_PYTHON_2.get(module, module)}.{name}"
        if origin not in self._kinds:
            if _is_hostile(origin):
                raise Refused(f"names {origin[:_SHOWN]}, which is refused (nothing has run)")
            if len(self._kinds) >= MOST_NAMES:
                raise Refused(f"holds a pickle that names more than {MOST_NAMES:,} classes")
            self._kinds[origin] = kind(origin)
        return self._kinds[origin]

    def persistent_load(self, pid: Any) -> Any:
        """Return a placeholder of the referenced data; for a class with its source, as torch writes it, the class."""
        if isinstance(pid, tuple) and pid[:1] == ("module",) and len(pid) > 1 and isinstance(pid[1], type):
            return pid[1]
        self.references.append(pid)
        return _Outside((pid,))

    def get_extension(self, code: int) -> None:
        """Refuse an extension code, whose meaning depends on the process.

        Raises:
            Refused: always.
        """
        raise Refused(f"contains the extension code {code}")

    def _place(self, named: Any, args: Any, items: Any = ()) -> None:
        """Push the placeholder of a call, which keeps its arguments."""
        if not isinstance(named, type) or not isinstance(args, tuple):
            raise Refused("holds a call of something without a name, or without arguments")
        self._bounded.spend(_STEPS_PER_PLACEHOLDER + len(args))
        made = named(args)
        made.items.extend(items)
        self.append(made)

    def _call(self) -> None:
        args = self.stack.pop()
        self._place(self.stack.pop(), args)

    def _call_with_names(self) -> None:
        self.stack.pop()
        self._call()

    def _object(self) -> None:
        named, *args = self.pop_mark()
        self._place(named, tuple(args))

    def _instance(self) -> None:
        module, name = (self.readline()[:-1].decode("ascii") for _ in range(2))
        self._place(self.find_class(module, name), tuple(self.pop_mark()))

    def _dict(self) -> None:
        items = self.pop_mark()
        self._place(_Dict, (), zip(items[::2], items[1::2], strict=True))

    def _bytearray(self) -> None:
        (count,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(count)))

    def _frame(self) -> None:
        self.read(8)  # the length; the file is not read ahead

    dispatch |= {
        pickle.REDUCE[0]: _call,
        pickle.NEWOBJ[0]: _call,
        pickle.NEWOBJ_EX[0]: _call_with_names,
        pickle.OBJ[0]: _object,
        pickle.INST[0]: _instance,
        pickle.EMPTY_DICT[0]: lambda self: self._place(_Dict, ()),
        pickle.DICT[0]: _dict,
        pickle.EMPTY_SET[0]: lambda self: self._place(_Set, ()),
        pickle.FROZENSET[0]: lambda self: self._place(_FrozenSet, (), self.pop_mark()),
        pickle.BYTEARRAY8[0]: _bytearray,
        pickle.FRAME[0]: _frame,
    }


def given(value: Placeholder) -> Any:
    """Return the members or pairs in a container's arguments."""
    inside = value.args[0] if value.args else ()
    if not isinstance(inside, (list, tuple)):
        raise Refused(f"holds a container made of {describe(inside)}")
    return inside


def pairs(value: Any) -> list[tuple[Any, Any]]:
    """Return the raw keys and values of a mapping's placeholder; empty for anything else."""
    if not isinstance(value, Placeholder) or value.origin not in MAPPINGS:
        return []
    return [*((key, item) for key, item in given(value)), *value.items]


def entries(value: Any) -> dict[str, Any]:
    """Return the raw values of a mapping's placeholder by key, for keys that are text."""
    return {key: item for key, item in pairs(value) if isinstance(key, str)}


def describe(value: Any) -> str:
    """Describe a raw value in a message."""
    origin = getattr(value, "origin", "") or type(value).__name__
    return " ".join(f"a {origin.removeprefix('builtins.')[:_SHOWN]}".split())


class _Bounded:
    """A binary file that refuses a read beyond its end before allocating memory."""

    def __init__(self, file: IO[bytes]) -> None:
        place = file.tell()
        self._left = file.seek(0, os.SEEK_END) - place
        file.seek(place)
        self._file, self._steps = file, 0

    def spend(self, steps: int) -> None:
        self._steps += steps
        if self._steps > MOST_STEPS:
            raise Refused(f"holds a pickle of more than {MOST_STEPS:,} instructions")

    def read(self, count: int) -> bytes:
        if count == 1:  # an instruction, or a short argument
            self.spend(1)
        if not 0 <= count <= self._left:
            raise EOFError("it is cut short")
        self._left -= count
        return self._file.read(count)

    def readline(self) -> bytes:
        line = self._file.readline()
        self._left -= len(line)
        return line


def _is_hostile(origin: str) -> bool:
    """Return whether a pickle names this only to run something, which the user should learn."""
    package, _, name = origin.partition(".")
    if package == "builtins":
        return name not in _INERT_BUILTINS
    if origin in _LOADERS:
        return True
    return package in sys.stdlib_module_names and package not in _INERT_MODULES and origin not in _INERT
