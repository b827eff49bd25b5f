"""The folder of an adaptation: its files, and how they are read.

``OUT/adapt/<task>/<title>`` is complete once it has a card; until then a checkpoint says how far it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from encoders import Encoder
from encoders.adapt import affine
from encoders.adapt.files import read_affine
from encoders.adapt.trunk import adaptable
from encoders.cards import UNIT

from . import atomic
from .errors import OutputError
from .identity import same_identity
from .paths import user_path
from .training_files import read_checkpoint

IDENTITY, CONFIG, CARD, METRICS = "identity.json", "config.json", "card.json", "metrics.jsonl"
BATCHNORM, PRETRAINED = "batchnorm.safetensors", "pretrained.safetensors"
TRUNK, HEADS, CHECKPOINT = "trunk.safetensors", "heads.safetensors", "checkpoint.safetensors"
STRIP, PICTURES = "strip.png", "keypoints"


def adapted_path(out: Path, task: str, title: str) -> Path:
    """The folder ``OUT/adapt/<task>/<title>`` of an adaptation, there or not; for ``title`` see `folder_title`."""
    return user_path(out) / "adapt" / task / title


def is_finished(folder: Path) -> bool:
    """Whether an adaptation's folder is complete."""
    return (folder / CARD).is_file()


def read_card(folder: Path) -> dict[str, Any]:
    """The card of a finished adaptation.

    Raises:
        OutputError: there is none.
    """
    return atomic.read_json(folder / CARD)


def load_adapted(encoder: Encoder, folder: Path) -> dict[str, Any]:
    """Put a finished adaptation into an encoder, which then sees RGB in [0, 1] without mean and deviation.

    Returns:
        The adaptation's card.

    Raises:
        OutputError: there is none, or it is not finished.
        EncoderError: it is of another network.
    """
    if not is_finished(folder):
        raise OutputError(f"{folder} holds no finished adaptation; run `bench adapt`")
    network = adaptable(encoder)
    if (folder / TRUNK).is_file():
        network.load_state_dict(safetensors.torch.load_file(folder / TRUNK))
    affine.apply(network, read_affine(folder / BATCHNORM))
    encoder.normalisation = UNIT
    return atomic.read_json(folder / CARD)


def load_checkpoint(folder: Path, identity: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and position of an unfinished adaptation; None where it has no checkpoint yet.

    Raises:
        OutputError: it is damaged, or of another adaptation.
    """
    found = read_checkpoint(folder / CHECKPOINT)
    if found is None:
        return None
    state, other, position = found
    if not same_identity(other, identity):
        raise OutputError(f"{folder / CHECKPOINT} is of another adaptation; delete it to begin anew")
    return state, position
