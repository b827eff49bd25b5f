"""Weights files: opened without running anything, brought into torchvision's names, checked tensor by tensor."""

from __future__ import annotations

import hashlib
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from .errors import WeightsInvalid, WeightsMissing

_TORCH_SUFFIXES = (".pth", ".pt", ".bin")
_COUNTER = "num_batches_tracked"
_SHOWN = 3


@dataclass(frozen=True)
class Layout:
    """How somebody's checkpoint holds a trunk that we know under torchvision's names.

    Attributes:
        title: whose layout it is.
        prefix: what stands before the trunk's names.
        unused: starts of names, after the prefix, that are no part of the trunk.
        others: starts of names of the checkpoint's other networks.
    """

    title: str
    prefix: str = ""
    unused: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


RESNET_LAYOUTS = (
    Layout("FrankMocap hand", "main_encoder.", unused=("fc1.",), others=("feat_encoder.", "regressor.")),
    Layout(
        "adapted H-InDex",
        "module.pose_net.",
        unused=("deconv_layers.", "final_layer_unsup.", "sup_query.", "mh_attn.", "sup_weight."),
        others=("module.image_encoder.", "module.pose_encoder.", "module.image_renderer."),
    ),
    Layout("torchvision", unused=("fc.",)),
)


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, on the CPU.

    ``.pth``, ``.pt`` and ``.bin`` are read by torch's tensors-only reader, which refuses any other object;
    ``.safetensors`` can hold nothing else.

    Raises:
        WeightsMissing: there is no such file.
        WeightsInvalid: it is damaged, of another type, or holds more than tensors.
    """
    if not path.is_file():
        raise WeightsMissing(f"weights {path}: no such file; give an existing one with --weights PATH")
    if path.suffix not in (".safetensors", *_TORCH_SUFFIXES):
        raise WeightsInvalid(
            f"weights {path}: unknown type '{path.suffix}'; expected .safetensors, {', '.join(_TORCH_SUFFIXES)}"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about files that are refused anyway
            content: object = _content(path)
    except Exception as error:  # a damaged file can break its reader anywhere
        reason = str(error).strip().split("\n")[0][:160]
        raise WeightsInvalid(
            f"weights {path}: damaged, or holds more than tensors ({type(error).__name__}: {reason}); "
            "expected a complete file of plain tensors: fetch it again or give another with --weights PATH"
        ) from error
    if not isinstance(content, dict):
        raise WeightsInvalid(f"weights {path}: holds a {type(content).__name__}; expected a dict of named tensors")
    wrong = [name for name, value in content.items() if not (isinstance(name, str) and isinstance(value, Tensor))]
    if wrong:
        raise WeightsInvalid(f"weights {path}: {_some(wrong)} no tensors; expected a flat dict of named tensors")
    return content


def load_trunk(path: Path, expected: Mapping[str, Tensor], layouts: tuple[Layout, ...]) -> dict[str, Tensor]:
    """The tensors of a trunk from a file in any of the known layouts, complete and as float32 copies.

    Args:
        path: the file.
        expected: names and shapes that the trunk has; the values are not looked at.
        layouts: the known ones; the first whose prefix begins a name in the file is taken.

    Returns:
        Exactly the names of ``expected``. BatchNorm counters that an old file lacks are 0.

    Raises:
        WeightsMissing: there is no such file.
        WeightsInvalid: the file cannot be read, or names, shapes, types or values are not those of the trunk.
    """
    tensors = read(path)
    layout = next(one for one in layouts if any(name.startswith(one.prefix) for name in tensors) or not one.prefix)
    trunk = {
        name.removeprefix(layout.prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(layout.prefix) and not name.removeprefix(layout.prefix).startswith(layout.unused)
    }
    missing = [name for name in expected if name not in trunk and not name.endswith(_COUNTER)]
    extra = [
        name
        for name in tensors
        if name.removeprefix(layout.prefix) not in expected
        and not name.startswith(layout.others)
        and not (name.startswith(layout.prefix) and name.removeprefix(layout.prefix).startswith(layout.unused))
    ]
    shapes = [
        f"{name} {tuple(trunk[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in trunk and trunk[name].shape != tensor.shape
    ]
    faults = [
        f"{len(found)} {what}: {_some(found)}"
        for what, found in (("missing", missing), ("not expected", extra), ("of wrong shape", shapes))
        if found
    ]
    if faults:
        raise WeightsInvalid(
            f"weights {path}: read as {layout.title} layout, tensors {'; '.join(faults)}; "
            f"expected a ResNet-50 in one of the layouts {', '.join(one.title for one in layouts)}"
        )
    return _as_float32(path, trunk, expected)


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """A hash of named tensors: of names, types, shapes and values, whatever their order or memory layout."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _content(path: Path) -> object:
    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))


def _as_float32(path: Path, trunk: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    state = {}
    for name in expected:
        if name.endswith(_COUNTER):
            state[name] = trunk[name].to(torch.int64, copy=True) if name in trunk else torch.tensor(0)
            continue
        tensor = trunk[name]
        if tensor.layout != torch.strided or not tensor.is_floating_point():
            raise WeightsInvalid(
                f"weights {path}: {name} is {tensor.layout} {tensor.dtype}; expected dense floating point"
            )
        state[name] = tensor.to(torch.float32, copy=True)
        if not bool(torch.isfinite(state[name]).all()):
            raise WeightsInvalid(f"weights {path}: {name} holds NaN or infinite values; fetch the file again")
    return state


def _some(names: list[str]) -> str:
    return ", ".join(map(str, names[:_SHOWN])) + (", ..." if len(names) > _SHOWN else "")
