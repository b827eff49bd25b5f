"""Read the arrays of published pickles, demonstrations and policies, without running anything in them.

Loading a pickle in the usual way runs whatever it asks for; `encoders.weights.unpickling` does not.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from encoders.weights.arrays import array
from encoders.weights.files import expanded, why_unreadable
from encoders.weights.pickles import Contents
from encoders.weights.unpickling import Placeholder, Refused, Unpickler, describe, entries
from tasks.errors import DemonstrationError, TaskError
from tasks.experts.policy import SCALE_EPSILON, Expert

_NEWER_SCALE_EPSILON = 1e-6
_LARGEST_FILE = 8 * 2**30  # CortexBench's hold every image of 100 episodes, up to 4 GiB
_MOST_LAYERS = 64
_SHOWN = 160


class PickleError(DemonstrationError):
    """A pickle is damaged or contains more than plain arrays; nothing in it has run."""


def load_plain(path: str | Path) -> Any:
    """Read a pickle of plain containers, numbers, strings and numpy arrays, of Python 2 or 3.

    Byte strings of Python 2 come back as str.

    Returns:
        Its content as dict, list, tuple, set, numbers, str, bytes and arrays.

    Raises:
        PickleError: the pickle is damaged or names anything else; nothing in it has run.
    """
    with _explained(path) as file:
        return _Arrays(file.getbuffer().nbytes)(Unpickler(file).load())


def load_mjrl_policy(path: str | Path) -> Expert:
    """Read the arrays of a pickled mjrl policy: an ``MLP`` with tanh layers, of any torch version.

    Raises:
        PickleError: the pickle is damaged or not such a policy; nothing in it has run.

    Source: ``gaussian_mlp.py`` and ``fc_network.py`` of mjrl, and DexMV's copy (``tpi``); layouts ``fc0, fc1, ...`` and
    ``fc_layers``.
    """
    with _explained(path) as file:
        policy = Unpickler(file).load()
        return _expert(policy, Contents(file.getbuffer().nbytes))


@contextmanager
def _explained(path: str | Path) -> Iterator[io.BytesIO]:
    """Provide the content of a file, and turn every error about it into one line."""
    unreadable = why_unreadable(expanded(path))
    if unreadable:
        raise PickleError(f"{path}: {unreadable}; give the path of a pickle")
    try:
        yield io.BytesIO(_content(expanded(path)))
    except OSError as error:
        raise PickleError(f"{path}: cannot be read ({error.strerror}); give the path of a pickle") from error
    except MemoryError as error:
        raise PickleError(f"{path}: does not fit into memory; fetch it again, or give a smaller file") from error
    except Refused as error:
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


class _Arrays(Contents):
    """Plain values and numpy arrays of numbers or text; refuses everything else."""

    def other(self, value: Any) -> Any:
        """Return the array, numpy scalar or bytes that a placeholder stands for."""
        made = super().other(value)
        if isinstance(made, (Placeholder, Tensor)):
            raise PickleError(f"names {describe(value)[2:]}, which is not read; give a file of plain arrays")
        return made

    def array(self, value: Placeholder) -> Any:
        """Return the array or numpy scalar."""
        made = array(value)
        self.spend(made.nbytes)
        return made


def _expert(policy: Any, contents: Contents) -> Expert:
    try:
        return Expert.from_arrays(_policy_arrays(policy, contents))
    except KeyError as error:
        raise PickleError(f"holds an object without {error}; give a pickled mjrl MLP policy") from error


def _policy_arrays(policy: Any, contents: Contents) -> dict[str, npt.NDArray[Any]]:
    def numbers(value: Any) -> npt.NDArray[Any]:
        made = contents(value)
        if not isinstance(made, (Tensor, np.ndarray, np.generic)):
            raise PickleError(f"holds {describe(value)} where an array should be")
        return np.asarray(made)

    attributes = _attributes(policy, "the policy")
    inside = "model" in attributes
    network = _attributes(attributes["model"], "the policy's model") if inside else attributes
    activation = network.get("nonlinearity")
    if activation is not None and not _is_tanh(activation):
        raise PickleError(f"holds a policy with activation {describe(activation)}; only tanh is read")
    layers = [entries(_attributes(layer, "a layer")["_parameters"]) for layer in _layers(network["_modules"])]
    log_std = attributes.get("log_std_val")  # what the released policies sample with, where present
    arrays = {"log_std": numbers(attributes["log_std"] if log_std is None else log_std).ravel()}
    for i, layer in enumerate(layers):
        arrays |= {f"W{i}": numbers(layer["weight"]), f"b{i}": numbers(layer["bias"])}
    for side, size in (("in", arrays["W0"].shape[-1]), ("out", arrays["log_std"].size)):
        for kind, default in (("shift", np.zeros), ("scale", np.ones)):
            value = network.get(f"{side}_{kind}")
            arrays[f"{side}_{kind}"] = default(size) if value is None else numbers(value).astype(np.float64).ravel()
    if not inside:  # the newer class divides by scale + 1e-6
        arrays["in_scale"] = arrays["in_scale"] + (_NEWER_SCALE_EPSILON - SCALE_EPSILON)
    return arrays


def _attributes(value: Any, what: str) -> dict[str, Any]:
    state = value.state if isinstance(value, Placeholder) else None
    if isinstance(state, tuple) and len(state) == 2 and state[0] is None:
        state = state[1]
    attributes = entries(state)
    if not attributes:
        raise PickleError(f"{what} is {describe(value)}, not an object with attributes; give a pickled mjrl MLP policy")
    return attributes


def _layers(modules: Any) -> list[Any]:
    """Return the linear layers in order, from ``fc_layers`` or ``fc0, fc1, ...``; refuse other layers."""
    inside = entries(modules)
    if set(inside) == {"fc_layers"}:
        numbered = entries(_attributes(inside["fc_layers"], "fc_layers")["_modules"])
        inside = {f"fc{i}": module for i, module in numbered.items()}
    names = [f"fc{i}" for i in range(len(inside))]
    if not 0 < len(names) <= _MOST_LAYERS or set(inside) != set(names):
        found = ", ".join(name[:40] for name in list(inside)[:8])
        raise PickleError(f"holds a network with layers {found}; only fc0 to fc{_MOST_LAYERS - 1}, in order, are read")
    return [inside[name] for name in names]


def _is_tanh(activation: Any) -> bool:
    if isinstance(activation, Placeholder):  # a builtin function: getattr(its owner, its name)
        return activation.args[-1:] == ("tanh",)
    return str(getattr(activation, "origin", "")).endswith(".tanh")
