"""Files of unknown condition, read without trust: each is what it should be, or a `Problem` that says what is wrong."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pyarrow
from pydantic import ValidationError

from benchmark.errors import BenchError
from benchmark.store.pack import SUFFIX

from .records import Record, clean, first_fault

R = TypeVar("R", bound=Record)

LARGEST_JSON = 64_000_000
"""Bytes of a JSON file at most; the longest metrics have a few million."""

UNREADABLE: tuple[type[Exception], ...] = (
    *(OSError, ValueError, LookupError, TypeError, AttributeError, NotImplementedError, OverflowError),
    *(BenchError, pyarrow.ArrowException),
)
"""What reading a damaged, foreign or half-written file may raise."""

SEED = re.compile(r"seed-[0-9]{1,12}")


class Problem(BenchError):
    """A file or folder that cannot be used; the message says which and why, on one line."""


def read_record(path: Path, kind: type[R]) -> R | None:
    """Return the object in a JSON file, checked; None where there is no file.

    Raises:
        Problem: it is no regular file, no JSON, no object, or a field does not fit.
    """
    text = read_text(path)
    return None if text is None else parse_record(text, kind, path.name)


def read_object(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file as it is; None where there is no file.

    Raises:
        Problem: it is no regular file, no JSON or no object.
    """
    text = read_text(path)
    if text is None:
        return None
    with naming(path.name):
        content = json.loads(text, parse_constant=_refuse)
    if not isinstance(content, dict):
        raise Problem(f"{path.name}: no JSON object")
    return content


def parse_record(text: str, kind: type[R], name: str) -> R:
    """Return the object in JSON text, checked; `name` is where it stands.

    Raises:
        Problem: it is no JSON, no object, or a field does not fit.
    """
    with naming(name):
        return kind.model_validate(json.loads(text, parse_constant=_refuse))


def read_text(path: Path) -> str | None:
    """Return the text of a file; None where there is none.

    Raises:
        Problem: it is no regular file, too large, or no UTF-8.
    """
    if not is_there(path):
        return None
    with naming(path.name):
        if path.stat().st_size > LARGEST_JSON:
            raise Problem(f"{path.name}: more than {LARGEST_JSON // 1_000_000} MB")
        return path.read_text(encoding="utf-8")


def is_there(path: Path) -> bool:
    """Return whether there is a file.

    Raises:
        Problem: what is there is no regular file, such as a folder, a pipe or a link to nothing.
    """
    if not os.path.lexists(path):
        return False
    if not path.is_file():
        raise Problem(f"{clean(path.name)}: not a regular file")
    return True


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Turn whatever reading may raise into a `Problem` that names the file."""
    try:
        yield
    except Problem:
        raise
    except ValidationError as error:
        raise Problem(f"{clean(name)}: {first_fault(error)}") from error
    except RecursionError as error:
        raise Problem(f"{clean(name)}: nested too deeply") from error
    except MemoryError as error:
        raise Problem(f"{clean(name)}: needs more memory than there is") from error
    except UNREADABLE as error:
        raise Problem(f"{clean(name)}: {_reason(error)}") from error


@dataclass(frozen=True)
class Places:
    """What lies below a folder of runs.

    Attributes:
        runs: run folders, ``.../<suite>/<task>/<title>/seed-<n>``, and files of that name, which are none.
        probes: ``.../probe/<title>/<task>.json``.
        adaptations: ``.../adapt/<task>/<title>/card.json``.
        packs: packs of results, ``NAME.pack.zip``.
        refused: folders that cannot be looked into, each with the reason.
    """

    runs: tuple[Path, ...]
    probes: tuple[Path, ...]
    adaptations: tuple[Path, ...]
    packs: tuple[Path, ...]
    refused: tuple[tuple[Path, str], ...]


def find(root: Path) -> Places:
    """Return everything below a folder that a report reads, in order of path; links to folders are not followed.

    A file stands for a pack of results, whatever its name.
    """
    if root.is_file():
        return Places((), (), (), (root.absolute(),), ())
    runs: list[Path] = []
    probes: list[Path] = []
    adaptations: list[Path] = []
    packs: list[Path] = []
    refused: list[tuple[Path, str]] = []

    def note(error: OSError) -> None:
        refused.append((Path(error.filename), clean(error.strerror or str(error))))

    for place, folders, files in os.walk(root.absolute(), onerror=note):
        here = Path(place)
        seeds = [name for name in (*folders, *files) if SEED.fullmatch(name)] if len(here.parts) > 3 else []
        runs += [here / name for name in seeds]
        folders[:] = sorted(set(folders) - set(seeds))
        packs += [here / name for name in files if name.endswith(SUFFIX)]
        if here.parent.name == "probe":
            probes += [here / name for name in files if name.endswith(".json")]
        if here.parent.parent.name == "adapt":
            adaptations += [here / name for name in files if name == "card.json"]
    for paths in (runs, probes, adaptations, packs):
        paths.sort()
    return Places(tuple(runs), tuple(probes), tuple(adaptations), tuple(packs), tuple(refused))


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        which = f"{Path(error.filename).name}: " if isinstance(error.filename, str) else ""
        return clean(f"{which}{error.strerror}")
    if isinstance(error, UnicodeDecodeError):
        return "no UTF-8 text"
    return clean(str(error) or type(error).__name__, 300)
