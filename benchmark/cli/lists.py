"""Comma-separated lists of the command line: encoders, tasks and seeds, each once, in the order given."""

from __future__ import annotations

from fnmatch import fnmatchcase

from ..errors import ConfigError

TASKS = "Tasks, comma-separated: names, path/to/file.py:Class, or a group: all (the paper's), adroit, every."


def listed(text: str) -> list[str]:
    """Return the entries of a list.

    Raises:
        ConfigError: it has none.
    """
    names = [part.strip() for part in text.split(",")]
    if not any(names):
        raise ConfigError("an empty list: give at least one name")
    return list(dict.fromkeys(name for name in names if name))


def task_names(text: str) -> list[str]:
    """Return the tasks of a list; a pattern such as ``relocate-*`` stands for all that match.

    So does a group's name: ``all`` tasks of the paper, those of ``adroit``, ``every`` task that ships.

    The file of a task that is given as ``path/to/file.py:Class`` is imported.

    Raises:
        ConfigError: the list is empty, or nothing matches a pattern.
        TaskError: a name is none of a task, or a file cannot be imported.
    """
    import tasks
    from encoders.registration import is_file

    chosen: list[str] = []
    for name in listed(text):
        if name in tasks.cards.GROUPS:
            chosen += tasks.cards.GROUPS[name]
        elif is_file(name) or not set(name) & set("*?["):
            chosen.append(task_name(name))
        else:
            matching = [task for task in tasks.names() if fnmatchcase(task, name)]
            if not matching:
                raise ConfigError(f"no task matches '{name}'; available: {', '.join(tasks.names())}")
            chosen += matching
    return list(dict.fromkeys(chosen))


def task_name(text: str) -> str:
    """Return the name of a task that is given by its name or as ``path/to/file.py:Class``.

    The file is imported, and a task from outside is held to its contract.

    Raises:
        TaskError: there is no such task, its file cannot be imported, or it breaks the contract.
    """
    from ..task_files import check, name_of

    name = name_of(text)
    check(name)
    return name


def seeds(text: str) -> list[int]:
    """Return the whole numbers of a list.

    Raises:
        ConfigError: an entry is none.
    """
    try:
        return list(dict.fromkeys(int(part) for part in listed(text)))
    except (ValueError, ConfigError):
        raise ConfigError(f"--seed {text}: expected whole numbers, comma-separated, such as 0,1,2") from None
