"""Cache arrays that can be computed again; a damaged or unwritable cache never ends a run.

A cache that cannot be written costs time, not the run. What has to be in the cache, such as imported demonstrations,
is another matter: `require_writable` asks before the work.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy.typing as npt
import safetensors
import safetensors.numpy

from encoders.weights.cache import CACHE_VARIABLE, cache_dir
from encoders.weights.files import PARTIAL_SUFFIX, warn_once
from encoders.weights.sealed import Damaged, check, seal

from ..errors import OutputError
from . import atomic

logger = logging.getLogger(__name__)

REMEDY = f"make room, or set {CACHE_VARIABLE} to a folder that can be written"
Arrays = Mapping[str, npt.NDArray[Any]]


def features_path(made_by: Mapping[str, Any]) -> Path:
    """Return the path of cached features: under a hash of everything they depend on (JSON values)."""
    digest = sha256(json.dumps(made_by, sort_keys=True).encode()).hexdigest()
    return cache_dir() / "features" / f"{digest[:32]}.safetensors"


def load(path: Path, fits: Callable[[Arrays], bool]) -> dict[str, npt.NDArray[Any]] | None:
    """Return cached arrays; None if there are none, or if the file is damaged, which is logged.

    A file from before there were digests is taken if its arrays fit, and gets its digest now.

    Args:
        path: the file.
        fits: whether names, types, shapes and numbers are such as can be.
    """
    try:
        has_digest = check(path)
        arrays: dict[str, npt.NDArray[Any]] = safetensors.numpy.load(path.read_bytes())
        if not fits(arrays):
            raise Damaged("its arrays are not what they should be")
    except OSError:
        return None
    except (Damaged, KeyError, ValueError, safetensors.SafetensorError) as error:
        logger.warning("%s is damaged (%s); it is made anew", path, error)
        return None
    if not has_digest:
        store(path, arrays)
    return arrays


def store(path: Path, arrays: Arrays) -> None:
    """Store arrays in the cache with a digest; if it cannot be written, warn once and continue."""
    try:
        with naming_variable(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_bytes(path, seal(safetensors.numpy.save(dict(arrays))))
    except OutputError as error:
        warn_once("cache", f"nothing is cached, which costs only time: {error}")


def require_writable(folder: Path) -> None:
    """Create a folder of the cache and check that it can be written, before any work.

    Raises:
        OutputError: they cannot; the message names the variable that chooses another cache.
    """
    probe = folder / f".{secrets.token_hex(8)}{PARTIAL_SUFFIX}"
    with naming_variable(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"\n")
        finally:
            with suppress(OSError):
                probe.unlink()


@contextmanager
def naming_variable(path: Path) -> Iterator[None]:
    """Turn a write error of the cache into one line that names the variable for another folder.

    Raises:
        OutputError: in place of an `OSError` or another `OutputError`.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}; {REMEDY}") from error
    except OutputError as error:
        raise OutputError(f"{error}; {REMEDY}") from error
