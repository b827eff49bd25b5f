"""Bounds on files from strangers: a small pickle can take neither much memory nor much time.

This file stands twice, in `encoders` and in `tasks`, which do not import each other; a test holds the two copies equal.
"""

from __future__ import annotations

import os
import pickle
import stat
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any, ClassVar

MOST_STEPS = 2_000_000
"""Instructions of a pickle, arguments of its calls included; the largest honest files have some hundred thousand."""
MOST_NAMES = 2_000
"""Different classes and functions that a pickle names."""
MOST_KEY_PARTS = 100
"""Values in one key of a dictionary or member of a set; what stands in several places counts as often."""
MOST_TUPLE_PARTS = 20_000
"""The same over all keys that are tuples: their hashes can be made to collide, which takes quadratic time."""
MOST_KEY_BITS = 64
"""Integers in keys: larger ones can be made to collide, too."""
MOST_INTEGER_BITS = 4096
DEEPEST = 100
"""Containers inside of containers."""
MOST_VALUES = 10_000_000
"""Values in what a pickle holds; what stands in several places counts as often."""

IS_A_FOLDER = "is a folder"
_STEPS_PER_DICT, _STEPS_PER_SET = 4, 16  # by the memory that an empty one takes
_CONTAINERS = (set, frozenset, OrderedDict)


class TooMuch(ValueError):
    """A pickle asks for more than an honest one needs; the message goes on from the name of the file."""


def why_unreadable(path: Path) -> str:
    """Say why a file cannot be read, without waiting for a pipe; empty if it can be."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return IS_A_FOLDER
        if not stat.S_ISREG(mode):
            return "is a pipe, a socket or a device"
        with path.open("rb"):
            return ""
    except FileNotFoundError:
        return "no such file"
    except (OSError, ValueError) as error:  # a null byte in the name is a ValueError
        return f"cannot be read ({getattr(error, 'strerror', None) or error})"


class BoundedUnpickler(pickle._Unpickler):
    """The standard library's unpickler in Python, which can look at every instruction before it acts.

    The one in C hashes keys, fills its memo and reserves memory before a subclass can refuse. Subclasses say in
    ``find_class`` and ``persistent_load`` what names and references mean.

    Args:
        file: the pickle, seekable; it is left where the pickle ends.
    """

    stack: list[Any]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(_Bounded(file), encoding="latin1")
        self.dispatch = _Dispatch(self)  # type: ignore[assignment,misc]
        self._names: dict[str, Any] = {}
        self._steps = self._tuple_parts = 0

    def spend(self, steps: int) -> None:
        """Count work.

        Raises:
            TooMuch: it was more than `MOST_STEPS` in all.
        """
        self._steps += steps
        if self._steps > MOST_STEPS:
            raise TooMuch(f"holds a pickle of more than {MOST_STEPS:,} instructions")

    def named(self, name: str, make: Callable[[], Any]) -> Any:
        """Return what stands for a name, made at its first use.

        Raises:
            TooMuch: it is one of more than `MOST_NAMES`.
        """
        if name not in self._names:
            if len(self._names) >= MOST_NAMES:
                raise TooMuch(f"holds a pickle that names more than {MOST_NAMES:,} classes")
            self._names[name] = make()
        return self._names[name]

    def get_extension(self, code: int) -> None:
        """Refuse: extension codes mean what this process registered.

        Raises:
            TooMuch: always.
        """
        raise TooMuch(f"uses the extension code {code}")

    def check_keys(self, keys: Iterable[Any]) -> None:
        """Refuse keys of a dictionary, or members of a set, that take long to hash or to tell apart.

        Raises:
            TooMuch: they do.
        """
        for key in keys:
            parts = check_key(key)
            if parts > 1:
                self._tuple_parts += parts
                if self._tuple_parts > MOST_TUPLE_PARTS:
                    raise TooMuch(f"holds more than {MOST_TUPLE_PARTS:,} values in tuples that are keys")

    def check_call(self, function: Any, arguments: Any) -> None:
        """Refuse a call whose result takes much memory or, being a container, long to hash.

        Raises:
            TooMuch: it does.
        """
        if not isinstance(arguments, (tuple, list)):
            raise TooMuch("holds a call without a list of arguments")
        self.spend(len(arguments))
        if not (isinstance(function, type) and issubclass(function, _CONTAINERS)):
            return
        for argument in arguments:
            if not isinstance(argument, (tuple, list, dict, set, frozenset)):
                raise TooMuch(f"holds a container made of a {type(argument).__name__}")
            self.spend(len(argument))
            pairs = issubclass(function, OrderedDict) and not isinstance(argument, dict)
            self.check_keys(member[0] if pairs else member for member in argument)


def check_key(key: Any) -> int:
    """Count the values in a key of a dictionary or member of a set.

    Raises:
        TooMuch: there are more than `MOST_KEY_PARTS`, or numbers that can be made to have equal hashes.
    """
    todo, parts = [key], 0
    while todo:
        part = todo.pop()
        parts += 1
        if isinstance(part, (tuple, frozenset)):
            if parts + len(todo) + len(part) > MOST_KEY_PARTS:
                raise TooMuch(f"holds the key of a dictionary with more than {MOST_KEY_PARTS} values in it")
            todo.extend(part)
        elif isinstance(part, complex) or (isinstance(part, int) and part.bit_length() > MOST_KEY_BITS):
            raise TooMuch("holds a number too large for the key of a dictionary")
    return parts


class PlainCopy:
    """Copies what an unpickler left into plain dicts, lists, tuples and sets, each object once."""

    def __init__(self) -> None:
        self._done: dict[int, tuple[Any, int]] = {}
        self._kept: list[Any] = []
        self._depth = self._values = 0

    def other(self, value: Any) -> Any:
        """Return what stands for a value that is no plain one; it may call this object for what is inside."""
        raise NotImplementedError

    def __call__(self, value: Any) -> Any:
        """Copy a value and what it holds.

        Raises:
            TooMuch: it contains itself, or is deeper or, written out, larger than any honest one.
        """
        self._values += 1
        if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
            return value
        if id(value) in self._done:
            copy, values = self._done[id(value)]
            if copy is self:
                raise TooMuch("holds a container that contains itself")
            self._values += values
        else:
            before = self._values
            self._done[id(value)] = self, 0
            self._kept.append(value)  # its id is in use from here on
            self._depth += 1
            if self._depth > DEEPEST:
                raise TooMuch(f"holds containers in containers, more than {DEEPEST} deep")
            copy = self._copied(value)
            self._depth -= 1
            self._done[id(value)] = copy, self._values - before
        if self._values > MOST_VALUES:
            raise TooMuch(f"holds more than {MOST_VALUES:,} values when written out")
        return copy

    def _copied(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {self._key(key): self(item) for key, item in dict.items(value)}
        if isinstance(value, (set, frozenset)):
            return type(value)([self._key(item) for item in value])
        if isinstance(value, (list, tuple)):
            return type(value)([self(item) for item in value])
        return self.other(value)

    def _key(self, key: Any) -> Any:
        key = self(key)
        check_key(key)
        return key


class _Bounded:
    """A binary file that gives what was asked for, or refuses before it reserves memory for it."""

    def __init__(self, file: IO[bytes]) -> None:
        place = file.tell()
        self._left = file.seek(0, os.SEEK_END) - place
        file.seek(place)
        self._file = file

    def read(self, count: int) -> bytes:
        if not 0 <= count <= self._left:
            raise EOFError("it is cut short")
        self._left -= count
        return self._file.read(count)

    def readline(self) -> bytes:
        line = self._file.readline()
        self._left -= len(line)
        return line


class _Dispatch:
    """The instructions by their codes; looking one up counts it and has checked what it is about to do."""

    def __init__(self, reader: BoundedUnpickler) -> None:
        self._reader = reader

    def __getitem__(self, code: int) -> Callable[[Any], None]:
        self._reader.spend(1)
        if code in _CHECKS:
            _CHECKS[code](self._reader)
        return type(self._reader).dispatch[code]


def _inst(reader: Any) -> None:
    """Make an instance of a class of Python 2 from what stands since the mark."""
    module, name = (reader.readline()[:-1].decode("ascii") for _ in range(2))
    function, arguments = reader.find_class(module, name), reader.pop_mark()
    reader.check_call(function, arguments)
    reader._instantiate(function, arguments)


def _bytearray8(reader: Any) -> None:
    (count,) = struct.unpack("<Q", reader.read(8))
    reader.append(bytearray(reader.read(count)))


def _integer(code: int) -> Callable[[Any], None]:
    load: Callable[[Any], None] = pickle._Unpickler.dispatch[code]

    def bounded(reader: Any) -> None:
        load(reader)
        if reader.stack[-1].bit_length() > MOST_INTEGER_BITS:
            raise TooMuch(f"holds a number of more than {MOST_INTEGER_BITS} bits")

    return bounded


_INTEGERS = (pickle.INT, pickle.LONG, pickle.LONG1, pickle.LONG4)


def _build(reader: BoundedUnpickler) -> None:
    if isinstance(reader.stack[-2], type):
        raise TooMuch("holds a pickle that changes a class")


BoundedUnpickler.dispatch.update({code[0]: _integer(code[0]) for code in _INTEGERS})
BoundedUnpickler.dispatch.update({pickle.INST[0]: _inst, pickle.BYTEARRAY8[0]: _bytearray8})

_CHECKS: dict[int, Callable[[BoundedUnpickler], None]] = {
    pickle.SETITEM[0]: lambda reader: reader.check_keys(reader.stack[-2:-1]),
    pickle.SETITEMS[0]: lambda reader: reader.check_keys(reader.stack[::2]),
    pickle.DICT[0]: lambda reader: reader.check_keys(reader.stack[::2]),
    pickle.ADDITEMS[0]: lambda reader: reader.check_keys(reader.stack),
    pickle.FROZENSET[0]: lambda reader: reader.check_keys(reader.stack),
    pickle.REDUCE[0]: lambda reader: reader.check_call(*reader.stack[-2:]),
    pickle.NEWOBJ[0]: lambda reader: reader.check_call(*reader.stack[-2:]),
    pickle.NEWOBJ_EX[0]: lambda reader: reader.check_call(*reader.stack[-3:-1]),
    pickle.OBJ[0]: lambda reader: reader.check_call(reader.stack[0], reader.stack[1:]),
    pickle.BUILD[0]: _build,
    pickle.EMPTY_DICT[0]: lambda reader: reader.spend(_STEPS_PER_DICT),
    pickle.EMPTY_SET[0]: lambda reader: reader.spend(_STEPS_PER_SET),
}
