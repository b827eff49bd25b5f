"""A run's precision: chosen by what its own task's frames bear, said, and part of what makes its numbers."""

import json

import numpy as np
import pytest

import encoders.precision
from benchmark.config import configure
from benchmark.errors import ConfigError
from benchmark.rollout.slots import SceneSettings
from benchmark.runner import runner
from benchmark.runner.precision import demonstrated_frames, settle_precision
from benchmark.runner.runner import run
from benchmark.runner.suite import suite_name
from encoders import PrecisionRefused
from encoders.precision import PRECISIONS
from tasks.demonstrations.dataset import Demonstrations

PLUGIN = """
import torch
from torch.nn.functional import adaptive_avg_pool2d

from encoders import Encoder


class Mixed(Encoder, name="mixed"):
    feature_dim = 8
    offset = {offset}

    def __init__(self, weights=None):
        super().__init__()
        self.mix = torch.nn.Linear(192, 8)

    def forward(self, images):
        common = torch.full((len(images), 192), float(self.offset))
        return self.mix(adaptive_avg_pool2d(images, 8).flatten(1) + common) - self.mix(common)
"""


@pytest.fixture(params=[0])
def plugin(request, tmp_path):
    path = tmp_path / "mixed.py"
    path.write_text(PLUGIN.format(offset=request.param))
    return f"{path}:Mixed"


@pytest.fixture
def configured(demonstration_file, plugin):
    settings = [
        *(f"demonstrations.source={demonstration_file('pen')}", "demonstrations.episodes=2", "rollout.horizon=4"),
        *("rollout.slots=2", "learner.policy_hidden=[8]", "learner.value_hidden=[8]", "learner.iterations=1"),
        *("learner.trajectories_per_iteration=2", "evaluation.episodes=2"),
    ]

    def make(**values):
        return configure("quickstart", settings, task="pen", encoder=plugin, torch_threads=1, workers=0, **values)

    return make


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HINDEX_BENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(params=[True])
def instructions(request, monkeypatch):
    flags = frozenset({"avx512_bf16"} if request.param else ())
    monkeypatch.setattr(encoders.precision, "_cpu_flags", lambda: flags)


def identity(result):
    return json.loads((result.path / "identity.json").read_text())


def test_the_runs_own_settings_name_the_same_precisions():
    for name in PRECISIONS:
        assert configure("small", task="pen", encoder="state", precision=name).precision == name
    assert configure("small", task="pen", encoder="state").precision == "auto"
    assert configure("paper", task="pen", encoder="state").precision == "float32"


def test_auto_takes_bfloat16_says_so_and_records_what_was_used(configured, instructions, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(runner.Silent, "say", lambda self, line: said.append(line))
    result = run(configured(), tmp_path / "runs")
    found = identity(result)
    assert found["encoder"]["precision"] == "bfloat16"
    assert "precision" not in found["config"]  # asked for by name it is the same run
    assert any(line.startswith("precision bfloat16: lowest cosine similarity to float32 0.99") for line in said)
    cloned = json.loads((result.path / "metrics.jsonl").read_text().splitlines()[0])
    assert 0.999 < cloned["precision_cosine"] <= 1.0
    assert run(configured(), tmp_path / "runs").found


def test_float32_compares_nothing(configured, instructions, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.runner.precision.demonstrated_frames", None)
    result = run(configured(precision="float32"), tmp_path / "runs")
    assert identity(result)["encoder"]["precision"] == "float32"
    assert "precision_cosine" not in (result.path / "metrics.jsonl").read_text()


@pytest.mark.parametrize("plugin", [500], indirect=True)
def test_an_encoder_that_does_not_bear_it_is_refused_or_falls_back_aloud(
    configured, instructions, tmp_path, monkeypatch
):
    with pytest.raises(PrecisionRefused, match=r"encoder 'mixed': features in bfloat16 .* use --precision float32"):
        run(configured(precision="bfloat16"), tmp_path / "runs")
    assert not list((tmp_path / "runs").rglob("identity.json"))
    said = []
    monkeypatch.setattr(runner.Silent, "say", lambda self, line: said.append(line))
    assert identity(run(configured(), tmp_path / "runs"))["encoder"]["precision"] == "float32"
    assert any("not taken: features in bfloat16 have a lowest cosine similarity of" in line for line in said)
    assert "precision float32" in said


def test_the_format_is_part_of_what_makes_the_numbers(configured, instructions, tmp_path, monkeypatch):
    """Without the instructions a new run is another one, with features made anew; a finished one is done."""
    run(configured(), tmp_path / "runs")
    features = set((tmp_path / "cache" / "features").iterdir())
    assert len(features) == 1
    monkeypatch.setattr(encoders.precision, "_cpu_flags", frozenset)
    assert run(configured(), tmp_path / "runs").found
    assert identity(run(configured(), tmp_path / "elsewhere"))["encoder"]["precision"] == "float32"
    assert set((tmp_path / "cache" / "features").iterdir()) > features


def test_workers_change_no_bit_in_bfloat16(configured, instructions, tmp_path):
    alone = run(configured(), tmp_path / "alone")
    shared = run(configured().model_copy(update={"workers": 2}), tmp_path / "shared")
    name = "checkpoint.safetensors"
    assert (alone.path / name).read_bytes() == (shared.path / name).read_bytes()


def test_another_precision_than_the_presets_is_another_suite(configured):
    assert suite_name(configured(precision="float32")) != suite_name(configured())


def test_compiling_and_moving_statistics_are_told_apart_before_any_work(tmp_path):
    config = configure("small", ["ema.momentum=0.1", "compiled=true"], task="pen", encoder="random")
    with pytest.raises(ConfigError, match=r"compiled=true does not go with .*\(ema\.momentum 0\.1\): run"):
        settle_precision(None, "auto", None, None, compiled=config.compiled, momentum=config.ema.momentum)


def test_frames_are_of_different_moments_of_different_episodes(demonstration_file):
    demonstrations = Demonstrations.load(demonstration_file("pen"))
    frames = demonstrated_frames(demonstrations, SceneSettings(task="pen", slots=5))
    assert frames.shape == (8, 224, 224, 3)
    assert len(np.unique(frames.reshape(8, -1), axis=0)) == 8
