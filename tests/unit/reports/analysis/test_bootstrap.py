"""Aggregates against hand and scipy, intervals against closed forms, coverage against its promise."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reports.analysis import bootstrap as statistics
from reports.analysis.bootstrap import bootstrap, normaliser
from reports.analysis.coverage import simulate_coverage

NAN = np.nan
HAND = np.array([[10.0, 40.0, 90.0], [30.0, 60.0, NAN]])
SCORES = arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 6)), elements=st.floats(-50, 150, width=32))


# --- aggregates ---------------------------------------------------------------------------------


def test_mean_is_over_runs_first_then_over_tasks():
    assert statistics.task_means(HAND).tolist() == [20.0, 50.0, 90.0]
    assert statistics.mean(HAND) == pytest.approx(160 / 3)


def test_a_task_without_runs_is_left_out():
    assert statistics.mean(np.array([[1.0, NAN], [3.0, NAN]])) == 2.0
    assert np.isnan(statistics.mean(np.full((2, 2), NAN)))


@settings(deadline=None)
@given(SCORES)
def test_interquartile_mean_is_scipys(scores):
    expected = scipy.stats.trim_mean(scores, 0.25, axis=None)
    assert statistics.interquartile_mean(scores) == pytest.approx(expected, abs=1e-12, rel=1e-12)


@settings(deadline=None)
@given(SCORES, st.data())
def test_interquartile_mean_leaves_missing_runs_out(scores, data):
    missing = data.draw(arrays(np.bool_, scores.shape))
    holes = np.where(missing, NAN, scores)
    left = scores[~missing]
    found = statistics.interquartile_mean(holes)
    assert np.isnan(found) if not left.size else found == pytest.approx(scipy.stats.trim_mean(left, 0.25), abs=1e-12)


def test_optimality_gap_counts_what_is_above_the_target_as_there():
    assert statistics.optimality_gap(np.array([[50.0, 120.0]])) == 25.0
    assert statistics.optimality_gap(HAND) == pytest.approx(100 - 230 / 5)


def test_performance_profile_is_the_share_strictly_above():
    profile = statistics.performance_profile(HAND, np.array([0.0, 30.0, 60.0, 90.0]))
    assert profile.tolist() == pytest.approx([1.0, 0.6, 0.2, 0.0])


def test_probability_of_improvement_by_hand():
    first = np.array([[1.0, 5.0], [3.0, 5.0]])
    second = np.array([[2.0, 5.0], [0.0, 4.0]])
    # task one: 1>0, 3>2, 3>0 of four pairs; task two: two ties, two wins
    assert statistics.probability_of_improvement(first, second) == pytest.approx((3 / 4 + 3 / 4) / 2)


@settings(deadline=None)
@given(SCORES, st.data())
def test_probabilities_of_improvement_both_ways_sum_to_one(first, data):
    runs = data.draw(st.integers(1, 5))
    second = data.draw(arrays(np.float64, (runs, first.shape[1]), elements=st.floats(-50, 150, width=32)))
    both = [statistics.probability_of_improvement(*pair) for pair in ((first, second), (second, first))]
    assert sum(both) == pytest.approx(1.0)


@settings(deadline=None)
@given(SCORES)
def test_probability_of_improvement_is_mann_whitneys(scores):
    other = scores[::-1] + np.linspace(-20, 20, scores.size).reshape(scores.shape).round()
    expected = [
        scipy.stats.mannwhitneyu(scores[:, k], other[:, k]).statistic / len(scores) ** 2 for k in range(scores.shape[1])
    ]
    assert statistics.probability_of_improvement(scores, other) == pytest.approx(np.mean(expected))


@pytest.mark.parametrize("aggregate", [statistics.mean, statistics.interquartile_mean, statistics.optimality_gap])
@settings(deadline=None)
@given(scores=SCORES)
def test_aggregates_take_leading_axes(aggregate, scores):
    stacked = np.stack([scores, scores + 1.0, -scores])
    one_by_one = [float(aggregate(one)) for one in stacked]
    assert aggregate(stacked).tolist() == pytest.approx(one_by_one)


# --- normalised scores --------------------------------------------------------------------------


def test_the_best_encoder_of_a_task_scores_100():
    returns = np.array([[[10.0, 4.0], [30.0, 4.0]], [[5.0, 8.0], [5.0, NAN]]])
    norm = normaliser(returns)
    assert norm.high.tolist() == [20.0, 8.0]
    assert not norm.fallback.any()
    assert statistics.task_means(norm(returns)).tolist() == [[100.0, 50.0], [25.0, 100.0]]


def test_a_negative_best_return_is_scored_between_worst_and_best():
    returns = np.array([[[-10.0]], [[-20.0]], [[-40.0]]])
    norm = normaliser(returns)
    assert norm.fallback.tolist() == [True]
    assert norm(returns).ravel().tolist() == pytest.approx([100.0, 200 / 3, 0.0])


def test_a_task_where_no_encoder_differs_has_no_score():
    assert np.isnan(normaliser(np.zeros((3, 2, 1)))(np.zeros((2, 1)))).all()
    assert np.isnan(normaliser(np.full((1, 2, 1), -5.0))(np.full((2, 1), -5.0))).all()


def test_an_encoder_without_runs_does_not_normalise():
    returns = np.array([[[2.0]], [[NAN]], [[1.0]]])
    norm = normaliser(returns)
    assert norm.high.tolist() == [2.0]
    assert np.isnan(norm(returns)[1]).all()


# --- intervals ----------------------------------------------------------------------------------


def test_the_bootstrap_is_seeded():
    scores = np.random.default_rng(0).normal(50, 10, (3, 12))
    first, again, other = (bootstrap([scores], statistics.mean, seed=seed) for seed in (1, 1, 2))
    assert (first.low, first.high) == (again.low, again.high)
    assert first.low != other.low


def test_resamples_stay_within_their_task_and_keep_its_number_of_runs():
    drawn = statistics.resample(HAND, 400, np.random.default_rng(0))
    assert set(drawn[:, :, 0].ravel()) == {10.0, 30.0}
    assert set(drawn[:, :, 1].ravel()) == {40.0, 60.0}
    assert (drawn[:, 0, 2] == 90.0).all()
    assert np.isnan(drawn[:, 1, 2]).all()
    assert {tuple(one) for one in drawn[:, :, 0]} == {(10.0, 10.0), (10.0, 30.0), (30.0, 10.0), (30.0, 30.0)}


def test_the_correction_of_a_mean_is_student_with_satterthwaites_freedom():
    random = np.random.default_rng(3)
    scores = random.normal(50, random.uniform(1, 30, 12), (4, 12))
    estimate = bootstrap([scores], statistics.mean, seed=5)
    variances = scores.var(axis=0, ddof=1)
    freedom = variances.sum() ** 2 / (variances**2 / 3).sum()
    factor = np.sqrt(4 / 3) * scipy.stats.t.ppf(0.975, freedom) / scipy.stats.norm.ppf(0.975)
    assert estimate.freedom == pytest.approx(freedom)
    assert estimate.corrected_high - estimate.value == pytest.approx(factor * (estimate.high - estimate.value))
    assert estimate.value - estimate.corrected_low == pytest.approx(factor * (estimate.value - estimate.low))


def test_a_corrected_interval_of_one_task_is_students():
    scores = np.random.default_rng(1).normal(0, 1, (30, 1))
    estimate = bootstrap([scores], statistics.mean, repetitions=40_000)
    low, high = scipy.stats.t.interval(0.95, 29, scores.mean(), scores.std(ddof=1) / np.sqrt(30))
    assert (estimate.corrected_low, estimate.corrected_high) == pytest.approx((low, high), abs=0.03)


def test_one_seed_gives_no_interval():
    estimate = bootstrap([np.array([[1.0, 2.0, NAN]])], statistics.mean)
    assert estimate.value == 1.5
    assert np.isnan([estimate.low, estimate.high, estimate.corrected_low, estimate.corrected_high]).all()


def test_a_task_with_a_single_run_leaves_its_averages_without_interval():
    scores = np.array([[10.0, 50.0], [20.0, NAN], [30.0, NAN]])
    assert np.isnan(bootstrap([scores], statistics.mean).corrected_low)
    by_task = bootstrap([scores], statistics.task_means)
    assert by_task.corrected_low[0] < 20 < by_task.corrected_high[0]
    assert np.isnan([by_task.low[1], by_task.corrected_high[1], by_task.freedom[1]]).all()


def test_equal_runs_give_an_interval_of_no_width():
    estimate = bootstrap([np.full((3, 4), 7.0)], statistics.mean)
    assert (estimate.corrected_low, estimate.value, estimate.corrected_high) == (7.0, 7.0, 7.0)


def test_the_corrected_interval_is_cut_at_bounds():
    sure = np.array([[3.0, 3.0], [4.0, 0.5]]), np.array([[1.0, 1.0], [2.0, 2.0]])
    estimate = bootstrap(sure, statistics.probability_of_improvement, bounds=(0.0, 1.0))
    assert 0.0 <= estimate.corrected_low < estimate.value < estimate.corrected_high == 1.0


def test_a_statistic_may_be_a_vector():
    thresholds = np.array([20.0, 50.0, 80.0])
    scores = np.random.default_rng(0).uniform(0, 100, (3, 12))
    estimate = bootstrap([scores], lambda drawn: statistics.performance_profile(drawn, thresholds))
    assert estimate.low.shape == estimate.corrected_high.shape == (3,)
    assert (estimate.low <= estimate.value).all()


# --- coverage -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed():
    return {one.runs: one for one in simulate_coverage()}


def test_the_plain_interval_covers_too_little(mixed):
    assert mixed[2].plain == pytest.approx(0.78, abs=0.03)
    assert mixed[3].plain == pytest.approx(0.86, abs=0.03)
    assert mixed[5].plain == pytest.approx(0.90, abs=0.025)
    assert mixed[10].plain < 0.945


@pytest.mark.parametrize("runs", [5, 10])
def test_the_corrected_interval_keeps_its_promise_from_5_seeds_on(mixed, runs):
    assert mixed[runs].cases == 2000
    assert 0.93 <= mixed[runs].corrected <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("distribution", ["normal", "skewed", "heavy", "failing"])
def test_the_corrected_interval_keeps_its_promise_whatever_the_runs_are_like(distribution):
    for one in simulate_coverage(distribution, (5, 10), seed=1):
        assert 0.93 <= one.corrected <= 0.97, one


@pytest.mark.slow
@pytest.mark.parametrize("aggregate", [statistics.mean, statistics.interquartile_mean])
def test_the_intervals_themselves_cover_2000_simulated_suites_of_5_seeds(aggregate):
    random = np.random.default_rng(0)
    held = 0
    for case in range(2000):
        true, spread = random.uniform(20, 90, 12), 8 * np.exp(0.6 * random.standard_normal(12))
        many = true + spread * scipy.stats.norm.ppf((np.arange(1000) + 0.5) / 1000)[:, None]
        estimate = bootstrap([random.normal(true, spread, (5, 12))], aggregate, repetitions=500, seed=case)
        held += bool(estimate.corrected_low <= aggregate(many) <= estimate.corrected_high)
    assert 0.93 <= held / 2000 <= 0.97
