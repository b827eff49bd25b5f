"""Names of encoders and the classes registered under them. Imports no encoder and no torch."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable
from typing import Any

from .cards import CARDS
from .errors import EncoderError

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
    "zoo.packaged": {
        "mediapipe_hand": "MediaPipeHand",
        "mediapipe_body": "MediaPipeBody",
        "mediapipe_body_mean": "MediaPipeBodyMean",
        "mediapipe_face": "MediaPipeFace",
        "hindex_mini": "HInDexMini",
        "efficientnet_lite0": "EfficientNetLite0",
    },
    "zoo.vit_today": {
        "dinov2_small_reg": "DINOv2SmallRegisters",
        "dinov2_base_reg": "DINOv2BaseRegisters",
        "pe_spatial_small": "PESpatialSmall",
        "pe_spatial_base": "PESpatialBase",
        "pe_core_base": "PECoreBase",
        "c_radio_v3_base": "CRADIOv3Base",
        "tipsv2_base": "TIPSv2Base",
        "eupe_small": "EUPESmall",
        "eupe_base": "EUPEBase",
        "spa_base": "SPABase",
        "spa_large": "SPALarge",
        "stp_base": "STPBase",
        "maple": "MAPLE",
    },
    "zoo.hand_vit": {"hamer": "HaMeR", "wilor": "WiLoR"},
    "zoo.controls": {"state": "State", "blind": "Blind", "scratch": "Scratch"},
}
_HOMES = {name: (module, class_name) for module, classes in _CLASSES.items() for name, class_name in classes.items()}
BUILT_IN = {name: _HOMES[name] for name in CARDS}
_NAME = re.compile(r"[a-z0-9][a-z0-9_\-]*")
REGISTERED: dict[str, type[Any]] = {}
"""The classes that were imported so far, by name."""


def is_file(text: str) -> bool:
    """Whether a name on the command line is that of a file or of a class in one."""
    return text.endswith(".py") or ".py:" in text


def register(name: str, encoder: type[Any]) -> None:
    """Give a class its name; called by subclassing `Encoder`.

    The same class name from the same module replaces its earlier self, so that a notebook cell can be run again.

    Raises:
        EncoderError: the name is malformed or belongs to another class.
    """
    where = f"{encoder.__module__}.{encoder.__qualname__}"
    if not _NAME.fullmatch(name):
        raise EncoderError(
            f"{where}: name '{name}' cannot be used; use lower-case letters, digits, '_' and '-', as in name=\"mine\""
        )
    if name in BUILT_IN and encoder.__module__ != f"{__package__}.{BUILT_IN[name][0]}":
        raise EncoderError(f"{where}: name '{name}' belongs to a built-in encoder; choose another name=...")
    # A module beside a plug-in gives no names: the plug-in's own class may take them.
    if vars(sys.modules.get(encoder.__module__, sys)).get("beside_a_plugin"):
        return
    earlier = REGISTERED.get(name)
    if earlier is not None:
        owner = f"{earlier.__module__}.{earlier.__qualname__}"
        if owner != where:
            raise EncoderError(f"{where}: name '{name}' is taken by {owner}; choose another name=...")
    REGISTERED[name] = encoder


def forget_module(module: str) -> dict[str, type[Any]]:
    """Remove all classes of a module and return them by name."""
    forgotten = {name: encoder for name, encoder in REGISTERED.items() if encoder.__module__ == module}
    for name in forgotten:
        del REGISTERED[name]
    return forgotten


def registered_in(module: str) -> dict[str, type[Any]]:
    """Return the registered classes of a module, by name."""
    return {name: encoder for name, encoder in REGISTERED.items() if encoder.__module__ == module}


def suggest(wrong: str, right: Iterable[str]) -> str:
    """Return the second half of an error line: the nearest name, or all names."""
    right = list(right)
    near = difflib.get_close_matches(wrong, right, n=1)
    return f"did you mean '{near[0]}'?" if near else f"available: {', '.join(right) or 'none'}"
