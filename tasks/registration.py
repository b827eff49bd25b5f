"""Names of tasks and the classes registered under them. Imports no simulator."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable
from typing import Any

from .cards import CARDS, GROUPS, TaskCard
from .errors import TaskError
from .subject import Subject

_NAME = re.compile(r"[a-z0-9][a-z0-9_\-]*")
REGISTERED: dict[str, type[Any]] = {}
"""The classes from outside that were imported so far, by name."""


def home(name: str) -> tuple[str, str]:
    """Return module and class of a built-in task: ``relocate-sugar_box`` is ``RelocateSugarBox`` in ``relocate``."""
    card = CARDS[name]
    return card.module or card.family, "".join(word.capitalize() for word in re.split("[-_]", name))


def declare(task: type[Any]) -> None:
    """Register a class with a card of its own; called by subclassing `tasks.base.Task`.

    Raises:
        TaskError: card or subject are missing or malformed, or the name belongs to another class.
    """
    where = f"{task.__module__}.{task.__qualname__}"
    card, subject = task.__dict__["card"], getattr(task, "subject", None)
    if not isinstance(card, TaskCard):
        raise TaskError(f"{where}: card is a {type(card).__name__}; write card = TaskCard(name=..., ...)")
    if not isinstance(subject, Subject):
        raise TaskError(f"{where}: no subject; write subject = Subject(handled=BODY, target=BODY_OR_SITE)")
    # A module beside a plug-in gives no names: the plug-in's own class may take them.
    if not vars(sys.modules.get(task.__module__, sys)).get("beside_a_plugin"):
        register(card.name, task)


def register(name: str, task: type[Any]) -> None:
    """Give a class its name.

    The same class name from the same module replaces its earlier self, so that a notebook cell can be run again.

    Raises:
        TaskError: the name is malformed or belongs to another class.
    """
    where = f"{task.__module__}.{task.__qualname__}"
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise TaskError(
            f"{where}: name {name!r} cannot be used; use lower-case letters, digits, '_' and '-', as in name=\"mine\""
        )
    if name in CARDS:
        if task.__module__ != f"{__package__}.{home(name)[0]}":
            raise TaskError(f"{where}: name '{name}' belongs to a built-in task; choose another name in its card")
        return
    if name in GROUPS:
        raise TaskError(f"{where}: '{name}' names a group of tasks; choose another name in its card")
    earlier = REGISTERED.get(name)
    if earlier is not None:
        owner = f"{earlier.__module__}.{earlier.__qualname__}"
        if owner != where:
            raise TaskError(f"{where}: name '{name}' is taken by {owner}; choose another name in its card")
    REGISTERED[name] = task


def forget_module(module: str) -> dict[str, type[Any]]:
    """Remove all classes of a module and return them by name."""
    forgotten = registered_in(module)
    for name in forgotten:
        del REGISTERED[name]
    return forgotten


def registered_in(module: str) -> dict[str, type[Any]]:
    """Return the registered classes of a module, by name."""
    return {name: task for name, task in REGISTERED.items() if task.__module__ == module}


def suggest(wrong: str, right: Iterable[str]) -> str:
    """Return the second half of an error line: the nearest name, or all names."""
    right = list(right)
    near = difflib.get_close_matches(wrong, right, n=1)
    return f"did you mean '{near[0]}'?" if near else f"available: {', '.join(right) or 'none'}"
