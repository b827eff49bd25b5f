"""Converted networks without their numbers, kept in the cache and found again by content.

What is kept is small and serves every encoder of the same class, whatever its weights: the twelve adaptations of one
encoder are one file. Its name is a hash of all that a conversion depends on: the sources and settings of the modules,
the shapes of their numbers, and the versions of the libraries.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..base import Encoder
from ..weights.cache import CACHE_VARIABLE, cache_dir
from ..weights.files import warn_once, write_whole
from ..weights.sealed import Damaged, check, seal
from .export import tensors_of

logger = logging.getLogger(__name__)

_FORMAT = 1
_LIBRARIES = ("torch", "torchvision", "timm", "openvino")
_NOT_CONVERTED = {"origin", "adaptation", "random_weights", "precision", "backend", "memory_format", "compiled_forward"}
"""Attributes of an encoder that say where its numbers come from, or how it computes."""


@dataclasses.dataclass(frozen=True)
class Graph:
    """A converted network whose inputs are, beside the images, the numbers that it computes with.

    Attributes:
        network: OpenVINO's XML.
        constants: what stays in it, in OpenVINO's order.
        fixed: sha256 of the encoder's numbers that went into the constants: it serves encoders with the same ones.
    """

    network: bytes
    constants: bytes
    fixed: dict[str, str]

    def fits(self, numbers: Mapping[str, Tensor]) -> bool:
        """Return whether an encoder has the numbers that the graph holds."""
        return all(name in numbers and sha256(numbers[name]) == digest for name, digest in self.fixed.items())


def graph_path(encoder: Encoder, stem: str | None) -> Path | None:
    """Return where the graph of an encoder is kept; None where a class has no source file to tell its version by.

    Args:
        encoder: frozen.
        stem: the layer after which the graph begins, as in `encoders.backends.export`.
    """
    sources = _sources(encoder)
    if sources is None:
        return None
    content = {
        "format": _FORMAT,
        "sources": sources,
        "versions": {name: metadata.version(name) for name in _LIBRARIES},
        "stem": stem,
        "modules": {name: [_qualname(module), _settings(module)] for name, module in encoder.named_modules()},
        "numbers": {name: [str(each.dtype), list(each.shape)] for name, each in tensors_of(encoder).items()},
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return cache_dir() / "openvino" / f"{digest[:32]}.safetensors"


def load(path: Path) -> Graph | None:
    """Return a kept graph; None where there is none, or where it is damaged, which is said."""
    try:
        if not check(path):
            raise Damaged("it has no digest")
        with safe_open(path, framework="np") as file:
            network, constants = (file.get_tensor(name).tobytes() for name in ("network", "constants"))
            return Graph(network, constants, json.loads(file.metadata()["fixed"]))
    except OSError:
        return None
    except (Damaged, KeyError, ValueError, SafetensorError) as error:
        logger.warning("%s is damaged (%s); it is made anew", path, error)
        return None


def store(path: Path, graph: Graph) -> None:
    """Keep a graph, whole or not at all; where the cache cannot be written, say so once and go on."""
    arrays = {name: np.frombuffer(getattr(graph, name), np.uint8) for name in ("network", "constants")}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, [seal(safetensors.numpy.save(arrays), {"fixed": json.dumps(graph.fixed)})])
    except OSError as error:
        warn_once(
            "openvino cache",
            f"networks for OpenVINO are not kept, which costs some seconds per run: cannot write {path}: "
            f"{error.strerror or error}; make room, or set {CACHE_VARIABLE} to a folder that can be written",
        )


def sha256(tensor: Tensor) -> str:
    """Return the hash of a tensor's bytes."""
    return hashlib.sha256(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data).hexdigest()


def _sources(encoder: Encoder) -> dict[str, str] | None:
    """Return a hash of the sources of all classes in a network, by package or plug-in."""
    found: dict[str, str] = {}
    for kind in {kind for module in encoder.modules() for kind in type(module).__mro__ if kind is not object}:
        package = kind.__module__.partition(".")[0]
        if package in _LIBRARIES:
            continue
        if getattr(sys.modules.get(package), "__file__", None) is None:  # a namespace package
            package = kind.__module__
        if package not in found:
            digest = _source(package)
            if digest is None:
                return None
            found[package] = digest
    return found


def _source(package: str) -> str | None:
    """Return a hash of a package's Python files, or of a plug-in's; None where there are none, as in a notebook."""
    module = sys.modules.get(package)
    plugin = getattr(module, "plugin_sha256", None)
    if plugin is not None:
        return str(plugin)
    file = getattr(module, "__file__", None)
    if package == "__main__" or file is None:
        return None
    path = Path(file)
    files = sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
    digest = hashlib.sha256()
    for each in files:
        digest.update(f"{each.relative_to(path.parent)}\n".encode() + each.read_bytes())
    return digest.hexdigest()


def _settings(module: nn.Module) -> dict[str, Any]:
    """Return a module's own attributes, as far as they are values; its numbers are told apart by name."""
    return {
        name: _plain(value)
        for name, value in sorted(vars(module).items())
        if name not in _NOT_CONVERTED and (not name.startswith("_") or not isinstance(value, dict))
    }


def _plain(value: Any) -> Any:
    """Return JSON that is the same for the same value; an object without a value of its own gives its type."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    if isinstance(value, (Tensor, np.ndarray)):
        return sha256(torch.as_tensor(value))
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {repr(key): _plain(each) for key, each in value.items()}
    if dataclasses.is_dataclass(value):
        return repr(value)
    return _qualname(value)


def _qualname(value: Any) -> str:
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"
