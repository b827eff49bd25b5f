"""An encoder from a file: ``bench run --encoder path/to/file.py:Class``, no installation needed."""

from __future__ import annotations

from typing import Any

from . import plugin_file, registration
from .base import Encoder
from .errors import EncoderError, UnknownEncoder


def load(name: str) -> type[Encoder]:
    """Import the file (again, if it or a module beside it changed) and return the class; see `encoders.plugin_file`.

    Args:
        name: ``file.py:Class``, or ``file.py`` where the file registers a single encoder.

    Raises:
        UnknownEncoder: there is no such file or class.
        EncoderError: the file cannot be imported, or the class has no ``name=``.
    """
    kind = plugin_file.Kind("encoder", Encoder, registration, EncoderError, UnknownEncoder, _unnamed)
    found: type[Encoder] = plugin_file.load(name, kind)
    return found


def _unnamed(encoder: type[Any]) -> str:
    name = encoder.__name__
    return "" if encoder.__dict__.get("name") else f'class {name}(Encoder, name="{name.lower()}")'
