"""The folder of downloaded files."""

from __future__ import annotations

import os
from pathlib import Path

from .files import expanded

CACHE_VARIABLE = "HINDEX_BENCH_CACHE"
NO_CACHE = Path(os.devnull) / "hindex-bench"
"""The cache folder of a user without a home folder; nothing can be written there."""


def cache_dir() -> Path:
    """Return the folder for downloads: ``HINDEX_BENCH_CACHE``, or else the platform's user cache. Does not create it.

    For a user without a home folder, as in some containers, this is a path that cannot be written.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return expanded(chosen)
    import platformdirs

    try:
        usual = Path(platformdirs.user_cache_dir("hindex-bench"))
    except RuntimeError:  # no home folder, in the words of newer versions of platformdirs
        return NO_CACHE
    return usual if usual.is_absolute() else NO_CACHE
