"""What was written before modules moved into rooms (git 37b05dc) is recognised: runs, an adaptation, features.

Of `fast` frames, which look a little different since, it is recognised as an earlier version, and never mixed in.
"""

import gzip
import json
import shutil
from pathlib import Path

import pytest

import encoders
from benchmark.adapt import config as adapt_config
from benchmark.adapt import training as stage2
from benchmark.adapt.config import AdaptConfig
from benchmark.adapt.training import adapt, adapt_named
from benchmark.config import configure
from benchmark.errors import FolderError
from benchmark.runner import learning
from benchmark.runner.runner import run
from benchmark.store.identity import identity_hash

DATA = Path(__file__).parents[3] / "data"
BEFORE = DATA / "before-rooms-37b05dc"
"""Of the adaptation, which the manifest seals, the pictures are one pixel and the heads zeros, to save room."""


@pytest.fixture
def before(tmp_path):
    """A copy of the folder of runs of that time."""
    copy = shutil.copytree(BEFORE / "runs", tmp_path / "runs")
    for packed in copy.rglob("*.gz"):
        packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
        packed.unlink()
    return copy


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def configured(quality):
    settings = [
        *(f"demonstrations.source={DATA / 'run-folders-fa7125c' / 'pen.npz'}", "demonstrations.episodes=2"),
        *("rollout.slots=1", "rollout.horizon=4", "learner.iterations=1", "learner.trajectories_per_iteration=1"),
        *("learner.policy_hidden=[4]", "learner.value_hidden=[4]", "learner.value_batch_size=4"),
        *("evaluation.episodes=1", "evaluation.every=1", "evaluation.video=false", f"rollout.quality={quality}"),
    ]
    options = {"weights": "random", "adapt": "none", "torch_threads": 1, "workers": 0, "device": "cpu"}
    return configure("quickstart", settings, task="pen", encoder="hindex", seed=0, **options)


def test_a_finished_run_is_found_finished(before):
    kept = files(before)
    result = run(configured("paper"), before)
    assert files(before) == kept
    assert json.loads((result.path / "manifest.json").read_text())["identity"] == identity_hash(
        json.loads((result.path / "identity.json").read_text())
    )


def test_a_run_on_fast_frames_is_of_an_earlier_version(before):
    kept = files(before)
    with pytest.raises(
        FolderError, match=r"\(frames_results_version 1 -> 2\): its frames were drawn by another version"
    ):
        run(configured("fast"), before)
    assert files(before) == kept


SIZES = {"size": 64, "batch": 2, "steps": 2, "videos": 3, "held_out": 1, "warm_up": 1}
SMALL = f"{BEFORE / 'small.py'}:Small"


@pytest.fixture
def first_frames(monkeypatch):
    """The version of the frames that the adaptation was made with."""
    monkeypatch.setattr(adapt_config, "version_entry", lambda quality: {})


def test_an_adaptation_to_fast_frames_is_of_an_earlier_version(before):
    kept = files(before)
    encoder, origin = encoders.build(SMALL)
    with pytest.raises(FolderError, match=r"another adaptation \(frames_results_version 1 -> 2\)"):
        adapt(encoder, origin, "pen", before, AdaptConfig(**SIZES, device="cpu", workers=0))
    assert files(before) == kept


@pytest.mark.usefixtures("first_frames")
def test_an_adaptation_is_found_finished(before):
    kept = files(before)
    encoder, origin = encoders.build(SMALL)
    folder = adapt(encoder, origin, "pen", before, AdaptConfig(**SIZES, device="cpu", workers=0))
    assert folder.is_dir()
    assert files(before) == kept


@pytest.mark.usefixtures("first_frames")
def test_an_adaptation_is_found_finished_before_its_encoder_is_loaded(before, monkeypatch):
    kept = files(before)
    monkeypatch.setattr(stage2, "assemble", None)
    folder = adapt_named(SMALL, encoders.resolve(SMALL), "pen", before, AdaptConfig(**SIZES, device="cpu", workers=0))
    assert (folder / "card.json").is_file()
    assert files(before) == kept


@pytest.mark.parametrize(("quality", "found"), [("paper", True), ("fast", False)])
def test_cached_features_are_found_where_the_frames_are_the_same(quality, found, tmp_path, cache, monkeypatch):
    """Keyed by renderer and versions too, which this machine need not have."""
    shutil.copytree(BEFORE / "cache", cache)
    kept = files(cache)
    made_with = json.loads((BEFORE / "made_with.json").read_text())
    observe = learning.demonstration_pairs

    def as_then(*arguments, made_by, **options):
        return observe(*arguments, made_by={**made_by, **made_with}, **options)

    monkeypatch.setattr(learning, "demonstration_pairs", as_then)
    run(configured(quality), tmp_path / "runs")
    assert (files(cache) == kept) is found


@pytest.mark.parametrize(("name", "written"), json.loads((BEFORE / "classes.json").read_text()).items())
def test_identities_name_the_classes_of_built_in_encoders_as_ever(name, written):
    assert encoders.get(name).identity_class() == written
