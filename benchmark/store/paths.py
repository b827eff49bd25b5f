"""Paths as users write them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..errors import ConfigError


def user_path(text: str | os.PathLike[str]) -> Path:
    """Return a path with a leading ``~`` or ``~user`` replaced by that home folder.

    A shell does so itself, except in ``--out=~/runs`` and in quotes; Python never does. Every path of the command line
    and of the functions that users call goes through here.

    Raises:
        ConfigError: it is not known where that home folder is, or the text is an address such as ``s3://...``.
    """
    from encoders.weights.files import expanded  # not before the command line has made sure that it is ours

    if re.match(r"[a-z][a-z0-9+.-]*://", os.fspath(text)):
        raise ConfigError(
            f"{text} is no path of a file system: runs are kept by locks and by appended lines, which object stores "
            "lack; give a folder of this machine, or one that is mounted"
        )
    path = expanded(text)
    if str(path).startswith("~"):
        if os.fspath(text).startswith("~"):
            raise ConfigError(
                f"{text}: there is no home folder {path.parts[0]} on this machine; give the whole path, "
                f"or ./{text} for one of this name"
            )
        return path.absolute()  # "./~", which would be a home folder if it came here again
    return path
