"""Names to encoders: built-in, timm's, registered by subclassing, installed by other packages, or a class in a file.

Nothing here imports torch before an encoder's class is asked for.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from .cards import CARDS, Card
from .errors import EncoderError, UnknownEncoder

if TYPE_CHECKING:
    from .base import Encoder

ENTRY_POINT_GROUP = "hindex_bench.encoders"

BESIDE = "hindex_bench_plugin_beside_"
"""What the names of modules beside a plug-in begin with; their classes take no name, which the plug-in's own may."""

_CLASSES = {
    "zoo.resnet": {
        "hindex": "HInDex",
        "frankmocap_hand": "FrankMocapHand",
        "frankmocap_body": "FrankMocapBody",
        "alphapose": "AlphaPose",
        "alphapose_se": "AlphaPoseSE",
        "r3m": "R3M",
        "rrl": "RRL",
        "random": "Random",
        "vip": "VIP",
        "mocov3_resnet50": "MoCoV3ResNet",
        "mcr": "MCR",
        "pvr": "PVR",
    },
    "zoo.vit": {
        "mvp": "MVP",
        "mvp_base": "MVPBase",
        "mvp_large": "MVPLarge",
        "vc1": "VC1",
        "vc1_permissive": "VC1Permissive",
        "vc1_large": "VC1Large",
        "mae_base": "MAE",
        "soup": "SOUP",
        "mocov3_small": "MoCoV3Small",
        "mocov3_base": "MoCoV3Base",
        "dinov2_small": "DINOv2Small",
        "dinov2_base": "DINOv2Base",
        "dinov2_large": "DINOv2Large",
        "dinov3_small": "DINOv3Small",
        "dinov3_small_plus": "DINOv3SmallPlus",
        "dinov3_base": "DINOv3Base",
        "dinov3_large": "DINOv3Large",
        "dinov3_convnext_tiny": "DINOv3ConvNeXt",
        "siglip2_base": "SigLIP2",
        "clip_base": "CLIP",
        "theia_tiny": "TheiaTiny",
        "theia_small": "TheiaSmall",
        "theia_base": "TheiaBase",
        "liv": "LIV",
    },
    "zoo.hand_vit": {"hamer": "HaMeR", "wilor": "WiLoR"},
    "zoo.controls": {"state": "State"},
}
_HOMES = {name: (module, class_name) for module, classes in _CLASSES.items() for name, class_name in classes.items()}
_BUILT_IN = {name: _HOMES[name] for name in CARDS}
_TIMM = "timm:"
_NAME = re.compile(r"[a-z0-9][a-z0-9_\-]*")
_registered: dict[str, type[Encoder]] = {}


def register(name: str, encoder: type[Encoder]) -> None:
    """Give a class its name; called by subclassing `Encoder`.

    The same class name from the same module replaces its earlier self, so that a notebook cell can be run again.

    Raises:
        EncoderError: the name is malformed or belongs to another class.
    """
    where = f"{encoder.__module__}.{encoder.__qualname__}"
    if not _NAME.fullmatch(name):
        raise EncoderError(
            f"{where}: name '{name}' cannot be used; expected small letters, digits, '_' and '-', as in name=\"mine\""
        )
    if name in _BUILT_IN and encoder.__module__ != f"{__package__}.{_BUILT_IN[name][0]}":
        raise EncoderError(f"{where}: name '{name}' belongs to a built-in encoder; choose another name=...")
    if encoder.__module__.startswith(BESIDE):
        return
    earlier = _registered.get(name)
    if earlier is not None:
        owner = f"{earlier.__module__}.{earlier.__qualname__}"
        if owner != where:
            raise EncoderError(f"{where}: name '{name}' is taken by {owner}; choose another name=...")
    _registered[name] = encoder


def forget_module(module: str) -> dict[str, type[Encoder]]:
    """Take out all classes of a module and return them by name."""
    forgotten = {name: encoder for name, encoder in _registered.items() if encoder.__module__ == module}
    for name in forgotten:
        del _registered[name]
    return forgotten


def registered_in(module: str) -> dict[str, type[Encoder]]:
    """The registered classes of a module, by name."""
    return {name: encoder for name, encoder in _registered.items() if encoder.__module__ == module}


def names(pattern: str = "*") -> list[str]:
    """The names of all encoders that match a pattern such as ``frank*``: built-in ones first, then the others.

    Imports neither torch nor any other package's encoder.
    """
    others = sorted({*_registered, *_installed()} - set(_BUILT_IN))
    return [name for name in (*_BUILT_IN, *others) if fnmatchcase(name, pattern)]


def get(name_or_path: str) -> type[Encoder]:
    """The class of an encoder.

    Args:
        name_or_path: one of `names`, ``timm:NAME`` for any model of timm, or ``path/to/file.py:Class``.

    Raises:
        UnknownEncoder: there is no such encoder, file or class; the message suggests the nearest.
        EncoderError: it exists but cannot be imported, or two packages claim the name.
    """
    if name_or_path.endswith(".py") or ".py:" in name_or_path:
        from .plugin import load

        return load(name_or_path)
    if name_or_path.startswith(_TIMM):
        from .zoo.timm_encoder import named

        return named(name_or_path)
    installed = _installed().get(name_or_path, ())
    if name_or_path in _BUILT_IN:
        if installed:
            raise EncoderError(
                f"encoder '{name_or_path}': the installed {_origins(installed)} claims a built-in name; uninstall it"
            )
        module, class_name = _BUILT_IN[name_or_path]
        built_in: type[Encoder] = getattr(import_module(f".{module}", __package__), class_name)
        return built_in
    if name_or_path not in _registered and installed:
        _load_installed(name_or_path, installed)
    try:
        return _registered[name_or_path]
    except KeyError:
        raise UnknownEncoder(f"unknown encoder '{name_or_path}': {suggest(name_or_path, names())}") from None


def card(name_or_path: str) -> Card | None:
    """The card of an encoder; None where its author wrote none. Built-in encoders need no torch for it.

    Raises:
        UnknownEncoder: there is no such encoder.
    """
    return CARDS[name_or_path] if name_or_path in CARDS else get(name_or_path).card


def suggest(wrong: str, right: Iterable[str]) -> str:
    """The second half of an error line: the nearest name, or all of them."""
    right = list(right)
    near = difflib.get_close_matches(wrong, right, n=1)
    return f"did you mean '{near[0]}'?" if near else f"available: {', '.join(right) or 'none'}"


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
    except EncoderError:
        raise
    except Exception as error:  # another package's code: anything may come
        raise EncoderError(
            f"encoder '{name}': {_origins(claims)} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if name not in _registered:
        raise EncoderError(
            f"encoder '{name}': {_origins(claims)} was imported but registers no such encoder; "
            f'expected class ...(Encoder, name="{name}") at {claims[0].value}'
        )


def _origins(claims: tuple[EntryPoint, ...]) -> str:
    return " and ".join(f"package {claim.dist.name if claim.dist else claim.value}" for claim in claims)
