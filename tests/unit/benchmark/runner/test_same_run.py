"""The same run or another: what is found again, what gives the same bits, and what is refused."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import Interruption, files, final

from benchmark.demonstrations.features import cache_path
from benchmark.errors import OutputError
from benchmark.runner import context, learning
from benchmark.runner.runner import run
from benchmark.store.run_folder import RunFolder
from tasks.demonstrations.dataset import Demonstrations

ALWAYS = {
    "config.json",
    "encoder.json",
    "identity.json",
    "machine.json",
    "metrics.jsonl",
    "episodes.parquet",
    "checkpoint.safetensors",
    "checkpoint.json",
    "manifest.json",
}


def test_a_finished_run_is_found_and_not_touched(configured, tmp_path):
    first = run(configured(), tmp_path)
    before = {name: (first.path / name).stat().st_mtime_ns for name in files(first.path)}
    again = run(configured(), tmp_path)
    assert again.found
    assert dataclasses.replace(again, found=False) == first
    assert {name: (again.path / name).stat().st_mtime_ns for name in files(again.path)} == before


def test_the_same_seed_gives_the_same_bits(configured, tmp_path):
    one, other = run(configured(), tmp_path / "one"), run(configured(), tmp_path / "other")
    assert final(one) == final(other)
    assert one.evaluations == other.evaluations


def test_the_global_generators_do_not_matter(configured, tmp_path):
    one = run(configured(), tmp_path / "one")
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002 - the point is that nobody uses it
    assert final(run(configured(), tmp_path / "other")) == final(one)


def test_seeds_differ(configured, tmp_path):
    one, other = run(configured(seed=0), tmp_path), run(configured(seed=1), tmp_path)
    assert one.path.parent == other.path.parent
    assert final(one) != final(other)
    assert one.evaluations != other.evaluations


def test_workers_change_no_bit_and_find_the_run_finished(configured, tiny_encoder, tmp_path):
    """In float32; test_precision.py has bfloat16, before which the workers draw frames to compare."""
    given = {"encoder": tiny_encoder, "precision": "float32"}
    alone = run(configured(**given), tmp_path / "alone")
    for workers in (1, 2):
        together = run(configured(**given, workers=workers), tmp_path / str(workers))
        assert final(together) == final(alone), workers
        assert files(together.path) == files(alone.path)
    assert run(configured(**given, workers=2), tmp_path / "alone").found


def test_another_identity_is_refused_and_named(configured, tmp_path):
    result = run(configured(), tmp_path)
    before = final(result)
    with pytest.raises(OutputError, match=r"\(config\.torch_threads 1 -> 2\): .* give --set torch_threads=1;"):
        run(configured(torch_threads=2), tmp_path)
    assert final(result) == before


def test_the_version_of_frames_is_part_of_runs_that_see_them(configured, tiny_encoder, tmp_path):
    def version(*overrides, **options):
        path = run(configured("learner.iterations=0", *overrides, **options), tmp_path).path
        return RunFolder(path).identity.get("frames_results_version")

    assert version(encoder=tiny_encoder) == 2
    assert version("rollout.quality=paper", encoder=tiny_encoder) is None
    assert version("rollout.quality=shadows", encoder=tiny_encoder) is None
    assert version() is None


def test_other_demonstrations_of_the_same_name_are_another_identity(configured, demonstration_file, tmp_path):
    path = tmp_path / "mine.npz"
    Demonstrations.load(demonstration_file("pen")).save(path)
    run(configured(demonstrations=path), tmp_path)
    Demonstrations.load(demonstration_file("pen", 3, 5)).save(path)
    with pytest.raises(OutputError, match=r"another identity \(demonstrations "):
        run(configured(demonstrations=path), tmp_path)


def test_an_edited_plugin_is_another_identity(configured, tiny_encoder, tmp_path):
    plugin = tmp_path / "mine.py"
    source = Path(tiny_encoder.removesuffix(":Tiny")).read_text().replace('"tiny"', '"edited"')
    plugin.write_text(source)
    run(configured("learner.iterations=0", encoder=f"{plugin}:Tiny"), tmp_path)
    plugin.write_text(source + "\n# another thought\n")
    with pytest.raises(OutputError, match=r"another identity \(encoder\.plugin_sha256"):
        run(configured("learner.iterations=0", encoder=f"{plugin}:Tiny"), tmp_path)


def test_the_results_version_of_a_task_with_official_meshes_is_another_identity_with_them_alone(
    configured, tmp_path, later_with_ycb
):
    for objects, version in (("builtin", 1), ("ycb", 7)):
        result = run(configured("learner.iterations=0", objects=objects), tmp_path)
        assert RunFolder(result.path).identity["task_results_version"] == version
    identity = result.path / "identity.json"
    identity.write_text(json.dumps(RunFolder(result.path).identity | {"task_results_version": 6}))
    RunFolder(result.path).finish()
    with pytest.raises(OutputError, match=r"another identity \(task_results_version 6 -> 7\)"):
        run(configured("learner.iterations=0", objects="ycb"), tmp_path)


def test_overwrite_begins_anew(configured, tmp_path):
    first = run(configured(), tmp_path)
    (first.path / "notes.txt").write_text("mine")
    again = run(configured(torch_threads=2), tmp_path, overwrite=True)
    assert again.path == first.path
    assert not again.found
    assert files(again.path) == ALWAYS
    assert RunFolder(again.path).identity["config"]["torch_threads"] == 2


def test_demonstration_features_are_shared_between_seeds(configured, tiny_encoder, tmp_path, cache):
    for seed in (0, 1):
        run(configured("learner.iterations=0", encoder=tiny_encoder, seed=seed), tmp_path)
    assert len(list((cache / "features").iterdir())) == 1


class Undrawn:
    """Simulators that are never asked for anything."""

    device = None

    def __init__(self, settings, workers, on_loss):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


def test_demonstration_features_are_named_by_what_makes_them(configured, tiny_encoder, tmp_path, monkeypatch):
    asked = []

    def ask(demonstrations, simulators, encode, **options):
        asked.append(cache_path(demonstrations, options["made_by"]))
        raise Interruption

    monkeypatch.setattr(learning, "demonstration_pairs", ask)
    monkeypatch.setattr(context, "Simulators", Undrawn)
    monkeypatch.setattr(context, "require_gl", lambda: None)
    changes = [
        (),
        ("rollout.quality=paper",),
        ("rollout.slots=1",),
        ("rollout.group=1",),
        ("physics=native",),
        ("demonstrations.episodes=1",),
    ]
    given = {"encoder": tiny_encoder, "precision": "float32"}  # in which nothing has to be drawn and compared
    configs = [configured(*change, **given) for change in changes]
    configs += [configured(**given | {"encoder": "random"})]
    same = [
        configured("learner.gamma=0.9", "evaluation.every=1", **given, seed=5, egl_device=0, torch_threads=1, workers=2)
    ]
    for config in configs + same:
        with pytest.raises(Interruption):
            run(config, tmp_path, overwrite=True)
    assert len(set(asked[: len(configs)])) == len(configs)
    assert asked[-1] == asked[0]
