"""Write files atomically: after a crash of process or machine, a file is either the old or the new one."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from encoders.weights.files import PARTIAL_SUFFIX, sync, sync_folder, write_whole

from ..errors import FolderError, OutputError

RESTORE = "restore it from a copy"
"""The advice for a damaged file if the caller gives none."""


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file atomically; after return it survives a power cut.

    Raises:
        OutputError: the file cannot be written.
    """
    with naming_failures(path):
        write_whole(path, [content])


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace a file by readable JSON: indented, finite numbers only."""
    write_bytes(path, json_content(content))


def json_content(content: Mapping[str, Any]) -> bytes:
    """Return readable JSON: indented, finite numbers only."""
    return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False).encode() + b"\n"


def read_bytes(path: Path, remedy: str = RESTORE) -> bytes:
    """Return the content of a regular file.

    Args:
        path: the file.
        remedy: what the message of a failure advises.

    Raises:
        FolderError: the file is missing, unreadable, or a folder, pipe or device.
    """
    try:
        if path.exists() and not path.is_file():
            raise FolderError(f"cannot read {path}: it is not a regular file; {remedy}")
        return path.read_bytes()
    except OSError as error:
        raise FolderError(f"cannot read {path}: {error.strerror or error}; {remedy}") from error


def parse_object(text: str | bytes) -> dict[str, Any]:
    """Parse a JSON object with finite numbers only.

    Raises:
        ValueError: the text is anything else; the message is one short line.
    """
    try:
        content = json.loads(text if isinstance(text, str) else text.decode("utf-8"), parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    return content


def read_json(path: Path, remedy: str = RESTORE) -> dict[str, Any]:
    """Return the object in a JSON file.

    Args:
        path: the file.
        remedy: what the message of a failure advises.

    Raises:
        FolderError: the file cannot be read, or holds anything but one object with finite numbers.
    """
    try:
        return parse_object(read_bytes(path, remedy))
    except ValueError as error:
        raise FolderError(f"{path} is damaged ({error}); {remedy}") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a finite number")


def append_line(path: Path, line: str) -> None:
    """Append one line to a text file; after return it survives a power cut.

    A process killed inside the call leaves at most a last line without its newline.

    Raises:
        OutputError: the file cannot be written.
    """
    with naming_failures(path):
        new = not path.exists()
        with path.open("ab") as file:
            file.write(line.encode() + b"\n")
            file.flush()
            sync(file.fileno())
        if new:
            sync_folder(path.parent)


def remove(path: Path) -> None:
    """Delete a file durably, if it exists."""
    with naming_failures(path):
        path.unlink(missing_ok=True)
        sync_folder(path.parent)


def remove_partials(folder: Path) -> None:
    """Delete what killed writers left in `folder`; call it only while holding its lock."""
    for partial in folder.glob(f".*{PARTIAL_SUFFIX}"):
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def naming_failures(path: Path) -> Iterator[None]:
    """Turn an operating system error into one line that names the file."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


@contextlib.contextmanager
def naming_gaps(path: Path, remedy: str = RESTORE) -> Iterator[None]:
    """Turn a missing or wrong value in a file's content into one line that names the file."""
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:120]
        raise FolderError(f"{path} is damaged ({what}); {remedy}") from error
