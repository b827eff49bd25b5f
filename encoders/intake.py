"""Check a file of official weights in a hidden folder, and give it its name in the cache if it is the right one."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from .cards import Card, Source
from .errors import EncoderError, WeightsInvalid, WeightsMissing
from .weights import archives
from .weights import official as weights
from .weights.download import cannot_write, forget, held
from .weights.files import file_sha256, sync
from .weights.official import cached_path

Check = Callable[[Path], object]
"""Checks a weights file and raises `WeightsInvalid` if it is the wrong one."""

_COPY_BYTES = 1 << 20
_MOST_COPIES = 8
"""Copies of a network's numbers that a checkpoint may hold: itself, a teacher, two moments of each, heads."""
_ALWAYS_ALLOWED = 1 << 28
T = TypeVar("T")


def take_stream(card: Card, source: Source, stream: archives.Readable, check: Check) -> Path:
    """Copy a file into the cache, and return its path there.

    Raises:
        WeightsInvalid: it is not the official one.
        EncoderError: the cache cannot be written.
    """
    staged = staging(card, source, "import")
    try:
        try:
            with held(staged), staged.open("wb") as copy:
                shutil.copyfileobj(stream, copy, _COPY_BYTES)
                copy.flush()
                sync(copy.fileno())
        except OSError as error:
            raise cannot_write(staged, error) from error
        return accept(card, source, staged, check)
    finally:
        forget(staged)
        tidy(staged)


def take_members(card: Card, sources: list[Source], path: Path, check: Check) -> list[Path]:
    """Copy an archive's members with official names; nothing else is unpacked, and no name in it becomes a path.

    Raises:
        WeightsMissing: it has none.
        WeightsInvalid: one is not the official file, or the archive is damaged.
        EncoderError: the cache cannot be written.
    """
    imported: list[Path] = []
    archives.read_members(
        path,
        choose=lambda members: matching(card, sources, members, path),
        use=lambda source, stream: imported.append(take_stream(card, source, stream, check)),
        limit=lambda source: source.size or _ALWAYS_ALLOWED + _MOST_COPIES * 4 * card.parameters,
    )
    return imported


def accept(card: Card, source: Source, staged: Path, check: Check) -> Path:
    """Check a staged file and move it to its place in the cache.

    Raises:
        WeightsInvalid: it is not the official one.
    """
    path, digest = cached_path(card, source), file_sha256(staged)
    difference = weights.not_as_published(source, staged, digest)
    if not difference and source.size not in (None, staged.stat().st_size):
        difference = f"it has {staged.stat().st_size} bytes, expected {source.size}"
    record = weights.first_use_record(card, source)
    recorded = weights.recorded_sha256(card, source)
    if not difference and recorded not in (None, digest):
        difference = (
            f"sha256 is {digest[:12]}..., recorded at first use was {str(recorded)[:12]}...; "
            f"if its authors replaced it, delete {record}"
        )
    if difference:
        raise WeightsInvalid(f"encoder '{card.name}': this is not the official {source.filename}: {difference}")
    if source.sha256 is None:
        try:
            check(staged)
        except EncoderError as error:
            raise WeightsInvalid(
                f"encoder '{card.name}': this is not the official {source.filename}: {error}".replace(f"{staged}", "it")
            ) from error
    try:
        staged.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    forget(staged)
    weights.checked_sha256(card, source, path, digest)
    return path


def staging(card: Card, source: Source, place: str) -> Path:
    """Return where a file stays until it is accepted: in a hidden folder for each address."""
    key = hashlib.sha256(place.encode()).hexdigest()[:12]
    return cached_path(card, source).parent / f".incoming-{key}" / source.filename


def tidy(staged: Path) -> None:
    """Remove the staging folder and the cache's folder if they are empty."""
    with suppress(OSError):
        staged.parent.rmdir()
        staged.parent.parent.rmdir()


def makes_encoder(card: Card) -> Check:
    """Return the default check: the encoder can be constructed from the file."""

    def check(file: Path) -> object:
        from .construction import construct  # imports torch

        return construct(card.name, file)

    return check


def matching(card: Card, sources: Iterable[Source], members: Mapping[str, T], place: Path) -> list[tuple[Source, T]]:
    """Return the sources whose official names are among the members, with those.

    Raises:
        WeightsMissing: there are none.
    """
    matches = [(source, members[source.filename]) for source in sources if source.filename in members]
    if not matches:
        raise WeightsMissing(
            f"encoder '{card.name}': nothing in {place} has the name of an official file; "
            f"expected {', '.join(source.filename for source in sources)}"
        )
    return matches
