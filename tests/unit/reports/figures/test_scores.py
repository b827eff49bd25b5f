"""Figures of scores: what is drawn is what the numbers say, and what a figure has to say of itself stands on it."""

import math

import matplotlib as mpl
import pandas
import pytest
from matplotlib.text import Text

from reports.data.collect import collect
from reports.figures import charts, costs, probe, statistics, style
from reports.figures.encoder_styles import ramp
from reports.figures.interval_notes import band_note, interval_note
from reports.figures.specification import find


def words(figure):
    """All texts on a figure."""
    return [" ".join(text.get_text().split()) for text in figure.findobj(Text) if text.get_text().strip()]


def bars(**more):
    rows = ["hindex", "vc1 (random)", "rrl (builtin)"]
    frame = {
        "row": rows,
        "encoder": ["hindex", "vc1", "rrl"],
        "weights_label": ["", "(random)", "(builtin)"],
        "value": [90.0, 40.0, 55.0],
        "low": [80.0, 30.0, 50.0],
        "high": [95.0, 52.0, 60.0],
        "seeds": 3,
    }
    return pandas.DataFrame(frame | more)


def drawn_bars(figure):
    (axes,) = figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    return names, [patch.get_width() for patch in axes.patches]


def test_bars_are_as_long_as_the_numbers_best_on_top():
    names, lengths = drawn_bars(figure := charts.score_bars(bars()))
    assert names == ["hindex", "rrl (builtin)", "vc1 (random)"]
    assert lengths == [90.0, 55.0, 40.0]
    assert {"90.0", "55.0", "40.0", "95 % intervals, 3 seeds"} <= set(words(figure))


def test_whiskers_are_the_intervals():
    (axes,) = charts.score_bars(bars()).axes
    whiskers = [list(line.get_xdata()) for line in axes.lines if line.get_gid() == "interval"]
    assert whiskers == [[80.0, 95.0], [50.0, 60.0], [30.0, 52.0]]


def test_stand_in_weights_are_pale_and_hatched():
    (axes,) = charts.score_bars(bars()).axes
    official, builtin, random = axes.patches
    assert not official.get_hatch()
    assert builtin.get_hatch()
    assert random.get_hatch() not in (None, "", builtin.get_hatch())
    assert sum(random.get_facecolor()[:3]) > sum(random.get_edgecolor()[:3])


def test_a_missing_value_is_no_bar():
    names, lengths = drawn_bars(charts.score_bars(bars(value=[90.0, math.nan, 55.0])))
    assert names == ["hindex", "rrl (builtin)"]
    assert lengths == [90.0, 55.0]


def test_negative_values_are_drawn_and_stay_inside_the_axis():
    figure = charts.score_bars(bars(value=[-5.0, 40.0, 55.0], low=math.nan, high=math.nan))
    assert drawn_bars(figure)[1] == [55.0, 40.0, -5.0]
    assert figure.axes[0].get_xlim()[0] < -5.0


def test_one_seed_has_no_interval_and_says_so():
    figure = charts.score_bars(bars(low=math.nan, high=math.nan, seeds=1))
    assert not [line for line in figure.axes[0].lines if line.get_gid() == "interval"]
    assert "1 seed: no interval" in words(figure)


def test_an_interval_that_runs_on_beyond_the_axis_is_told():
    figure = charts.score_bars(bars(high=[900.0, 52.0, 60.0]))
    assert any("some cut off" in text for text in words(figure))
    assert figure.axes[0].get_xlim()[1] < 300


def test_synthetic_numbers_say_so_and_real_ones_do_not():
    assert style.SYNTHETIC in words(charts.score_bars(bars(synthetic=True)))
    assert style.SYNTHETIC not in words(charts.score_bars(bars(synthetic=False)))


def test_published_values_are_hollow_markers():
    (axes,) = charts.score_bars(bars(published=[93.0, math.nan, math.nan])).axes
    (marker,) = [line for line in axes.lines if line.get_label() == "published"]
    assert list(marker.get_xdata()) == [93.0]
    assert mpl.colors.to_hex(marker.get_markerfacecolor()) == "#fefefe"


def test_rows_that_lack_tasks_come_last_and_say_so():
    names, _ = drawn_bars(charts.score_bars(bars(part=["3 of 12 tasks", "", ""])))
    assert names == ["rrl (builtin)", "vc1 (random)", "hindex\n3 of 12 tasks"]


def test_dots_stand_at_the_numbers_in_the_papers_order_of_tasks():
    cells = pandas.DataFrame(
        [("relocate-mug", "vc1", 20.0), ("hammer", "vc1", 70.0), ("hammer", "hindex", 90.0)],
        columns=["task", "row", "value"],
    )
    (axes,) = charts.task_dots(cells).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["hammer", "relocate mug"]
    dots = {line.get_label(): sorted(line.get_xdata()) for line in axes.lines if not line.get_label().startswith("_")}
    assert dots == {"hindex": [90.0], "vc1": [20.0, 70.0]}  # no dot for hindex on the mug


def test_two_variants_are_joined_by_a_line_that_is_no_interval():
    cells = pandas.DataFrame(
        [("pen", "without", 40.0, -900.0, 900.0, 3), ("pen", "with", 100.0, -900.0, 900.0, 3)],
        columns=["task", "row", "value", "low", "high", "seeds"],
    )
    variants = dict(zip(("without", "with"), ramp(2), strict=True))
    figure = charts.task_dots(cells, variants=variants)
    (axes,) = figure.axes
    (line,) = axes.collections
    assert line.get_segments()[0][:, 0].tolist() == [40.0, 100.0]
    assert axes.get_xlim()[1] < 120
    assert "mean over 3 seeds" in words(figure)


def test_an_empty_frame_is_an_empty_figure_not_a_crash():
    empty = pandas.DataFrame({"task": [], "row": [], "value": []})
    charts.score_bars(empty)
    charts.task_dots(empty)


def test_profiles_have_a_line_an_encoder_and_a_band_where_there_is_one():
    rows = [("hindex", t, 1 - t / 100, 0.0, 1.0) for t in (0, 50, 100)]
    rows += [("vc1 (random)", t, 0.5, math.nan, math.nan) for t in (0, 50, 100)]
    figure = statistics.performance_profiles(
        pandas.DataFrame(rows, columns=["row", "threshold", "share", "low", "high"])
    )
    (axes,) = figure.axes
    assert [list(line.get_ydata()) for line in axes.lines] == [[1.0, 0.5, 0.0], [0.5, 0.5, 0.5]]
    assert len(axes.collections) == 1
    assert {"hindex", "vc1 (random)"} <= set(words(figure))


def test_aggregates_are_a_panel_each_and_dots_at_the_numbers():
    frame = pandas.concat([bars().assign(statistic=name) for name in ("mean", "IQM", "optimality gap")])
    panels = statistics.aggregate_panels(frame).axes
    assert [axes.get_title() for axes in panels] == ["mean", "IQM", "optimality gap"]
    dots = sorted(float(line.get_xdata()[0]) for line in panels[1].lines if len(line.get_xdata()) == 1)
    assert dots == [40.0, 55.0, 90.0]


@pytest.mark.parametrize(
    ("vc1", "r3m", "words_of_profiles"),
    [
        (("door", "pen"), ("door", "pen"), ""),
        (("door", "pen"), ("door",), "Left out, as they lack tasks: r3m."),
        (("pen",), ("door",), "Not on the same tasks, as these lack some: vc1, r3m."),
    ],
)
def test_who_lacks_tasks_is_told_where_tasks_are_averaged(synthetic, write, vc1, r3m, words_of_profiles):
    tasks = {"mvp": ("door", "pen"), "r3m": r3m, "vc1": vc1}
    whole = {encoder for encoder, of in tasks.items() if len(of) == 2}
    runs = [synthetic.Run(encoder, task, seed) for encoder, of in tasks.items() for task in of for seed in range(3)]
    (suite,) = collect(write(*runs)).suites

    panels = find("aggregates").of(suite).draw()
    labels = [label.get_text() for label in panels.axes[0].get_yticklabels()]
    assert set(labels[: len(whole)]) == whole
    assert set(labels[len(whole) :]) == {f"{encoder}\n1 of 2 tasks" for encoder in tasks if encoder not in whole}

    drawing = find("performance_profiles").of(suite)
    drawn = {text.get_text() for text in drawing.draw().legends[0].get_texts()}
    assert drawn == (whole if len(whole) > 1 else set(tasks))
    assert drawing.caption == f"{find('performance_profiles').caption} {words_of_profiles}".strip()


def test_pairs_are_named_and_drawn_with_intervals():
    pairs = pandas.DataFrame({"row": ["hindex"], "other": ["vc1"], "value": [0.8], "low": [0.6], "high": [0.9]})
    figure = statistics.improvement_dots(pairs)
    assert "hindex > vc1" in words(figure)
    assert [0.6, 0.9] in [list(line.get_xdata()) for line in figure.axes[0].lines]


def test_costs_and_their_stages():
    table = pandas.DataFrame(
        [
            ("hindex", 24.0, 1200.0, {"simulate": 60.0, "encode": 120.0, "unknown": 30.0}),
            ("vc1 (random)", 14.0, math.nan, {"simulate": 60.0}),
        ],
        columns=["row", "frames_per_second", "memory_mb", "seconds"],
    )
    figure = costs.cost_bars(table)
    speed, time, memory = figure.axes
    assert [patch.get_width() for patch in speed.patches] == [24.0, 14.0]
    assert [patch.get_width() for patch in time.patches] == pytest.approx([1.0, 2.0, 0.5, 1.0])
    assert [patch.get_width() for patch in memory.patches] == [1.2]
    assert {"simulate", "encode", "other"} <= set(words(figure))


def test_the_probes_heat_map_shows_the_numbers():
    table = pandas.DataFrame(
        [("hindex", "object position", 0.81), ("vc1", "object position", -0.2), ("hindex", "joints", 0.5)],
        columns=["title", "quantity", "r2"],
    )
    shown = words(probe.probe_heat_map(table))
    assert {"0.81", "-0.20", "0.50", "object position", "joints", "hindex", "vc1"} <= set(shown)
    assert "nan" not in shown


@pytest.mark.parametrize("width", [style.COLUMN, style.PAGE])
def test_no_letter_is_smaller_than_seven_points_and_none_leaves_the_figure(width):
    rows = ["frankmocap_hand (random)", "hindex (builtin)", "vc1", "r3m #0123abcd"]
    frame = pandas.DataFrame({"row": rows, "value": [90.0, 60.0, 30.0, 20.0], "low": 10.0, "high": 99.0, "seeds": 2})
    cells = pandas.concat([frame.assign(task=task) for task in ("relocate-tomato_soup_can", "hammer")])
    aggregates = pandas.concat([frame.assign(statistic=name) for name in ("mean", "optimality gap")])
    for figure in (
        charts.score_bars(frame.assign(synthetic=True), width=width),
        charts.task_dots(cells, width=width),
        statistics.aggregate_panels(aggregates, width=width),
    ):
        assert figure.get_figwidth() == width
        figure.draw_without_rendering()
        for text in figure.findobj(Text):
            if text.get_text().strip() and text.get_visible() and text.get_gid() != "stamp":
                assert text.get_fontsize() >= 7, text
        drawn = figure.get_tightbbox()  # of what is inside the axes' limits, in inches
        assert drawn.x0 >= -0.01
        assert drawn.y0 >= -0.01
        assert drawn.x1 <= width + 0.01
        assert drawn.y1 <= figure.get_figheight() + 0.01


def test_drawing_leaves_the_users_settings_alone():
    before = dict(mpl.rcParams)
    charts.score_bars(bars())
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("seeds", "note"),
    [
        ([], "95 % intervals"),
        ([1, 1], "1 seed: no interval"),
        ([2, 3], "2 to 3 seeds: too few for a trustworthy interval"),
        ([3, 5], "95 % intervals, 3 to 5 seeds"),
    ],
)
def test_notes_on_intervals(seeds, note):
    assert interval_note(seeds) == note


def test_notes_on_bands():
    assert band_note([1]) == "1 seed: no band"
    assert "no band" in band_note([2, 1])
    assert band_note([3, 3]) == "mean of 3 seeds, 95 % band"
    assert "from 3 seeds on" in band_note([1, 3])
