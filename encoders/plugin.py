"""An encoder from a file: ``bench run --encoder path/to/file.py:Class``, no installation needed."""

from __future__ import annotations

import hashlib
import sys
import traceback
from pathlib import Path
from types import ModuleType

from . import registry
from .base import Encoder
from .errors import EncoderError, UnknownEncoder
from .files import expanded


def load(name: str) -> type[Encoder]:
    """Import the file (again, if it changed) and return the class.

    The sha256 of exactly the bytes that ran stands in the class's ``plugin_sha256``.

    Args:
        name: ``file.py:Class``, or ``file.py`` where the file registers a single encoder.

    Raises:
        UnknownEncoder: there is no such file or class.
        EncoderError: the file cannot be imported, or the class has no ``name=``.
    """
    text, class_name = (name, "") if name.endswith(".py") else name.rsplit(":", 1)
    path = expanded(text).resolve()
    if not path.is_file():
        raise UnknownEncoder(f"encoder '{name}': no file {path}; expected path/to/file.py:Class")
    module = _import(path)
    classes = {encoder.__name__: encoder for encoder in registry.registered_in(module.__name__).values()}
    if not class_name and len(classes) == 1:
        return next(iter(classes.values()))
    found = getattr(module, class_name, None) if class_name else None
    if found is None:
        raise UnknownEncoder(
            f"encoder '{name}': no class '{class_name}' in {path}: {registry.suggest(class_name, classes)}"
        )
    if not (isinstance(found, type) and issubclass(found, Encoder)):
        raise UnknownEncoder(
            f"encoder '{name}': '{class_name}' in {path} is no encoder; expected a subclass of Encoder"
        )
    if found.__name__ not in classes:
        raise EncoderError(
            f"encoder '{name}': the class has no name; "
            f'write class {class_name}(Encoder, name="{class_name.lower()}") in {path}'
        )
    return found


def _import(path: Path) -> ModuleType:
    source = path.read_bytes()
    digest = hashlib.sha256(source).hexdigest()
    module_name = f"hindex_bench_plugin_{hashlib.sha256(bytes(path)).hexdigest()[:12]}_{path.stem}"
    earlier = sys.modules.get(module_name)
    if earlier is not None and earlier.__dict__["plugin_sha256"] == digest:
        return earlier
    forgotten = registry.forget_module(module_name)
    module = ModuleType(module_name)
    module.__file__ = str(path)
    module.__dict__["plugin_sha256"] = digest
    sys.modules[module_name] = module  # dataclasses and pickle look their module up here
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
    except BaseException as error:
        registry.forget_module(module_name)
        for name, encoder in forgotten.items():
            registry.register(name, encoder)
        sys.modules.pop(module_name)
        if earlier is not None:
            sys.modules[module_name] = earlier
        if isinstance(error, EncoderError) or not isinstance(error, Exception):
            raise
        raise EncoderError(
            f"{path}{_line(error, path)}: cannot be imported: {type(error).__name__}: {error}; mend it and try again"
        ) from error
    for encoder in registry.registered_in(module_name).values():
        encoder.plugin_file = str(path)
        encoder.plugin_sha256 = digest
    return module


def _line(error: Exception, path: Path) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f", line {lines[-1]}" if lines else ""
