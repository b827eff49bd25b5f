"""Figures of scores: one bar an encoder, dots by task, profiles, and who beats whom.

Every function takes a small frame, one row a thing drawn, and returns a figure; it computes nothing but positions.
`row` is an encoder's name as tables show it, such as ``vc1 (random)``, and sets colour, marker and hatch. A frame with
a column `synthetic` that is true anywhere gives a figure that says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..analysis.scores import task_order
from . import style
from .encoder_styles import PAPER, Look, looks
from .interval_notes import interval_note, mean_note
from .style import COLUMN, INK, LONGEST_LINE, MUTED, SMALL

CUT = "some cut off"

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@style.drawn
def score_bars(
    scores: pandas.DataFrame,
    *,
    label: str = "normalised score",
    variants: Mapping[str, Look] | None = None,
    width: float = COLUMN,
    note: str | None = None,
) -> Figure:
    """One bar a row, best on top unless the rows are variants in an order of their own: Figures 1, 5 and 6.

    Args:
        scores: columns `row`, `value`, `low`, `high` (NaN without an interval), and, where known, `seeds` (what the
            interval rests on), `published` (the paper's own value, a hollow marker), `part` (why it is not comparable
            with the others, such as ``3 of 12 tasks``; these bars come last) and `synthetic`.
        label: what the value is, with its unit.
        variants: looks by row for the ordered variants of an ablation, drawn in this order; colours of encoders
            without.
        width: in inches.
        note: the line above the axes; by default what the seeds allow to say of the intervals.
    """
    frame = scores.dropna(subset=["value"])
    part = frame["part"] if "part" in frame else frame["row"].map(lambda _: "")
    if variants is None:
        frame = frame.assign(part=part, whole=part == "")
        frame = frame.sort_values(["whole", "value"], ascending=False, kind="stable")
        drawn: Mapping[str, Look] = looks(scores["row"])
    else:
        frame = frame.set_index("row").reindex([row for row in variants if row in set(frame["row"])]).reset_index()
        drawn = variants
    names = _bar_names(frame)
    figure = style.canvas(width, 0.62 + (0.33 if any("\n" in name for name in names) else 0.225) * max(len(frame), 1))
    axes = figure.add_subplot()
    places = np.arange(len(frame))[::-1]
    for place, bar in zip(places, frame.to_dict("records"), strict=True):
        look = drawn[bar["row"]]
        axes.barh(place, bar["value"], 0.68, color=look.fill, edgecolor=look.colour, hatch=look.hatch, gid="bar")
        _whisker(axes, place, bar)
        _value(axes, place, bar, _span(frame, 0.0)[1])
    if "published" in frame:
        told = frame["published"].notna().to_numpy()
        if told.any():
            axes.plot(frame["published"][told], places[told], "D", mfc=PAPER, mec=INK, ls="", ms=4.2, label="published")
            axes.legend(loc="lower right")
    axes.set_yticks(places, names)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.set_ylim(-0.6, len(frame) - 0.4)
    axes.set_xlabel(label)
    cut = _limit(axes, frame, None, room=0.2)
    told = interval_note(_column(frame, "seeds")) if note is None else note
    style.subtitle(figure, f"{told}; {CUT}" if cut and told else told)
    style.stamp(figure, scores)
    return figure


@style.drawn
def task_dots(
    scores: pandas.DataFrame,
    *,
    label: str = "success rate (%)",
    width: float = COLUMN,
    note: str | None = None,
    limits: tuple[float, float] | None = None,
    variants: Mapping[str, Look] | None = None,
) -> Figure:
    """One line a task, one marker an encoder: success rates, returns, areas under the learning curve; Figures 7 to 9.

    Args:
        scores: columns `task`, `row`, `value`, and, where known, `low`, `high`, `seeds`, `published`, `synthetic`;
            cells without a run are missing or NaN and stay empty.
        label: what the value is, with its unit.
        width: in inches.
        note: the line above the axes; by default what the seeds allow to say of the intervals.
        limits: of the axis, in units of the value.
        variants: looks and order of the rows where these are variants of one method; a line joins them then.
    """
    frame = scores.dropna(subset=["value"])
    if variants:
        frame = frame.drop(columns=["low", "high"], errors="ignore")  # the line between two dots is no interval
    drawn = dict(variants) if variants else looks(scores["row"])
    tasks = task_order(list(frame["task"]))
    rows = [row for row in drawn if row in set(frame["row"])]
    spread = 0.0 if variants else min(0.72, 0.13 * (len(rows) - 1))
    shifts = np.linspace(spread / 2, -spread / 2, max(len(rows), 1)) if len(rows) > 1 else np.zeros(1)
    figure = style.canvas(width, 0.75 + max(0.19, 0.045 * len(rows)) * len(tasks) + 0.14 * legend_rows(rows, width))
    axes = figure.add_subplot()
    places = {task: float(len(tasks) - 1 - k) for k, task in enumerate(tasks)}
    if variants:
        for task, cells in frame.groupby("task", sort=False):
            axes.hlines(places[str(task)], cells["value"].min(), cells["value"].max(), color=MUTED, lw=0.8, zorder=1)
    handles: list[Any] = []
    for row, shift in zip(rows, shifts, strict=False):
        look, cells = drawn[row], frame[frame["row"] == row]
        heights = np.array([places[task] + shift for task in cells["task"]])
        if {"low", "high"} <= set(cells):
            axes.hlines(heights, cells["low"], cells["high"], color=look.colour, lw=0.8, alpha=0.7)
        handles += axes.plot(
            cells["value"], heights, look.marker, color=look.colour, mfc=look.marker_fill, ms=4.0, label=row, zorder=3
        )
        if "published" in cells and cells["published"].notna().any():
            axes.plot(cells["published"], heights, look.marker, mfc="none", mec=INK, ms=6.5, mew=0.6, zorder=2)
    axes.set_yticks(list(places.values()), [task_label(task) for task in places])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.7, len(tasks) - 0.3)
    axes.set_xlabel(label)
    usual = mean_note if variants else interval_note
    told = usual(_column(frame, "seeds")) if note is None else note
    cut = _limit(axes, frame, limits)
    style.legend_below(figure, handles)
    style.subtitle(figure, f"{told}; {CUT}" if cut and told else told)
    style.stamp(figure, scores)
    return figure


@style.drawn
def performance_profiles(profiles: pandas.DataFrame, *, width: float = COLUMN, note: str | None = None) -> Figure:
    """The share of runs that score above a threshold, a line an encoder, with its band.

    Args:
        profiles: columns `row`, `threshold`, `share` (0 to 1), `low`, `high` (NaN without a band), maybe `seeds` and
            `synthetic`.
        width: in inches.
        note: the line above the axes; by default what the seeds allow to say of the bands.

    Source: Agarwal et al. 2021, section 4.2.
    """
    drawn = looks(profiles["row"])
    figure = style.canvas(width, 2.15 + 0.14 * legend_rows(list(drawn), width))
    axes = figure.add_subplot()
    handles: list[Any] = []
    for row, look in drawn.items():
        line = profiles[profiles["row"] == row].sort_values("threshold")
        threshold = line["threshold"].to_numpy(float)
        if line["low"].notna().any():
            axes.fill_between(threshold, line["low"], line["high"], color=look.colour, alpha=0.14, lw=0, step="post")
        (drawn_line,) = axes.step(threshold, line["share"], where="post", color=look.colour, ls=look.dash, label=row)
        handles.append(drawn_line)
    axes.set_xlabel("normalised score τ")
    axes.set_ylabel("share of runs above τ")
    axes.set_ylim(-0.02, 1.02)
    style.legend_below(figure, handles)
    style.subtitle(figure, interval_note(_column(profiles, "seeds"), "band") if note is None else note)
    style.stamp(figure, profiles)
    return figure


@style.drawn
def aggregate_panels(aggregates: pandas.DataFrame, *, width: float = COLUMN, note: str | None = None) -> Figure:
    """A panel a statistic (mean, interquartile mean, optimality gap), one dot with its interval an encoder.

    Args:
        aggregates: columns `statistic` (a panel each, in order of appearance), `row`, `value`, `low`, `high`, maybe
            `seeds` and `synthetic`.
        width: in inches.
        note: the line above the axes; by default what the seeds allow to say of the intervals.

    Source: Agarwal et al. 2021, section 4.3.
    """
    drawn = looks(aggregates["row"])
    statistics = list(dict.fromkeys(aggregates["statistic"]))
    first = aggregates[aggregates["statistic"] == statistics[0]] if statistics else aggregates
    order = list(first.sort_values("value", ascending=False)["row"])
    figure = style.canvas(width, 0.62 + style.row_height(order) * max(len(order), 1))
    panels = figure.subplots(1, max(len(statistics), 1), sharey=True, squeeze=False)[0]
    places = {row: len(order) - 1 - k for k, row in enumerate(order)}
    for axes, statistic in zip(panels, statistics, strict=False):
        for dot in aggregates[aggregates["statistic"] == statistic].to_dict("records"):
            _interval_dot(axes, places[dot["row"]], dot, drawn[dot["row"]])
        axes.set_title(statistic)
        axes.tick_params(axis="y", length=0)
        axes.locator_params(axis="x", nbins=3)
    if statistics:
        panels[0].set_yticks(list(places.values()), [style.row_label(row) for row in order])
        panels[0].set_ylim(-0.6, len(order) - 0.4)
    style.subtitle(figure, interval_note(_column(aggregates, "seeds")) if note is None else note)
    style.stamp(figure, aggregates)
    return figure


@style.drawn
def improvement_dots(pairs: pandas.DataFrame, *, width: float = COLUMN, note: str | None = None) -> Figure:
    """The probability that one encoder's run beats another's on the same task, a line a pair.

    Args:
        pairs: columns `row`, `other`, `value` (0 to 1), `low`, `high`, maybe `seeds` and `synthetic`.
        width: in inches.
        note: the line above the axes; by default what the seeds allow to say of the intervals.

    Source: Agarwal et al. 2021, section 4.3.
    """
    drawn = looks([*pairs["row"], *pairs["other"]])
    names = [
        f"{style.short(row, LONGEST_LINE)} > {style.short(other, LONGEST_LINE)}"
        for row, other in zip(pairs["row"], pairs["other"], strict=True)
    ]
    figure = style.canvas(
        width, 0.66 + (0.27 if any(len(name) > 2 * style.LONG_NAME for name in names) else 0.18) * max(len(pairs), 1)
    )
    axes = figure.add_subplot()
    axes.axvline(0.5, color=MUTED, lw=0.7, ls=(0, (3, 2)))
    for k, pair in enumerate(pairs.to_dict("records")):
        _interval_dot(axes, len(pairs) - 1 - k, pair, drawn[pair["row"]])
    names = [name.replace(" > ", "\n> ") if len(name) > 2 * style.LONG_NAME else name for name in names]
    axes.set_yticks(range(len(pairs))[::-1], names)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.6, len(pairs) - 0.4)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("probability of improvement")
    style.subtitle(figure, interval_note(_column(pairs, "seeds")) if note is None else note)
    style.stamp(figure, pairs)
    return figure


def task_label(task: str, *, short: bool = False) -> str:
    """A task's name for an axis: words, and ``rel.`` for ``relocate`` where room is short."""
    words = task.replace("-", " ").replace("_", " ")
    return style.short(words.replace("relocate ", "rel. ") if short else words, LONGEST_LINE)


def legend_rows(rows: Sequence[str], width: float) -> int:
    """Lines that a legend below a figure of this width takes."""
    if not rows:
        return 0
    return -(-len(rows) // style.legend_columns(rows, width))


def _bar_names(frame: pandas.DataFrame) -> list[str]:
    parts = frame["part"] if "part" in frame else [""] * len(frame)
    return [
        f"{style.short(row, LONGEST_LINE)}\n{part}" if part else style.row_label(row)
        for row, part in zip(frame["row"], parts, strict=True)
    ]


def _whisker(axes: Axes, place: float, bar: Mapping[str, Any]) -> None:
    low, high = bar.get("low", math.nan), bar.get("high", math.nan)
    if math.isfinite(low) and math.isfinite(high):
        axes.plot([low, high], [place, place], color=INK, lw=0.9, solid_capstyle="butt", gid="interval")


def _interval_dot(axes: Axes, place: float, dot: Mapping[str, Any], look: Look) -> None:
    low, high = dot.get("low", math.nan), dot.get("high", math.nan)
    if math.isfinite(low) and math.isfinite(high):
        axes.plot([low, high], [place, place], color=look.colour, lw=2.6, alpha=0.35, solid_capstyle="butt")
    axes.plot(dot["value"], place, look.marker, color=look.colour, mfc=look.marker_fill, ms=4.2)


def _value(axes: Axes, place: float, bar: Mapping[str, Any], limit: float) -> None:
    """The number behind the bar and its interval, so that nobody has to read it off."""
    ends = [bar["value"], bar.get("high", math.nan), bar.get("published", math.nan)]
    furthest = max(0.0, *(end for end in ends if end is not None and math.isfinite(end)))
    beyond = furthest >= limit
    axes.annotate(
        style.number(bar["value"]),
        (1.0, place) if beyond else (furthest, place),
        xycoords=("axes fraction", "data") if beyond else "data",
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=SMALL,
        color=INK,
    )


def _limit(axes: Axes, frame: pandas.DataFrame, limits: tuple[float, float] | None, room: float = 0.05) -> bool:
    """Set the axis by the values, and by intervals within reach of them; say whether an interval runs on beyond."""
    if limits:
        axes.set_xlim(*limits)
    low, high = limits or _span(frame, room)
    if not limits and high > low:
        axes.set_xlim(low, high)
        if low < 0:
            axes.axvline(0, color=MUTED, lw=0.6, zorder=0)
    ends = [frame[name] for name in ("low", "high") if name in frame]
    return any(bool(((end < low) | (end > high)).any()) for end in ends)


def _span(frame: pandas.DataFrame, room: float) -> tuple[float, float]:
    """Lowest and highest end of an axis from zero on that shows all values and not too long intervals."""
    values = [frame[name].dropna().to_numpy(float) for name in ("value", "published") if name in frame]
    shown = np.concatenate([np.zeros(1), *values])
    low, high = float(shown.min()), float(shown.max())
    span = high - low or 1.0
    if {"low", "high"} <= set(frame) and frame["high"].notna().any():
        low = max(min(low, float(frame["low"].min())), low - 0.5 * span)
        high = min(max(high, float(frame["high"].max())), high + 0.5 * span)
    margin = 0.04 * span
    return (low - margin if low < 0 else 0.0 if room > 0.1 else -margin), high + max(room * span, margin)


def _column(frame: pandas.DataFrame, name: str) -> list[float]:
    return [float(value) for value in frame[name].dropna()] if name in frame else []
