"""Learning curves: means, bands, single seeds and runs that did not finish."""

import numpy as np
import pandas
import pytest
from matplotlib.text import Text

from reports.data import load
from reports.figures import curves as figures_curves
from reports.figures.curves import learning_curves


def curves(seeds, *, task="door", row="hindex", status="finished"):
    """One row per evaluation of invented runs: the return of seed s at iteration i is 10 * i + s."""
    steps = [(seed, iteration) for seed in seeds for iteration in range(4)]
    return pandas.DataFrame(
        {
            **{"suite": "s", "task": task, "row": row, "used": status == "finished", "status": status},
            "seed": [seed for seed, _ in steps],
            "iteration": [iteration for _, iteration in steps],
            "steps": [1000 * iteration for _, iteration in steps],
            "return": [10.0 * iteration + seed for seed, iteration in steps],
            "success": [0.25 * iteration for _, iteration in steps],
        }
    )


def lines(axes, gid):
    return [line for line in axes.lines if line.get_gid() == gid]


def test_a_line_is_the_mean_of_the_seeds_with_a_band_from_three_on():
    (axes,) = learning_curves(curves([0, 1, 2])).axes
    (line,) = lines(axes, "curve")
    assert list(line.get_xdata()) == [0, 1000, 2000, 3000]
    assert list(line.get_ydata()) == [1.0, 11.0, 21.0, 31.0]
    assert len(axes.collections) == 1
    assert not lines(axes, "seed")


def test_the_band_holds_the_mean():
    (axes,) = learning_curves(curves([0, 1, 2])).axes
    heights = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert heights.min() < 1.0
    assert heights.max() > 31.0


def test_two_seeds_are_drawn_one_by_one_without_a_band():
    figure = learning_curves(curves([0, 1]))
    (axes,) = figure.axes
    assert len(lines(axes, "seed")) == 2
    assert not axes.collections
    assert any("no band" in " ".join(text.get_text().split()) for text in figure.findobj(Text))


def test_an_unfinished_run_ends_in_a_cross_and_is_in_no_mean():
    frame = pandas.concat([curves([0, 1, 2]), curves([7], status="diverged")])
    (axes,) = learning_curves(frame).axes
    assert list(lines(axes, "curve")[0].get_ydata()) == [1.0, 11.0, 21.0, 31.0]
    (cross,) = lines(axes, "unfinished")
    assert list(np.ravel(cross.get_ydata())) == [37.0]


def test_success_is_in_per_cent():
    (axes,) = learning_curves(curves([0, 1, 2]), quantity="success").axes
    assert list(lines(axes, "curve")[0].get_ydata()) == [0.0, 25.0, 50.0, 75.0]


def test_the_untrained_policy_is_no_part_of_the_curve():
    frame = curves([0, 1, 2])
    frame["iteration"] -= 1
    (axes,) = learning_curves(frame).axes
    assert len(lines(axes, "curve")[0].get_xdata()) == 3


@pytest.mark.slow
def test_twelve_tasks_are_twelve_panels_in_the_papers_order(whole_suite):
    runs = load.load_runs(whole_suite)
    frame = load.load_curves(runs[(runs["suite"] == load.suites(runs)[0]) & (runs["encoder"] == "hindex")])
    figure = learning_curves(frame)
    titles = [axes.get_title() for axes in figure.axes if axes.get_visible()]
    assert len(titles) == 12
    assert titles[:3] == ["hammer", "door", "pen"]
    assert any(text.get_text() == "synthetic" for text in figure.findobj(Text))


@pytest.mark.parametrize(
    ("value", "label"),
    [(0.75, "0.75"), (-6.1, "-6.1"), (0.0, "0"), (999.0, "999"), (12500.0, "12.5k"), (-2000.0, "-2k")],
)
def test_returns_are_labelled_in_plain_numbers(value, label):
    assert figures_curves._return_label(value) == label
