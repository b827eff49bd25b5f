"""Official weights files in the cache: their paths, and checks against the published hashes."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from ..cards import Card, Source
from ..errors import WeightsInvalid
from .cache import cache_dir
from .files import file_md5, file_sha256, write_text


def cached_path(card: Card, source: Source) -> Path:
    """Return the path of an official file in the cache."""
    return cache_dir() / "weights" / (card.shares_weights_of or card.name) / source.filename


def checked_sha256(card: Card, source: Source, path: Path, known: str | None = None) -> str:
    """Return a file's sha256 after checking it against the published one, or else the one recorded at first use.

    Args:
        card: the encoder's.
        source: what the file should be.
        path: the file.
        known: its hash, where it was just computed.

    Raises:
        WeightsInvalid: it is another file.
    """
    digest = known or file_sha256(path)
    recorded = recorded_sha256(card, source)
    published = not_as_published(source, path, digest, md5=recorded is None)
    if published or recorded not in (None, digest):
        what = published or f"sha256 is {digest[:12]}..., recorded at first use was {str(recorded)[:12]}..."
        raise WeightsInvalid(f"weights {path}: {what}; delete it and run `bench weights fetch {card.name}`")
    if source.sha256 is None and recorded is None and path == cached_path(card, source):
        with suppress(OSError):  # a cache that others own: there is nowhere to record it
            write_text(first_use_record(card, source), f"{digest}\n")
    return digest


def not_as_published(source: Source, path: Path, digest: str, *, md5: bool = True) -> str:
    """Return how a file differs from the published hashes; empty if it does not.

    Args:
        source: what it should be.
        path: the file.
        digest: its sha256.
        md5: whether to compute and compare the md5 too, where one is published.
    """
    if source.sha256 is not None:
        right = source.sha256 == digest
        return "" if right else f"sha256 is {digest[:12]}..., published was {source.sha256[:12]}..."
    if source.sha256_prefix is not None and not digest.startswith(source.sha256_prefix):
        return f"sha256 is {digest[:12]}..., published was {source.sha256_prefix}..."
    if source.md5 is not None and md5 and not file_md5(path).startswith(source.md5):
        return f"md5 differs from the published {source.md5[:12]}..."
    return ""


def recorded_sha256(card: Card, source: Source) -> str | None:
    """Return the sha256 recorded at first use of a file without a published one; None if there is no record.

    Raises:
        WeightsInvalid: the record is damaged.
    """
    if source.sha256 is not None:
        return None
    record = first_use_record(card, source)
    try:
        text = record.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:  # no record, or a cache that others own
        return None
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise WeightsInvalid(
            f"{record} is damaged: expected the sha256 of {source.filename}; delete it to record it anew"
        )
    return text


def first_use_record(card: Card, source: Source) -> Path:
    """Return the path of the record of a file's sha256 at first use."""
    path = cached_path(card, source)
    return path.with_name(path.name + ".sha256")
