"""Reading pickles that others made, without running anything in them.

Published demonstrations and policies of this field are pickles, and loading a pickle runs whatever it asks for.
`tasks.demonstrations.unpickling` says how that is kept from happening here.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import PickleError, TaskError
from ..experts.policy import SCALE_EPSILON, Expert
from ..files import expanded
from .foreign_files import PlainCopy, TooMuch, why_unreadable
from .torch_tensors import tensor_from
from .unpickling import Reader, Stub, array_from, describe

_NEWER_SCALE_EPSILON = 1e-6
_LARGEST_FILE = 2**30
_MOST_LAYERS = 64
_SHOWN = 160


def load_plain(path: str | Path) -> Any:
    """Read a pickle of plain containers, numbers, strings and numpy arrays, of Python 2 or 3.

    Byte strings of Python 2 come back as str.

    Returns:
        The same built from dict, list, tuple, set, numbers, str, bytes and arrays.

    Raises:
        PickleError: the pickle names anything else (the message says what), or is broken; nothing in it has run.
    """
    with _explained(path) as file:
        return _Plain(file.getbuffer().nbytes)(Reader(file).load())


def load_mjrl_policy(path: str | Path) -> Expert:
    """Read the arrays of a pickled mjrl policy: an ``MLP`` with tanh layers, of any torch version.

    Raises:
        PickleError: the pickle names anything but parts of mjrl, torch and numpy, is broken, or is no such policy.

    Source: ``gaussian_mlp.py`` and ``fc_network.py`` of mjrl, and DexMV's copy (``tpi``); layouts ``fc0, fc1, ...`` and
    ``fc_layers``.
    """
    with _explained(path) as file:
        return _expert(Reader(file, ("mjrl", "torch", "tpi")).load())


@contextmanager
def _explained(path: str | Path) -> Iterator[io.BytesIO]:
    unreadable = why_unreadable(expanded(path))
    if unreadable:
        raise PickleError(f"{path}: {unreadable}; give the path of a pickle")
    try:
        yield io.BytesIO(_content(expanded(path)))
    except OSError as error:
        raise PickleError(f"{path}: cannot be read ({error.strerror}); give the path of a pickle") from error
    except MemoryError as error:
        raise PickleError(f"{path}: does not fit into memory; fetch it again, or give a smaller file") from error
    except TooMuch as error:
        raise PickleError(f"{path}: {error}; check where this file comes from") from error
    except TaskError as error:
        raise PickleError(f"{path}: {error}") from error
    except Exception as error:  # a broken or hostile pickle can make the unpickler raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:_SHOWN]
        raise PickleError(f"{path}: broken or not a pickle ({reason}); fetch it again") from error


def _content(path: Path) -> bytes:
    if path.stat().st_size > _LARGEST_FILE:
        raise PickleError(f"is larger than {_LARGEST_FILE // 2**20} MiB, which no published file is; fetch it again")
    return path.read_bytes()


class _Plain(PlainCopy):
    """Makes arrays of stubs, and refuses everything else that is no plain value.

    Args:
        size: of the file in bytes; all arrays together are not much larger, or the file repeats one for ever.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self._left = 4 * size + 2**20

    def other(self, value: Any) -> Any:
        """Return the array, numpy scalar or bytes that a stub stands for."""
        if not isinstance(value, Stub):
            raise PickleError(f"holds a {type(value).__name__}, which is not read; give a file of plain arrays")
        array = array_from(value)
        self._left -= len(array) if isinstance(array, bytes) else array.nbytes
        if self._left < 0:
            raise PickleError("holds the same numbers again and again; give a file of plain arrays")
        return array


def _expert(policy: Any) -> Expert:
    try:
        return Expert.from_arrays(_policy_arrays(policy))
    except KeyError as error:
        raise PickleError(f"holds an object without {error}; give a pickled mjrl MLP policy") from error


def _policy_arrays(policy: Any) -> dict[str, npt.NDArray[Any]]:
    attributes = _attributes(policy, "the policy")
    inside = "model" in attributes
    network = _attributes(attributes["model"], "the policy's model") if inside else attributes
    activation = network.get("nonlinearity")
    if activation is not None and not _is_tanh(activation):
        raise PickleError(f"holds a policy with activation {describe(activation)}; only tanh is read")
    layers = [_attributes(layer, "a layer")["_parameters"] for layer in _layers(network["_modules"])]
    log_std = attributes.get("log_std_val")  # what the released policies sample with, where present
    arrays = {"log_std": tensor_from(attributes["log_std"] if log_std is None else log_std).ravel()}
    for i, layer in enumerate(layers):
        arrays |= {f"W{i}": tensor_from(layer["weight"]), f"b{i}": tensor_from(layer["bias"])}
    for side, size in (("in", arrays["W0"].shape[-1]), ("out", arrays["log_std"].size)):
        for kind, default in (("shift", np.zeros), ("scale", np.ones)):
            value = network.get(f"{side}_{kind}")
            arrays[f"{side}_{kind}"] = default(size) if value is None else tensor_from(value).astype(np.float64).ravel()
    if not inside:  # the newer class divides by scale + 1e-6
        arrays["in_scale"] = arrays["in_scale"] + (_NEWER_SCALE_EPSILON - SCALE_EPSILON)
    return arrays


def _attributes(stub: Any, what: str) -> dict[str, Any]:
    state = stub.state if isinstance(stub, Stub) else None
    if isinstance(state, tuple) and len(state) == 2 and state[0] is None:
        state = state[1]
    if not isinstance(state, dict):
        raise PickleError(f"{what} is {describe(stub)}, not an object with attributes; give a pickled mjrl MLP policy")
    return state


def _layers(modules: Any) -> list[Any]:
    """The linear layers in order, from ``fc_layers`` or ``fc0, fc1, ...``; other layers are refused."""
    if set(modules) == {"fc_layers"}:
        modules = {f"fc{i}": module for i, module in _attributes(modules["fc_layers"], "fc_layers")["_modules"].items()}
    names = [f"fc{i}" for i in range(len(modules))]
    if not 0 < len(names) <= _MOST_LAYERS or set(modules) != set(names):
        found = ", ".join(str(name)[:40] for name in list(modules)[:8])
        raise PickleError(f"holds a network with layers {found}; only fc0 to fc{_MOST_LAYERS - 1}, in order, are read")
    return [modules[name] for name in names]


def _is_tanh(activation: Any) -> bool:
    if isinstance(activation, Stub):  # a builtin function: getattr(its owner, its name)
        return activation.args[-1:] == ("tanh",)
    return bool(getattr(activation, "origin", "").endswith(".tanh"))
