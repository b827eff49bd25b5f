"""Finished policies under shifted backgrounds: what is run, what is kept, what is refused."""

import json
import shutil

import imageio.v3 as imageio
import numpy as np
import pytest

from benchmark.cli.evaluate import backgrounds, evaluate_all
from benchmark.config import configure
from benchmark.errors import ConfigError, FolderError, OutputError
from benchmark.runner import backgrounds as evaluation
from benchmark.runner.backgrounds import evaluate_backgrounds, run_folders
from benchmark.runner.context import RunContext
from benchmark.runner.runner import run
from benchmark.store.run_folder import RunFolder

EPISODES, HORIZON = 2, 5


@pytest.fixture(scope="module")
def asked(demonstration_file, tiny_encoder):
    """A short run of a pen, drawn."""
    settings = [
        f"demonstrations.source={demonstration_file('pen')}",
        "demonstrations.episodes=1",
        f"rollout.horizon={HORIZON}",
        "rollout.slots=2",
        "learner.iterations=0",
        f"evaluation.episodes={EPISODES}",
    ]
    return configure("quickstart", settings, task="pen", encoder=tiny_encoder, workers=0, torch_threads=1)


@pytest.fixture(scope="module")
def finished(asked, tmp_path_factory):
    """The same, done."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HINDEX_BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        return run(asked, tmp_path_factory.mktemp("runs")).path


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of it, in its place among runs."""
    copy = tmp_path.joinpath("runs", *finished.parts[-4:])
    shutil.copytree(finished, copy)
    return copy


def test_every_background_starts_from_the_same_states_and_looks_different(folder):
    shifts = evaluate_backgrounds(folder, [0, 1, 5])
    assert [(shift.background, shift.own, shift.found) for shift in shifts] == [
        (0, True, True),
        (1, False, False),
        (5, False, False),
    ]
    rows = RunFolder(folder).episodes()
    seeds = {name: rows[rows["background"] == name]["seed"].tolist() for name in ("default", "1", "5")}
    assert seeds["1"] == seeds["5"] == seeds["default"]
    assert set(rows["iteration"]) == {0}
    first, fifth = (imageio.imread(folder / "frames" / f"background-{n:02d}.png").astype(int) for n in (1, 5))
    assert np.abs(first - fifth).mean() > 1.0
    own = rows[rows["background"] == "default"]
    assert shifts[0].mean_return == pytest.approx(own["return"].mean())
    assert RunFolder(folder).altered() == []


def test_what_is_there_is_not_run_again(folder, monkeypatch):
    before = evaluate_backgrounds(folder, [2])
    monkeypatch.setattr(evaluation, "ready_encoder", None)
    after = evaluate_backgrounds(folder, [0, 2])
    assert [shift.found for shift in after] == [True, True]
    assert after[1].mean_return == before[0].mean_return
    assert len(RunFolder(folder).episodes()) == 2 * EPISODES


def test_more_episodes_than_the_run_had_are_run_on_its_own_background_too(folder):
    own, shifted = evaluate_backgrounds(folder, [0, 1], episodes=EPISODES + 1)
    assert (own.episodes, shifted.episodes) == (EPISODES + 1, EPISODES + 1)
    rows = RunFolder(folder).episodes()
    again = rows[rows["background"] == "0"].reset_index(drop=True)
    default = rows[rows["background"] == "default"].reset_index(drop=True)
    assert again["return"][:EPISODES].tolist() == default["return"].tolist()


def test_killed_it_keeps_the_backgrounds_that_were_done(folder, monkeypatch):
    original = RunContext.evaluate

    def dying(self, simulators, policy, iteration, **options):
        if options["background"] == "2":
            raise KeyboardInterrupt
        return original(self, simulators, policy, iteration, **options)

    with monkeypatch.context() as patch:
        patch.setattr(RunContext, "evaluate", dying)
        with pytest.raises(KeyboardInterrupt):
            evaluate_backgrounds(folder, [1, 2])
    assert RunFolder(folder).status == "finished"
    assert RunFolder(folder).altered() == []
    assert [shift.found for shift in evaluate_backgrounds(folder, [1, 2])] == [True, False]


def test_the_run_is_found_done_afterwards(folder, asked):
    evaluate_backgrounds(folder, [3])
    again = run(asked, folder.parents[3])
    assert (again.path, again.found, list(again.evaluations)) == (folder, True, [0])


def test_another_encoder_than_the_runs_is_refused(folder):
    identity = json.loads((folder / "identity.json").read_text())
    identity["encoder"]["weights_sha256"] = "0" * 64
    (folder / "identity.json").write_text(json.dumps(identity))
    RunFolder(folder).finish()
    with pytest.raises(ConfigError, match="the encoder that would run now is not the run's"):
        evaluate_backgrounds(folder, [1])


def test_a_policy_of_an_earlier_version_of_its_task_is_read_and_not_run_again(folder):
    """Its task would be another one now, and its episodes would be pooled with those of before."""
    identity = json.loads((folder / "identity.json").read_text())
    (folder / "identity.json").write_text(json.dumps(identity | {"task_results_version": 0}))
    RunFolder(folder).finish()
    assert [shift.found for shift in evaluate_backgrounds(folder, [0])] == [True]
    with pytest.raises(ConfigError, match=r"pen with builtin objects has results version 1, the run had 0; .* new run"):
        evaluate_backgrounds(folder, [1])


def test_a_policy_that_saw_earlier_frames_is_read_and_not_run_again(folder):
    identity = json.loads((folder / "identity.json").read_text())
    del identity["frames_results_version"]
    (folder / "identity.json").write_text(json.dumps(identity))
    RunFolder(folder).finish()
    assert [shift.found for shift in evaluate_backgrounds(folder, [0])] == [True]
    with pytest.raises(ConfigError, match=r"the quality 'fast' has results version 2, the run had 1; .* new run"):
        evaluate_backgrounds(folder, [1])


def test_an_altered_run_is_neither_evaluated_nor_blessed_and_the_others_are(folder, capsys):
    other = shutil.copytree(folder, folder.with_name("seed-7"))
    rows = RunFolder(folder).episodes().assign(success=True, length=1)
    rows["return"] += 1000
    rows.to_parquet(folder / "episodes.parquet")
    manifest = (folder / "manifest.json").read_bytes()
    assert not evaluate_all(run_folders(folder.parent), [1])
    out, err = capsys.readouterr()
    assert f"bench: {folder} was altered after the run had finished (episodes.parquet)" in err
    assert "seed-7: mean action" in out
    assert (folder / "manifest.json").read_bytes() == manifest
    assert RunFolder(folder).altered() == ["episodes.parquet"]
    assert "1" in set(RunFolder(other).episodes()["background"])


@pytest.mark.parametrize("damage", ["config", "empty", "checkpoint", "identity"])
def test_a_damaged_run_that_its_manifest_vouches_for_is_one_line(folder, damage):
    """Such as one that was damaged before it had finished, by a version that did not look."""
    if damage == "config":
        (folder / "config.json").write_text('{"task": 1}')
    elif damage == "empty":
        RunFolder(folder).truncate_episodes(-5)
    elif damage == "checkpoint":
        RunFolder(folder).save_checkpoint({"policy.observation_shift": np.zeros(3, np.float32)}, {"iteration": 0})
    else:
        identity = json.loads((folder / "identity.json").read_text())
        (folder / "identity.json").write_text(json.dumps(identity | {"encoder": []}))
    RunFolder(folder).finish()
    with pytest.raises(FolderError) as refusal:
        evaluate_backgrounds(folder, [1])
    assert "\n" not in str(refusal.value)
    assert "restore it from a copy" in str(refusal.value)


def test_what_is_no_finished_run_is_refused(folder, tmp_path):
    (folder / "manifest.json").unlink()
    for path in (folder, tmp_path):
        with pytest.raises(OutputError, match="no finished run"):
            run_folders(path)
    with pytest.raises(OutputError, match="no finished run"):
        evaluate_backgrounds(folder, [1])
    with pytest.raises(OutputError, match="is no folder"):
        run_folders(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="background 11: expected 0 to 10"):
        evaluate_backgrounds(folder, [11])


def test_runs_are_found_below_a_folder(finished):
    assert run_folders(finished.parents[2]) == [finished]


def test_backgrounds_are_read_from_a_list():
    assert backgrounds("all") == list(range(11))
    assert backgrounds("0,3, 10") == [0, 3, 10]
    for wrong in ("11", "a", "", "-1"):
        with pytest.raises(ConfigError, match="expected all, or numbers from 0 to 10"):
            backgrounds(wrong)
