"""What unit tests of several rooms share."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def hdf5_layouts():
    """Functions that write demonstrations as D4RL and Minari do."""
    pytest.importorskip("h5py")
    spec = importlib.util.spec_from_file_location("hdf5_layouts", Path(__file__).with_name("hdf5_layouts.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
