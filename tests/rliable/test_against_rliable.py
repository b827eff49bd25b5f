"""Our statistics against rliable's, which lives in an environment of its own: `tox -e rliable`."""

import numpy as np
import pytest

from reports.analysis import bootstrap as statistics

library = pytest.importorskip("rliable.library", reason="rliable is not installed; run tox -e rliable")
metrics = pytest.importorskip("rliable.metrics", reason="rliable is not installed; run tox -e rliable")

REPETITIONS = 20_000
TOLERANCE = 0.005
"""Of scores between 0 and 1."""


def suite(seed, runs=5, tasks=12):
    random = np.random.default_rng(seed)
    return np.clip(random.uniform(0.2, 0.9, tasks) + 0.1 * random.standard_normal((runs, tasks)), 0, None)


AGGREGATES = {
    "mean": (statistics.mean, metrics.aggregate_mean),
    "interquartile mean": (statistics.interquartile_mean, metrics.aggregate_iqm),
    "optimality gap": (lambda scores: statistics.optimality_gap(scores, 1.0), metrics.aggregate_optimality_gap),
}


@pytest.mark.parametrize("runs", [3, 5, 10])
@pytest.mark.parametrize("name", list(AGGREGATES))
def test_aggregates_and_their_percentile_intervals_agree(name, runs):
    ours, theirs = AGGREGATES[name]
    scores = suite(runs, runs)
    points, intervals = library.get_interval_estimates(
        {"encoder": scores},
        lambda drawn: np.array([theirs(drawn)]),
        reps=REPETITIONS,
    )
    estimate = statistics.bootstrap([scores], ours, repetitions=REPETITIONS)
    expected = [points["encoder"].item(), *intervals["encoder"].ravel()]
    found = [float(estimate.value), float(estimate.low), float(estimate.high)]
    assert found[0] == pytest.approx(expected[0], abs=1e-12)
    assert found[1:] == pytest.approx(expected[1:], abs=TOLERANCE)


def test_probability_of_improvement_agrees():
    scores = suite(0, 5), suite(1, 4)
    points, intervals = library.get_interval_estimates(
        {"pair": list(scores)},
        lambda first, second: np.array([metrics.probability_of_improvement(first, second)]),
        reps=2000,
    )
    estimate = statistics.bootstrap(scores, statistics.probability_of_improvement, repetitions=REPETITIONS)
    assert float(estimate.value) == pytest.approx(points["pair"].item(), abs=1e-12)
    found = [float(estimate.low), float(estimate.high)]
    # Theirs is slow, so it has 2000 resamples, drawn unseeded; the values it can take lie 1/240 apart.
    assert found == pytest.approx(intervals["pair"].ravel().tolist(), abs=2 * TOLERANCE)


def test_performance_profiles_agree():
    scores, thresholds = suite(2), np.linspace(0, 1.2, 25)
    profiles, _ = library.create_performance_profile({"encoder": scores}, thresholds, reps=10)
    assert statistics.performance_profile(scores, thresholds) == pytest.approx(profiles["encoder"], abs=1e-12)
