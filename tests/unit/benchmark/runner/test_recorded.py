"""A run that is met again on another machine: cores, instructions and GPUs decide otherwise there."""

import json

import pytest

import encoders.precision
import encoders.precision_check
from benchmark.config import configure
from benchmark.errors import FolderError
from benchmark.runner import learning, recorded, runner
from benchmark.runner.runner import run
from benchmark.runner.sweep import sweep
from benchmark.store.run_folder import RunFolder


class Killed(BaseException):
    """What ends a run in the middle."""


@pytest.fixture
def said(monkeypatch):
    """The lines that runs say."""
    lines = []
    monkeypatch.setattr(runner.Silent, "say", lambda self, line: lines.append(line))
    return lines


@pytest.fixture
def cores(monkeypatch):
    """Set how many cores this machine has."""

    def have(count):
        monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(count)))

    return have


@pytest.fixture
def configured(demonstration_file):
    """Configurations of small runs: (*overrides, **fields) -> RunConfig."""

    def make(*overrides, encoder="state", task="pen", **values):
        settings = [
            *(f"demonstrations.source={demonstration_file(task)}", "demonstrations.episodes=1", "rollout.horizon=4"),
            *("rollout.slots=2", "learner.policy_hidden=[8]", "learner.value_hidden=[8]", "learner.iterations=1"),
            *("learner.trajectories_per_iteration=2", "evaluation.episodes=2", "learner.value_batch_size=4"),
        ]
        return configure("quickstart", [*settings, *overrides], task=task, encoder=encoder, workers=0, **values)

    return make


def kill(config, out):
    """Do a run until cloning is committed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "dapg_update", None)
        patch.setattr(learning._Learning, "improve", lambda *arguments: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            run(config, out)


def identity(result):
    return json.loads((result.path / "identity.json").read_text())


def test_a_finished_run_is_found_finished_on_another_number_of_cores(configured, cores, tmp_path):
    cores(2)
    first = run(configured(), tmp_path)
    for count in (1, 7):
        cores(count)
        assert run(configured(), tmp_path).found
    assert identity(first)["config"]["torch_threads"] == 2


def test_a_killed_run_goes_on_to_the_bit_on_another_number_of_cores(configured, cores, tmp_path):
    cores(2)
    kill(configured(), tmp_path / "runs")
    cores(7)
    result = run(configured(), tmp_path / "runs")
    cores(1)
    whole = run(configured(), tmp_path / "whole")
    name = "checkpoint.safetensors"
    assert (result.path / name).read_bytes() == (whole.path / name).read_bytes()


def test_other_threads_are_another_run(configured, cores, tmp_path):
    cores(2)
    kill(configured(), tmp_path)
    with pytest.raises(FolderError) as refusal:
        run(configured("torch_threads=1"), tmp_path)
    line = str(refusal.value)
    assert "(config.torch_threads 2 -> 1): to go on with it, give --set torch_threads=2;" in line
    assert line.index("--set torch_threads=2") < line.index("--overwrite")
    assert not run(configured("torch_threads=2"), tmp_path).found


def test_a_sweep_goes_past_what_it_cannot_use(configured, cores, demonstration_file, tmp_path):
    """The first run was altered, the second was begun otherwise; the third is done."""
    cores(2)
    altered = run(configured(), tmp_path)
    (altered.path / "metrics.jsonl").unlink()
    kill(configured(seed=1), tmp_path)
    asked = [configured("torch_threads=1", seed=seed) for seed in (0, 1, 2)]
    outcomes = sweep(asked, tmp_path)
    assert [outcome.result is None for outcome in outcomes] == [True, True, False]
    assert "was altered after the run had finished (metrics.jsonl)" in outcomes[0].failure
    assert "--set torch_threads=2" in outcomes[1].failure
    assert not (altered.path / "metrics.jsonl").exists()


@pytest.fixture
def bfloat16(monkeypatch):
    """Set whether this machine computes fast in bfloat16."""

    def can(able):
        monkeypatch.setattr(encoders.precision, "_cpu_flags", lambda: frozenset({"avx512_bf16"} if able else ()))

    return can


PLUGIN = """
import torch
from torch.nn.functional import adaptive_avg_pool2d
from encoders import Encoder

class Mixed(Encoder, name="mixed"):
    feature_dim = 8

    def __init__(self, weights=None):
        super().__init__()
        self.mix = torch.nn.Linear(192, 8)

    def forward(self, images):
        return self.mix(adaptive_avg_pool2d(images, 8).flatten(1))
"""


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "mixed.py"
    path.write_text(PLUGIN)
    return f"{path}:Mixed"


@pytest.mark.parametrize("first", [True, False])
def test_a_run_keeps_the_precision_it_was_begun_in(first, configured, plugin, bfloat16, said, tmp_path):
    config = configured(encoder=plugin, torch_threads=1)
    bfloat16(first)
    kill(config, tmp_path / "runs")
    bfloat16(not first)
    result = run(config, tmp_path / "runs")
    begun, usual = ("bfloat16", "float32") if first else ("float32", "bfloat16")
    assert f"goes on in {begun}, as the run was begun (this machine would take {usual})" in said
    assert identity(result)["encoder"]["precision"] == begun
    assert run(config, tmp_path / "runs").found
    bfloat16(first)
    whole = run(config, tmp_path / "whole")
    name = "checkpoint.safetensors"
    assert (result.path / name).read_bytes() == (whole.path / name).read_bytes()


def test_a_precision_that_cannot_be_had_is_named(configured, plugin, bfloat16, tmp_path, monkeypatch):
    config = configured(encoder=plugin, torch_threads=1)
    bfloat16(True)
    kill(config, tmp_path)
    bfloat16(False)
    monkeypatch.setattr(encoders.precision_check, "LEAST_COSINE", 2.0)
    with pytest.raises(FolderError, match=r"was begun in bfloat16, which cannot be had here \("):
        run(config, tmp_path)


def moved_to_gpu(path):
    """Let a run folder say that it was made on a GPU."""
    content = json.loads((path / "identity.json").read_text()) | {"device": "cuda"}
    (path / "identity.json").write_text(json.dumps(content))


def test_a_run_of_a_gpu_is_found_finished_without_one(configured, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    config = configured()
    result = run(config, tmp_path)
    moved_to_gpu(result.path)
    RunFolder(result.path).finish()
    assert run(config, tmp_path).found
    with pytest.raises(FolderError, match="to go on with it, give --device cuda;"):
        run(configured(torch_threads=2, device="cpu"), tmp_path)


def test_a_run_begun_on_a_gpu_is_not_gone_on_with_without_one(configured, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    config = configured()
    kill(config, tmp_path)
    moved_to_gpu(next(tmp_path.rglob("identity.json")).parent)
    with pytest.raises(FolderError, match="was begun with --device cuda, and torch sees no GPU here: go on"):
        run(config, tmp_path)


def test_what_the_user_decided_is_not_taken_from_the_folder(configured, tmp_path):
    config = configured()
    folder = RunFolder(run(config, tmp_path).path)
    assert recorded.recorded(folder, config) == ("cpu", "float32", "torch")
    named = configured(device="cpu", precision="float32", backend="torch")
    assert recorded.recorded(folder, named) == (None, None, None)
    assert recorded.recorded(RunFolder(tmp_path / "none"), configured()) == (None, None, None)
