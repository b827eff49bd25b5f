"""Finished work is recognised and skipped before an encoder is loaded, a frame drawn or an expert rolled out."""

import dataclasses
import json
import shutil

import pytest

import tasks
from benchmark.config import configure
from benchmark.demonstrations import sources
from benchmark.errors import OutputError
from benchmark.probe import probe as probing
from benchmark.runner import context
from benchmark.runner import encoder as stages
from benchmark.runner.backgrounds import evaluate_backgrounds
from benchmark.runner.runner import run
from benchmark.runner.sweep import sweep
from benchmark.store.run_folder import RunFolder

SETTINGS = (
    *("demonstrations.episodes=1", "demonstrations.until=success", "rollout.horizon=3", "rollout.slots=1"),
    *("learner.policy_hidden=[4]", "learner.value_hidden=[4]", "learner.iterations=0", "evaluation.episodes=1"),
)


def configured(encoder="state", **values):
    return configure("quickstart", SETTINGS, task="pen", encoder=encoder, torch_threads=1, workers=0, **values)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two finished runs on the shipped expert's demonstrations: of the state, and of the built-in `hindex`."""
    out = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HINDEX_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        outcomes = sweep([configured(), configured("hindex")], out)
    assert [outcome.result.found for outcome in outcomes] == [False, False]
    return out


@pytest.fixture
def idle(monkeypatch):
    """Let everything that takes time raise."""

    def refuse(*arguments, **options):
        raise AssertionError("a finished run needs no work")

    for owner, name in (
        (stages, "assemble"),
        (stages, "adapt_named"),
        (context, "prepare"),
        (context, "Simulators"),
        (sources, "collect"),
        (probing, "prepare"),
        (probing, "collect"),
    ):
        monkeypatch.setattr(owner, name, refuse)


@pytest.mark.parametrize("encoder", ["state", "hindex"])
def test_a_finished_run_is_skipped_without_any_work(encoder, runs, idle):
    (outcome,) = sweep([configured(encoder)], runs)
    assert outcome.result.found
    assert list(outcome.result.evaluations) == [0]


def test_a_run_that_is_not_finished_needs_the_work(runs, idle):
    with pytest.raises(AssertionError, match="needs no work"):
        run(configured(seed=1), runs)


def test_what_is_recognised_is_what_is_asked_for(runs, idle, tmp_path):
    """The folder's name says nothing of these settings; its identity does."""
    for values, name in (({"device": "cuda"}, "device"), ({"torch_threads": 2}, r"config\.torch_threads")):
        config = configured().model_copy(update=values)
        with pytest.raises(OutputError, match=rf"another identity \({name}"):
            run(config, runs)
    copy = shutil.copytree(runs, tmp_path / "runs")
    folder = RunFolder(next(path.parent for path in copy.rglob("identity.json") if "hindex" in str(path)))
    identity = folder.identity
    identity["encoder"]["weights_sha256"] = "0" * 64
    (folder.path / "identity.json").write_text(json.dumps(identity))
    folder.finish()
    with pytest.raises(OutputError, match=r"encoder\.weights_sha256 .*give them with --weights"):
        run(configured("hindex"), copy)


def test_an_expert_that_has_changed_is_asked_for_its_episodes(runs, idle, monkeypatch):
    shipped = tasks.expert("pen")
    other = dataclasses.replace(shipped, log_std=shipped.log_std + 1)
    monkeypatch.setattr(tasks, "expert", lambda task: other)
    with pytest.raises(AssertionError, match="needs no work"):
        run(configured(), runs)


def test_an_encoder_that_sees_to_its_weights_itself_is_built_to_compare_them(tmp_path, demonstration_file):
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "import torch\nfrom pathlib import Path\nfrom encoders import Encoder\n\n"
        'class Mine(Encoder, name="mine"):\n    feature_dim = 3\n\n'
        "    def __init__(self, weights=None):\n        super().__init__()\n"
        '        self.register_buffer("scale", torch.tensor(float(Path(__file__).with_suffix(".txt").read_text())))\n\n'
        "    def forward(self, images):\n        return self.scale * images.mean((2, 3))\n"
    )
    (tmp_path / "mine.txt").write_text("1")
    config = configured(f"{plugin}:Mine")
    assert not run(config, tmp_path / "runs").found
    assert run(config, tmp_path / "runs").found
    (tmp_path / "mine.txt").write_text("2")
    with pytest.raises(OutputError, match=r"another identity \(encoder\.weights_sha256"):
        run(config, tmp_path / "runs")


def test_backgrounds_that_are_there_need_no_work(runs, idle):
    folder = next(path.parent for path in runs.rglob("manifest.json") if "state" in str(path))
    (shift,) = evaluate_backgrounds(folder, [0])
    assert shift.found


def test_a_probe_that_is_done_needs_no_work(cache, tmp_path, request):
    settings = probing.ProbeSettings(episodes=6, frames=1)
    (cell,) = probing.probe(["hindex"], ["pen"], tmp_path, settings=settings)
    assert not cell.found
    request.getfixturevalue("idle")
    (again,) = probing.probe(["hindex"], ["pen"], tmp_path, settings=settings)
    assert again.found
    assert again.path == cell.path
