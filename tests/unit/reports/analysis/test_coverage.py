"""What the page says of its intervals is what the bootstrap itself gives, simulated anew with single episodes."""

from functools import partial

import numpy as np
import pandas
import pytest
import scipy.stats

from reports.analysis import coverage
from reports.analysis.bootstrap import bootstrap, task_means
from reports.analysis.coverage import EPISODE_SPREAD, invent, one_task_coverage, one_task_range
from reports.data.collect import collect
from reports.figures.curves import learning_curves
from reports.figures.interval_notes import one_task_note, one_task_words
from reports.figures.specification import find
from reports.tables import suite_tables

TRUTH = 0.95


@pytest.fixture(scope="module")
def stated():
    return {(one.distribution, one.runs, one.episodes): one.corrected for one in one_task_coverage()}


def episodes_of(distribution, cases, seeds, episodes, generator):
    """Scores of single episodes (cases, seeds, episodes) of one task, and the true means (cases,)."""
    runs, truth = invent(distribution, (cases, seeds, 1), generator)
    noise = EPISODE_SPREAD * generator.standard_normal((cases, seeds, episodes))
    return runs + np.where(runs == 0, 0.0, noise), truth


def hierarchical(scores, repetitions, generator):
    """Means (cases, repetitions) after redrawing seeds and, within them, episodes."""
    cases, seeds, episodes = scores.shape
    chosen = generator.multinomial(seeds, np.full(seeds, 1 / seeds), repetitions)
    weights = generator.multinomial(chosen * episodes, np.full(episodes, 1 / episodes)) / (seeds * episodes)
    return scores.reshape(cases, -1) @ weights.reshape(repetitions, -1).T


def test_the_page_says_what_is_simulated(small_suite):
    low, high = (f"{100 * share:.0f}" for share in one_task_range(3, 5))
    assert 60 < float(low) < 80 < float(high) < 97
    assert f"cover {low} to {high} %" in one_task_words()
    (suite,) = collect(small_suite).suites
    for name in ("scores_by_task", "fig04_learning_curves"):
        assert one_task_words() in find(name).of(suite).caption
    assert one_task_words() not in find("fig01_average_score").of(suite).caption
    assert "coverage-one-task" in [table.name for table in suite_tables.suite_tables(suite)["statistics"].shown]


def test_a_comparison_on_one_task_says_so_wherever_it_draws_intervals(synthetic, write):
    runs = [synthetic.Run(encoder, "door", seed) for encoder in ("vc1", "r3m") for seed in range(3)]
    (suite,) = collect(write(*runs)).suites
    names = ("fig01_average_score", "scores_by_task", "aggregates", "performance_profiles")
    for name in (*names, "probability_of_improvement"):
        assert one_task_words() in find(name).of(suite).caption, name


def test_an_encoder_alone_has_the_table_of_its_bands(synthetic, write):
    (suite,) = collect(write(*(synthetic.Run("vc1", "door", seed) for seed in range(3)))).suites
    assert [table.name for table in suite_tables.suite_tables(suite)["statistics"].shown] == ["coverage-one-task"]


def test_figures_say_it_themselves(small_suite):
    (suite,) = collect(small_suite).suites
    assert one_task_note("1 seed: no interval", None) == "1 seed: no interval"
    drawn = find("fig04_learning_curves").of(suite).draw
    assert isinstance(drawn, partial)
    assert drawn.func is learning_curves
    assert drawn.keywords["coverage"] == one_task_range(3, 3)
    low, high = (f"{100 * share:.0f}" for share in one_task_range(3, 3))
    assert (
        f"simulated coverage of one task: {low} to {high} %" in find("scores_by_task").of(suite).draw.keywords["note"]
    )


def test_few_seeds_get_the_range_of_few_seeds():
    assert one_task_range(7, 7) == one_task_range(5, 5)
    assert one_task_range(3, 10)[0] == one_task_range(4, 5)[0] <= one_task_range(3, 3)[0]


def test_the_table_of_one_task_has_a_column_for_each_number_of_seeds():
    shown = suite_tables.one_task().shown
    assert isinstance(shown, pandas.DataFrame)
    assert list(shown.columns[2:]) == ["3 seeds", "4 seeds", "5 seeds", "10 seeds"]
    assert len(shown) == len(coverage.ONE_TASK) * len(coverage.ONE_TASK_EPISODES)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 4, 5, 10])
@pytest.mark.parametrize("distribution", coverage.ONE_TASK)
@pytest.mark.parametrize("episodes", coverage.ONE_TASK_EPISODES)
def test_the_stated_shares_are_those_of_the_interval_that_is_drawn(stated, distribution, seeds, episodes):
    """The product's own bootstrap on episodes drawn one by one; the page's simulation takes shortcuts."""
    cases, held = 800, 0
    scores, truth = episodes_of(distribution, cases, seeds, episodes, np.random.default_rng(17))
    for case in range(cases):
        runs = scores[case].mean(axis=1)[:, None]
        estimate = bootstrap([runs], task_means, repetitions=400, seed=case)
        held += bool(estimate.corrected_low[0] <= truth[case] <= estimate.corrected_high[0])
    assert held / cases == pytest.approx(stated[distribution, seeds, episodes], abs=0.05)


@pytest.mark.slow
def test_redrawing_the_episodes_too_is_no_remedy():
    """Why seeds alone are redrawn: the table's caption rests on this."""
    distance = {"seeds": [], "both": []}
    normal, longer, worst = [], [], []
    for distribution in coverage.ONE_TASK:
        for seeds in (3, 4, 5):
            for episodes in (10, 30, 100):
                generator = np.random.default_rng(3)
                scores, truth = episodes_of(distribution, 2000, seeds, episodes, generator)
                runs = scores.mean(axis=2)
                chosen = generator.multinomial(seeds, np.full(seeds, 1 / seeds), 800) / seeds
                drawn = {"seeds": runs @ chosen.T, "both": hierarchical(scores, 800, generator)}
                student = scipy.stats.t.ppf(0.975, seeds - 1) / scipy.stats.norm.ppf(0.975)
                factor = np.sqrt(seeds / (seeds - 1)) * student
                value, ends = runs.mean(axis=1), {}
                for name, means in drawn.items():
                    low, high = (value + factor * (end - value) for end in np.percentile(means, [2.5, 97.5], axis=1))
                    ends[name] = ((low <= truth) & (truth <= high)).mean(), (high - low).mean()
                    distance[name].append(abs(ends[name][0] - TRUTH))
                longer.append(ends["both"][1] / ends["seeds"][1])
                if distribution == "normal" and episodes <= 30:
                    normal.append(ends["both"][0])
                if distribution == "collapsing" and episodes == 100:
                    worst.append(ends["both"][0])
    assert min(normal) > 0.98  # where the seeds' interval covers what it promises, this one is too long
    assert 1.4 < max(longer) < 1.6
    assert min(worst) < 0.8  # and where seeds collapse, it covers too little all the same
    assert np.mean(distance["both"]) > np.mean(distance["seeds"]) - 0.02
