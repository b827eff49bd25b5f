"""Small suites of run folders for the reports."""

import importlib.util
import sys
from pathlib import Path

import pytest

from benchmark.store.run_folder import RunFolder

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def synthetic():
    """The module that writes synthetic run folders."""
    name = "hindex_bench_synthetic_suite"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, HERE / "synthetic_suite.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def whole_suite(synthetic, tmp_path_factory):
    """All 300 folders; not to be changed."""
    return synthetic.write_suite(tmp_path_factory.mktemp("synthetic"))


@pytest.fixture
def write(synthetic, tmp_path):
    """Write a few runs without pictures: (*runs) -> folder."""

    def write(*runs):
        return synthetic.write_suite(tmp_path, list(runs), sides=False, films=False)

    return write


@pytest.fixture(scope="session")
def small_suite(synthetic, tmp_path_factory):
    """Three encoders on three tasks with three seeds, without pictures; r3m lacks pen, vc1 has one seed of pour."""
    cells = [
        ("hindex", "pen"),
        ("hindex", "pour"),
        ("hindex", "door"),
        ("vc1", "pen"),
        ("vc1", "door"),
        ("r3m", "door"),
    ]
    runs = [synthetic.Run(encoder, task, seed) for encoder, task in [*cells, ("r3m", "pour")] for seed in range(3)]
    runs += [
        synthetic.Run("vc1", "pour", 0),
        synthetic.Run("state", "pen", 0),
        synthetic.Run("hindex", "pen", 0, "ema-0.1"),
    ]
    return synthetic.write_suite(tmp_path_factory.mktemp("small"), runs, sides=False, films=False)


@pytest.fixture
def rewrite():
    """Replace a file of a finished run so that its manifest agrees: (path of the file, content) -> None."""

    def rewrite(path, content):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        RunFolder(path.parent).finish()

    return rewrite
