"""Tasks from files: ``bench run --task path/to/file.py:Class``, no installation needed.

Once its file is imported, a task is known by its name, as a built-in one is. What other processes and later commands
need to find it again is its `Source`.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import tasks
from encoders import plugin_file
from encoders.registration import is_file
from encoders.weights.files import file_sha256
from tasks import registration
from tasks.cards import CARDS
from tasks.errors import TaskError, UnknownTask

if TYPE_CHECKING:
    from tasks.base import Task


class Source(NamedTuple):
    """Where a task's class is.

    Attributes:
        name: of the task.
        file: ``/path/to/file.py:Class``; None for a task that is built in or installed.
        sha256: of the file, of the modules beside it that it imports, and of its data files.
    """

    name: str
    file: str | None = None
    sha256: str | None = None


def load(text: str) -> type[Task]:
    """Import the file (again, if it or a module beside it changed), and register and return the class.

    Args:
        text: ``file.py:Class``, or ``file.py`` where the file has a single task.

    Raises:
        UnknownTask: there is no such file or class.
        TaskError: the file cannot be imported, the class has no card, its name belongs to another task, or one of its
            data files is missing.
    """
    from tasks.base import Task

    kind = plugin_file.Kind("task", Task, registration, TaskError, UnknownTask, _without_card)
    found: type[Task] = plugin_file.load(text, kind)
    found.plugin_sha256 = _with_data_files(found)
    registration.register(found.card.name, found)  # one from a module beside the file is not registered yet
    return found


def name_of(text: str) -> str:
    """Return the name of a task, whose file is imported if it is given as one.

    Args:
        text: a task's name, or ``path/to/file.py:Class``.

    Raises:
        UnknownTask, TaskError: as `load` and `tasks.card`.
    """
    return load(text).card.name if is_file(text) else tasks.card(text).name


def source(name: str) -> Source:
    """Return where the class of a task is.

    Raises:
        UnknownTask: there is no such task.
    """
    if name in CARDS:
        return Source(name)
    kind = tasks.get(name)
    return Source(name, f"{kind.plugin_file}:{kind.__qualname__}" if kind.plugin_file else None, kind.plugin_sha256)


def require(wanted: Source) -> None:
    """Import a task in another process than the one that named its source.

    Raises:
        TaskError: its file has changed since, or cannot be imported.
    """
    if wanted.file is not None and load(wanted.file).plugin_sha256 != wanted.sha256:
        raise TaskError(f"task '{wanted.name}': {wanted.file} changed while the work began; start the command again")


def check(name: str) -> None:
    """Hold a task from outside to its contract before work begins, once per process and class.

    Raises:
        TaskContract: it breaks the contract; the message says what to change.
        TaskError: it cannot be built.
    """
    if name not in CARDS:
        _check(tasks.get(name))


@lru_cache(maxsize=32)
def _check(kind: type[Task]) -> None:
    from tasks.contract import check_task

    check_task(kind)


def identity(name: str) -> dict[str, Any]:
    """Return what the identity of a result says of the file that its task came from; nothing without a file."""
    digest = tasks.plugin_sha256(name)
    return {} if digest is None else {"task_plugin_sha256": digest}


def _with_data_files(kind: type[Task]) -> str | None:
    """Return the hash of a class's file, with its data files where it has any."""
    folder = Path(str(kind.plugin_file)).parent
    digest = hashlib.sha256(str(kind.plugin_sha256).encode())
    for pattern in kind.data_files:
        files = [path for path in sorted(folder.glob(pattern)) if path.is_file()]
        if not files:
            raise TaskError(f"task '{kind.card.name}': no file {folder / pattern}; expected what data_files names")
        for path in files:
            digest.update(f" {path.relative_to(folder).as_posix()} {file_sha256(path)}".encode())
    return digest.hexdigest() if kind.data_files else kind.plugin_sha256


def _without_card(kind: type[Any]) -> str:
    return "" if "card" in kind.__dict__ else "card = TaskCard(name=..., ...)"
