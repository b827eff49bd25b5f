"""What tables show, and their files."""

import io

import numpy as np
import pandas
import pytest

from reports.analysis import background_shift, coverage, learning, scores
from reports.analysis import bootstrap as statistics
from reports.data import load
from reports.tables import table, tables


@pytest.fixture(scope="module")
def runs(small_suite):
    return load.load_runs(small_suite)


@pytest.fixture(scope="module")
def comparison(runs):
    return scores.compare(runs)


@pytest.fixture
def hand():
    """Two encoders on three tasks: one cell is missing, one has one seed, one task is negative."""
    returns = np.array([[[10.0, -2.0, 8.0], [30.0, -2.0, 8.0]], [[10.0, -4.0, np.nan], [np.nan, -4.0, np.nan]]])
    norm = statistics.normaliser(returns)
    rows, tasks = ("hindex (random)", "vc1"), ("door", "pen", "pour")
    return scores.Comparison(rows, tasks, "return_best", returns, norm(returns), norm.fallback)


def test_scores_show_what_is_missing_single_or_min_max(hand):
    made = tables.cells_table(hand, "scores")
    assert made.shown.to_numpy().tolist() == [
        ["door", "100.0 ± 70.7", "50.0 (1 seed)"],
        ["pen †", "100.0 ± 0.0", "0.0 ± 0.0"],
        ["pour", "100.0 ± 0.0", "—"],
        ["average", "100.0", "25.0 (2 tasks)"],
    ]
    assert made.best.tolist() == [[False, True, False]] * 2 + [[False, False, False]] * 2
    assert made.data["min_max"].tolist() == [False, False, True, True, False, False]


def test_returns_are_shown_as_they_are(hand):
    made = tables.cells_table(hand, "returns")
    assert made.name == "return-best"
    assert made.shown.to_numpy().tolist() == [
        ["door", "20.0 ± 14.1", "10.0 (1 seed)"],
        ["pen", "-2.0 ± 0.0", "-4.0 ± 0.0"],
        ["pour", "8.0 ± 0.0", "—"],
    ]


def test_success_is_in_per_cent(runs):
    made = tables.cells_table(scores.compare(runs, measure="success_last"), "returns")
    assert "per cent" in made.caption
    assert made.data["mean"].max() > 1.0


def test_aggregates_show_corrected_intervals(comparison):
    made = tables.aggregate_table(scores.aggregates(comparison))
    assert made.shown.columns.tolist() == [
        *("encoder", "mean", "interquartile mean", "optimality gap"),
        *("tasks", "seeds"),
    ]
    numbers = made.data.iloc[0]
    shown = f"{numbers['value']:.1f} [{numbers['corrected_low']:.1f}, {numbers['corrected_high']:.1f}]"
    assert made.shown["mean"].iloc[0] == shown
    assert made.shown["tasks"].tolist() == ["3/3", "3/3", "2/3"]
    assert made.shown["seeds"].tolist() == ["3", "1 (too few)", "3"]
    assert "held fixed" in made.caption
    assert "redrawn" in tables.aggregate_table(scores.aggregates(comparison, resample_normaliser=True)).caption


def test_improvements_show_each_pair_once(comparison):
    made = tables.improvement_table(scores.improvements(comparison))
    assert made.shown["pair"].tolist() == ["hindex (builtin) > vc1", "hindex (builtin) > r3m", "vc1 > r3m"]
    assert len(made.data) == 6


def test_the_background_table_is_in_order_of_the_backgrounds(synthetic, write):
    shifted = [synthetic.Run("vc1", "door", seed, backgrounds=("10", "2")) for seed in range(2)]
    table_of = background_shift.background_shift(load.load_episodes(load.load_runs(write(*shifted))))
    made = tables.background_table(table_of, synthetic=True)
    assert made.shown.columns.tolist() == ["task", "encoder", "own", "2", "10", "shifted, mean", "drop", "runs"]
    assert made.shown["runs"].tolist() == ["2"]
    assert made.full_caption.startswith("SYNTHETIC")


def test_costs_have_a_column_a_stage_in_the_csv(runs):
    made = tables.cost_table(learning.costs(runs))
    assert {"seconds_encode", "seconds_simulate", "seconds_update"} <= set(made.data.columns)
    assert made.shown.loc[made.shown["encoder"] == "vc1", "GB"].tolist() == ["1.80"]
    assert made.shown["GB on GPU"].unique().tolist() == ["—"]
    assert made.shown["computed in"].unique().tolist() == ["—"]
    made = tables.cost_table(learning.costs(runs.assign(computed="bfloat16 by openvino")))
    assert made.shown["computed in"].unique().tolist() == ["bfloat16 by openvino"]


def test_the_probe_is_averaged_over_tasks_that_vary(synthetic, tmp_path):
    for title in ("vc1", "r3m"):
        for task in ("door", "pen"):
            synthetic.write_probe(tmp_path, title, task)
    probe = load.load_probe(tmp_path)
    made = tables.probe_table(probe, synthetic=True)
    pen = probe[(probe["task"] == "pen") & (probe["quantity"] == "target") & (probe["title"] == "vc1")]["r2"].item()
    shown = made.shown.set_index("quantity")
    assert shown.loc["target", "vc1"] == f"{pen:.2f} ({pen:+.2f})"  # the synthetic clock tells nothing of the target
    assert shown.columns[0] == "clock"
    assert shown.loc["hand joints", "clock"] == "0.75"
    assert shown.loc["target", "clock"] == "0.00"
    assert (made.best.sum(axis=1) == 1).all()
    assert made.data["dimensions"].tolist()[:4] == [3, 6, 24, 3]


def test_weights_say_where_they_come_from_and_what_they_permit(runs):
    made = tables.weights_table(runs)
    shown = made.shown.set_index("encoder")
    assert shown.loc["hindex (builtin)", ["weights", "adaptation", "commercial use"]].tolist() == [
        *("builtin", "affine (shipped)", "yes")
    ]
    assert shown.loc["vc1", ["licence", "commercial use"]].tolist() == ["CC BY-NC 4.0", "no"]
    assert shown.loc["r3m", "commercial use"] == "yes"
    assert made.data.set_index("row").loc["vc1", "sha256"].startswith(shown.loc["vc1", "sha256"])
    assert made.synthetic


def test_efficiency_and_coverage_are_tables(runs):
    speed = learning.learning_speed(load.load_curves(runs))
    made = tables.efficiency_table(learning.sample_efficiency(speed, scores.main_rows(runs)), 0.5)
    assert made.shown["encoder"].tolist() == ["hindex (builtin)", "vc1", "r3m"]
    made = tables.coverage_table(coverage.simulate_coverage(runs=(2, 5), cases=50, repetitions=50))
    assert made.shown["seeds"].tolist() == ["2", "5"]
    assert "suites of 12 tasks" in made.caption


def test_a_probe_without_a_clock_shows_what_it_has(synthetic, tmp_path):
    synthetic.write_probe(tmp_path, "vc1", "pen")
    probe = load.load_probe(tmp_path).assign(clock_r2=None)
    shown = tables.probe_table(probe).shown
    assert (shown["clock"] == "—").all()
    assert not shown["vc1"].str.contains("(", regex=False).any()


@pytest.mark.parametrize(
    "make",
    [
        lambda: tables.cells_table(scores.Comparison((), (), "return_best", *[np.zeros((0, 0, 0))] * 3), "scores"),
        lambda: tables.aggregate_table(pandas.DataFrame(columns=["row", "statistic", "normaliser"])),
        lambda: tables.background_table(pandas.DataFrame(columns=list(background_shift.COLUMNS))),
        lambda: tables.improvement_table(pandas.DataFrame(columns=["row", "other"])),
        lambda: tables.cost_table(pandas.DataFrame(columns=list(learning.COST_COLUMNS))),
        lambda: tables.coverage_table([]),
        lambda: tables.one_task_table([]),
    ],
)
def test_nothing_makes_an_empty_table(make):
    made = make()
    assert made.shown.empty
    assert r"\end{tabular}" in made.latex()


# --- files --------------------------------------------------------------------------------------


def test_latex_is_escaped_and_the_best_is_bold():
    shown = pandas.DataFrame({"a_b": ["50 %", "x & y"], "c": ["1 ± 2 †", "— #1 {~^\\}"]})
    made = table.Table("t", "100 % of R²", shown, shown, np.array([[False, True], [False, False]]))
    latex = made.latex()
    assert r"a\_b & c \\" in latex
    assert r"50 \% & \textbf{1 $\pm$ 2 $\dagger$} \\" in latex
    assert r"x \& y & --- \#1 \{\textasciitilde{}\textasciicircum{}\textbackslash{}\} \\" in latex
    assert r"\caption{100 \% of R$^2$}" in latex
    assert r"\begin{tabular}{lr}" in latex
    assert latex.index(r"\toprule") < latex.index(r"\midrule") < latex.index(r"\bottomrule")
    assert latex.isascii()


def test_csv_comes_back_as_the_numbers(hand, tmp_path):
    made = tables.cells_table(hand, "scores", synthetic=True)
    paths = table.write([made], tmp_path / "new" / "tables")
    assert [path.name for path in paths] == ["scores-return-best.csv", "scores-return-best.tex"]
    back = pandas.read_csv(paths[0])
    assert back["synthetic"].all()
    pandas.testing.assert_frame_equal(back.drop(columns="synthetic"), made.data, check_dtype=False)
    assert "SYNTHETIC" in paths[1].read_text()
    assert back.equals(pandas.read_csv(io.StringIO(made.csv())))
