"""Frozen visual encoders: images in, one feature vector each out.

``encoders.build("rrl")`` gives a ready encoder; ``class Mine(Encoder, name="mine")`` adds one. Importing this package
imports no torch: every name below is found when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .acquire import fetch, import_file
    from .base import Encoder
    from .cards import Card
    from .contract import check_encoder, check_tokens
    from .errors import (
        BackendRefused,
        EncoderContract,
        EncoderError,
        LicenceNotAccepted,
        PrecisionRefused,
        UnknownEncoder,
        WeightsInvalid,
        WeightsMissing,
    )
    from .factory import build
    from .find import resolve
    from .precision_check import Choice, GateReport, check_precision, choose_precision
    from .registry import card, get, names
    from .weights.cache import cache_dir
    from .weights.origin import WeightsOrigin

__all__ = [
    "BackendRefused",
    "Card",
    "Choice",
    "Encoder",
    "EncoderContract",
    "EncoderError",
    "GateReport",
    "LicenceNotAccepted",
    "PrecisionRefused",
    "UnknownEncoder",
    "WeightsInvalid",
    "WeightsMissing",
    "WeightsOrigin",
    "build",
    "cache_dir",
    "card",
    "check_encoder",
    "check_precision",
    "check_tokens",
    "choose_precision",
    "fetch",
    "get",
    "import_file",
    "names",
    "resolve",
]

_HOMES = {
    "BackendRefused": "errors",
    "Card": "cards",
    "Choice": "precision_check",
    "Encoder": "base",
    "EncoderContract": "errors",
    "EncoderError": "errors",
    "GateReport": "precision_check",
    "LicenceNotAccepted": "errors",
    "PrecisionRefused": "errors",
    "UnknownEncoder": "errors",
    "WeightsInvalid": "errors",
    "WeightsMissing": "errors",
    "WeightsOrigin": "weights.origin",
    "build": "factory",
    "cache_dir": "weights.cache",
    "card": "registry",
    "check_encoder": "contract",
    "check_precision": "precision_check",
    "check_tokens": "contract",
    "choose_precision": "precision_check",
    "fetch": "acquire",
    "get": "registry",
    "import_file": "acquire",
    "names": "registry",
    "resolve": "find",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f".{home}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
