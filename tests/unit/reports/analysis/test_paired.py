"""Two encoders compared by task and seed: against numbers computed by hand, and what is never compared."""

import numpy as np
import pytest

from reports.analysis import paired
from reports.analysis.paired import NotComparable
from reports.data import load


@pytest.fixture
def runs(small_suite):
    return load.load_runs(small_suite)


def test_pairs_are_of_one_task_and_seed(runs):
    (found,) = paired.pair(runs, runs, "hindex (builtin)", "vc1", "return_best")
    assert found.tasks == ("door", "pen", "pour")
    assert found.pairs == [3, 3, 1]
    assert (found.equal, found.alone) == (0, 9 + 7 - 14)
    values = runs.set_index(["row", "task", "seed"])["return_best"]
    for number, task in enumerate(found.tasks):
        for seed in range(found.pairs[number]):
            assert found.first[seed, number] == values["hindex (builtin)", task, seed]
            assert found.second[seed, number] == values["vc1", task, seed]
    assert np.isnan(found.first[1:, 2]).all()


def test_differences_are_means_over_pairs_with_students_interval(runs):
    from scipy import stats

    (found,) = paired.pair(runs, runs, "hindex (builtin)", "vc1", "return_best")
    table = paired.differences(found).set_index("task")
    expected = found.first[:, 0] - found.second[:, 0]
    door = table.loc["door"]
    assert (door["pairs"], door["difference"]) == (3, pytest.approx(expected.mean()))
    assert door["row"] - door["other"] == pytest.approx(door["difference"])
    half = stats.t.ppf(0.975, 2) * expected.std(ddof=1) / np.sqrt(3)
    assert door["high"] - door["low"] == pytest.approx(2 * half, rel=0.25)
    assert door["low"] < door["difference"] < door["high"]
    assert np.isnan(table.loc["pour", ["low", "high"]].to_numpy(float)).all()


def test_the_mean_difference_of_returns_is_in_points_of_the_better_mean(runs):
    (found,) = paired.pair(runs, runs, "hindex (builtin)", "vc1", "return_best")
    means = [np.nanmean(values, axis=0) for values in (found.first, found.second)]
    expected = np.mean(100 * (means[0] - means[1]) / np.maximum(*means))
    assert paired.mean_difference(found).value == pytest.approx(expected)


def test_the_mean_difference_of_success_is_in_plain_points(runs):
    (found,) = paired.pair(runs, runs, "hindex (builtin)", "r3m", "success_last")
    expected = 100 * np.mean(np.nanmean(found.first, axis=0) - np.nanmean(found.second, axis=0))
    assert paired.mean_difference(found).value == pytest.approx(expected)


def test_the_probability_of_improvement_is_that_of_the_reports(runs):
    (found,) = paired.pair(runs, runs, "hindex (builtin)", "vc1", "return_best")
    wins = [
        np.mean([np.sign(a - b) / 2 + 0.5 for a in found.first[:, k] for b in found.second[:, k] if a == a and b == b])
        for k in range(3)
    ]
    estimate = paired.improvement(found)
    assert estimate.value == pytest.approx(np.mean(wins))
    assert np.isnan(estimate.corrected_low)  # pour has a single pair

    (found,) = paired.pair(runs, runs, "hindex (builtin)", "r3m", "return_best")
    estimate = paired.improvement(found)
    assert 0 <= estimate.corrected_low <= estimate.value <= estimate.corrected_high <= 1


def test_a_run_against_itself_has_no_difference(runs):
    (found,) = paired.pair(runs, runs, "r3m", "r3m", "return_last")
    assert found.equal == sum(found.pairs) > 1
    assert found.alone == 0
    estimate = paired.mean_difference(found)
    assert (estimate.value, estimate.corrected_low, estimate.corrected_high) == (0, 0, 0)
    assert paired.improvement(found).value == 0.5


def test_negative_returns_have_a_finite_difference(synthetic, write):
    cells = [("vc1", 0), ("vc1", 1), ("r3m", 0), ("r3m", 1)]
    runs = load.load_runs(write(*(synthetic.Run(name, "hammer", seed, offset=-12000.0) for name, seed in cells)))
    (found,) = paired.pair(runs, runs, "vc1", "r3m", "return_best")
    estimate = paired.mean_difference(found)
    assert abs(estimate.value) == pytest.approx(100)
    assert np.isfinite(estimate.corrected_low)


def test_suites_are_paired_apart_and_never_across(synthetic, write):
    one = synthetic.Run("vc1", "pen", 0)
    other = synthetic.Run("r3m", "pen", 0, suite=synthetic.OTHER_SUITE)
    runs = load.load_runs(write(one, other))
    with pytest.raises(NotComparable, match=f"different suites are never compared: vc1 has {synthetic.SUITE}, r3m has"):
        paired.pair(runs, runs, "vc1", "r3m", "return_best")
    runs = load.load_runs(
        write(synthetic.Run("vc1", "pen", 0, suite=synthetic.OTHER_SUITE), synthetic.Run("r3m", "pen", 0))
    )
    found = paired.pair(runs, runs, "vc1", "r3m", "return_best")
    assert [(each.suite, each.pairs) for each in found] == [(synthetic.OTHER_SUITE, [1]), (synthetic.SUITE, [1])]


def test_runs_of_different_results_versions_are_no_pair(synthetic, write, tmp_path):
    old = load.load_runs(write(synthetic.Run("vc1", "pen", 0)))
    new = synthetic.write_suite(
        tmp_path / "new", [synthetic.Run("r3m", "pen", 0, task_version=2)], sides=False, films=False
    )
    with pytest.raises(NotComparable, match="vc1 and r3m share no task and seed of the same results version"):
        paired.pair(old, load.load_runs(new), "vc1", "r3m", "return_best")


def test_rows_are_chosen_by_name(runs, synthetic, tmp_path):
    hindex, changed, mine = "hindex (builtin)", "hindex+ema-0.1 (builtin)", "mvp"
    own = load.load_runs(synthetic.write_suite(tmp_path, [synthetic.Run(mine, "door", 0)], sides=False, films=False))
    assert paired.choose(runs, runs, "hindex", "vc1") == [(hindex, "vc1")]
    assert paired.choose(runs, runs, changed, hindex) == [(changed, hindex)]
    assert paired.choose(own, runs, against="vc1") == [(mine, "vc1")]
    assert paired.choose(runs, runs, "vc1") == [("vc1", "vc1")]
    assert paired.choose(own, own) == [(mine, mine)]
    assert len(paired.choose(runs, runs)) == 5
    with pytest.raises(NotComparable, match=r"no encoder is in both \(mvp; hindex.*--encoder and --against"):
        paired.choose(own, runs)
    with pytest.raises(NotComparable, match="'rrl' is no encoder here; available: hindex"):
        paired.choose(own, runs, "mvp", "rrl")
