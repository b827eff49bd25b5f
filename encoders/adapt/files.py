"""Files of Stage 2: the authors' keypoint models, and adapted scales and offsets.

Source: encoders.md, sections 5.1 and 8.
"""

from __future__ import annotations

from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from ..checkpoint import Layout, load
from ..errors import WeightsInvalid, WeightsMissing
from ..weights import cache_dir
from .model import KeypointModel

PENN_FILE = "penn_joint.pth"
"""TTP's model trained on Penn Action, whose heads the authors begin with."""

TRUNK = "pose_net.trunk."
_ONE_LEVEL_UP = ((r"^pose_net\.(?=(conv1|bn1|layer\d)\.)", TRUNK),)
LAYOUTS = (
    Layout("adapted H-InDex", "module.", renames=_ONE_LEVEL_UP),
    Layout("Penn Action", "", renames=_ONE_LEVEL_UP),
)


def penn_path() -> Path:
    """Where the heads trained on Penn Action are looked for."""
    return cache_dir() / "weights" / "penn_joint" / PENN_FILE


def load_model(model: KeypointModel, path: Path, *, trunk: bool = True) -> None:
    """Load one of the authors' files, 507 tensors with or without ``module.``; BatchNorm counters may be missing.

    Args:
        model: over a ResNet-50; changed in place.
        path: the file.
        trunk: whether to load the trunk too, or the heads alone.

    Raises:
        WeightsMissing: there is no such file.
        WeightsInvalid: it does not hold the whole model.
    """
    loaded = load(path, model.state_dict(), LAYOUTS, "a keypoint model").state
    if not trunk:
        loaded = {name: tensor for name, tensor in loaded.items() if not name.startswith(TRUNK)}
    model.load_state_dict(loaded, strict=trunk)


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
