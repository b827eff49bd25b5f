"""Names to tasks: built-in, registered by subclassing, or installed by other packages.

No simulator is imported before a task's class is asked for.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from . import registration
from .cards import CARDS, TaskCard
from .errors import ExpertError, TaskError, UnknownTask, in_words
from .registration import suggest

if TYPE_CHECKING:
    from .base import Task
    from .experts import Actor

ENTRY_POINT_GROUP = "hindex_bench.tasks"


def names() -> list[str]:
    """The tasks' names: the paper's in its order, then those from outside. Imports no other package's task."""
    return [*CARDS, *sorted({*registration.REGISTERED, *_installed()} - set(CARDS))]


def get(name: str) -> type[Task]:
    """The class of a task.

    Args:
        name: one of `names`.

    Raises:
        UnknownTask: no task has this name; the message suggests the nearest.
        TaskError: it exists but cannot be imported, or two packages claim the name.
    """
    installed = _installed().get(name, ())
    if name in CARDS:
        if installed:
            raise TaskError(f"task '{name}': the installed {_origins(installed)} claims a built-in name; uninstall it")
        module, class_name = registration.home(name)
        built_in: type[Task] = getattr(import_module(f".{module}", __package__), class_name)
        return built_in
    if name not in registration.REGISTERED and installed:
        _load_installed(name, installed)
    try:
        return registration.REGISTERED[name]
    except KeyError:
        hint = suggest(name, names())
        if ".py" in name:
            hint = f"a file is imported first: `benchmark.task_files.load({name!r})`"
        raise UnknownTask(f"unknown task '{name}': {hint}") from None


def card(name: str) -> TaskCard:
    """The card of a task. Built-in tasks need no simulator for it.

    Raises:
        UnknownTask: there is no such task; the message suggests the nearest name.
        TaskError: it cannot be imported.
    """
    return CARDS[name] if name in CARDS else get(name).card


def plugin_sha256(name: str) -> str | None:
    """The hash of the file that a task's class came from, for the identity of whatever it gives; None without one.

    Raises:
        UnknownTask: there is no such task.
        TaskError: it cannot be imported.
    """
    return None if name in CARDS else get(name).plugin_sha256


def is_importable(name: str) -> bool:
    """Whether another process can import a task's class: not if a script or notebook of this one defined it."""
    return name in CARDS or name in _installed() or get(name).plugin_file is not None


def has_expert(name: str) -> bool:
    """Whether a task has an expert that demonstrates it.

    Raises:
        UnknownTask: there is no such task.
    """
    return _expert(name) is not None


def expert(name: str) -> Actor:
    """The policy that demonstrates a task.

    Raises:
        UnknownTask: there is no such task.
        ExpertError: it has no expert.
    """
    actor = _expert(name)
    if actor is None:
        raise ExpertError(f"task '{name}' has no expert; give an expert's file, or demonstrations")
    return actor


def make(name: str, **options: Any) -> Task:
    """Build a task.

    Args:
        name: one of `names`.
        **options: those of `tasks.base.Task`: ``slots``, ``threads``, ``physics``, ``reward``, ``objects``,
            ``background``; and the scene's own, which the card lists.

    Raises:
        UnknownTask: there is no such task.
        TaskError: an option cannot be used, or a task from outside fails while it is built.
    """
    kind = get(name)
    if name in CARDS:
        return kind(**options)
    try:
        return kind(**options)
    except (TaskError, MemoryError):
        raise
    except Exception as error:  # the task's author may raise anything
        raise TaskError(f"task '{name}': cannot be built: {in_words(error)}; see `bench tasks check`") from error


def _expert(name: str) -> Actor | None:
    kind = get(name)
    try:
        return kind.expert()
    except (TaskError, MemoryError):
        raise
    except Exception as error:  # the task's author may raise anything
        raise TaskError(f"task '{name}': expert() failed: {in_words(error)}; mend it") from error


@lru_cache(maxsize=1)
def _installed() -> dict[str, tuple[EntryPoint, ...]]:
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        found[entry_point.name] = (*found.get(entry_point.name, ()), entry_point)
    return found


def _load_installed(name: str, claims: tuple[EntryPoint, ...]) -> None:
    if len({entry_point.value for entry_point in claims}) > 1:
        raise TaskError(f"task '{name}': claimed by {_origins(claims)}; uninstall all but one")
    try:
        claims[0].load()
    except (TaskError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise TaskError(f"task '{name}': {_origins(claims)} cannot be imported: {in_words(error)}") from error
    if name not in registration.REGISTERED:
        raise TaskError(
            f"task '{name}': {_origins(claims)} was imported but registers no such task; "
            f'expected a class with card = TaskCard(name="{name}", ...) at {claims[0].value}'
        )


def _origins(claims: tuple[EntryPoint, ...]) -> str:
    return " and ".join(f"package {claim.dist.name if claim.dist else claim.value}" for claim in claims)
