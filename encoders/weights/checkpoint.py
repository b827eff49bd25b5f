"""Load weights files: read them safely, rename their tensors to our names, and check every tensor."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import WeightsInvalid, WeightsMissing
from . import convert, tflite_files, unwrapping
from .files import why_unreadable
from .unpickling import Placeholder
from .unwrapping import Candidate, unwrapped

_TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".tar", ".ckpt")
_COUNTER = "num_batches_tracked"
_SHOWN, _LONGEST_SHOWN = 3, 120

Convert = Callable[[dict[str, Tensor], Mapping[str, Tensor]], dict[str, Tensor]]
"""Converts a checkpoint's tensors to the network's, given the expected ones; leaves unknown tensors unchanged."""


@dataclass(frozen=True)
class Layout:
    """Where a published checkpoint keeps a network, and how its tensor names map to torchvision's or timm's.

    Attributes:
        title: its name in messages.
        prefix: precedes the network's names in the file.
        unused: beginnings of names (after the prefix) that do not belong to the network.
        others: beginnings of the names of other networks in the checkpoint.
        container: the entry that holds the tensors; empty if they are at the top level. Entries beside it (optimiser,
            counters, settings) are ignored.
        renames: regular expressions and replacements, applied in order to the names after the prefix.
        convert: any further change, such as concatenating or transposing tensors.
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
        """Return whether a tensor of the file is ignored."""
        if not name.startswith(self.prefix):
            return self.rest or name.startswith(self.others)
        return name.startswith(self.others) or name.removeprefix(self.prefix).startswith(self.unused)

    def rename(self, name: str) -> str:
        """Return the network's name for a name in the file."""
        name = name.removeprefix(self.prefix)
        for pattern, replacement in self.renames:
            name = re.sub(pattern, replacement, name)
        return name


@dataclass(frozen=True)
class Loaded:
    """The tensors loaded from a file.

    Attributes:
        state: exactly the expected tensors.
        layout: the title of the layout that the file has.
        left_out: the names in the file that were not used.
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
    """Return everything in a file, on the CPU: tensors, numbers and text, in dicts and lists.

    No code in it is run (see `pickles`); a cached file is converted on first use (see `convert`).

    Raises:
        WeightsMissing: there is no such file, or it cannot be opened.
        WeightsInvalid: it is damaged, of an unknown type, or contains something that no genuine checkpoint does.
    """
    unreadable = why_unreadable(path)
    if unreadable:
        raise WeightsMissing(f"weights {path}: {unreadable}; give an existing one with --weights PATH")
    known = (convert.SUFFIX, *_TORCH_SUFFIXES, tflite_files.SUFFIX)
    if path.suffix not in known:
        raise WeightsInvalid(f"weights {path}: unknown type '{path.suffix}'; expected {', '.join(known)}")
    content: object = convert.tensors(path)
    if isinstance(content, Placeholder):
        raise WeightsInvalid(f"weights {path}: {unwrapping.whole_module(content, path.name)}")
    if not isinstance(content, dict):
        raise WeightsInvalid(f"weights {path}: holds a {type(content).__name__}; expected a dict of named tensors")
    return content


def read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file that is a flat dict of them.

    Raises:
        WeightsMissing: there is no such file.
        WeightsInvalid: it is damaged, of an unknown type, or contains anything else.
    """
    tensors, wrong = _tensors(contents(path))
    if wrong:
        raise WeightsInvalid(f"weights {path}: not tensors: {_some(wrong)}; expected a flat dict of named tensors")
    return tensors


def load(path: Path, expected: Mapping[str, Tensor], layouts: tuple[Layout, ...], network: str) -> Loaded:
    """Return a network's tensors from a file in any of the known layouts, complete, as float32 copies.

    The first layout whose container and prefix occur in the file is tried first. If it does not fit, other containers
    and prefixes are searched for the network (`encoders.weights.unwrapping`).

    Args:
        path: the file.
        expected: the network's names and shapes; the values are ignored.
        layouts: the known ones.
        network: the name of the network in messages.

    Returns:
        Exactly the names of ``expected``, and the names left out. BatchNorm counters missing from an old file are 0.

    Raises:
        WeightsMissing: there is no such file.
        WeightsInvalid: the file cannot be read, or names, shapes, types or values are not those of the network, or it
            holds several such networks.
    """
    content = contents(path)
    chosen = _choose(content, layouts)
    attempts = [_Attempt(*chosen, expected)] if chosen else []
    fitting = [attempt for attempt in attempts if attempt.fits]
    if not fitting:
        for candidate in unwrapped(content):
            if candidate.place not in [attempt.candidate.place for attempt in fitting]:
                tried = [_Attempt(layout, candidate, expected) for layout in layouts]
                fitting += [attempt for attempt in tried if attempt.fits][:1]
                attempts += tried
    if not fitting:
        expectation = f"{network} in one of the layouts {', '.join(one.title for one in layouts)}"
        raise WeightsInvalid(
            f"weights {path}: {_why_not(path, content, attempts, expected, network)}; expected {expectation}"
        )
    best = fitting[0]
    if not all(_same(best.state, other.state) for other in fitting[1:]):
        candidates = [attempt.candidate for attempt in fitting]
        raise WeightsInvalid(f"weights {path}: {unwrapping.several(candidates, network, path.name)}")
    beside = [str(name) for name in content if best.candidate.place and name != best.candidate.place[0]]
    return Loaded(_as_float32(path, best.state, expected), best.layout.title, (*best.left_out, *beside))


def holds_layout(path: Path, layout: Layout) -> bool:
    """Return whether a file has names of a layout, in any container.

    Raises:
        WeightsMissing, WeightsInvalid: as in `contents`.
    """
    return any(
        str(name).startswith(layout.prefix) for candidate in unwrapped(contents(path)) for name in candidate.entries
    )


def load_trunk(path: Path, expected: Mapping[str, Tensor], layouts: tuple[Layout, ...]) -> dict[str, Tensor]:
    """Return the tensors of a ResNet-50's trunk, as `load` does."""
    return load(path, expected, layouts, "a ResNet-50").state


def state_sha256(state: Mapping[str, Tensor]) -> str:
    """Return a hash of named tensors: names, types, shapes and values, independent of order and memory layout."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


class _Attempt:
    """The attempt to read a network from some tensors in one layout.

    Attributes:
        layout: the layout; its container is ignored here.
        candidate: the tensors.
        left_out: names, as in the file, of what the layout has no use for.
        state: the network's names, and what they got.
        faults: what is wrong, in words; nothing if the tensors are the network's.
        matched: how many of the expected tensors are there in the right shape.
    """

    def __init__(self, layout: Layout, candidate: Candidate, expected: Mapping[str, Tensor]) -> None:
        self.layout, self.candidate = layout, candidate
        entries = candidate.entries.items()
        kept = {name: value for name, value in entries if not (isinstance(name, str) and layout.drops(name))}
        self.left_out = tuple(f"{candidate.prefix}{name}" for name in candidate.entries if name not in kept)
        tensors, wrong = _tensors(kept)
        self.state: dict[str, Tensor] = {}
        self.faults = [f"{len(wrong)} not tensors: {_some(wrong)}"] if wrong else self._read(tensors, expected)
        self.matched = sum(
            name in self.state and self.state[name].shape == tensor.shape for name, tensor in expected.items()
        )

    @property
    def fits(self) -> bool:
        """Return whether it gives the whole network and nothing else."""
        return not self.faults

    def _read(self, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
        """Fill ``state`` and return what is wrong."""
        layout = self.layout
        strangers = [name for name in tensors if not name.startswith(layout.prefix)]
        names = {layout.rename(name): name for name in tensors if name not in strangers}
        state = {inner: tensors[name] for inner, name in names.items()}
        if layout.convert is not None:
            try:
                state = layout.convert(state, expected)
            except (ValueError, IndexError, RuntimeError) as error:  # tensors of another network under these names
                return [f"cannot be converted ({error})"]
        self.state = state
        missing = [name for name in expected if name not in state and not name.endswith(_COUNTER)]
        extra = [names.get(name, name) for name in state if name not in expected]
        extra += [*strangers, *(set(tensors) - set(strangers) - set(names.values()))]  # also two that became one
        shapes = [
            f"{name} {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
            for name, tensor in expected.items()
            if name in state and state[name].shape != tensor.shape
        ]
        return [
            f"{len(found)} {what}: {_some(found)}"
            for what, found in (("missing", missing), ("not expected", extra), ("of wrong shape", shapes))
            if found
        ]


def _choose(content: Mapping[object, object], layouts: tuple[Layout, ...]) -> tuple[Layout, Candidate] | None:
    """Return the first layout whose container and prefix occur in the file, with its tensors."""
    for layout in layouts:
        entries = content.get(layout.container) if layout.container else content
        if isinstance(entries, Mapping) and any(str(name).startswith(layout.prefix) for name in entries):
            return layout, Candidate((layout.container,) if layout.container else (), "", entries)
    return None


def _why_not(
    path: Path,
    content: Mapping[object, object],
    attempts: list[_Attempt],
    expected: Mapping[str, Tensor],
    network: str,
) -> str:
    """Explain why no attempt fits, based on the closest one."""
    best = max(attempts, key=lambda one: (one.matched, bool(one.state)), default=None)
    if best is None or not best.matched:
        for name, module in unwrapping.pickled_modules(content):
            return unwrapping.whole_module(module, path.name, (name,))
    parts = [
        part.candidate
        for attempt in attempts
        for part in (
            _Attempt(attempt.layout, found, expected)
            for found in unwrapping.behind_prefixes(attempt.candidate, next(iter(expected)))
        )
        if part.fits
    ]
    if parts:
        of_one_place = {found.prefix: found for found in parts if found.place == parts[0].place}
        return unwrapping.one_part(list(of_one_place.values()), network, path.name)
    if best is None:
        return f"{_some(list(map(str, content)))} fits no known layout"
    return f"read as {best.layout.title} layout{best.candidate.where}, tensors {'; '.join(best.faults)}"


def _same(state: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return state.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in state.items())


def _tensors(entries: Mapping[object, object]) -> tuple[dict[str, Tensor], list[str]]:
    """Return tensors by name, and the names of everything that is not a tensor."""
    tensors: dict[str, Tensor] = {}
    wrong = []
    for name, value in entries.items():
        if isinstance(name, str) and isinstance(value, Tensor):
            tensors[name] = value
        elif isinstance(name, str) and isinstance(value, np.ndarray):
            tensors[name] = torch.from_numpy(np.ascontiguousarray(value))
        else:
            wrong.append(str(name))
    return tensors, wrong


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
    return ", ".join(name[:_LONGEST_SHOWN] for name in names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
