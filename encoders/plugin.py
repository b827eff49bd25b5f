"""An encoder from a file: ``bench run --encoder path/to/file.py:Class``, no installation needed."""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from . import registration
from .base import Encoder
from .errors import EncoderError, UnknownEncoder
from .plugin_siblings import Siblings, siblings_of
from .registration import BESIDE
from .weights.files import expanded


def load(name: str) -> type[Encoder]:
    """Import the file (again, if it or a module beside it changed) and return the class.

    The sha256 of exactly the bytes that ran stands in the class's ``plugin_sha256``; the modules beside the file that
    it imports (`encoders.plugin_siblings`) are part of it.

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
    classes = {encoder.__name__: encoder for encoder in registration.registered_in(module.__name__).values()}
    if not class_name and len(classes) == 1:
        return next(iter(classes.values()))
    found = getattr(module, class_name, None) if class_name else None
    if found is None:
        raise UnknownEncoder(
            f"encoder '{name}': no class '{class_name}' in {path}: {registration.suggest(class_name, classes)}"
        )
    if not (isinstance(found, type) and issubclass(found, Encoder)):
        raise UnknownEncoder(
            f"encoder '{name}': '{class_name}' in {path} is not an encoder; expected a subclass of Encoder"
        )
    if not found.__dict__.get("name"):
        raise EncoderError(
            f"encoder '{name}': the class has no name; "
            f'write class {class_name}(Encoder, name="{class_name.lower()}") in {path}'
        )
    if found.__module__.startswith(BESIDE):  # the plug-in has it from a module beside it
        found.plugin_file, found.plugin_sha256 = str(path), module.__dict__["plugin_sha256"]
    return found


def _import(path: Path) -> ModuleType:
    source = path.read_bytes()
    try:
        beside = siblings_of(path, source)
    except (SyntaxError, ValueError, OSError) as error:
        where = f"{error.filename}, line {error.lineno}" if isinstance(error, SyntaxError) else str(path)
        raise EncoderError(
            f"{where}: cannot be imported: {type(error).__name__}: {error}; fix it and try again"
        ) from error
    digest = beside.sha256(source)
    module_name = f"hindex_bench_plugin_{hashlib.sha256(bytes(path)).hexdigest()[:12]}_{path.stem}"
    earlier = sys.modules.get(module_name)
    if earlier is not None and earlier.__dict__["plugin_sha256"] == digest:
        return earlier
    module = ModuleType(module_name)
    module.__file__ = str(path)
    module.__dict__["plugin_sha256"] = digest
    with _in_place_of(earlier, module, beside):
        try:
            exec(beside.code(source, path), module.__dict__)
        except EncoderError:
            raise
        except Exception as error:
            raise EncoderError(
                f"{_place(error, path)}: cannot be imported: {type(error).__name__}: {error}; "
                f"{_hint(error, beside)}fix it and try again"
            ) from error
    for encoder in registration.registered_in(module_name).values():
        encoder.plugin_file = str(path)
        encoder.plugin_sha256 = digest
    return module


@contextmanager
def _in_place_of(earlier: ModuleType | None, module: ModuleType, beside: Siblings) -> Iterator[None]:
    """Put a plug-in in the place of what was imported from its file before; back again if it fails."""
    forgotten, finders = registration.forget_module(module.__name__), list(sys.meta_path)
    earlier_siblings = beside.remove()
    beside.install()
    if beside.modules:
        module.__package__ = beside.package
        sys.modules[f"{beside.package}.{beside.plugin.stem}"] = module  # what one beside it may import
    sys.modules[module.__name__] = module  # dataclasses and pickle look their module up here
    try:
        yield
    except BaseException:
        registration.forget_module(module.__name__)
        for name, encoder in forgotten.items():
            registration.register(name, encoder)
        del sys.modules[module.__name__]
        beside.remove()
        sys.meta_path[:] = finders
        sys.modules.update(earlier_siblings)
        if earlier is not None:
            sys.modules[module.__name__] = earlier
        raise


def _place(error: Exception, path: Path) -> str:
    """Return the file, of the plug-in or beside it, and the line where it failed."""
    frames = [
        one for one in traceback.extract_tb(error.__traceback__) if Path(one.filename).is_relative_to(path.parent)
    ]
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else str(path)


def _hint(error: Exception, beside: Siblings) -> str:
    """Explain a failed import of a name that a module beside the plug-in has."""
    name = str(getattr(error, "name", "") or "").partition(".")[0]
    if name in beside.hidden:
        return f"'{name}' is {beside.hidden[name]}, and not the module beside the plug-in: rename that one, "
    if name and (beside.plugin.parent / f"{name}.py").is_file():
        return f"{name}.py beside the plug-in is found by an import statement only, "
    return ""
