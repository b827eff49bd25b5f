"""Files of Stage 2: the authors' keypoint models, heads of our own, and adapted scales and offsets.

Source: encoders.md, sections 5.1 and 8.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from ..errors import WeightsInvalid, WeightsMissing
from ..weights.cache import cache_dir
from ..weights.checkpoint import Layout, contents, load
from .model import KeypointModel

PENN_FILE = "penn_joint.pth"
"""TTP's model trained on Penn Action, whose heads the authors begin with."""

TRUNK = "pose_net.trunk."
_POSE_NET = "pose_net."
_EARLIER_NAME = re.compile(r"pose_net\.mh_attn\.(?=(layers|norm)\.)")
_AUTHORS_NAME = "pose_net.mh_attn.decoder."
_RENAMES = (
    (r"^pose_net\.(?=(conv1|bn1|layer\d)\.)", TRUNK),  # the authors' trunk stands one level up
    (f"^{_EARLIER_NAME.pattern}", _AUTHORS_NAME),
)
LAYOUTS = (
    Layout("adapted H-InDex", "module.", renames=_RENAMES),
    Layout("Penn Action", "", renames=_RENAMES),
)

OWN_HEADS = Layout("H-InDex Bench heads", "model.", unused=(TRUNK, "pose_net.sup_", "pose_net.mh_attn."), rest=True)
"""``heads.safetensors`` of an adaptation, and the heads that ship."""


_AUTHORS_TRUNK = f"{OWN_HEADS.prefix}pose_net.conv1.weight"
"""In a file of the authors' layout whose names all have the prefix ``model.``, as others write it."""


def authors_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a training's state with the supervised head under the authors' names, which ours did not have before."""
    return {_EARLIER_NAME.sub(_AUTHORS_NAME, name): tensor for name, tensor in state.items()}


def penn_path() -> Path:
    """Where the heads trained on Penn Action are looked for."""
    return cache_dir() / "weights" / "penn_joint" / PENN_FILE


def load_model(model: KeypointModel, path: Path) -> None:
    """Load one of the authors' files, 507 tensors with or without ``module.``; BatchNorm counters may be missing.

    Args:
        model: over a ResNet-50; changed in place.
        path: the file.

    Raises:
        WeightsMissing: there is no such file.
        WeightsInvalid: it does not hold the whole model.
    """
    model.load_state_dict(load(path, model.state_dict(), LAYOUTS, "a keypoint model").state)


def load_heads(model: KeypointModel, path: Path) -> None:
    """Load everything but the trunk, from one of the authors' files or from an adaptation's ``heads.safetensors``.

    Of the latter the supervised head, on which no loss depends, is left as it is.

    Raises:
        WeightsMissing: there is no such file.
        WeightsInvalid: it does not hold the heads of this model.
    """
    expected = model.state_dict()
    names = contents(path)
    if any(str(name).startswith(OWN_HEADS.prefix) for name in names) and _AUTHORS_TRUNK not in names:
        expected = {name: tensor for name, tensor in expected.items() if not name.startswith(OWN_HEADS.unused)}
        loaded = load(path, expected, (OWN_HEADS,), "heads of a keypoint model").state
    else:
        loaded = load(path, expected, LAYOUTS, "a keypoint model").state
        loaded = {name: tensor for name, tensor in loaded.items() if not name.startswith(TRUNK)}
    model.load_state_dict(loaded, strict=False)


def load_renderer(model: KeypointModel, path: Path) -> None:
    """Load the image encoder, the pose encoder and the renderer alone, which serve the keypoints of any trunk.

    Args:
        model: changed in place.
        path: an adaptation's ``heads.safetensors``.

    Raises:
        WeightsMissing: there is no such file.
        WeightsInvalid: it does not hold them.
    """
    expected = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(_POSE_NET)}
    layout = replace(OWN_HEADS, unused=(_POSE_NET,))
    model.load_state_dict(load(path, expected, (layout,), "a renderer of keypoints").state, strict=False)


def read_affine(path: Path) -> dict[str, Tensor]:
    """Scales and offsets from a file, as they are in it; `affine.apply` checks them.

    Raises:
        WeightsMissing: there is no such file.
        WeightsInvalid: it is damaged.
    """
    if not path.is_file():
        raise WeightsMissing(f"no adapted BatchNorm at {path}; make it with `bench adapt`")
    try:
        found: dict[str, Tensor] = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise WeightsInvalid(f"weights {path}: {error}; delete it and run `bench adapt` again") from error
    return found
