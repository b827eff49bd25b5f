"""Record that the user accepts a restrictive licence of official weights, once per machine.

This is not legal advice: the card quotes the licence that the authors state, or says that they state none.
"""

from __future__ import annotations

import getpass
import hashlib
import json
from datetime import datetime, timezone
from pathlib import Path

from ..cards import Card
from ..errors import EncoderError, LicenceNotAccepted
from .cache import cache_dir
from .files import write_text


def restricted(card: Card) -> bool:
    """Return whether the licence must be accepted, which is unless it clearly permits commercial use."""
    return bool(card.sources) and card.commercial_use is not True


def accepted(card: Card) -> bool:
    """Return whether the licence now on the card was accepted on this machine."""
    try:
        record = json.loads(record_path(card).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(record, dict) and record.get("licence_sha256") == licence_sha256(card)


def require(card: Card, *, accept: bool = False) -> None:
    """Require that a restrictive licence is accepted, and record it if the user accepts it now.

    Args:
        card: the encoder's.
        accept: whether the user accepts it now.

    Raises:
        LicenceNotAccepted: it is not; the message names it and the option.
        EncoderError: the record cannot be written.
    """
    if not restricted(card) or accepted(card):
        return
    if not accept:
        raise LicenceNotAccepted(
            f"encoder '{card.name}': its official weights are under this licence: {card.licence} ({_use(card)}); "
            f"if you keep to it, say so once: `bench weights fetch {card.name} --accept-licence`, or give "
            "`bench weights import` the same option"
        )
    path = record_path(card)
    record = {
        "encoder": card.name,
        "licence": card.licence,
        "licence_sha256": licence_sha256(card),
        "accepted_by": _user(),
        "accepted_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    try:
        write_text(path, json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise EncoderError(
            f"cannot write {path}: {error.strerror or error}; make room, or set HINDEX_BENCH_CACHE to another folder"
        ) from error


def record_path(card: Card) -> Path:
    """Return the path of the record: who accepted, when, and the hash of the licence on the card."""
    return cache_dir() / "licences" / f"{card.name}.json"


def licence_sha256(card: Card) -> str:
    """Return the hash of the licence on the card; a changed licence must be accepted again."""
    return hashlib.sha256(f"{card.licence}\n{card.commercial_use}".encode()).hexdigest()


def _use(card: Card) -> str:
    return (
        "not for commercial use" if card.commercial_use is False else "whether commercial use is permitted is unclear"
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no name for this user's number, as in some containers
        return "unknown"
