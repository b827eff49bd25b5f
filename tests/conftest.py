"""Fixtures and rules that hold for every test."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def pytest_collection_modifyitems(config, items):
    for item in items:
        if item.path.is_relative_to(ROOT / "tests" / "performance"):
            item.add_marker(pytest.mark.slow)
        if item.get_closest_marker("network") and "network" not in config.option.markexpr:
            item.add_marker(pytest.mark.skip(reason="fetches something; ask for it with -m network"))
        if item.get_closest_marker("gpu") and not cuda_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def cuda_available():
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def golden():
    """The folder of data recorded from the reference environments."""
    return _shared("golden", "dapg_update.npz")


@pytest.fixture(scope="session")
def ycb():
    """The folder of official YCB meshes."""
    return _shared("data/ycb", "visual")


def _shared(name, holds):
    folder = SHARED / name
    if not (folder / holds).exists():
        pytest.skip(f"no {name}/{holds} in a folder `shared` beside the checkout")
    return folder
