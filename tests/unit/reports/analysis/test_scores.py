"""Scores of encoders, learning speed, costs and the background shift, by hand and on a small synthetic suite."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas
import pytest

from reports.analysis import background_shift, learning, scores
from reports.analysis import bootstrap as statistics
from reports.data import load


@pytest.fixture(scope="module")
def runs(small_suite):
    return load.load_runs(small_suite)


@pytest.fixture(scope="module")
def comparison(runs):
    return scores.compare(runs)


# --- comparisons --------------------------------------------------------------------------------


def test_a_comparison_has_the_main_encoders_in_the_papers_order(comparison):
    assert comparison.rows == ("hindex (builtin)", "vc1", "r3m")
    assert comparison.tasks == ("door", "pen", "pour")
    assert comparison.seeds.tolist() == [[3, 3, 3], [3, 3, 1], [3, 0, 3]]


def test_the_control_that_sees_nothing_is_compared_and_the_one_that_is_told_the_state_is_not(runs):
    sightless = runs.assign(card=[{"feature_dim": 0}] * len(runs), variant="", used=True)
    for name, rows in (("blind", ("blind",)), ("state", ()), ("mine.py:Told", ())):
        assert scores.main_rows(sightless.assign(encoder=name, row=name)) == rows


def test_scores_are_shares_of_the_best_mean(runs, comparison):
    means = runs[runs["used"]].groupby(["row", "task"])["return_best"].mean()
    best = means[["hindex (builtin)", "vc1", "r3m"]].groupby("task").max()
    found = statistics.task_means(comparison.scores)
    assert found[1, 0] == pytest.approx(100 * means["vc1", "door"] / best["door"])
    assert math.isnan(found[2, 1])
    assert np.nanmax(found, axis=0).tolist() == pytest.approx([100.0] * 3)


def test_the_last_evaluation_and_success_can_be_compared_too(runs, comparison):
    last = scores.compare(runs, measure="return_last")
    assert (statistics.task_means(last.returns) <= statistics.task_means(comparison.returns)).sum() == 8
    assert np.nanmax(scores.compare(runs, measure="success_best").returns) <= 1.0


def test_a_row_alone_on_a_task_is_not_measured_against_itself(synthetic, write):
    runs = load.load_runs(
        write(*(synthetic.Run(*cell, 0) for cell in (("vc1", "door"), ("r3m", "door"), ("r3m", "pen"))))
    )
    comparison = scores.compare(runs)
    assert comparison.tasks == ("door", "pen")
    assert np.isnan(comparison.scores[:, :, 1]).all()
    assert np.nanmax(comparison.scores[:, :, 0]) == 100.0
    averages = scores.aggregates(comparison).query("statistic == 'mean'").set_index("row")
    assert averages["tasks"].to_list() == [1, 1]


def test_rows_can_be_chosen_and_tasks_shared(runs):
    variants = scores.compare(runs, ["hindex (builtin)", "hindex+ema-0.1 (builtin)", "absent"], shared_tasks=True)
    assert variants.rows == ("hindex (builtin)", "hindex+ema-0.1 (builtin)")
    assert variants.tasks == ("pen",)
    assert scores.compare(runs, ["hindex (builtin)", "state"]).tasks == ("door", "pen", "pour")


def test_nothing_to_compare_is_an_empty_comparison(runs):
    nothing = scores.compare(runs, ["absent"])
    assert nothing.rows == nothing.tasks == ()
    assert scores.aggregates(nothing).empty
    assert scores.profiles(nothing).empty
    assert scores.improvements(nothing).empty


def test_suites_are_never_pooled(synthetic, write):
    run = synthetic.Run("vc1", "door", 0)
    both = load.load_runs(write(run, replace(run, suite=synthetic.OTHER_SUITE)))
    with pytest.raises(scores.SuitesMixed, match="2 suites cannot be compared"):
        scores.compare(both)


def test_negative_returns_are_marked_and_scored_between_worst_and_best(synthetic, write):
    sunk = [synthetic.Run(encoder, "door", s, offset=-9000.0) for encoder in ("vc1", "r3m", "mvp") for s in range(2)]
    comparison = scores.compare(load.load_runs(write(*sunk)))
    assert comparison.fallback.tolist() == [True]
    means = statistics.task_means(comparison.scores)[:, 0]
    assert sorted([means.min(), means.max()]) == pytest.approx([0.0, 100.0])


# --- what comparisons say -----------------------------------------------------------------------


def test_aggregates_say_how_much_they_are_over(comparison):
    table = scores.aggregates(comparison).set_index(["row", "statistic"])
    hindex, r3m = table.loc["hindex (builtin)", "mean"], table.loc["r3m", "mean"]
    assert (hindex["tasks"], hindex["of_tasks"], hindex["seeds"]) == (3, 3, 3)
    assert (r3m["tasks"], r3m["of_tasks"]) == (2, 3)
    assert table.loc[("vc1", "mean"), "seeds"] == 1
    assert hindex["corrected_low"] < hindex["low"] < hindex["value"] < hindex["high"] < hindex["corrected_high"]
    assert (table["normaliser"] == "fixed").all()
    assert table.loc[("hindex (builtin)", "optimality gap"), "corrected_low"] >= 0


def test_the_normaliser_can_be_redrawn_with_the_runs(comparison):
    fixed = scores.aggregates(comparison).set_index(["row", "statistic"])
    redrawn = scores.aggregates(comparison, resample_normaliser=True).set_index(["row", "statistic"])
    assert redrawn["value"].tolist() == pytest.approx(fixed["value"].tolist())
    best = "hindex (builtin)", "mean"  # it is the scale wherever it is best: redrawn, it cannot score above 100
    assert redrawn.loc[best, "high"] <= 100.0 + 1e-9 < fixed.loc[best, "high"]


@pytest.mark.slow
def test_which_normaliser_covers_the_score_on_the_true_scale():
    held = {(redrawn, encoder): [] for redrawn in (False, True) for encoder in (0, 2)}
    for case in range(150):
        random = np.random.default_rng(case)
        true = 100 * np.clip(np.array([[0.95], [0.8], [0.6]]) + 0.12 * random.standard_normal((3, 12)), 0.05, None)
        returns = true[:, None] + 10 * random.standard_normal((3, 5, 12))
        norm = statistics.normaliser(returns)
        tasks = tuple(map(str, range(12)))
        made = scores.Comparison(("a", "b", "c"), tasks, "return_best", returns, norm(returns), norm.fallback)
        score = (100 * true / true.max(axis=0)).mean(axis=1)
        for redrawn in (False, True):
            table = scores.aggregates(made, resample_normaliser=redrawn, repetitions=300, seed=case)
            means = table[table["statistic"] == "mean"]
            for encoder in (0, 2):
                one = means.iloc[encoder]
                held[redrawn, encoder].append(one["corrected_low"] <= score[encoder] <= one["corrected_high"])
    best, worst = 0, 2
    covered = {key: np.mean(values) for key, values in held.items()}
    assert covered[True, worst] > covered[False, worst]
    assert covered[False, best] > covered[True, best]


def test_profiles_fall_from_one(comparison):
    profile = scores.profiles(comparison)
    for _, line in profile.groupby("row"):
        assert line["share"].iloc[0] == 1.0
        assert line["share"].is_monotonic_decreasing
        assert line["corrected_high"].dropna().le(1.0).all()
    assert profile["corrected_high"].notna().any()


def test_improvements_are_over_shared_tasks_and_complementary(comparison):
    table = scores.improvements(comparison).set_index(["row", "other"])
    assert table.loc[("hindex (builtin)", "r3m"), "tasks"] == 2
    for first, second in table.index:
        assert table.loc[(first, second), "value"] + table.loc[(second, first), "value"] == pytest.approx(1.0)


def test_an_encoder_with_single_seeds_has_no_interval_of_improvement(synthetic, write):
    many = [synthetic.Run("vc1", "door", seed) for seed in range(3)]
    comparison = scores.compare(load.load_runs(write(*many, synthetic.Run("r3m", "door", 0))))
    table = scores.improvements(comparison)
    assert table["value"].notna().all()
    assert table[["low", "corrected_high"]].isna().all(axis=None)


# --- learning -----------------------------------------------------------------------------------


def curve(returns, success, steps=(0, 100, 400), **place):
    labels = {"suite": "s", "task": "door", "row": "vc1", "seed": 0, "used": True} | place
    numbers = {"iteration": [0, 1, 4], "steps": steps, "return": returns, "success": success}
    return pandas.DataFrame({**labels, **numbers})


def test_the_area_under_a_curve_is_its_mean_over_steps():
    (run,) = learning.learning_speed(curve([0.0, 10.0, 20.0], [0.0, 0.2, 0.6])).to_dict("records")
    assert run["mean_return"] == pytest.approx((100 * 5 + 300 * 15) / 400)
    assert (run["steps"], run["steps_to_success"]) == (400.0, 400.0)


def test_an_unreached_success_rate_is_no_number():
    table = learning.learning_speed(curve([0.0, 1.0, 2.0], [0.0, 0.2, 0.4]))
    assert table["steps_to_success"].isna().all()
    assert learning.learning_speed(curve([0.0, 1.0, 2.0], [0.0, 0.2, 0.4]), 0.2)["steps_to_success"].tolist() == [100.0]


def test_efficiency_compares_areas_and_counts_who_reached_it():
    fast = curve([10.0, 10.0, 10.0], [0.0, 0.5, 0.6])
    slow = [
        curve([5.0, 5.0, 5.0], [0.0, 0.0, success], row="r3m", seed=seed) for seed, success in enumerate([0.9, 0.1])
    ]
    table = learning.sample_efficiency(learning.learning_speed(pandas.concat([fast, *slow])), ["vc1", "mvp", "r3m"])
    assert table["row"].tolist() == ["vc1", "r3m"]
    assert table["area_score"].tolist() == pytest.approx([100.0, 50.0])
    assert table["reached"].tolist() == [1.0, 0.5]
    assert table["steps_to_success"].tolist() == [100.0, 400.0]


def test_bands_are_over_seeds_that_reached_an_evaluation():
    curves = [curve([0.0, 10.0 * seed, 20.0], [0.0, 0.0, 0.0], seed=seed) for seed in range(3)]
    short = curve([0.0, 5.0, 5.0], [0.0, 0.0, 0.0], seed=3).iloc[:2]
    bands = learning.curve_bands(pandas.concat([*curves, short]))
    assert bands["iteration"].tolist() == [0, 1]
    assert bands["value"].tolist() == pytest.approx([0.0, 35 / 4])
    assert bands["seeds"].tolist() == [4, 4]
    assert (
        bands["corrected_low"].iloc[1] < bands["low"].iloc[1] < bands["high"].iloc[1] < bands["corrected_high"].iloc[1]
    )


def test_runs_that_are_not_used_are_left_out():
    unused = curve([0.0, 1.0, 2.0], [0.0, 0.2, 0.4], used=False)
    assert learning.learning_speed(unused).empty
    assert learning.curve_bands(unused).empty


def test_costs_keep_machines_apart(synthetic, write, rewrite):
    folder = write(synthetic.Run("vc1", "door", 0), synthetic.Run("vc1", "door", 1), synthetic.Run("r3m", "door", 0))
    machine = folder / synthetic.Run("vc1", "door", 1).path / "machine.json"
    rewrite(machine, json.dumps(json.loads(machine.read_text()) | {"cpu": "another"}))
    table = learning.costs(load.load_runs(folder))
    assert table[["row", "cpu", "runs"]].to_numpy().tolist() == [
        ["vc1", "Synthetic CPU", 1],
        ["vc1", "another", 1],
        ["r3m", "Synthetic CPU", 1],
    ]
    first = table.iloc[0]
    assert first["wall_minutes"] * 60 == pytest.approx(sum(first["seconds"].values()))
    assert first["memory_mb"] == 1800.0


def test_costs_keep_ways_of_computing_apart(synthetic, write, rewrite):
    folder = write(synthetic.Run("vc1", "door", 0), synthetic.Run("vc1", "door", 1), synthetic.Run("r3m", "door", 0))
    for seed, way in enumerate([{"precision": "bfloat16", "backend": "openvino"}, {"precision": "float32"}]):
        path = folder / synthetic.Run("vc1", "door", seed).path / "identity.json"
        identity = json.loads(path.read_text())
        rewrite(path, json.dumps(identity | {"encoder": identity["encoder"] | way}))
    runs = load.load_runs(folder)
    assert set(runs["status"]) == {"finished"}
    table = learning.costs(runs)
    assert table[["row", "computed", "runs"]].to_numpy().tolist() == [
        ["vc1", "bfloat16 by openvino", 1],
        ["vc1", "float32 by torch", 1],
        ["r3m", "", 1],
    ]


# --- the background shift -----------------------------------------------------------------------


def episode(seed, background, value, run_seed=0, iteration=20, **place):
    labels = {
        "suite": "s",
        "task": "door",
        "row": "vc1",
        "seed": run_seed,
        "used": True,
        "iteration": iteration,
    } | place
    return labels | {"background": background, "episode_seed": seed, "return": value, "success": value > 5}


def test_the_drop_is_of_paired_seeds():
    rows = [episode(1, "default", 10.0), episode(2, "default", 20.0), episode(3, "default", 99.0)]
    rows += [episode(1, "4", 4.0), episode(2, "4", 8.0), episode(7, "4", 99.0)]
    rows += [episode(1, "default", 99.0, iteration=0)]
    (cell, mean) = background_shift.background_shift(pandas.DataFrame(rows)).to_dict("records")
    assert (cell["background"], mean["background"]) == ("4", "mean")
    assert (cell["return_own"], cell["return_shifted"], cell["episodes"]) == (15.0, 6.0, 2)
    assert cell["drop"] == mean["drop"] == pytest.approx(60.0)
    assert (cell["success_own"], cell["success_shifted"]) == (1.0, 0.5)
    assert math.isnan(cell["drop_deviation"])


def test_the_drop_is_of_the_mean_over_runs():
    rows = [episode(1, "default", 10.0), episode(1, "2", 5.0), episode(1, "10", 10.0)]
    rows += [episode(1, "default", 30.0, 1), episode(1, "2", 30.0, 1), episode(1, "10", 0.0, 1)]
    table = background_shift.background_shift(pandas.DataFrame(rows)).set_index("background")
    assert table.index.tolist() == ["2", "10", "mean"]
    assert table["drop"].tolist() == pytest.approx([100 * 5 / 40, 100 * 30 / 40, 100 * 17.5 / 40])
    assert table.loc["2", "drop_deviation"] == pytest.approx(np.std([50, 0], ddof=1))


def test_more_episodes_of_the_training_scene_are_told_by_its_number():
    rows = [episode(1, "default", 10.0), episode(1, "0", 11.0), episode(2, "0", 20.0)]
    rows += [episode(1, "3", 5.0), episode(2, "3", 5.0)]
    table = background_shift.background_shift(pandas.DataFrame(rows)).set_index("background")
    assert table.loc["3", "return_own"] == 15.0
    assert "0" not in table.index


def test_a_drop_of_nothing_is_no_number():
    rows = [episode(1, "default", -3.0), episode(1, "3", -6.0)]
    assert background_shift.background_shift(pandas.DataFrame(rows))["drop"].isna().all()


def test_no_shifted_episodes_is_an_empty_table(small_suite):
    table = background_shift.background_shift(load.load_episodes(load.load_runs(small_suite)))
    assert table.empty
    assert table.columns.tolist() == list(background_shift.COLUMNS)
