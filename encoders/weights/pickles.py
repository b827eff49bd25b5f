"""Read official checkpoints without running code in them: tensors, numbers, text and plain containers.

Formats: ``torch.save`` since 1.6 (a zip file) and before (a series of pickles), with any suffix, and safetensors.
Tensors are memory-mapped where the layout permits. Anything else that a pickle names (optimisers, settings) becomes a
`Placeholder` without content; see `encoders.weights.unpickling`.

`torch.load(weights_only=True)` is not used: it refuses files with settings or arrays beside their tensors (FrankMocap
body, VC-1, MoCo, HaMeR, WiLoR), and does not limit the depth and the number of instructions of a pickle.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import WeightsInvalid, WeightsMissing
from .arrays import ARRAYS, BYTES, OtherType, array, bytes_of, extents_of
from .files import why_unreadable
from .plain import Plain
from .torch_files import Storage, open_torch, storage_inside
from .unpickling import OUTSIDE, Placeholder, Refused, describe, kind

MODULE = "module"
"""The state that a placeholder of a whole pickled `torch.nn.Module` keeps."""

_MOST_ATTRIBUTES = 200


def read(path: Path) -> Any:
    """Return what a checkpoint holds: tensors on the CPU in plain dicts, lists and tuples, numbers and text.

    Numpy arrays and scalars are returned as such, parameters as tensors, everything else as `Placeholder`. Tensors may
    be memory-mapped: do not write the file while they are in use.

    Raises:
        WeightsInvalid: the file is damaged, of another format, or names something that no genuine checkpoint does; no
            code in it has run.
        WeightsMissing: there is no such file, or it cannot be opened.
    """
    unreadable = why_unreadable(path)
    if unreadable:
        raise WeightsMissing(f"weights {path}: {unreadable}; give a checkpoint that can be read")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        size = path.stat().st_size
        with path.open("rb") as file:
            saved = open_torch(file, lambda: torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8))
        return Contents(size, saved.storage)(saved.content)
    except Refused as error:
        raise WeightsInvalid(
            f"weights {path}: {error}; give a checkpoint that torch.save or safetensors wrote, from where its authors "
            "published it"
        ) from error
    except Exception as error:  # a damaged or hostile file can break its reader anywhere
        reason = str(error).strip().split("\n")[0][:160]
        raise WeightsInvalid(
            f"weights {path}: damaged, or no checkpoint of torch.save or safetensors "
            f"({type(error).__name__}: {reason}); fetch it again"
        ) from error


class Contents(Plain):
    """Turns placeholders into tensors and arrays, in plain containers; others keep only their name.

    Args:
        size: of the file in bytes; its numpy arrays cannot be much larger in total.
        storage: finds the numbers that the pickle refers to; by default the pickle contains them.
    """

    def __init__(self, size: int, storage: Callable[[Any], Storage] | None = None) -> None:
        super().__init__()
        self._bytes_left = 4 * size + 2**20
        self._storage = storage
        self._inside: dict[int, Storage] = {}

    def other(self, value: Any) -> Any:
        """Rebuild what a placeholder stands for, or return a placeholder."""
        if not isinstance(value, Placeholder):
            return placeholder(describe(value).removeprefix("a "))
        rebuild = _REBUILD.get(value.origin)
        if rebuild is not None:
            return rebuild(self, value)
        if value.origin in BYTES:
            content = bytes_of(value)
            self.spend(len(content))
            return content
        if value.origin in ARRAYS:
            return self.array(value)
        return type(value)((), MODULE if _is_module(value.state) else None)

    def array(self, value: Placeholder) -> Any:
        """Return the array or numpy scalar of a placeholder; arrays of anything but numbers stay placeholders."""
        try:
            rebuilt = array(value)
        except OtherType:
            return type(value)()
        self.spend(rebuilt.nbytes)
        return type(value)() if rebuilt.dtype.kind in "SU" else rebuilt

    def spend(self, size: int) -> None:
        """Count bytes of the rebuilt content.

        Raises:
            Refused: they exceed the size of the file by far.
        """
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise Refused("holds the same numbers again and again: arrays that are larger than the file together")

    def _tensor(self, value: Placeholder) -> Tensor:
        """``_rebuild_tensor`` (storage, offset, size, stride), with more that is not needed behind."""
        where, offset, size, stride = value.args[:4]
        storage = self._storage_of(where)
        dtype: Any = storage.dtype
        if value.origin.endswith("_v3"):  # raw bytes, and the type beside them
            dtype = getattr(torch, getattr(value.args[6], "origin", "").removeprefix("torch."), None)
            if not isinstance(dtype, torch.dtype):
                raise Refused("holds a tensor of unknown type")
        what = "a tensor of size, stride or offset"
        (start,) = extents_of((offset,), what)
        return storage.strided(dtype, start, extents_of(size, what), extents_of(stride, what))

    def _storage_of(self, value: Any) -> Storage:
        """Return the storage of a tensor: outside the pickle, or inside it as a torch file or a list."""
        if not isinstance(value, Placeholder):
            raise Refused("holds a tensor without a storage")
        if value.origin == OUTSIDE:
            if self._storage is None:
                raise Refused("refers to data outside of itself")
            return self._storage(value.args[0])
        if id(value) not in self._inside:
            self._inside[id(value)] = storage_inside(value, self.spend)
        return self._inside[id(value)]

    def _first(self, value: Placeholder) -> Any:
        """``_rebuild_parameter`` and the like: the tensor comes first."""
        return self(value.args[0])

    def _typed(self, value: Placeholder) -> Any:
        """``_rebuild_from_type_v2`` (function, class, its arguments, state): as if the class were Tensor."""
        function, _, args = value.args[:3]
        if not isinstance(function, type) or not isinstance(args, tuple):
            return placeholder(value.origin)
        return self(function(args))


_REBUILD: dict[str, Callable[[Contents, Placeholder], Any]] = {
    "torch._utils._rebuild_tensor": Contents._tensor,
    "torch._utils._rebuild_tensor_v2": Contents._tensor,
    "torch._utils._rebuild_tensor_v3": Contents._tensor,
    "torch._utils._rebuild_parameter": Contents._first,
    "torch._utils._rebuild_parameter_with_state": Contents._first,
    "torch.nn.parameter.Parameter": Contents._first,
    "torch.autograd.variable.Variable": Contents._first,
    "torch._tensor._rebuild_from_type_v2": Contents._typed,
    "torch.Size": lambda _, value: extents_of(value),
}


def placeholder(origin: str, state: Any = None) -> Placeholder:
    """Return a placeholder of this origin."""
    return kind(origin)((), state)


def _is_module(state: Any) -> bool:
    """Return whether this is the state of a `torch.nn.Module`."""
    items = state.items if isinstance(state, Placeholder) and len(state.items) <= _MOST_ATTRIBUTES else []
    return {"_parameters", "_modules"} <= {pair[0] for pair in items if isinstance(pair[0], str)}
