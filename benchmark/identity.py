"""What makes the numbers of a run, as canonical JSON: its hash, its equality, and what differs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def identity_hash(identity: Mapping[str, Any]) -> str:
    """sha256 of the identity's canonical JSON: sorted keys, no spaces, finite numbers only."""
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def same_identity(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two identities are the same JSON."""
    return identity_hash(one) == identity_hash(other)


def identity_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two identities, a `dotted.key old -> new` each, sorted by key."""
    before, after = _flat(old), _flat(new)
    changed = (key for key in sorted(before | after) if before.get(key) != after.get(key))
    return [f"{key} {before.get(key, 'absent')} -> {after.get(key, 'absent')}" for key in changed]


def file_hash(path: Path) -> str:
    """sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Dotted keys to the JSON of their values."""
    flat: dict[str, str] = {}
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            flat |= _flat(item, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = json.dumps(item)
    return flat
