"""What choosing the best evaluation adds, and three rules of success, from the same episodes."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from benchmark.store import episodes
from reports.analysis.selection import expected_best, protocol_scores, selection
from reports.analysis.success_rules import expert_return, success_rules
from reports.data.collect import collect
from reports.data.load import load_curves, load_runs
from reports.figures.selection import gap_lines, protocol_number, selection_gap
from reports.tables import tables


@pytest.mark.parametrize(("success", "best"), [(0.3, 0.476), (0.4, 0.585), (0.5, 0.685), (0.0, 0.0), (1.0, 1.0)])
def test_the_best_of_twenty_is_that_of_the_binomial_distribution(success, best):
    assert expected_best(success, 25, 20) == pytest.approx(best, abs=5e-4)


def test_the_best_of_many_agrees_with_draws():
    drawn = np.random.default_rng(0).binomial(10, 0.35, (200_000, 6)).max(axis=1).mean() / 10
    assert expected_best(0.35, 10, 6) == pytest.approx(drawn, abs=1e-3)


@pytest.fixture(scope="module")
def runs(small_suite):
    return load_runs(small_suite)


def test_the_gap_is_between_the_best_evaluation_and_the_same_policy_on_held_out_episodes(runs):
    table = selection(runs).set_index("row")
    assert set(selection(runs)["task"]) == {"pen"}
    mine = runs[(runs["task"] == "pen") & (runs["row"] == "vc1")]
    best, held_out = [], []
    for frame in mine["episode_table"]:
        own = frame[(frame["background"] == "default") & (frame["split"] == "schedule")]
        rates = own.groupby("iteration")[["success", "return"]].mean()
        chosen = max(rates.index, key=lambda i: (rates["success"][i], rates["return"][i], -i))
        best.append(rates["success"][chosen])
        held_out += list(frame[(frame["split"] == "held_out") & (frame["iteration"] == chosen)]["success"])
    assert table.loc["vc1", "best"] == pytest.approx(100 * np.mean(best))
    assert table.loc["vc1", "held_out_best"] == pytest.approx(100 * np.mean(held_out))
    assert table.loc["vc1", "gap"] == pytest.approx(100 * (np.mean(best) - np.mean(held_out)))
    assert table.loc["vc1", "held_out_best_low"] <= table.loc["vc1", "held_out_best"]
    assert table.loc["vc1", "seeds"] == 3


def test_held_out_episodes_are_in_no_curve_and_no_score(runs):
    curves = load_curves(runs)
    pen = curves[curves["task"] == "pen"]
    assert set(pen["episodes"]) == set(curves["episodes"])


def test_success_by_each_rule_is_that_of_the_last_evaluation(runs):
    rates = success_rules(runs).set_index(["task", "row"]).loc[("pen", "vc1")]
    frames = runs[(runs["task"] == "pen") & (runs["row"] == "vc1")]["episode_table"]
    last = [frame[frame["split"] == "schedule"] for frame in frames]
    last = [frame[frame["iteration"] == frame["iteration"].max()] for frame in last]
    assert rates["goal_steps"] == pytest.approx(100 * np.mean([frame["success"].mean() for frame in last]))
    threshold = 0.5 * expert_return("pen")
    assert rates["return"] == pytest.approx(100 * np.mean([(frame["return"] >= threshold).mean() for frame in last]))


def test_runs_from_before_goals_were_kept_have_no_rules_and_no_gap(runs):
    old = runs.assign(
        episode_table=[
            frame if frame is None else frame[list(episodes.FIRST_COLUMNS)] for frame in runs["episode_table"]
        ]
    )
    assert selection(old).empty
    assert success_rules(old).empty
    assert len(load_curves(old)) >= len(load_curves(runs))


def test_a_task_from_outside_has_no_expert_to_compare_with():
    assert expert_return("fold_the_laundry") is None
    assert expert_return("pen") > 3000


def test_the_figure_joins_what_the_table_says(small_suite):
    suite = collect(small_suite).suites[0]
    figure = selection_gap(suite).draw()
    hollow = {line.get_xdata()[0] for line in figure.axes[0].lines if line.get_markerfacecolor() != line.get_color()}
    assert hollow >= set(suite.selection["best"])
    plt.close(figure)
    shown = tables.selection_table(suite.selection).shown
    assert list(shown["encoder"]) == list(suite.selection["row"])
    assert gap_lines(suite.labelled(suite.selection).iloc[:1]).axes


def test_a_protocols_number_is_the_mean_over_seeds_and_tasks(runs):
    table = protocol_scores(runs, ("pen", "door"), "best").set_index("row")
    mine = runs[runs["used"] & (runs["row"] == "vc1")]
    expected = np.mean([mine[mine["task"] == task]["success_best"].mean() for task in ("pen", "door")])
    assert table.loc["vc1", "value"] == pytest.approx(100 * expected)
    assert np.isnan(table.loc["vc1", "held_out"])  # the door's policies were not judged
    assert "r3m" not in table.index  # it lacks pen
    pen = protocol_scores(runs, ("pen",), "last").set_index("row")
    assert pen.loc["vc1", "low"] <= pen.loc["vc1", "held_out"] <= pen.loc["vc1", "high"]


def test_published_numbers_stand_beside_ours_and_recalled_ones_do_not(write, synthetic):
    suite_of = "cortexbench-builtin-paper-r3"
    folder = write(*[synthetic.Run("vc1", task, 0, suite=suite_of) for task in ("pen", "relocate")])
    figure = protocol_number(collect(folder).suites[0]).draw()
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert {"vc1", "vc1_large"} <= set(names)
    assert "r3m" not in names
    hollow = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == "D"]
    assert hollow[names.index("vc1")] == 48.7
    plt.close(figure)


def test_a_preset_without_published_tasks_has_no_such_number(small_suite):
    assert protocol_number(collect(small_suite).suites[0]) is None


def test_a_suite_without_held_out_episodes_has_no_figure(write, synthetic):
    suite = collect(write(synthetic.Run("vc1", "door", 0))).suites[0]
    assert selection_gap(suite) is None
