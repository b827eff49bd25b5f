"""What earlier commits wrote is recognised: a run and features of results version 3, and an adaptation.

Runs of results version 2, and adaptations to `fast` frames of before, are left as they are and never mixed in.
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
from benchmark.runner.suite import suite_name
from benchmark.store.identity import identity_hash
from benchmark.store.run_folder import cell_path

DATA = Path(__file__).parents[3] / "data"
VERSION_3 = DATA / "results-version-3"
BEFORE = DATA / "before-rooms-37b05dc"
"""A run of results version 2 and an adaptation, from before modules moved into rooms. Of the adaptation, which the
manifest seals, the pictures are one pixel and the heads zeros, to save room."""

SIZES = {"size": 64, "batch": 2, "steps": 2, "videos": 3, "held_out": 1, "warm_up": 1}
SMALL = f"{BEFORE / 'small.py'}:Small"


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


def cell():
    """The folder of the run of results version 3."""
    return next(VERSION_3.rglob("identity.json")).parent


def configured():
    """Every setting of that run: what a preset gives may have changed since."""
    values = json.loads((cell() / "config.json").read_text())
    values["demonstrations"]["source"] = str(DATA / "run-folders-fa7125c" / "pen.npz")
    options = {name: value for name, value in values.items() if not isinstance(value, dict)}
    settings = [
        f"{section}.{name}={json.dumps(value)}"
        for section in ("demonstrations", "rollout", "learner", "evaluation")
        for name, value in values[section].items()
    ]
    return configure(options.pop("preset"), settings, **{name: value for name, value in options.items() if value})


def test_a_finished_run_is_found_finished(tmp_path):
    config, runs = configured(), tmp_path / "runs"
    shutil.copytree(cell(), cell_path(runs, suite_name(config), "pen", cell().parent.name, seed=0))
    kept = files(runs)
    result = run(config, runs)
    assert result.found
    assert files(runs) == kept
    assert json.loads((result.path / "manifest.json").read_text())["identity"] == identity_hash(
        json.loads((result.path / "identity.json").read_text())
    )


def test_a_run_of_an_earlier_results_version_is_left_as_it_is(before):
    kept = files(before)
    result = run(configured(), before)
    assert not result.found
    assert {path: content for path, content in files(before).items() if path in kept} == kept


def adapted(before):
    encoder, origin = encoders.build(SMALL)
    return adapt(encoder, origin, "pen", before, AdaptConfig(**SIZES, device="cpu", workers=0))


def test_an_adaptation_to_fast_frames_is_of_an_earlier_version(before):
    kept = files(before)
    with pytest.raises(FolderError, match=r"another adaptation \(frames_results_version 1 -> 2\)"):
        adapted(before)
    assert files(before) == kept


def test_an_adaptation_is_found_finished(before, monkeypatch):
    """But for the version of the frames, which the one kept here was made before."""
    monkeypatch.setattr(adapt_config, "version_entry", lambda quality: {})
    kept = files(before)
    assert adapted(before).is_dir()
    assert files(before) == kept


def test_an_adaptation_is_found_finished_before_its_encoder_is_loaded(before, monkeypatch):
    monkeypatch.setattr(adapt_config, "version_entry", lambda quality: {})
    kept = files(before)
    monkeypatch.setattr(stage2, "assemble", None)
    folder = adapt_named(SMALL, encoders.resolve(SMALL), "pen", before, AdaptConfig(**SIZES, device="cpu", workers=0))
    assert (folder / "card.json").is_file()
    assert files(before) == kept


def test_cached_features_are_found(tmp_path, cache, monkeypatch):
    """Keyed by renderer and versions too, which this machine need not have."""
    shutil.copytree(VERSION_3 / "cache", cache)
    kept = files(cache)
    made_with = json.loads((VERSION_3 / "made_with.json").read_text())
    observe = learning.demonstration_pairs

    def as_then(*arguments, made_by, **options):
        return observe(*arguments, made_by={**made_by, **made_with}, **options)

    monkeypatch.setattr(learning, "demonstration_pairs", as_then)
    run(configured(), tmp_path / "runs")
    assert files(cache) == kept


@pytest.mark.parametrize(("name", "written"), json.loads((BEFORE / "classes.json").read_text()).items())
def test_identities_name_the_classes_of_built_in_encoders_as_ever(name, written):
    assert encoders.get(name).identity_class() == written
