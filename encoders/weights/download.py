"""One file from the network: tried again and gone on with where a broken download stopped, never taken for whole.

A partial download lies in a folder of its own beside the final place, with a note of what the server called that
version of the file; it is gone on with only if the server still offers the same one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from os import SEEK_END
from pathlib import Path
from typing import IO, Any, Protocol

from ..errors import EncoderError
from .files import lock, sync, write_text

ATTEMPTS = 3
TIMEOUT_SECONDS = 30
CHUNK_BYTES = 1 << 16
_DRIVE = re.compile(r"https://drive\.google\.com/(?:file/d/([\w-]+)|(?:uc|open)\?(?:[^#]*&)?id=([\w-]+)).*")
_HUB_PAGE = re.compile(r"(https://huggingface\.co/.+?)/blob/(.+)")
_DROPBOX = re.compile(r"(https://www\.dropbox\.com/.*[?&])dl=0(.*)")


class Progress(Protocol):
    """Told of kilobytes as its steps; `benchmark.progress` has the same form."""

    def begin(self, title: str, steps: int) -> None:
        """A file of about so many kilobytes starts; 0 where its size is unknown."""

    def advance(self, steps: int) -> None:
        """So many kilobytes more came."""

    def say(self, line: str) -> None:
        """Something worth a line."""

    def end(self) -> None:
        """The file is whole."""

    def close(self) -> None:
        """It is over, however it went."""


class CannotFetch(Exception):
    """A place does not give the file; the message says why."""


def direct_url(url: str) -> str:
    """The address of the file itself, where a page of Google Drive, Dropbox or the Hub stands before it."""
    if match := _DRIVE.fullmatch(url):
        key = match[1] or match[2]
        return f"https://drive.usercontent.google.com/download?id={key}&export=download&confirm=t"
    if match := _HUB_PAGE.fullmatch(url):
        return f"{match[1]}/resolve/{match[2]}"
    if match := _DROPBOX.fullmatch(url):
        return f"{match[1]}dl=1{match[2]}"
    return url


def download(url: str, path: Path, progress: Progress | None = None, *, size: int | None = None) -> None:
    """Bring a file from one place to ``path``, going on with what an earlier try left there.

    Args:
        url: the place.
        path: the file to write; its folder exists.
        progress: told of kilobytes.
        size: of the file, where it is known.

    Raises:
        CannotFetch: the place cannot be reached, has no such file, or breaks off; what came stays for the next try.
        EncoderError: the file cannot be written, or another process is writing it.
    """
    import requests

    with held(path) as file:
        failure = CannotFetch(f"{url} (not tried)")
        for _ in range(ATTEMPTS):
            try:
                _once(direct_url(url), path, file, progress, size)
            except requests.HTTPError as error:
                raise CannotFetch(f"{url} ({_why(error)})") from error
            except _NoFile as error:
                raise CannotFetch(f"{url} ({error})") from error
            except (requests.RequestException, _BrokenOff) as error:
                failure = CannotFetch(f"{url} ({_why(error)})")
                continue
            return
        raise failure


def held(path: Path) -> IO[bytes]:
    """A partial file opened to append to, and held against other processes that write the same one.

    Raises:
        EncoderError: it cannot be written, or another process has it.
    """
    try:
        file = path.open("ab")
    except OSError as error:
        raise _cannot_write(path, error) from error
    if not lock(file):
        file.close()
        raise EncoderError(f"{path} is being written by another process; wait for it")
    return file


def forget(path: Path) -> None:
    """Delete a partial download and its note."""
    for each in (path, _note(path)):
        with suppress(OSError):
            each.unlink()


class _BrokenOff(Exception):
    """The connection ended before the file did."""


class _NoFile(Exception):
    """Something else came than a file of the expected size."""


def _once(url: str, path: Path, file: IO[bytes], progress: Progress | None, size: int | None) -> None:
    import requests

    there = file.seek(0, SEEK_END)
    known = _read_note(path)
    # Without a note of its version, only the known size says that what is there can be gone on with: not enough.
    if known.get("url") != url or not known.get("version") or (size is not None and there > size):
        there = 0
    headers = {"Accept-Encoding": "identity"}
    if there:
        headers |= {"Range": f"bytes={there}-", "If-Range": known["version"]}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            if answer.headers.get("Content-Range", "") == f"bytes */{there}":
                return  # it was whole already
            _start_anew(path, file)
            raise _BrokenOff("the server has another file now")
        answer.raise_for_status()
        if "text/html" in answer.headers.get("Content-Type", "") and not url.endswith((".html", ".htm")):
            raise _NoFile("a web page came instead of the file")
        if answer.status_code != requests.codes.partial_content or not _begins_at(answer.headers, there):
            there = 0
            _start_anew(path, file)
        announced = _announced(answer.headers, there)
        if size is not None and announced not in (None, size):
            raise _NoFile(f"a file of {announced} bytes is offered, expected {size}")
        _write_note(path, {"url": url, "version": _version(answer.headers)})
        _take(answer, path, file, progress, there, announced or size)


def _take(
    answer: Any, path: Path, file: IO[bytes], progress: Progress | None, there: int, expected: int | None
) -> None:
    if progress is not None:
        progress.begin(f"{path.name}: {(expected or 0) / 1e6:.0f} MB", (expected or 0) // 1000)
        progress.advance(there // 1000)
    for block in answer.iter_content(CHUNK_BYTES):
        try:
            file.write(block)
            file.flush()
        except OSError as error:
            raise _full(path, file, error) from error
        if progress is not None:
            progress.advance((there + len(block)) // 1000 - there // 1000)
        there += len(block)
    try:
        sync(file.fileno())
    except OSError as error:
        raise _full(path, file, error) from error
    if expected is not None and there != expected:
        raise _BrokenOff(f"{there} of {expected} bytes came")
    if progress is not None:
        progress.end()


def _start_anew(path: Path, file: IO[bytes]) -> None:
    _note(path).unlink(missing_ok=True)
    file.seek(0)
    file.truncate()


def _full(path: Path, file: IO[bytes], error: OSError) -> EncoderError:
    """Give the space back: a full disk is not helped by what fills it."""
    forget(path)
    with suppress(OSError):
        file.close()  # tries once more what it could not write, and is closed all the same
    return _cannot_write(path, error)


def _cannot_write(path: Path, error: OSError) -> EncoderError:
    return EncoderError(
        f"cannot write {path}: {error.strerror or error}; make room, or set HINDEX_BENCH_CACHE to another folder"
    )


def _begins_at(headers: Mapping[str, str], start: int) -> bool:
    return headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _announced(headers: Mapping[str, str], there: int) -> int | None:
    length = headers.get("Content-Length", "")
    return there + int(length) if length.isdigit() and "Content-Encoding" not in headers else None


def _version(headers: Mapping[str, str]) -> str:
    tag = headers.get("ETag", "")
    return headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag


def _note(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _read_note(path: Path) -> dict[str, str]:
    try:
        note = json.loads(_note(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return note if isinstance(note, dict) else {}


def _write_note(path: Path, note: dict[str, str]) -> None:
    try:
        write_text(_note(path), json.dumps(note))
    except OSError as error:
        forget(path)
        raise _cannot_write(path, error) from error


def _why(error: BaseException) -> str:
    answer = getattr(error, "response", None)
    if answer is not None:
        return f"the server says {answer.status_code} {answer.reason}"
    # requests wraps urllib3's "max retries exceeded" around what was the matter.
    reason = getattr(error.args[0], "reason", error) if error.args else error
    text = re.sub(r"<[^>]*>:? ?|\([^()]*object at [^()]*\)", "", str(reason))
    return f"{type(error).__name__.lstrip('_')}: {' '.join(text.split())[:140]}"
