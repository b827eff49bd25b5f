"""Modules beside a plug-in file, which it may import as a script imports the modules of its folder.

They are found by reading the import statements, of functions too, so that they can be part of the plug-in's hash before
anything ran. Each plug-in has its own under names of its own: nothing of its folder becomes importable for others, two
folders may each have a ``utils.py``, and installed packages and ours come first.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

PREFIX = "hindex_bench_plugin_beside_"
"""What the names of the packages begin with that the modules are in."""


@dataclass(frozen=True)
class Sibling:
    """A module beside a plug-in.

    Attributes:
        path: its file.
        source: what was in it when the plug-in was loaded.
        package: whether it is a package's ``__init__.py``.
    """

    path: Path
    source: bytes
    package: bool


@dataclass
class Siblings(MetaPathFinder, Loader):
    """The modules beside one plug-in that it imports, or that these import.

    Attributes:
        plugin: the plug-in's file.
        modules: by their names in import statements, such as ``net`` and ``parts.layers``.
        hidden: names of files beside the plug-in that are not taken, since a module elsewhere has the name, and where.
    """

    plugin: Path
    modules: dict[str, Sibling] = field(default_factory=dict)
    hidden: dict[str, str] = field(default_factory=dict)

    @property
    def package(self) -> str:
        """Return the name of the package that the modules are in, in this process."""
        return f"{PREFIX}{hashlib.sha256(bytes(self.plugin)).hexdigest()[:12]}"

    def sha256(self, source: bytes) -> str:
        """Return the hash of a plug-in: of its file alone if it imports nothing beside it."""
        digest = hashlib.sha256(source).hexdigest()
        if not self.modules:
            return digest
        lines = [f"{name} {hashlib.sha256(one.source).hexdigest()}" for name, one in sorted(self.modules.items())]
        return hashlib.sha256("\n".join([digest, *lines]).encode()).hexdigest()

    def code(self, source: bytes, path: Path) -> Any:
        """Compile the plug-in, or a module beside it, so that its imports lead to the modules beside it."""
        if not self.modules:
            return compile(source, str(path), "exec")
        names = {self.plugin.stem, *(name.partition(".")[0] for name in self.modules)}
        tree = _Imports(self.package, names).visit(ast.parse(source))
        return compile(ast.fix_missing_locations(tree), str(path), "exec")

    def install(self) -> None:
        """Make the modules importable under their names in this process, in place of earlier ones of this plug-in."""
        self.remove()
        if self.modules:
            package = ModuleType(self.package)
            package.__path__ = []
            sys.modules[self.package] = package
            sys.meta_path.append(self)

    def remove(self) -> dict[str, ModuleType]:
        """Forget what is imported of this plug-in's modules, and return it."""
        earlier = [one for one in sys.meta_path if isinstance(one, Siblings) and one.package == self.package]
        for finder in earlier:
            sys.meta_path.remove(finder)
        names = [name for name in sys.modules if name == self.package or name.startswith(f"{self.package}.")]
        return {name: sys.modules.pop(name) for name in names}

    # How Python finds and runs them.

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a module is, if it is one of these."""
        sibling = self.modules.get(fullname.removeprefix(f"{self.package}."))
        if sibling is None or not fullname.startswith(f"{self.package}."):
            return None
        inside: list[str] | None = [] if sibling.package else None
        spec = importlib.util.spec_from_file_location(
            fullname, sibling.path, loader=self, submodule_search_locations=inside
        )
        if spec is not None and spec.submodule_search_locations:
            spec.submodule_search_locations.clear()  # or Python's own finder would come first for what is inside
        return spec

    def exec_module(self, module: ModuleType) -> None:
        """Run a module as it was when the plug-in was loaded."""
        sibling = self.modules[module.__name__.removeprefix(f"{self.package}.")]
        module.__dict__["beside_a_plugin"] = True
        exec(self.code(sibling.source, sibling.path), module.__dict__)


def siblings_of(plugin: Path, source: bytes) -> Siblings:
    """Find the modules beside a plug-in that its import statements lead to.

    Raises:
        SyntaxError: the plug-in, or one of them, is no Python.
        OSError: one cannot be read.
    """
    found = Siblings(plugin)
    todo = list(_imported(source, plugin))
    while todo:
        name = todo.pop()
        files = _files(plugin.parent, name)
        if name in found.modules or name in found.hidden or not files or plugin in files.values():
            continue
        other = _elsewhere(name, plugin.parent)
        if other:
            found.hidden[name] = other
            continue
        for dotted, file in files.items():
            found.modules[dotted] = Sibling(file, file.read_bytes(), file.name == "__init__.py")
            todo += _imported(found.modules[dotted].source, file)
    return found


def _imported(source: bytes, path: Path) -> Iterator[str]:
    """Yield the first parts of the names that a module imports, wherever the statement stands."""
    for node in ast.walk(ast.parse(source, str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)


def _files(folder: Path, name: str) -> dict[str, Path]:
    """Return the files of a module or package in a folder, by their dotted names."""
    package = folder / name
    if (package / "__init__.py").is_file():
        files = {}
        for file in sorted(package.rglob("*.py")):
            parts = (name, *file.relative_to(package).with_suffix("").parts)
            files[".".join(parts).removesuffix(".__init__")] = file
        return files
    file = folder / f"{name}.py"
    return {name: file} if file.is_file() else {}


def _elsewhere(name: str, folder: Path) -> str:
    """Return where else a module of this name is found; empty if nowhere."""
    if name in sys.stdlib_module_names:
        return "Python's own module"
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # a module without a spec, such as __main__
        return ""
    origin = spec.origin if spec is not None else None
    return "" if origin is None or Path(origin).resolve().is_relative_to(folder) else origin


class _Imports(ast.NodeTransformer):
    """Turns imports of modules beside a plug-in into imports from the package that they are in."""

    def __init__(self, package: str, names: set[str]) -> None:
        self._package, self._names = package, names

    def _is_beside(self, name: str) -> bool:
        return name.partition(".")[0] in self._names

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        """Turn ``from net import Net`` into ``from PACKAGE.net import Net``."""
        if node.level == 0 and node.module and self._is_beside(node.module):
            node.module = f"{self._package}.{node.module}"
        return node

    def visit_Import(self, node: ast.Import) -> list[ast.stmt]:
        """Turn ``import net`` into ``from PACKAGE import net``, and so on."""
        statements: list[ast.stmt] = []
        for alias in node.names:
            if not self._is_beside(alias.name):
                statements.append(ast.Import([alias]))
                continue
            inside, _, last = f"{self._package}.{alias.name}".rpartition(".")
            if alias.asname or "." not in alias.name:
                statements.append(ast.ImportFrom(inside, [ast.alias(last, alias.asname)], 0))
            else:  # binds the outermost package, once the whole is imported
                outermost = alias.name.partition(".")[0]
                statements.append(ast.ImportFrom(inside, [ast.alias(last, outermost)], 0))
                statements.append(ast.ImportFrom(self._package, [ast.alias(outermost)], 0))
        return [ast.copy_location(statement, node) for statement in statements]
