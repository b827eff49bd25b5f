"""Small suites of run folders for the reports."""

import importlib.util
import sys
from pathlib import Path

import pytest

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
