"""Read weights files from zip and tar archives, within limits; names in an archive never become paths."""

from __future__ import annotations

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Protocol, TypeVar

from ..errors import EncoderError, WeightsInvalid

_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_ENCRYPTED = 1
_METHODS = {
    zipfile.ZIP_STORED: "stored",
    zipfile.ZIP_DEFLATED: "deflate",
    zipfile.ZIP_BZIP2: "bzip2",
    zipfile.ZIP_LZMA: "lzma",
}
_MOST_GROWTH = 100
_ALWAYS_ALLOWED = 1 << 30
_CANNOT = (RuntimeError, NotImplementedError)
"""What zipfile raises for encrypted members, and for methods that it does not know."""
_BROKEN = (OSError, EOFError, ValueError, tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)

Member = zipfile.ZipInfo | tarfile.TarInfo
T = TypeVar("T")


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, count: int = -1, /) -> bytes:
        """Return up to ``count`` bytes; none at the end."""


def is_archive(path: Path) -> bool:
    """Return whether a file is an archive of other files; checkpoints are zip files too, and are not.

    Raises:
        WeightsInvalid: it is a zip file with a damaged directory.
    """
    with _explained(path):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return not any(entry.endswith("/data.pkl") or entry == "data.pkl" for entry in archive.namelist())
        return path.name.endswith(_SUFFIXES) and tarfile.is_tarfile(path)


def read_members(
    path: Path,
    choose: Callable[[Mapping[str, Member]], list[tuple[T, Member]]],
    use: Callable[[T, Readable], None],
    limit: Callable[[T], int],
) -> None:
    """Read selected members of an archive, one after another.

    Args:
        path: the archive.
        choose: selects members by their names without folders, and pairs each with a value of the caller's.
        use: receives that value and the member's content as a stream.
        limit: returns the largest size in bytes that such a member can have.

    Raises:
        WeightsInvalid: the archive is damaged, encrypted or of an unsupported kind, or a member is too large.
    """
    with _explained(path):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                members = {PurePosixPath(one.filename).name: one for one in archive.infolist() if not one.is_dir()}
                for what, member in choose(members):
                    assert isinstance(member, zipfile.ZipInfo)
                    _check_zipped(path, member)
                    _check_size(path, member.filename, member.file_size, limit(what))
                    with archive.open(member) as stream:
                        use(what, _Member(path, stream))
            return
        with tarfile.open(path) as tape:
            files = {PurePosixPath(one.name).name: one for one in _tape_members(path, tape) if one.isreg()}
            for what, member in choose(files):
                assert isinstance(member, tarfile.TarInfo)
                _check_size(path, member.name, member.size, limit(what))
                content = tape.extractfile(member)
                if content is not None:
                    use(what, _Member(path, content))


def _check_zipped(path: Path, member: zipfile.ZipInfo) -> None:
    if member.flag_bits & _ENCRYPTED:
        raise WeightsInvalid(f"weights {path}: {member.filename} is encrypted; unpack it, and import the file in it")
    if member.compress_type not in _METHODS:
        raise WeightsInvalid(
            f"weights {path}: {member.filename} is compressed by the unsupported method {member.compress_type}; "
            f"available: {', '.join(_METHODS.values())}; unpack it, and import the file in it"
        )


def _check_size(path: Path, name: str, size: int, limit: int) -> None:
    if size > limit:
        raise WeightsInvalid(
            f"weights {path}: {name[:120]} has {size:,} bytes; such a weights file has at most {limit:,}; "
            "download it again"
        )


def _tape_members(path: Path, tape: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield the members of a tar archive; skipped ones are decompressed too, so their total size is limited."""
    limit = max(_ALWAYS_ALLOWED, _MOST_GROWTH * path.stat().st_size)
    for member in tape:
        if member.offset_data + member.size > limit:
            raise WeightsInvalid(f"weights {path}: holds over {limit:,} bytes; unpack it, and import the file in it")
        yield member


class _Member:
    """The content of a member; reports damage in it, but not errors of the file that it is copied to."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self._path, self._stream = path, stream

    def read(self, count: int = -1, /) -> bytes:
        with _explained(self._path):
            return self._stream.read(count)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn every error of a damaged archive into one line."""
    try:
        yield
    except EncoderError:
        raise
    except _CANNOT as error:
        raise WeightsInvalid(f"weights {path}: {error}; unpack it, and import the file in it") from error
    except _BROKEN as error:
        reason = f"{type(error).__name__}: {str(error)[:160]}"
        raise WeightsInvalid(f"weights {path}: is damaged ({reason}); download it again") from error
