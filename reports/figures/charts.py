"""Charts that several figures share: a bar per encoder, and dots by task.

Both take a small frame, one row per bar or dot, and return a figure; they compute nothing but positions.
`row` is an encoder's name as tables show it, such as ``vc1 (random)``, and sets colour, marker and hatch. A frame with
a column `synthetic` that is true anywhere gives a figure that says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.cards import CARDS

from ..analysis.scores import task_order
from . import style
from .encoder_styles import PAPER, EncoderStyle, styles_of
from .interval_notes import interval_note, mean_note
from .style import COLUMN, INK, LONGEST_LINE, MUTED, SMALL

CUT = "some cut off"

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@style.styled
def score_bars(
    scores: pandas.DataFrame,
    *,
    label: str = "normalised score",
    variants: Mapping[str, EncoderStyle] | None = None,
    width: float = COLUMN,
    note: str | None = None,
) -> Figure:
    """Draw one bar per row, best on top unless the rows are variants in an order of their own: Figures 1, 5 and 6.

    Args:
        scores: columns `row`, `value`, `low`, `high` (NaN without an interval), and, where known, `seeds` (what the
            interval rests on), `published` (the paper's own value, a hollow marker), `part` (why it is not comparable
            with the others, such as ``3 of 12 tasks``; these bars come last) and `synthetic`.
        label: what the value is, with its unit.
        variants: styles by row for the ordered variants of an ablation, drawn in this order; colours of encoders
            without.
        width: in inches.
        note: the line above the axes; by default what the seeds allow to say of the intervals.
    """
    frame = scores.dropna(subset=["value"])
    if variants is None:
        frame = whole_first(frame)
        styles: Mapping[str, EncoderStyle] = styles_of(scores)
    else:
        frame = frame.set_index("row").reindex([row for row in variants if row in set(frame["row"])]).reset_index()
        styles = variants
    names = axis_names(frame)
    figure = style.canvas(width, 0.62 + (0.33 if any("\n" in name for name in names) else 0.225) * max(len(frame), 1))
    axes = figure.add_subplot()
    places = np.arange(len(frame))[::-1]
    for place, bar in zip(places, frame.to_dict("records"), strict=True):
        encoder_style = styles[bar["row"]]
        axes.barh(
            place,
            bar["value"],
            0.68,
            color=encoder_style.fill,
            edgecolor=encoder_style.colour,
            hatch=encoder_style.hatch,
            gid="bar",
        )
        _whisker(axes, place, bar)
        _value(axes, place, bar, _span(frame, 0.0)[1])
    if "published" in frame:
        known = frame["published"].notna().to_numpy()
        if known.any():
            axes.plot(
                frame["published"][known], places[known], "D", mfc=PAPER, mec=INK, ls="", ms=4.2, label="published"
            )
            axes.legend(loc="lower right")
    axes.set_yticks(places, names)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.set_ylim(-0.6, len(frame) - 0.4)
    axes.set_xlabel(label)
    cut = _limit(axes, frame, None, room=0.2)
    line = interval_note(seeds_of(frame)) if note is None else note
    style.subtitle(figure, f"{line}; {CUT}" if cut and line else line)
    style.stamp(figure, scores)
    return figure


@style.styled
def task_dots(
    scores: pandas.DataFrame,
    *,
    label: str = "success rate (%)",
    width: float = COLUMN,
    note: str | None = None,
    limits: tuple[float, float] | None = None,
    variants: Mapping[str, EncoderStyle] | None = None,
) -> Figure:
    """Draw one line per task and one marker per encoder: success rates, areas under learning curves; Figures 7 to 9.

    Args:
        scores: columns `task`, `row`, `value`, and, where known, `low`, `high`, `seeds`, `published`, `synthetic`;
            cells without a run are missing or NaN and stay empty.
        label: what the value is, with its unit.
        width: in inches.
        note: the line above the axes; by default what the seeds allow to say of the intervals.
        limits: of the axis, in units of the value.
        variants: styles and order of the rows where these are variants of one method; a line joins them then.
    """
    frame = scores.dropna(subset=["value"])
    if variants:
        frame = frame.drop(columns=["low", "high"], errors="ignore")  # the line between two dots is no interval
    styles = dict(variants) if variants else styles_of(scores)
    tasks = task_order(list(frame["task"]))
    rows = [row for row in styles if row in set(frame["row"])]
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
        encoder_style, cells = styles[row], frame[frame["row"] == row]
        heights = np.array([places[task] + shift for task in cells["task"]])
        if {"low", "high"} <= set(cells):
            axes.hlines(heights, cells["low"], cells["high"], color=encoder_style.colour, lw=0.8, alpha=0.7)
        handles += axes.plot(
            cells["value"],
            heights,
            encoder_style.marker,
            color=encoder_style.colour,
            mfc=encoder_style.marker_fill,
            ms=4.0,
            label=row,
            zorder=3,
        )
        if "published" in cells and cells["published"].notna().any():
            axes.plot(cells["published"], heights, encoder_style.marker, mfc="none", mec=INK, ms=6.5, mew=0.6, zorder=2)
    axes.set_yticks(list(places.values()), [task_label(task) for task in places])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.7, len(tasks) - 0.3)
    axes.set_xlabel(label)
    usual = mean_note if variants else interval_note
    line = usual(seeds_of(frame)) if note is None else note
    cut = _limit(axes, frame, limits)
    style.legend_below(figure, handles)
    style.subtitle(figure, f"{line}; {CUT}" if cut and line else line)
    style.stamp(figure, scores)
    return figure


def task_label(task: str, *, short: bool = False) -> str:
    """Return a task's title for an axis, or its short title where room is short; an unknown task's name in words."""
    card = CARDS.get(task)
    words = task.replace("-", " ").replace("_", " ") if card is None else card.title
    return style.short(card.short_title or words if short and card else words, LONGEST_LINE)


def legend_rows(rows: Sequence[str], width: float) -> int:
    """Return lines that a legend below a figure of this width takes."""
    if not rows:
        return 0
    return -(-len(rows) // style.legend_columns(rows, width))


def whole_first(frame: pandas.DataFrame) -> pandas.DataFrame:
    """Return rows by their `value`, best first; those that `part` says something of come last."""
    part = frame["part"] if "part" in frame else frame["row"].map(lambda _: "")
    return frame.assign(part=part, whole=part == "").sort_values(["whole", "value"], ascending=False, kind="stable")


def axis_names(frame: pandas.DataFrame) -> list[str]:
    """Return the rows' names for an axis, with what `part` says of them on a second line."""
    parts = frame["part"] if "part" in frame else [""] * len(frame)
    return [
        f"{style.short(row, LONGEST_LINE)}\n{part}" if part else style.row_label(row)
        for row, part in zip(frame["row"], parts, strict=True)
    ]


def _whisker(axes: Axes, place: float, bar: Mapping[str, Any]) -> None:
    low, high = bar.get("low", math.nan), bar.get("high", math.nan)
    if math.isfinite(low) and math.isfinite(high):
        axes.plot([low, high], [place, place], color=INK, lw=0.9, solid_capstyle="butt", gid="interval")


def _value(axes: Axes, place: float, bar: Mapping[str, Any], limit: float) -> None:
    """Return the number behind the bar and its interval, so that nobody has to read it off."""
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
    """Return lowest and highest end of an axis from zero on that shows all values and not too long intervals."""
    values = [frame[name].dropna().to_numpy(float) for name in ("value", "published") if name in frame]
    shown = np.concatenate([np.zeros(1), *values])
    low, high = float(shown.min()), float(shown.max())
    span = high - low or 1.0
    if {"low", "high"} <= set(frame) and frame["high"].notna().any():
        low = max(min(low, float(frame["low"].min())), low - 0.5 * span)
        high = min(max(high, float(frame["high"].max())), high + 0.5 * span)
    margin = 0.04 * span
    return (low - margin if low < 0 else 0.0 if room > 0.1 else -margin), high + max(room * span, margin)


def seeds_of(frame: pandas.DataFrame) -> list[float]:
    """Return the seeds behind each bar or dot, none where the frame does not say."""
    return [float(count) for count in frame["seeds"].dropna()] if "seeds" in frame else []
