"""A class from a file, ``path/to/file.py:Class``: found, imported, hashed, and every mistake in it told in one line.

Encoders come from files this way (`encoders.plugin`), and tasks (`benchmark.task_files`).
"""

from __future__ import annotations

import hashlib
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from .errors import in_words
from .plugin_siblings import Siblings, siblings_of
from .registration import suggest
from .weights.files import expanded


class Registration(Protocol):
    """Where classes are registered when they are defined: `encoders.registration`, or the tasks' own."""

    def register(self, name: str, kind: type[Any], /) -> None:
        """Give a class its name."""

    def forget_module(self, module: str) -> dict[str, type[Any]]:
        """Remove all classes of a module and return them by name."""

    def registered_in(self, module: str) -> dict[str, type[Any]]:
        """Return the registered classes of a module, by name."""


@dataclass(frozen=True)
class Kind:
    """What a plug-in is.

    Attributes:
        noun: what it is, as in an error's message: ``encoder``.
        base: what its class has to be a subclass of.
        registration: where such classes are registered.
        error: what is raised if the file cannot be imported; raised by the file itself, it passes as it is.
        unknown: what is raised if there is no such file or class.
        unnamed: from a class to what to write in it, so that it is registered; empty for one that is.
    """

    noun: str
    base: type[Any]
    registration: Registration
    error: type[Exception]
    unknown: type[Exception]
    unnamed: Callable[[type[Any]], str]


def load(text: str, kind: Kind) -> type[Any]:
    """Import the file (again, if it or a module beside it changed) and return the class.

    The sha256 of exactly the bytes that ran stands in the class's ``plugin_sha256``; the modules beside the file that
    it imports (`encoders.plugin_siblings`) are part of it.

    Args:
        text: ``file.py:Class``, or ``file.py`` where the file registers a single class.
        kind: what the class is.

    Raises:
        Exception: ``kind.unknown``, there is no such file or class; ``kind.error``, the file cannot be imported, or
            the class is not registered.
    """
    where, class_name = (text, "") if text.endswith(".py") else text.rsplit(":", 1)
    path = expanded(where).resolve()
    if not path.is_file():
        raise kind.unknown(f"{kind.noun} '{text}': no file {path}; expected path/to/file.py:Class")
    module = _import(path, kind)
    classes = {one.__name__: one for one in kind.registration.registered_in(module.__name__).values()}
    if not class_name and len(classes) == 1:
        class_name = next(iter(classes))
    found = module.__dict__.get(class_name) if class_name else None
    if found is None:
        raise kind.unknown(f"{kind.noun} '{text}': no class '{class_name}' in {path}: {suggest(class_name, classes)}")
    if not (isinstance(found, type) and issubclass(found, kind.base)):
        raise kind.unknown(
            f"{kind.noun} '{text}': '{class_name}' in {path} is no {kind.noun}; "
            f"expected a subclass of {kind.base.__name__}"
        )
    if remedy := kind.unnamed(found):
        raise kind.error(f"{kind.noun} '{text}': the class has no name; write {remedy} in {path}")
    loaded: type[Any] = found
    loaded.plugin_file, loaded.plugin_sha256 = str(path), module.__dict__["plugin_sha256"]
    return loaded


def _import(path: Path, kind: Kind) -> ModuleType:
    try:
        source = path.read_bytes()
        beside = siblings_of(path, source)
    except KeyboardInterrupt:
        raise
    except Exception as error:  # no Python, unreadable, or deeper than the parser goes
        where = f"{error.filename}, line {error.lineno}" if isinstance(error, SyntaxError) else str(path)
        raise kind.error(f"{where}: cannot be imported: {in_words(error)}; fix it and try again") from error
    digest = beside.sha256(source)
    module_name = f"hindex_bench_plugin_{hashlib.sha256(bytes(path)).hexdigest()[:12]}_{path.stem}"
    earlier = sys.modules.get(module_name)
    if earlier is not None and earlier.__dict__["plugin_sha256"] == digest:
        return earlier
    module = ModuleType(module_name)
    module.__file__ = str(path)
    module.__dict__["plugin_sha256"] = digest
    with _in_place_of(earlier, module, beside, kind.registration):
        try:
            exec(beside.code(source, path), module.__dict__)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if isinstance(error, kind.error) and in_words(error) != type(error).__name__:
                raise
            raise kind.error(
                f"{_place(error, path)}: cannot be imported: {in_words(error)}; {_hint(error, beside)}fix it and try "
                "again"
            ) from error
    module.__dict__["plugin_sha256"] = digest
    for one in kind.registration.registered_in(module_name).values():
        one.plugin_file = str(path)
        one.plugin_sha256 = digest
    return module


@contextmanager
def _in_place_of(
    earlier: ModuleType | None, module: ModuleType, beside: Siblings, registration: Registration
) -> Iterator[None]:
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
        for name, kind in forgotten.items():
            registration.register(name, kind)
        sys.modules.pop(module.__name__, None)
        beside.remove()
        sys.meta_path[:] = finders
        sys.modules.update(earlier_siblings)
        if earlier is not None:
            sys.modules[module.__name__] = earlier
        raise


def _place(error: BaseException, path: Path) -> str:
    """Return the file, of the plug-in or beside it, and the line where it failed."""
    frames = [
        one for one in traceback.extract_tb(error.__traceback__) if Path(one.filename).is_relative_to(path.parent)
    ]
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else str(path)


def _hint(error: BaseException, beside: Siblings) -> str:
    """Explain a failed import of a name that a module beside the plug-in has."""
    name = str(getattr(error, "name", "") or "").partition(".")[0] if isinstance(error, ImportError) else ""
    if name in beside.hidden:
        return f"'{name}' is {beside.hidden[name]}, and not the module beside the plug-in: rename that one, "
    if name and (beside.plugin.parent / f"{name}.py").is_file():
        return f"{name}.py beside the plug-in is found by an import statement only, "
    return ""
