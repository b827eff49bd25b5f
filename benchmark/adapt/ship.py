"""Turn finished adaptations into the Stage 2 files that ship: ``python -m benchmark.adapt.ship FOLDER...``.

An adaptation to one task gives its scales and offsets, and the statistics where BatchNorm was folded; it is refused if
it learned nothing on held-out frames. One to several tasks together gives its heads. All go into
`encoders.adapt.shipped`'s folder in half precision, each with its card.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from encoders import EncoderError
from encoders.adapt import shipped
from encoders.adapt.files import OWN_HEADS, read_affine
from encoders.adapt.packed import pack
from encoders.cards import CARDS
from encoders.construction import construct
from encoders.weights.checkpoint import read

from ..errors import BenchError, OutputError
from ..store import atomic
from ..store.paths import user_path
from .folder import BATCHNORM, CARD, HEADS, load_adapted, read_card

LICENCE = "MIT"
_FREE = tuple(card.adapts for card in CARDS.values() if card.adapts and card.shares_weights_of)
"""Encoders whose weights may be passed on changed, and that another one is after Stage 2."""


def ship(folder: Path) -> Path:
    """Copy a finished adaptation to where the package looks for it.

    Args:
        folder: ``OUT/adapt/<task>/<title>``.

    Returns:
        The file that ships; its card lies beside it.

    Raises:
        OutputError: the adaptation is not finished, neither of the built-in weights nor of those of an encoder that
            another one is after Stage 2, or no better on held-out frames than what needs no learning.
        EncoderError: its tensors cannot be read.
    """
    card = read_card(folder)
    with atomic.naming_gaps(folder / CARD):
        name, weights = card["encoder"]["name"], card["encoder"]["weights"]
        mode, together = card["trained"]["mode"], len(card["tasks"]) > 1
        header = {
            "title": f"{card['name']}, {card['task']}",
            "licence": _licence(name, weights),
            "input": "RGB in [0, 1]",
            shipped.ADAPTED_FROM: card["encoder"]["weights_sha256"],
        }
    unfolded = weights == "official" and name in _FREE and not together
    if not (weights == "builtin" or unfolded) or mode != ("none" if together else "affine"):
        raise OutputError(
            f"{folder}: Stage 2 of {weights} weights in mode {mode}; what ships is of built-in ones, or of official "
            f"ones of {', '.join(_FREE)}, in mode affine for one task, in mode none for the heads of several"
        )
    if not together:
        _require_learned(folder, card)
    if together:
        path, tensors = shipped.HEADS, _heads(folder / HEADS)
        stored = "convolutions in half precision; without the supervised head"
    elif unfolded:
        path = shipped.path(card["task"], name)
        tensors, stored = _packed(name, folder), "half precision, together with BatchNorm's statistics"
    else:
        path = shipped.path(card["task"])
        tensors = {name: tensor.half() for name, tensor in read_affine(folder / BATCHNORM).items()}
        stored = "half precision"
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(path, safetensors.torch.save(tensors, header))
    atomic.write_json(path.with_suffix(".json"), {**card, "stored": stored})
    return path


def _require_learned(folder: Path, card: Mapping[str, Any]) -> None:
    """Refuse an adaptation that draws no better than a copy or the mean image, or whose keypoints lie anywhere."""
    with atomic.naming_gaps(folder / CARD):
        held_out = card["held_out"]
        gains = {
            "dB of PSNR over the source frame": held_out["psnr"]["reconstruction_minus_copy"],
            "dB of PSNR over the mean image": held_out["psnr"]["reconstruction_minus_mean_image"],
            "keypoints on hand or object over uniform points": held_out["keypoints_on_hand_or_object"]["difference"],
        }
        for what, gain in gains.items():
            if not gain["low"] > 0:
                raise OutputError(
                    f"{folder}: on held-out frames {gain['mean']:+.3g} [{gain['low']:.3g}, {gain['high']:.3g}] "
                    f"{what}; what ships has its 95 % interval above 0"
                )


def _licence(name: str, weights: str) -> str:
    """Return the licence of what ships: that of the weights it is derived from, where these are not our own."""
    return LICENCE if weights == "builtin" else CARDS[name].licence


def _packed(name: str, folder: Path) -> dict[str, Tensor]:
    """Return the adapted BatchNorm of a folder, see `encoders.adapt.packed`; the other weights play no part."""
    encoder = construct(name, None)
    load_adapted(encoder, folder)
    return pack(encoder)


def _heads(path: Path) -> dict[str, Tensor]:
    """Return the tensors that `encoders.adapt.files.load_heads` reads, as an adaptation stores them."""
    return {
        name: tensor
        for name, tensor in read(path).items()
        if name.startswith(OWN_HEADS.prefix) and not OWN_HEADS.drops(name) and tensor.is_floating_point()
    }


def main() -> None:
    """Ship each folder of the command line, and name the files."""
    try:
        for folder in sys.argv[1:]:
            sys.stdout.write(f"{ship(user_path(folder))}\n")
    except (BenchError, EncoderError) as error:
        sys.exit(f"bench: {error}")


if __name__ == "__main__":
    main()
