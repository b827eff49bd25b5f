"""The folder of an adaptation: its files, and how they are read.

``OUT/adapt/<task>/<title>`` is complete once it has a card; until then a checkpoint says how far it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import nn

from encoders import Encoder
from encoders.adapt import affine
from encoders.adapt.files import read_affine
from encoders.adapt.trunk import adaptable
from encoders.cards import UNIT
from encoders.unfold import unfold

from ..errors import FolderError
from ..store import atomic, manifest
from ..store.identity import differences, identity_hash, same_identity
from ..store.paths import user_path
from .unfolding import read_statistics

IDENTITY, CONFIG, CARD, METRICS = "identity.json", "config.json", "card.json", "metrics.jsonl"
BATCHNORM, PRETRAINED = "batchnorm.safetensors", "pretrained.safetensors"
TRUNK, HEADS, CHECKPOINT = "trunk.safetensors", "heads.safetensors", "checkpoint.safetensors"
STATISTICS = "statistics.safetensors"
"""Of an encoder whose BatchNorm was folded, see `benchmark.adapt.unfolding`."""
STRIP, PICTURES = "strip.png", "keypoints"
VOUCHED = (IDENTITY, CONFIG, CARD, METRICS, BATCHNORM, PRETRAINED, STATISTICS, TRUNK, HEADS, STRIP)
"""Files of an adaptation that its manifest lists where they exist; pictures come on top."""

REMEDY = "restore it from a copy, or move the folder away to adapt anew"


def adapted_path(out: Path, task: str, title: str) -> Path:
    """Return the folder ``OUT/adapt/<task>/<title>`` of an adaptation; for ``title`` see `folder_title`."""
    return user_path(out) / "adapt" / task / title


def is_finished(folder: Path) -> bool:
    """Return whether an adaptation's folder is complete."""
    return (folder / CARD).exists()


def finish(folder: Path, card: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Write the manifest and then the card, which marks the adaptation as finished."""
    pictures = {f"{PICTURES}/{file.name}" for file in (folder / PICTURES).glob("*.png")}
    content = atomic.json_content(card)
    facts = {"identity": identity_hash(identity)}
    manifest.write(folder, {*VOUCHED, *pictures} - {CARD}, facts, {CARD: sha256(content).hexdigest()})
    atomic.write_bytes(folder / CARD, content)


def altered(folder: Path) -> list[str]:
    """Return the names of files that are no longer as the finished adaptation left them, missing ones included.

    Empty for an adaptation that is not finished, and for one from before adaptations had manifests.
    """
    if not is_finished(folder) or not (folder / manifest.MANIFEST).exists():
        return []
    return manifest.altered(folder, VOUCHED, {})


def require_unaltered(folder: Path) -> None:
    """Check that a finished adaptation is as it was left.

    Raises:
        FolderError: it is not; the message names the files.
    """
    if names := altered(folder):
        raise FolderError(f"{folder} was altered after the adaptation had finished ({', '.join(names)}); {REMEDY}")


def require_identity(folder: Path, identity: Mapping[str, Any]) -> None:
    """Check that a folder holds the adaptation of this identity, or none yet.

    Raises:
        FolderError: it holds another one, or cannot be read.
    """
    if not (folder / IDENTITY).exists():
        return
    recorded = atomic.read_json(folder / IDENTITY, REMEDY)
    if not same_identity(recorded, identity):
        raise FolderError(
            f"{folder} holds another adaptation ({differences(recorded, identity)}); choose another --out, or move "
            "that folder away"
        )


def read_card(folder: Path) -> dict[str, Any]:
    """Return the card of a finished adaptation.

    Raises:
        FolderError: there is none, or it is damaged.
    """
    return atomic.read_json(folder / CARD, REMEDY)


def load_adapted(encoder: Encoder, folder: Path) -> dict[str, Any]:
    """Load a finished adaptation into an encoder, which then sees RGB in [0, 1] without mean and deviation.

    Returns:
        The adaptation's card.

    Raises:
        FolderError: there is none, or it is not finished, damaged, or altered.
        EncoderError: it is of another network.
    """
    if not is_finished(folder):
        raise FolderError(f"{folder} holds no finished adaptation; run `bench adapt`")
    require_unaltered(folder)
    if (folder / STATISTICS).exists():
        unfold(encoder, read_statistics(folder / STATISTICS))
    network = adaptable(encoder)
    if (folder / TRUNK).exists():
        _load_trunk(network, folder / TRUNK)
    affine.apply(network, read_affine(folder / BATCHNORM))
    encoder.normalisation = UNIT
    return read_card(folder)


def _load_trunk(network: nn.Module, path: Path) -> None:
    content = atomic.read_bytes(path, REMEDY)
    try:
        state = safetensors.torch.load(content)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise FolderError(f"{path} is damaged ({error}); {REMEDY}") from error
    expected = {name: tensor.shape for name, tensor in network.state_dict().items()}
    shapes = {name: tensor.shape for name, tensor in state.items()}
    if shapes != expected:
        wrong = min(name for name in shapes | expected if shapes.get(name) != expected.get(name))
        raise FolderError(f"{path} is of another network (at {wrong}); {REMEDY}")
    network.load_state_dict(state)
