"""The files of a probe's cell, ``OUT/probe/<title>/<task>.json`` and ``.safetensors``, and how they notice damage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from ..errors import FolderError
from ..store import atomic
from ..store.paths import user_path
from ..store.titles import folder_name

DIGESTS = "sha256"
"""Entry of a cell's JSON: hashes of everything else in it (`json`) and of the arrays beside it (`arrays`)."""

REMEDY = "restore it from a copy, or probe again with --overwrite"


def cell_path(out: Path | str, title: str, task: str) -> Path:
    """Return the JSON file of a cell; one that an earlier version wrote under the title itself stays where it is."""
    folder = user_path(out) / "probe"
    before = folder / title / f"{task}.json"
    return before if before.is_file() else folder / folder_name(title) / f"{task}.json"


def write(path: Path, content: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write a cell; the JSON comes last and marks it as done.

    Args:
        path: the JSON file.
        content: JSON values.
        arrays: stored beside it.
    """
    with atomic.naming_failures(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    # safetensors writes a view's memory, not the view
    stored = safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    atomic.write_bytes(path.with_suffix(".safetensors"), stored)
    digests = {"json": _json_digest(content), "arrays": sha256(stored).hexdigest()}
    atomic.write_json(path, {**content, DIGESTS: digests})


def read(path: Path) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Read a cell's JSON and arrays.

    Raises:
        FolderError: a file is missing, damaged or altered; cells from before there were digests may be altered.
    """
    content = atomic.read_json(path, REMEDY)
    beside = path.with_suffix(".safetensors")
    stored = atomic.read_bytes(beside, REMEDY)
    digests = content.pop(DIGESTS, None)
    if digests is not None:
        known = digests if isinstance(digests, dict) else {}
        if known.get("json") != _json_digest(content):
            raise FolderError(f"{path} was altered; {REMEDY}")
        if known.get("arrays") != sha256(stored).hexdigest():
            raise FolderError(f"{beside} was altered; {REMEDY}")
    try:
        return content, safetensors.numpy.load(stored)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise FolderError(f"{beside} is damaged ({error}); {REMEDY}") from error


def _json_digest(content: Mapping[str, Any]) -> str:
    return sha256(json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()).hexdigest()
