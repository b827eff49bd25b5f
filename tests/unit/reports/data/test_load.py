"""Run folders as tables, and everything that can be wrong with them as findings."""

import json
import math
import time
from dataclasses import replace

import pandas
import pytest

from benchmark.store.titles import TitleParts
from reports.data import load
from reports.data.findings import problems
from reports.data.run_folder import COLUMNS


@pytest.fixture(scope="module")
def runs(whole_suite):
    return load.load_runs(whole_suite)


@pytest.fixture
def run(synthetic):
    """A plain finished run of the synthetic suite."""
    return synthetic.Run("vc1", "door", 0)


def found(runs, kind, *side_files):
    chosen = (finding for finding in problems(runs, *side_files) if finding.kind == kind)
    return [": ".join([finding.text, *finding.items]) for finding in chosen]


# --- runs ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_synthetic_suite_has_300_folders_and_says_that_it_is_synthetic(runs):
    assert len(runs) == 300
    readable = runs[runs["status"] != "unreadable"]
    assert readable["synthetic"].all()
    assert tuple(runs.columns) == COLUMNS
    assert runs["status"].value_counts().to_dict() == {"finished": 297, "unfinished": 1, "diverged": 1, "unreadable": 1}


@pytest.mark.slow
def test_300_folders_load_in_seconds(whole_suite):
    began = time.process_time()
    runs = load.load_runs(whole_suite)
    load.load_curves(runs)
    load.load_episodes(runs)
    assert time.process_time() - began < 20


def test_a_run_is_told_by_its_files(synthetic, write, run):
    row = load.load_runs(write(replace(run, backgrounds=("3", "1")))).iloc[0]
    place = (row["suite"], row["task"], row["title"], row["seed"], row["row"])
    assert place == (synthetic.SUITE, "door", "vc1", 0, "vc1")
    assert (row["status"], row["used"], row["weights_kind"], row["adapt"]) == ("finished", True, "official", "none")
    assert (row["ema_momentum"], row["ema_scope"], row["iteration"], row["steps"]) == (0.0, "stem", 20, 40_000)
    assert row["backgrounds"] == ("1", "3")
    assert row["card"]["licence"] == "CC BY-NC 4.0"
    assert row["frames_per_second"] == pytest.approx(14, rel=0.11)
    assert row["wall_seconds"] == pytest.approx(sum(row["seconds"].values()))
    assert row["memory_mb"] == 1800.0
    assert math.isnan(row["gpu_memory_mb"])
    assert row["video"] is None


def test_returns_are_means_over_the_episodes_of_an_evaluation(write, run):
    folder = write(replace(run, backgrounds=("3",)))
    row = load.load_runs(folder).iloc[0]
    episodes = pandas.read_parquet(row["path"] / "episodes.parquet")
    means = episodes[episodes["background"] == "default"].groupby("iteration")["return"].mean()
    assert (row["return_first"], row["return_cloned"]) == pytest.approx((means[-1], means[0]))
    assert (row["return_last"], row["return_best"]) == pytest.approx((means[20], means.max()))
    curve = load.load_curves(load.load_runs(folder))
    assert curve["return"].tolist() == pytest.approx(means.tolist())
    assert curve["steps"].tolist() == [0, 0, 10_000, 20_000, 30_000, 40_000]
    assert (curve["episodes"] == 10).all()
    assert len(load.load_episodes(load.load_runs(folder))) == 70


def test_the_parts_of_a_title_are_those_that_the_run_recorded(synthetic, write, rewrite):
    folder = write(synthetic.Run("hindex", "pen", 0, "ema-0.1"))
    path = load.load_runs(folder)["path"].iloc[0]
    encoder = json.loads((path / "encoder.json").read_text())
    parts = TitleParts("a+b (c)", "ema-0.1", "(builtin)")
    rewrite(path / "encoder.json", json.dumps(encoder | {"parts": parts._asdict()}))
    row = load.load_runs(folder).iloc[0]
    assert (row["encoder"], row["variant"], row["weights_label"]) == parts
    assert row["title"] == "hindex+ema-0.1 (builtin)"


def test_a_folder_from_before_encoder_json_tells_its_weights_in_its_identity(synthetic, write, rewrite):
    folder = write(synthetic.Run("rrl", "pen", 0))
    path = load.load_runs(folder)["path"].iloc[0]
    (path / "encoder.json").unlink()
    config = json.loads((path / "config.json").read_text())
    rewrite(path / "config.json", json.dumps({k: v for k, v in config.items() if k not in ("adapt", "ema")}))
    row = load.load_runs(folder).iloc[0]
    assert (row["encoder"], row["weights_kind"], row["weights_label"]) == ("rrl", "random", "(random)")
    assert (row["status"], row["adapt"], row["card"]) == ("finished", "", {})
    assert math.isnan(row["ema_momentum"])


def test_no_folder_and_no_runs(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder of runs"):
        load.load_runs(tmp_path / "absent")
    runs = load.load_runs(tmp_path)
    assert runs.empty
    assert load.load_curves(runs).empty
    assert load.load_episodes(runs).empty
    assert load.load_probe(tmp_path).empty
    assert load.load_adaptations(tmp_path).empty
    assert problems(runs) == []
    assert load.suites(runs) == []


# --- what can be wrong --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config.json", "identity.json", "encoder.json", "metrics.jsonl", "episodes.parquet"])
def test_a_damaged_file_becomes_a_finding(write, run, name):
    folder = write(replace(run, state="unfinished"), replace(run, seed=1))
    broken = load.load_runs(folder)["path"].iloc[0] / name
    broken.write_bytes(b"\x00{ this is nothing\n[]\n")
    runs = load.load_runs(folder)
    assert runs["status"].tolist() == ["unreadable", "finished"]
    assert str(broken.parent) in found(runs, "unreadable")[0]
    assert set(load.load_curves(runs)["seed"]) == set(load.load_episodes(runs)["seed"]) == {1}


def test_a_folder_without_an_identity_becomes_a_finding(write, run):
    folder = write(replace(run, state="unfinished"))
    (load.load_runs(folder)["path"].iloc[0] / "identity.json").unlink()
    assert "identity.json is missing" in found(load.load_runs(folder), "unreadable")[0]


def test_a_finished_run_that_was_altered_is_left_out_and_named_first(write, run):
    folder = write(replace(run, state="altered"), replace(run, seed=1), replace(run, seed=2, state="damaged"))
    runs = load.load_runs(folder)
    assert runs["status"].tolist() == ["altered", "finished", "unreadable"]
    assert runs["used"].tolist() == [False, True, False]
    first, second, *_ = problems(runs)
    assert (first.kind, second.kind) == ("altered", "unreadable")
    assert first.items == (f"{runs['path'].iloc[0]} (episodes.parquet)",)
    assert set(load.load_curves(runs)["seed"]) == set(load.load_episodes(runs)["seed"]) == {1}


@pytest.mark.parametrize(("state", "status"), [("crashed", "unfinished"), ("diverged", "diverged")])
def test_a_stopped_run_is_drawn_but_not_scored(write, run, state, status):
    runs = load.load_runs(write(replace(run, state=state)))
    assert runs["status"].tolist() == [status]
    assert not runs["used"].any()
    assert "vc1 on door seed 0" in found(runs, status)[0]
    assert load.load_curves(runs)["status"].tolist() == [status] * 3


def test_a_run_without_any_evaluation_has_no_numbers(write, run):
    folder = write(run)
    path = load.load_runs(folder)["path"].iloc[0]
    for name in ("episodes.parquet", "metrics.jsonl", "manifest.json"):
        (path / name).unlink()
    runs = load.load_runs(folder)
    assert runs["status"].tolist() == ["unfinished"]
    assert math.isnan(runs["return_best"].iloc[0])
    assert load.load_curves(runs).empty


def test_the_first_of_two_runs_of_a_cell_counts(synthetic, write, run):
    runs = load.load_runs(write(run, replace(run, suite=f"copied/{synthetic.SUITE}")))
    assert runs["used"].tolist() == [True, False]
    assert "vc1 on door seed 0" in found(runs, "duplicate")[0]


def test_runs_of_an_earlier_results_version_of_their_task_are_not_pooled_with_later_ones(write, run):
    """Neither are folders that record none; other tasks are not touched."""
    old = [replace(run, seed=seed, task_version=version) for seed, version in ((0, None), (1, 1))]
    runs = load.load_runs(write(*old, replace(run, seed=2, task_version=2), replace(run, task="pen", task_version=1)))
    assert runs["used"].tolist() == [False, False, True, True]
    assert runs["outdated"].tolist() == [True, True, False, False]
    assert "vc1 on door seed 0, vc1 on door seed 1" in found(runs, "outdated")[0]
    assert not found(runs, "duplicate")


def test_runs_that_saw_an_earlier_version_of_the_frames_are_not_pooled_with_later_ones(write, run, rewrite):
    """The state's runs saw none."""
    cells = [(run, {}), (replace(run, seed=1), {}), (replace(run, seed=2, task="pen"), {"frames_results_version": 2})]
    cells.append((replace(run, encoder="state"), {"encoder": {"uses_images": False}}))
    folder = write(*(cell for cell, _ in cells))
    for cell, change in cells:
        path = folder / cell.path / "identity.json"
        identity = json.loads(path.read_text())
        rewrite(path, json.dumps(identity | change | {"encoder": identity["encoder"] | change.get("encoder", {})}))
    runs = load.load_runs(folder)
    places = dict(zip(zip(runs["encoder"], runs["task"], runs["seed"], strict=True), runs["outdated"], strict=True))
    assert places == {
        ("state", "door", 0): False,
        ("vc1", "door", 0): True,
        ("vc1", "door", 1): True,
        ("vc1", "pen", 2): False,
    }
    assert "vc1 on door seed 0, vc1 on door seed 1" in found(runs, "outdated")[0]


def test_an_unfinished_run_of_a_later_version_leaves_the_finished_ones_in(write, run):
    runs = load.load_runs(write(run, replace(run, seed=1, task_version=2, state="crashed")))
    assert runs["used"].tolist() == [True, False]
    assert not found(runs, "outdated")


def test_an_unfinished_duplicate_does_not_count_against_a_finished_one(synthetic, write, run):
    copy = replace(run, suite=f"copied/{synthetic.SUITE}", state="crashed")
    runs = load.load_runs(write(run, copy))
    assert runs.loc[runs["used"], "status"].tolist() == ["finished"]
    assert not found(runs, "duplicate")


def test_suites_are_named_the_fullest_first(synthetic, write, run):
    runs = load.load_runs(write(run, replace(run, seed=1), replace(run, suite=synthetic.OTHER_SUITE)))
    assert load.suites(runs) == [synthetic.SUITE, synthetic.OTHER_SUITE]
    assert "never pooled" in found(runs, "suites")[0]


def test_two_weights_of_one_encoder_are_two_rows(write, run):
    runs = load.load_runs(write(run, replace(run, task="pen"), replace(run, seed=1, weights="second")))
    hashes = {digest[:8] for digest in runs["weights_sha256"]}
    assert set(runs["row"]) == {f"vc1 #{digest}" for digest in hashes}
    assert runs.groupby("weights_sha256")["row"].nunique().tolist() == [1, 1]
    assert len(runs["row"].unique()) == 2
    assert "more than one set of weights" in found(runs, "weights")[0]


def test_an_adaptation_by_task_is_one_row_a_second_one_is_another(synthetic, write, rewrite):
    run = synthetic.Run("hindex", "door", 0)
    folder = write(run, replace(run, seed=1), replace(run, seed=2), replace(run, task="pen"))
    assert load.load_runs(folder)["row"].unique().tolist() == ["hindex (builtin)"]
    path = folder / run.path / "encoder.json"
    content = json.loads(path.read_text())
    content["adaptation"]["sha256"] = "f" * 64
    rewrite(path, json.dumps(content))
    runs = load.load_runs(folder)
    assert runs["row"].value_counts().to_dict() == {"hindex (builtin)": 3, "hindex (builtin) #ffffffff": 1}


def test_official_files_by_task_are_one_row(synthetic, write, run, rewrite):
    folder = write(run, replace(run, task="pen", weights="second"))
    for path in folder.rglob("encoder.json"):
        content = json.loads(path.read_text())
        content["card"]["sources"] = [{"filename": "door.pth", "task": "door"}]
        rewrite(path, json.dumps(content))
    assert load.load_runs(folder)["row"].tolist() == ["vc1", "vc1"]


def test_one_seed_missing_cells_and_negative_returns_are_found(synthetic, write, run):
    sunk = replace(run, task="hammer", offset=-50_000.0)
    runs = load.load_runs(write(run, sunk, replace(sunk, encoder="r3m"), replace(sunk, seed=1)))
    assert "one seed only" in found(runs, "seeds")[0]
    assert "r3m lacks door" in found(runs, "missing")[0]
    assert found(runs, "negative") == [
        f"the best return is not positive on hammer in {synthetic.SUITE}; scores there are min-max over encoders"
    ]


def test_three_finished_seeds_of_official_weights_are_nothing_to_report(write, run):
    runs = load.load_runs(write(*(replace(run, seed=seed) for seed in range(3))))
    assert {finding.kind for finding in problems(runs)} == {"synthetic"}


@pytest.mark.slow
def test_builtin_and_random_rows_are_named(runs):
    (text,) = found(runs, "stand-in")
    for row in ("hindex (builtin)", "hindex (random)", "rrl (random)"):
        assert row in text
    assert "vc1" not in text


def test_unstable_episodes_are_counted(write, run, rewrite):
    folder = write(run)
    path = load.load_runs(folder)["path"].iloc[0] / "metrics.jsonl"
    lines = [json.loads(line) | {"unstable": 2, "evaluation_unstable": 1} for line in path.read_text().splitlines()]
    rewrite(path, "".join(json.dumps(line) + "\n" for line in lines))
    runs = load.load_runs(folder)
    assert runs["unstable"].tolist() == [63]
    assert "vc1 on door seed 0" in found(runs, "unstable")[0]


# --- probes and adaptations ---------------------------------------------------------------------


@pytest.mark.slow
def test_probes_load(whole_suite):
    probe = load.load_probe(whole_suite)
    assert len(probe) == 4 * 12 * 4
    assert set(probe["title"]) == {"hindex (builtin)", "vc1", "r3m", "rrl (random)"}
    assert probe["synthetic"].all()
    constant = probe[probe["constant"]]
    assert constant["r2"].isna().all()
    assert set(constant["task"]) == {"hammer", "door"}


@pytest.mark.slow
def test_adaptations_load(whole_suite):
    adaptations = load.load_adaptations(whole_suite)
    assert adaptations["task"].tolist() == ["door", "hammer", "pen", "pour"]
    first = adaptations.iloc[0]
    assert first["title"] == "hindex (builtin)"
    assert first["batchnorm"].is_file()
    assert first["pretrained"].is_file()
    assert first["strip"].is_file()
    assert [path.name for path in first["keypoints"]] == ["0.png", "1.png", "2.png"]


def test_a_damaged_probe_becomes_a_finding(synthetic, tmp_path):
    synthetic.write_probe(tmp_path, "vc1", "door")
    (tmp_path / "probe" / "vc1" / "pen.json").write_text('{"task": "pen"')
    probe = load.load_probe(tmp_path)
    assert probe["quantity"].notna().sum() == 4
    (text,) = found(load.load_runs(tmp_path), "unreadable", probe)
    assert "pen.json" in text


def test_published_numbers_name_their_source():
    published = load.load_published()
    assert published.columns.tolist() == ["task", "encoder", "quantity", "value", "source"]
    assert published["source"].notna().all()
    assert len(published)
    assert not published["source"].str.contains("memory").any()  # recalled numbers wait for someone to check them
