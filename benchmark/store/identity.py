"""Identities: what determines results, as canonical JSON; their hash, their equality, and what differs."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.rendering.qualities import VERSION_KEY

from ..config import RunConfig
from ..marks import OPTION, marked

_EXPLANATIONS = {
    VERSION_KEY: "its frames were drawn by another version of this package, and look a little different",
    "results_version": "it was made by another version of this package",
    "weights_sha256": "its encoder had other weights: give them with --weights",
    "adaptation_sha256": "its encoder had another adaptation: restore the folder `adapt` of its output folder",
    "plugin_sha256": "the plug-in file has changed since: restore it",
    "demonstrations": "its demonstrations were others (the shipped expert's differ with the processor and the version "
    "of MuJoCo): give the file with --set demonstrations.source=FILE, or go on where the run was begun",
}
"""By a part of its name, what to do about an entry of an identity that no option sets."""


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
    return [f"{key} {before.get(key, _missing(key))} -> {after.get(key, _missing(key))}" for key in changed]


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Return the first three `identity_changes` for a message, and how many more there are."""
    changes = identity_changes(old, new)
    return ", ".join(changes[:3]) + (f" and {len(changes) - 3} more" if len(changes) > 3 else "")


def way_back(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Say how to ask for the identity `old` where `new` was asked for: options to give, and what else to restore."""
    before, after = _flat(old), _flat(new)
    options, others = [], []
    for key in sorted(before | after):
        if before.get(key) == after.get(key):
            continue
        option = _option(key, before[key]) if key in before else ""
        if option:
            options.append(option)
        else:
            others.append(_explanation(key))
    words = [f"to go on with it, give {' '.join(options)}"] if options else []
    return "; ".join([*words, *dict.fromkeys(others)])


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


def _missing(key: str) -> str:
    """The value that an entry stands for where an identity does not have it."""
    return "1" if key == VERSION_KEY else "absent"


def _option(key: str, value: str) -> str:
    """The command-line option that sets an entry of a run's identity to a JSON value; empty where none does."""
    plain = value.strip('"')
    if key in ("device", "encoder.precision"):
        return f"--{key.removeprefix('encoder.')} {plain}"
    part, _, setting = key.partition(".")
    if part != "config" or not setting or value == "null":
        return ""
    if setting in marked(RunConfig, OPTION):
        return f"--{setting} {plain}"
    return f"--set {shlex.quote(f'{setting}={plain}')}"


def _explanation(key: str) -> str:
    """What to do about an entry of a run's identity that no option sets."""
    return next((text for part, text in _EXPLANATIONS.items() if part in key), "go on where it was begun")
