"""Download one file with gdown: retried, resumed after a broken download, and never mistaken for complete.

A download stays in a folder of its own until it is accepted, with a note of the version that the server offered; it is
resumed only if the server still offers that version. Files on the Hugging Face Hub are downloaded this way too: they
need no account, and `huggingface_hub` takes 24 s to report a dead network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from ..errors import EncoderError
from .files import lock, sync, write_text

RETRIES = 2
TIMEOUT_SECONDS = (10, 30)
"""Longest waits for a connection, and for the next bytes."""

_DRIVE = re.compile(r"https://drive\.google\.com/(?:file/d/([\w-]+)|(?:uc|open)\?(?:[^#]*&)?id=([\w-]+)).*")
_PAGE_STARTS = (b"<!doctype", b"<html", b"<?xml")


class Progress(Protocol):
    """Receives progress updates, in kilobytes; `benchmark.progress` has the same form."""

    def begin(self, title: str, steps: int) -> None:
        """Start a file of ``steps`` kilobytes; 0 if the size is unknown."""

    def advance(self, steps: int) -> None:
        """Add ``steps`` kilobytes."""

    def say(self, line: str) -> None:
        """Show a line."""

    def end(self) -> None:
        """Report that the file is complete."""

    def close(self) -> None:
        """Stop reporting progress, after success or failure."""


class CannotFetch(Exception):
    """A file cannot be downloaded from one address; the message says why.

    Attributes:
        unreachable: whether the server did not answer, or not to the end.
    """

    def __init__(self, url: str, why: str, *, unreachable: bool = False) -> None:
        """Keep the reason beside the message."""
        super().__init__(f"{url} ({why})")
        self.why, self.unreachable = why, unreachable


def download(
    url: str, path: Path, progress: Progress | None = None, *, size: int | None = None, resume: bool = True
) -> None:
    """Download a file to ``path``, resuming what an earlier try left beside it.

    Args:
        url: the address; for a page of Google Drive, the file behind it is downloaded.
        path: the file to write, in a folder that holds nothing else.
        progress: receives updates in kilobytes.
        size: of the file in bytes, where it is known.
        resume: whether to keep a broken download for the next try.

    Raises:
        CannotFetch: the server cannot be reached, does not have the file, or breaks off.
        EncoderError: the file cannot be written, or another process is writing it.
    """
    import gdown
    import requests

    drive = _DRIVE.fullmatch(url)
    place = f"https://drive.google.com/uc?id={drive[1] or drive[2]}" if drive else url
    counter = _Counter(url, path.name, progress, size)
    with held(path):
        try:
            if resume:
                _keep_same_version(place, path)
            else:
                forget(path)
            _resume(place, path, counter)
            _check_page_and_sync(url, path)
        except CannotFetch:
            forget(path)
            raise
        except (requests.RequestException, gdown.exceptions.DownloadError) as error:
            if not _parts(path):
                forget(path)
            cause = error.__cause__ if isinstance(error.__cause__, requests.RequestException) else error
            unreachable = getattr(cause, "response", None) is None
            raise CannotFetch(url, _why(cause), unreachable=unreachable) from error
        except OSError as error:  # every error of requests is one, too
            forget(path)  # a full disk is not helped by what fills it
            raise cannot_write(path, error) from error
    counter.end()


def forget(path: Path) -> None:
    """Delete a download and everything that broken tries left of it."""
    for each in (path, _note(path), *_parts(path)):
        with suppress(OSError):
            each.unlink()


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Keep other processes from writing the same file.

    Raises:
        EncoderError: the folder cannot be written, or another process is writing the file.
    """
    beside = path.with_name(f"{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = beside.open("ab")
    except OSError as error:
        raise cannot_write(path, error) from error
    with file:
        if not lock(file):
            raise EncoderError(f"{path} is being written by another process; wait for it")
        try:
            yield
        finally:
            with suppress(OSError):
                beside.unlink()


def cannot_write(path: Path, error: OSError) -> EncoderError:
    """Return the error for a file that cannot be written, with the remedy."""
    return EncoderError(
        f"cannot write {path}: {error.strerror or error}; make room, or set HINDEX_BENCH_CACHE to another folder"
    )


def _resume(place: str, path: Path, progress: _Counter) -> None:
    """Let gdown resume, and start over if the server cannot resume."""
    import gdown
    import requests

    def fetch() -> None:
        gdown.download(
            place,
            str(path),
            quiet=True,
            use_cookies=False,
            resume=True,
            progress=progress,
            timeout=TIMEOUT_SECONDS,
            retries=RETRIES,
        )

    if path.is_file():
        return
    begun = _parts(path)
    try:
        fetch()
    except gdown.exceptions.DownloadError as error:
        if not begun or isinstance(error.__cause__, requests.RequestException):
            raise
        for part in begun:
            part.unlink(missing_ok=True)
        fetch()


def _keep_same_version(place: str, path: Path) -> None:
    """Delete what an earlier try left, unless the server still offers the same version."""
    import requests

    with requests.Session() as session:
        for scheme in ("https://", "http://"):
            session.mount(scheme, requests.adapters.HTTPAdapter(max_retries=RETRIES))
        headers = session.head(place, allow_redirects=True, timeout=TIMEOUT_SECONDS).headers
    version, known = headers.get("ETag") or headers.get("Last-Modified") or "", ""
    with suppress(OSError, ValueError):
        known = _note(path).read_text(encoding="utf-8")
    if not version or version != known:
        forget(path)
    if version:
        write_text(_note(path), version)


def _check_page_and_sync(url: str, path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(16).lower()
        sync(file.fileno())
    if start.startswith(_PAGE_STARTS):
        raise CannotFetch(url, "a web page came instead of the file")


def _parts(path: Path) -> list[Path]:
    """Return the files that gdown keeps of a broken download."""
    return list(path.parent.glob(f"{path.name}*.part"))


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.version")


class _Counter:
    """Reports gdown's byte counts as progress in kilobytes, and rejects a file of the wrong size."""

    def __init__(self, url: str, name: str, progress: Progress | None, size: int | None) -> None:
        self._url, self._name, self._progress, self._size = url, name, progress, size
        self._done: int | None = None

    def __call__(self, there: int, total: int | None) -> None:
        if self._size is not None and total not in (None, self._size):
            raise CannotFetch(self._url, f"a file of {total} bytes is offered, expected {self._size}")
        if self._progress is None:
            return
        if self._done is None:
            expected = total or self._size or 0
            self._progress.begin(f"{self._name}: {expected / 1e6:.0f} MB", expected // 1000)
            self._done = 0
        self._progress.advance(there // 1000 - self._done)
        self._done = there // 1000

    def end(self) -> None:
        if self._progress is not None and self._done is not None:
            self._progress.end()


def _why(error: BaseException) -> str:
    answer = getattr(error, "response", None)
    if answer is not None:
        return f"the server says {answer.status_code} {answer.reason}"
    # requests wraps urllib3's "max retries exceeded" around what was the matter.
    reason = getattr(error.args[0], "reason", error) if error.args else error
    text = re.sub(r"<[^>]*>:? ?|\w+\(host=[^()]*\): |\([^()]*object at [^()]*\)", "", str(reason))
    return f"{type(error).__name__.lstrip('_')}: {' '.join(text.split())[:140]}"
