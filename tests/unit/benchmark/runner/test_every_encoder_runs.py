"""Whatever `bench encoders` lists and the README promises goes through a whole run, on untrained weights."""

import json
import re

import pytest

import encoders
from benchmark import configure, run
from benchmark.store.titles import TitleParts, folder_name
from encoders.errors import UnknownEncoder
from reports.data.load import load_runs

OF_EACH_FAMILY = ("state", "random", "theia_tiny")
"""What the fast tests run, besides one of timm's and a class in a file: the controls (a ResNet) and a ViT."""

OTHERS = (
    *("timm:resnet10t.c3_in1k", "timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k", "timm:eva02_tiny_patch14_224"),
    *(name for name in encoders.names() if name not in OF_EACH_FAMILY),
)


@pytest.fixture
def run_once(demonstration_file, tmp_path, monkeypatch):
    """Run an encoder as `bench run` does, in the smallest run that has every part: clone, improve, evaluate."""
    monkeypatch.setenv("HINDEX_BENCH_CACHE", str(tmp_path / "cache"))
    settings = {
        "demonstrations.source": demonstration_file("pen", episodes=1, steps=2),
        "demonstrations.episodes": 1,
        "rollout.horizon": 2,
        "rollout.slots": 1,
        "learner.iterations": 1,
        "learner.trajectories_per_iteration": 2,
        "learner.policy_hidden": "[8]",
        "evaluation.episodes": 1,
        "evaluation.video": "false",
        "torch_threads": 1,
    }
    overrides = [f"{key}={value}" for key, value in settings.items()]

    def call(encoder, weights="auto"):
        config = configure("quickstart", overrides, task="pen", encoder=encoder, weights=weights, workers=0)
        return run(config, tmp_path / "runs")

    return call


def check(result, title, runs):
    assert result.title == title
    assert set(result.evaluations) == {0, 1}
    assert result.path.parent.name == folder_name(title)
    assert re.fullmatch(r"[\w.+() -]+", result.path.parent.name), "safe on every file system, and for rsync and scp"
    (row,) = load_runs(runs).itertuples()
    assert (row.title, row.status, row.used) == (title, "finished", True)
    parts = json.loads((result.path / "encoder.json").read_text())["parts"]
    assert str(TitleParts(**parts)) == title
    assert (row.encoder, row.variant, row.weights_label) == tuple(parts.values())


@pytest.mark.parametrize("name", [*OF_EACH_FAMILY, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_an_encoder_that_is_listed_or_promised_runs(name, run_once, tmp_path):
    card = encoders.card(name)
    weights = "random" if card.uses_images and card.sources else "auto"
    title = f"{name} (random)" if weights == "random" else name
    check(run_once(name, weights), title, tmp_path / "runs")


def test_a_model_of_timm_runs_and_its_run_is_found_again(run_once, tmp_path):
    first = run_once("timm:resnet10t", "random")
    check(first, "timm:resnet10t (random)", tmp_path / "runs")
    again = run_once("timm:resnet10t", "random")
    assert (first.found, again.found, again.path) == (False, True, first.path)
    assert again.path.relative_to(tmp_path / "runs").parts[2] == "timm.resnet10t (random)"


def test_a_class_in_a_file_runs(run_once, tiny_encoder, tmp_path):
    check(run_once(tiny_encoder), "tiny", tmp_path / "runs")


@pytest.mark.parametrize("name", ["timm:hf-hub:timm/resnet10t.c3_in1k", "timm:hf_hub:a", "timm:a/b", "timm:../up"])
def test_a_name_of_timm_that_is_an_address_is_refused_in_a_line(name):
    with pytest.raises(UnknownEncoder, match="only models that timm itself names") as caught:
        encoders.get(name)
    assert "\n" not in str(caught.value)
