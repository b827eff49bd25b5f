"""Weights files: opened without running anything, brought into our names, checked tensor by tensor."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import convert
from .errors import WeightsInvalid, WeightsMissing

_TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".tar", ".ckpt")
_COUNTER = "num_batches_tracked"
_SHOWN = 3

Convert = Callable[[dict[str, Tensor], Mapping[str, Tensor]], dict[str, Tensor]]
"""From a checkpoint's tensors to the network's, given what is expected; what it cannot convert it leaves as it is."""


@dataclass(frozen=True)
class Layout:
    """How somebody's checkpoint holds a network that we know under torchvision's or timm's names.

    Attributes:
        title: whose layout it is.
        prefix: what stands before the network's names.
        unused: starts of names, after the prefix, that are no part of the network.
        others: starts of names of the checkpoint's other networks.
        container: the entry of the file that holds the tensors; empty where the file itself does. What stands beside it
            (optimiser, counters, settings) is left out.
        renames: regular expressions and what replaces them, one after another, in the names after the prefix.
        convert: what else is to be done, such as joining or turning tensors.
        rest: whether everything without the prefix belongs to other networks.
    """

    title: str
    prefix: str = ""
    unused: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    container: str = ""
    renames: tuple[tuple[str, str], ...] = ()
    convert: Convert | None = None
    rest: bool = False

    def drops(self, name: str) -> bool:
        """Whether a name of the file belongs to what is left out."""
        if not name.startswith(self.prefix):
            return self.rest or name.startswith(self.others)
        return name.startswith(self.others) or name.removeprefix(self.prefix).startswith(self.unused)

    def rename(self, name: str) -> str:
        """The network's name for one of the file's."""
        name = name.removeprefix(self.prefix)
        for pattern, replacement in self.renames:
            name = re.sub(pattern, replacement, name)
        return name


@dataclass(frozen=True)
class Loaded:
    """What a file gave.

    Attributes:
        state: exactly the expected tensors.
        layout: the title of the layout in which they stood.
        left_out: the names, in the file, of what was not used.
    """

    state: dict[str, Tensor]
    layout: str
    left_out: tuple[str, ...]


TORCHVISION = Layout("torchvision", unused=("fc.",))
FRANKMOCAP_HAND = Layout("FrankMocap hand", "main_encoder.", unused=("fc1.",), others=("feat_encoder.", "regressor."))
ADAPTED = Layout(
    "adapted H-InDex",
    "module.pose_net.",
    unused=("deconv_layers.", "final_layer_unsup.", "sup_query.", "mh_attn.", "sup_weight."),
    others=("module.image_encoder.", "module.pose_encoder.", "module.image_renderer."),
)
RESNET_LAYOUTS = (FRANKMOCAP_HAND, ADAPTED, TORCHVISION)


def contents(path: Path) -> dict[object, object]:
    """All that a file holds, on the CPU: tensors, numbers and words, in dicts and lists.

    Nothing in it runs (`encoders.pickles`); one in the cache is converted at its first use (`encoders.convert`).

    Raises:
        WeightsMissing: there is no such file.
        WeightsInvalid: it is damaged, of another type, or holds what no honest checkpoint does.
    """
    if not os.path.isfile(path):
        raise WeightsMissing(f"weights {path}: no such file; give an existing one with --weights PATH")
    if path.suffix not in (".safetensors", *_TORCH_SUFFIXES):
        raise WeightsInvalid(
            f"weights {path}: unknown type '{path.suffix}'; expected .safetensors, {', '.join(_TORCH_SUFFIXES)}"
        )
    content: object = convert.tensors(path)
    if not isinstance(content, dict):
        raise WeightsInvalid(f"weights {path}: holds a {type(content).__name__}; expected a dict of named tensors")
    return content


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file that holds a flat dict of them.

    Raises:
        WeightsMissing: there is no such file.
        WeightsInvalid: it is damaged, of another type, or holds anything else.
    """
    content = contents(path)
    return _tensors(path, content, "a flat dict of named tensors")


def load(path: Path, expected: Mapping[str, Tensor], layouts: tuple[Layout, ...], network: str) -> Loaded:
    """A network's tensors from a file in any of the known layouts, complete and as float32 copies.

    Args:
        path: the file.
        expected: names and shapes that the network has; the values are not looked at.
        layouts: the known ones; the first whose container is there and whose prefix begins a name in it is taken.
        network: what was expected, in words.

    Returns:
        Exactly the names of ``expected``, and what was left out. BatchNorm counters that an old file lacks are 0.

    Raises:
        WeightsMissing: there is no such file.
        WeightsInvalid: the file cannot be read, or names, shapes, types or values are not those of the network.
    """
    content = contents(path)
    wanted = f"{network} in one of the layouts {', '.join(one.title for one in layouts)}"
    layout, entries = _choose(path, content, layouts, wanted)
    kept = {name: value for name, value in entries.items() if not (isinstance(name, str) and layout.drops(name))}
    tensors = _tensors(path, kept, wanted)
    strangers = [name for name in tensors if not name.startswith(layout.prefix)]
    names = {layout.rename(name): name for name in tensors if name not in strangers}
    state = {inner: tensors[name] for inner, name in names.items()}
    if layout.convert is not None:
        state = layout.convert(state, expected)
    missing = [name for name in expected if name not in state and not name.endswith(_COUNTER)]
    extra = [names.get(name, name) for name in state if name not in expected]
    extra += [*strangers, *(set(tensors) - set(strangers) - set(names.values()))]  # also two names that became one
    shapes = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    faults = [
        f"{len(found)} {what}: {_some(found)}"
        for what, found in (("missing", missing), ("not expected", extra), ("of wrong shape", shapes))
        if found
    ]
    if faults:
        raise WeightsInvalid(
            f"weights {path}: read as {layout.title} layout, tensors {'; '.join(faults)}; expected {wanted}"
        )
    beside = [str(name) for name in content if layout.container and name != layout.container]
    left_out = [str(name) for name in entries if name not in kept]
    return Loaded(_as_float32(path, state, expected), layout.title, (*left_out, *beside))


def load_trunk(path: Path, expected: Mapping[str, Tensor], layouts: tuple[Layout, ...]) -> dict[str, Tensor]:
    """The tensors of a ResNet-50's trunk, as `load` gives them."""
    return load(path, expected, layouts, "a ResNet-50").state


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """A hash of named tensors: of names, types, shapes and values, whatever their order or memory layout."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _choose(
    path: Path, content: Mapping[object, object], layouts: tuple[Layout, ...], wanted: str
) -> tuple[Layout, Mapping[object, object]]:
    for layout in layouts:
        entries = content.get(layout.container) if layout.container else content
        if isinstance(entries, Mapping) and any(str(name).startswith(layout.prefix) for name in entries):
            return layout, entries
    raise WeightsInvalid(f"weights {path}: {_some(list(map(str, content)))} fits no known layout; expected {wanted}")


def _tensors(path: Path, entries: Mapping[object, object], wanted: str) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    wrong = []
    for name, value in entries.items():
        if isinstance(name, str) and isinstance(value, Tensor):
            tensors[name] = value
        elif isinstance(name, str) and isinstance(value, np.ndarray):
            tensors[name] = torch.from_numpy(np.ascontiguousarray(value))
        else:
            wrong.append(str(name))
    if wrong:
        raise WeightsInvalid(f"weights {path}: {_some(wrong)} no tensors; expected {wanted}")
    return tensors


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
