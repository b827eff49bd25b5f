"""Comma-separated lists of the command line: encoders, tasks and seeds, each once, in the order given."""

from __future__ import annotations

from fnmatch import fnmatchcase

from ..errors import ConfigError


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
    """Return the tasks of a list; ``all`` and patterns such as ``relocate-*`` stand for all that match.

    Raises:
        ConfigError: the list is empty, or nothing matches a pattern.
        UnknownTask: a name is none of a task.
    """
    import tasks

    chosen: list[str] = []
    for name in listed(text):
        pattern = "*" if name == "all" else name
        if not set(pattern) & set("*?["):
            chosen.append(tasks.card(name).name)
            continue
        matching = [task for task in tasks.names() if fnmatchcase(task, pattern)]
        if not matching:
            raise ConfigError(f"no task matches '{name}'; available: {', '.join(tasks.names())}")
        chosen += matching
    return list(dict.fromkeys(chosen))


def seeds(text: str) -> list[int]:
    """Return the whole numbers of a list.

    Raises:
        ConfigError: an entry is none.
    """
    try:
        return list(dict.fromkeys(int(part) for part in listed(text)))
    except (ValueError, ConfigError):
        raise ConfigError(f"--seed {text}: expected whole numbers, comma-separated, such as 0,1,2") from None
