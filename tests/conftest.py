"""Fixtures and rules that hold for every test."""

import dataclasses
import sys
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


@pytest.fixture(scope="session")
def ycb_cache(ycb, tmp_path_factory):
    """A cache folder, as HINDEX_BENCH_CACHE names one, that has the official meshes and nothing else."""
    folder = tmp_path_factory.mktemp("cache")
    (folder / "ycb").symlink_to(ycb, target_is_directory=True)
    return folder


@pytest.fixture(scope="session")
def make_ycb(ycb_cache):
    """Make a task with the official meshes: as `tasks.make`; the variable is set only while the scene is built."""
    import tasks

    def make(name, **options):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HINDEX_BENCH_CACHE", str(ycb_cache))
            return tasks.make(name, objects="ycb", **options)

    return make


def _shared(name, holds):
    folder = SHARED / name
    if not (folder / holds).exists():
        pytest.skip(f"no {name}/{holds} in a folder `shared` beside the checkout")
    return folder


@pytest.fixture(autouse=True)
def forgotten_plugins():
    """Encoders and tasks that a test read from files are not there for the next one."""
    from encoders import registration
    from tasks import registration as task_registration

    yield
    for name in [name for name in sys.modules if name.startswith("hindex_bench_plugin_")]:
        registration.forget_module(name)
        task_registration.forget_module(name)
        del sys.modules[name]


@pytest.fixture
def later_with_ycb(monkeypatch):
    """The card of the pen with results version 7 for official meshes, which change nothing in its scene."""
    from tasks.cards import CARDS

    monkeypatch.setitem(CARDS, "pen", dataclasses.replace(CARDS["pen"], ycb_results_version=7))


@pytest.fixture(scope="session")
def demonstration_file(tmp_path_factory):
    """Make a file of short demonstrations by random actions: (task, episodes, steps) -> path."""
    folder = tmp_path_factory.mktemp("demonstrations")

    def make(task, episodes=2, steps=8):
        path = folder / f"{task}-{episodes}-{steps}.npz"
        if not path.exists():
            _random_demonstrations(task, episodes, steps).save(path)
        return path

    return make


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory):
    """An encoder that costs nothing, as ``file.py:Class``: the mean colours of an image's quarters, 12 numbers."""
    path = tmp_path_factory.mktemp("plugin") / "tiny.py"
    path.write_text(TINY_ENCODER)
    return f"{path}:Tiny"


TINY_ENCODER = """
from torch.nn.functional import adaptive_avg_pool2d

from encoders import Encoder


class Tiny(Encoder, name="tiny"):
    feature_dim = 12

    def __init__(self, weights=None):
        super().__init__()

    def forward(self, images):
        return adaptive_avg_pool2d(images, 2).flatten(1)
"""


def _random_demonstrations(name, episodes, steps):
    import numpy as np

    import tasks
    from tasks.demonstrations.dataset import Demonstrations, Episode

    task = tasks.make(name, slots=episodes)
    observation = task.reset(range(episodes)).observation
    initial = [task.initial_state(slot) for slot in range(episodes)]
    actions = 0.1 * np.random.default_rng(0).standard_normal((steps, episodes, task.card.action_dim), dtype=np.float32)
    observations, rewards, goals = [], [], []
    for step in range(steps):
        reading = task.step(actions[step])
        observations.append(observation)
        rewards.append(reading.reward)
        goals.append(reading.goal)
        observation = reading.observation
    made = np.array(observations), np.array(rewards), np.array(goals)
    return Demonstrations(
        name,
        [
            Episode(initial[k], actions[:, k], made[0][:, k], made[1][:, k], made[2][:, k], success=False, seed=k)
            for k in range(episodes)
        ],
    )
