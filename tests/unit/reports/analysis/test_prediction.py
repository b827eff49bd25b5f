"""Does the probe predict success? Rank correlation over encoders, per task."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas
import pytest
from scipy.stats import spearmanr

from reports.analysis.prediction import prediction
from reports.figures.probe import prediction_dots

ENCODERS = ("hindex", "vc1", "r3m", "mvp", "rrl")


def probe_of(values):
    """Two quantities per cell whose mean, negative ones as 0, is the value."""
    return pandas.DataFrame(
        [
            {"task": task, "title": row, "r2": r2, "problem": ""}
            for (task, row), value in values.items()
            for r2 in (2 * value, -3.0)
        ]
    )


def runs_of(values):
    return pandas.DataFrame(
        [
            {"task": task, "row": row, "seed": seed, "success_last": value + shift, "used": True}
            for (task, row), value in values.items()
            for seed, shift in enumerate((-0.02, 0.02))
        ]
    )


def cells(generator, tasks=("pen", "door")):
    return {(task, row): generator.uniform(0.1, 0.5) for task in tasks for row in ENCODERS}


def test_the_correlation_is_spearmans_by_task():
    generator = np.random.default_rng(3)
    r2, success = cells(generator), cells(generator)
    found = prediction(probe_of(r2), runs_of(success))
    for task in ("pen", "door"):
        known = spearmanr(*[[values[task, row] for row in ENCODERS] for values in (r2, success)]).statistic
        assert found.by_task[task] == pytest.approx(known)
    assert found.mean == pytest.approx(found.by_task.mean())
    one = found.cells.set_index(["task", "row"]).loc[("door", "r3m")]
    assert one["r2"] == pytest.approx(r2["door", "r3m"])
    assert one["success"] == pytest.approx(100 * success["door", "r3m"])


def test_chance_is_the_share_of_all_pairings():
    generator = np.random.default_rng(4)
    r2, success = cells(generator), cells(generator)
    found = prediction(probe_of(r2), runs_of(success))

    def mean(order):
        rhos = [
            spearmanr([r2[task, row] for row in order], [success[task, row] for row in ENCODERS]).statistic
            for task in ("pen", "door")
        ]
        return np.mean(rhos)

    means = [mean(order) for order in itertools.permutations(ENCODERS)]
    assert found.chance == pytest.approx(np.mean(np.array(means) >= mean(ENCODERS) - 1e-12), abs=0.015)


def test_what_lacks_a_task_does_not_count_and_equal_encoders_have_no_order():
    generator = np.random.default_rng(5)
    r2, success = cells(generator), cells(generator)
    success |= {("door", row): 0.5 for row in ENCODERS}
    success["pen", "extra"] = success["door", "extra"] = 0.4
    r2 |= {("hammer", row): 0.5 for row in ENCODERS[:3]}  # a task on which too few were probed takes nobody away
    success |= {("hammer", row): 0.5 for row in ENCODERS}
    found = prediction(probe_of(r2), runs_of(success))
    assert set(found.cells["row"]) == set(ENCODERS)
    assert set(found.cells["task"]) == {"pen", "door"}
    assert list(found.by_task.index) == ["pen"]
    few = {key: value for key, value in r2.items() if key[1] in ENCODERS[:3]}
    assert prediction(probe_of(few), runs_of(success)) is None
    assert prediction(pandas.DataFrame(), runs_of(success)) is None


def test_the_figure_has_a_panel_per_task_with_its_correlation():
    generator = np.random.default_rng(6)
    found = prediction(probe_of(cells(generator)), runs_of(cells(generator)))
    figure = prediction_dots(found)
    titles = [axes.get_title() for axes in figure.axes]
    assert sorted(titles) == ["door", "pen"]
    texts = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert {f"{value:+.2f}" for value in found.by_task} <= texts
    plt.close(figure)
