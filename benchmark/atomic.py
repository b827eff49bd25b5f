"""Files that are either the old ones or the new ones, whole, whenever the process or the machine dies."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from encoders.files import sync, sync_folder

from .errors import OutputError

PARTIAL_SUFFIX = ".partial"


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by `content`; after return it survives a power cut.

    Raises:
        OutputError: the file cannot be written.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}")
    with naming_failures(path):
        try:
            with partial.open("xb") as file:
                file.write(content)
                file.flush()
                sync(file.fileno())
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Replace `path` by JSON to read: indented, finite numbers only."""
    text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
    write_bytes(path, text.encode() + b"\n")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        OutputError: there is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot read {path}: {error}; start the run again with --overwrite") from error
    if not isinstance(content, dict):
        raise OutputError(f"{path} holds no JSON object; start the run again with --overwrite")
    return content


def append_line(path: Path, line: str) -> None:
    """Add one line to a text file; after return it survives a power cut.

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
    """Delete a file, durably; one that is not there is no error."""
    with naming_failures(path):
        path.unlink(missing_ok=True)
        sync_folder(path.parent)


def remove_partials(folder: Path) -> None:
    """Delete what writers killed in the middle left in `folder`; call it only as its one writer."""
    for partial in folder.glob(f".*{PARTIAL_SUFFIX}"):
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def naming_failures(path: Path) -> Iterator[None]:
    """Turn an operating system's refusal into one line that names the file."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
