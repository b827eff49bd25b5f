"""Names to encoders: built-in, timm's, registered by subclassing, installed by other packages, or a class in a file.

Nothing here imports torch before an encoder's class is asked for.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from . import registration
from .cards import CARDS, Card
from .errors import EncoderError, UnknownEncoder, in_words
from .registration import BUILT_IN, is_file, suggest

if TYPE_CHECKING:
    from .base import Encoder

ENTRY_POINT_GROUP = "hindex_bench.encoders"

_TIMM = "timm:"


def names(pattern: str = "*") -> list[str]:
    """Return the names that match a pattern such as ``frank*``: built-in encoders first, then the others.

    Imports neither torch nor any other package's encoder.
    """
    others = sorted({*registration.REGISTERED, *_installed()} - set(BUILT_IN))
    return [name for name in (*BUILT_IN, *others) if fnmatchcase(name, pattern)]


def get(name_or_path: str) -> type[Encoder]:
    """Return the class of an encoder.

    Args:
        name_or_path: one of `names`, ``timm:NAME`` for any model of timm, or ``path/to/file.py:Class``.

    Raises:
        UnknownEncoder: no encoder, file or class has this name; the message suggests the nearest.
        EncoderError: it exists but cannot be imported, or two packages claim the name.
    """
    if is_file(name_or_path):
        from .plugin import load

        return load(name_or_path)
    if name_or_path.startswith(_TIMM):
        from .zoo.timm_encoder import named

        return named(name_or_path)
    installed = _installed().get(name_or_path, ())
    if name_or_path in BUILT_IN:
        if installed:
            raise EncoderError(
                f"encoder '{name_or_path}': the installed {_origins(installed)} claims a built-in name; uninstall it"
            )
        module, class_name = BUILT_IN[name_or_path]
        built_in: type[Encoder] = getattr(import_module(f".{module}", __package__), class_name)
        return built_in
    if name_or_path not in registration.REGISTERED and installed:
        _load_installed(name_or_path, installed)
    try:
        return registration.REGISTERED[name_or_path]
    except KeyError:
        raise UnknownEncoder(f"unknown encoder '{name_or_path}': {suggest(name_or_path, names())}") from None


def card(name_or_path: str) -> Card | None:
    """Return the card of an encoder; None where its author wrote none. Built-in encoders need no torch for it.

    Raises:
        UnknownEncoder: no encoder has this name.
    """
    return CARDS[name_or_path] if name_or_path in CARDS else get(name_or_path).card


@lru_cache(maxsize=1)
def _installed() -> dict[str, tuple[EntryPoint, ...]]:
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        found[entry_point.name] = (*found.get(entry_point.name, ()), entry_point)
    return found


def _load_installed(name: str, claims: tuple[EntryPoint, ...]) -> None:
    if len({entry_point.value for entry_point in claims}) > 1:
        raise EncoderError(f"encoder '{name}': claimed by {_origins(claims)}; uninstall all but one")
    try:
        claims[0].load()
    except (EncoderError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise EncoderError(f"encoder '{name}': {_origins(claims)} cannot be imported: {in_words(error)}") from error
    if name not in registration.REGISTERED:
        raise EncoderError(
            f"encoder '{name}': {_origins(claims)} was imported but registers no such encoder; "
            f'expected class ...(Encoder, name="{name}") at {claims[0].value}'
        )


def _origins(claims: tuple[EntryPoint, ...]) -> str:
    return " and ".join(f"package {claim.dist.name if claim.dist else claim.value}" for claim in claims)
