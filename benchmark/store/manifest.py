"""The manifest of a finished folder: sha256 of each of its files, and what differs from it later."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from ..errors import FolderError
from . import atomic
from .identity import file_hash, identity_hash

MANIFEST = "manifest.json"
DIGEST = "digest"


def write(
    folder: Path, names: Iterable[str], facts: Mapping[str, Any], pending: Mapping[str, str] | None = None
) -> None:
    """Write the manifest of a folder.

    Args:
        folder: the folder.
        names: files to vouch for, relative to `folder`; those that do not exist are left out.
        facts: further entries, JSON values.
        pending: sha256 by name of files that are about to be written: until the next `write`, both their present
            content and this one count as unaltered, so a process killed in between leaves a valid folder.
    """
    hashes = {name: file_hash(folder / name) for name in sorted(names) if (folder / name).is_file()}
    content = {**facts, "sha256": hashes} | ({"pending": dict(pending)} if pending else {})
    atomic.write_json(folder / MANIFEST, content | {DIGEST: identity_hash(content)})


def altered(folder: Path, vouched: Collection[str], facts: Mapping[str, Any]) -> list[str]:
    """Return the names of files that differ from the manifest, missing ones included; `MANIFEST` if it is damaged.

    Files that the manifest does not list and that are not in `vouched`, such as a user's notes, do not count.

    Args:
        folder: a folder with a manifest.
        vouched: files of the folder that the manifest must list where they exist.
        facts: further entries that the manifest must agree in.
    """
    try:
        content = atomic.read_json(folder / MANIFEST)
    except FolderError:
        return [MANIFEST]
    # Without a digest of its own, as before there was one, damage to a hash looks like damage to that file.
    if content.pop(DIGEST, None) not in (None, identity_hash(content)):
        return [MANIFEST]
    hashes, pending = content.get("sha256"), content.get("pending", {})
    if not _are_hashes(hashes) or not _are_hashes(pending):
        return [MANIFEST]
    unlisted = (name for name in vouched if name not in {**hashes, **pending} and (folder / name).exists())
    changed = sorted({*unlisted, *_changed(folder, hashes, pending)})
    wrong = any(content.get(name) != value for name, value in facts.items())
    return [MANIFEST] if wrong and not changed else changed


def _changed(folder: Path, hashes: Mapping[str, str], pending: Mapping[str, str]) -> Iterator[str]:
    for name in {**hashes, **pending}:
        digest = _hash(folder / name)
        if digest not in (hashes.get(name), pending.get(name, hashes.get(name))):
            yield name


def _hash(path: Path) -> str | None:
    """Return the hash of a file; None where there is none, `unreadable` where it cannot be read."""
    try:
        return file_hash(path) if path.is_file() else None
    except OSError:
        return "unreadable"


def _are_hashes(entry: object) -> TypeGuard[dict[str, str]]:
    return isinstance(entry, dict) and all(isinstance(value, str) for value in entry.values())
