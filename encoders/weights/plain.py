"""Turn what was read from a pickle into plain values, within limits on depth, size and keys."""

from __future__ import annotations

from typing import Any

from .unpickling import FROZENSET, MAPPINGS, SET, Placeholder, Refused, given, pairs

MOST_KEY_PARTS = 100
"""Values in one key of a dictionary or member of a set; a value in several places counts each time."""
MOST_TUPLE_PARTS = 20_000
"""Values in all tuple keys together: their hashes can be made to collide, which takes quadratic time."""
MOST_KEY_BITS = 64
"""Size of integers in keys: the hashes of larger ones can be made to collide."""
MOST_INTEGER_BITS = 4096
DEEPEST = 100
"""Depth of nested containers."""
MOST_VALUES = 10_000_000
"""Values in a pickle; a value in several places counts each time."""


class Plain:
    """Turns the result of `Unpickler` into plain dicts, lists, tuples and sets; shared objects stay shared."""

    def __init__(self) -> None:
        self._done: dict[int, tuple[Any, int]] = {}
        self._kept: list[Any] = []
        self._depth = self._values = self._tuple_parts = 0

    def other(self, value: Any) -> Any:
        """Return the value of a placeholder that is not a container; subclasses may call this object for its parts."""
        raise NotImplementedError

    def __call__(self, value: Any) -> Any:
        """Return the plain value.

        Raises:
            Refused: it contains itself, or is nested more deeply or larger than any genuine one.
        """
        self._values += 1
        if value is None or isinstance(value, (int, float, complex, str, bytes)):
            if isinstance(value, int) and value.bit_length() > MOST_INTEGER_BITS:
                raise Refused(f"holds a number of more than {MOST_INTEGER_BITS} bits")
            return value
        if id(value) in self._done:
            copy, values = self._done[id(value)]
            if copy is self:
                raise Refused("holds a container that contains itself")
            self._values += values
        else:
            before = self._values
            self._done[id(value)] = self, 0
            self._kept.append(value)  # its id is in use from here on
            self._depth += 1
            if self._depth > DEEPEST:
                raise Refused(f"holds containers in containers, more than {DEEPEST} deep")
            copy = self._copied(value)
            self._depth -= 1
            self._done[id(value)] = copy, self._values - before
        if self._values > MOST_VALUES:
            raise Refused(f"holds more than {MOST_VALUES:,} values when written out")
        return copy

    def _copied(self, value: Any) -> Any:
        origin = getattr(value, "origin", "")
        if isinstance(value, (list, tuple)):
            return type(value)([self(item) for item in value])
        if isinstance(value, Placeholder) and origin in MAPPINGS:
            return {self._key(key): self(item) for key, item in pairs(value)}
        if isinstance(value, Placeholder) and origin in (SET, FROZENSET):
            members = [self._key(member) for member in (*given(value), *value.items)]
            return set(members) if origin == SET else frozenset(members)
        return self.other(value)

    def _key(self, key: Any) -> Any:
        key = self(key)
        todo, parts = [key], 0
        while todo:
            part = todo.pop()
            parts += 1
            if isinstance(part, (tuple, frozenset)):
                if parts + len(todo) + len(part) > MOST_KEY_PARTS:
                    raise Refused(f"holds the key of a dictionary with more than {MOST_KEY_PARTS} values in it")
                todo.extend(part)
            elif isinstance(part, complex) or (isinstance(part, int) and part.bit_length() > MOST_KEY_BITS):
                raise Refused("holds a number too large for the key of a dictionary")
        self._tuple_parts += parts if parts > 1 else 0
        if self._tuple_parts > MOST_TUPLE_PARTS:
            raise Refused(f"holds more than {MOST_TUPLE_PARTS:,} values in tuples that are keys")
        return key
