"""Tests import only what `pip install .[test]` installs, since continuous integration has nothing else."""

import ast
import functools
import re
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "tests").rglob("*.py"))
OWN = {"benchmark", "encoders", "tasks", "reports", "tests"} | {path.stem for path in FILES}


def plain(name):
    """Return a distribution's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@functools.cache
def brought():
    """Return the modules of the package's dependencies, of its extra `test`, and of what these depend on."""
    distributions, waiting = set(), [("hindex-bench", "test")]
    while waiting:
        name, extra = waiting.pop()
        with_extra = [Requirement(line) for line in _requires(name)]
        named = {
            (plain(needed.name), wanted)
            for needed in with_extra
            if needed.marker is None or needed.marker.evaluate({"extra": extra})
            for wanted in needed.extras or {""}
        }
        waiting += named - distributions
        distributions |= named
    names = {name for name, _ in distributions}
    return {module for module, owners in packages_distributions().items() if names & {plain(o) for o in owners}}


def _requires(name):
    try:
        return requires(name) or []
    except PackageNotFoundError:  # of another platform, or of an extra that nothing asks for
        return []


def missing(text):
    """Return what a file imports as soon as it is collected, and nothing required brings."""
    found = set()
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.Import):
            found |= {alias.name.split(".")[0] for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            found.add(statement.module.split(".")[0])
    return found - OWN - set(sys.stdlib_module_names) - brought()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_test_imports_only_what_its_extra_brings(path):
    assert not missing(path.read_text(encoding="utf-8"))


def test_an_import_of_something_else_is_found():
    assert missing("import json\nimport pip\nimport _not_installed\nimport numpy\n") == {"pip", "_not_installed"}
