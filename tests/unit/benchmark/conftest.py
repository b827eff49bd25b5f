"""What the runner's tests share: a cache of their own, and simulators that are started once."""

import pytest
import torch

from benchmark.rollout.simulators import Simulators
from benchmark.rollout.slots import SceneSettings


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The folder that features and imported demonstrations go to; empty at first."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("HINDEX_BENCH_CACHE", str(folder))
    return folder


@pytest.fixture(autouse=True, scope="module")
def without_openvino():
    """Let PyTorch compute by default: a conversion takes seconds. What OpenVINO does to a run is in test_backend.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("encoders.backend.installed", lambda: False)
        yield


@pytest.fixture(autouse=True)
def torch_threads():
    """Give torch back the threads that a run took from it."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def pen_without_images():
    """Three pens in this process."""
    with Simulators(SceneSettings("pen", slots=3, images=False)) as simulators:
        yield simulators


@pytest.fixture(scope="module")
def pen_with_images():
    """Three pens in this process, drawn."""
    with Simulators(SceneSettings("pen", slots=3)) as simulators:
        yield simulators
