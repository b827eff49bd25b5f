"""What computes a run's encoder: OpenVINO where the features bear it, said, part of the identity, kept to the end."""

import json

import pytest

from benchmark.config import configure
from benchmark.errors import FolderError
from benchmark.runner import learning, runner
from benchmark.runner.backgrounds import evaluate_backgrounds
from benchmark.runner.runner import run
from benchmark.runner.suite import suite_name
from encoders.backend import BACKENDS

pytest.importorskip("openvino", reason="no OpenVINO for this system")

PLUGIN = """
import torch
from torch import nn

from encoders import Encoder


class Stemmed(Encoder, name="stemmed"):
    feature_dim = 8

    def __init__(self, weights=None):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), nn.BatchNorm2d(4), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.ReLU())

    def forward(self, images):
        maps = self.stem(images)
        assert not BRANCHES or maps.mean() < 1e9
        return self.body(maps).mean((2, 3))
"""


@pytest.fixture(autouse=True)
def with_openvino(without_openvino, monkeypatch):
    monkeypatch.setattr("encoders.backend.installed", lambda: True)


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(runner.Silent, "say", lambda self, line: lines.append(line))
    return lines


@pytest.fixture(params=[False])
def plugin(request, tmp_path):
    path = tmp_path / "stemmed.py"
    path.write_text(PLUGIN.replace("BRANCHES", str(request.param)))
    return f"{path}:Stemmed"


@pytest.fixture
def configured(demonstration_file, plugin):
    """Configurations of small runs: (*overrides, **fields) -> RunConfig."""

    def make(*overrides, **values):
        settings = [
            *(f"demonstrations.source={demonstration_file('pen')}", "demonstrations.episodes=2", "rollout.horizon=4"),
            *("rollout.slots=2", "learner.policy_hidden=[8]", "learner.value_hidden=[8]", "learner.iterations=1"),
            *("learner.trajectories_per_iteration=2", "evaluation.episodes=2", "learner.value_batch_size=4"),
        ]
        fixed = {"task": "pen", "encoder": plugin, "torch_threads": 1, "workers": 0}
        return configure("quickstart", [*settings, *overrides], **fixed, **values)

    return make


class Killed(BaseException):
    """What ends a run in the middle."""


def kill(config, out):
    """Do a run until cloning is committed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning._Learning, "improve", lambda *arguments: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            run(config, out)


def identity(result):
    return json.loads((result.path / "identity.json").read_text())


def checkpoint(result):
    return (result.path / "checkpoint.safetensors").read_bytes()


def test_the_runs_own_settings_name_the_same_backends():
    for name in BACKENDS:
        assert configure("small", task="pen", encoder="state", backend=name).backend == name
    assert configure("small", task="pen", encoder="state").backend == "auto"
    assert configure("paper", task="pen", encoder="state").backend == "torch"


@pytest.mark.parametrize("stage_3", [(), ("ema.momentum=0.1",)], ids=["still", "moving stem"])
def test_a_killed_run_goes_on_to_the_bit(stage_3, configured, said, tmp_path):
    config = configured(*stage_3)
    whole = run(config, tmp_path / "whole")
    assert any(" by OpenVINO: lowest cosine similarity to float32 " in line for line in said)
    assert identity(whole)["encoder"]["backend"] == "openvino"
    kill(config, tmp_path / "killed")
    resumed = run(config, tmp_path / "killed")
    assert checkpoint(resumed) == checkpoint(whole)
    assert run(config, tmp_path / "killed").found


def test_another_backend_is_another_identity_and_another_suite(configured, tmp_path):
    found = {name: identity(run(configured(backend=name), tmp_path)) for name in ("auto", "torch")}
    assert found["auto"]["encoder"] == {**found["torch"]["encoder"], "backend": "openvino"}
    assert len({suite_name(configured(backend=name)) for name in BACKENDS}) == 3
    assert "backend" not in found["auto"]["config"]


def test_a_run_keeps_the_backend_it_was_begun_with(configured, said, tmp_path, monkeypatch):
    config = configured(precision="float32")
    with monkeypatch.context() as before:
        before.setattr("encoders.backend.installed", lambda: False)
        kill(config, tmp_path)
        whole = run(config, tmp_path / "whole")
    resumed = run(config, tmp_path)
    assert "goes on in float32, as the run was begun (this machine would take float32 by openvino)" in said
    assert "backend" not in identity(resumed)["encoder"]
    assert checkpoint(resumed) == checkpoint(whole)


def test_a_run_begun_by_openvino_is_found_finished_and_not_gone_on_with_where_it_is_missing(
    configured, tmp_path, monkeypatch
):
    config = configured(precision="float32")
    kill(config, tmp_path / "killed")
    run(config, tmp_path / "whole")
    monkeypatch.setattr("encoders.backend.installed", lambda: False)
    assert run(config, tmp_path / "whole").found
    with pytest.raises(FolderError, match=r"was begun in float32 by openvino, which cannot be had here \(.*installed"):
        run(config, tmp_path / "killed")


@pytest.mark.parametrize("plugin", [True], indirect=True)
def test_a_network_that_cannot_be_exported_is_said_and_computed_by_pytorch(configured, said, tmp_path):
    result = run(configured(), tmp_path)
    assert "backend" not in identity(result)["encoder"]
    (line,) = [line for line in said if line.startswith("not taken: ")]
    assert line.startswith("not taken: encoder 'stemmed': torch.export cannot export it (")


def test_where_all_statistics_move_pytorch_computes(configured, tmp_path):
    config = configured("ema.momentum=0.1", "ema.scope=all", "learner.iterations=0")
    assert "backend" not in identity(run(config, tmp_path))["encoder"]


def test_backgrounds_are_evaluated_by_the_same_backend(configured, tmp_path):
    finished = run(configured("ema.momentum=0.1", "learner.iterations=0"), tmp_path)
    (shift,) = evaluate_backgrounds(finished.path, [3])
    assert shift.episodes == 2
