"""What an encoder costs: speed, time and memory."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..analysis import learning
from ..data.collect import Suite
from . import style
from .encoder_styles import KNOWN, PAPER, EncoderStyle, styles_of, tint
from .scores import NO_RUNS, PAPER_RUNS
from .specification import Drawing, figure
from .style import COLUMN, SMALL

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STAGES = {
    "physics": 0.0,
    "draw": 0.18,
    "simulate": 0.09,
    "encode": 0.36,
    "act": 0.85,
    "wait": 0.93,
    "clone": 0.72,
    "update": 0.55,
}
"""How pale the stages of a run are drawn; what else was measured is paler still."""
STAGE_COLOUR = KNOWN["rrl"].colour


@figure(
    "costs",
    section="cost",
    title="Cost of an encoder",
    caption="Frames per second while rolling out (median over runs), minutes per run by stage (mean), and peak memory "
    "(highest).",
    command=PAPER_RUNS,
    missing=NO_RUNS,
    tables=("costs",),
)
def costs(suite: Suite) -> Drawing | None:
    """Prepare the costs of unchanged encoders on the machine with most runs, each as most of these computed it."""
    table = learning.costs(suite.runs[suite.runs["variant"] == ""])
    if table.empty:
        return None
    device, cpu = table.groupby(["device", "cpu"])["runs"].sum().idxmax()
    there = table[(table["device"] == device) & (table["cpu"] == cpu)]
    usual = there.loc[sorted(there.groupby("row")["runs"].idxmax())]
    note = f"On {cpu} ({device}); other machines, precisions and backends are in the table."
    return Drawing(partial(cost_bars, suite.labelled(usual)), note)


@style.styled
def cost_bars(table: pandas.DataFrame, *, width: float = COLUMN) -> Figure:
    """Draw frames per second, wall time by stage and peak memory, one line per encoder.

    Args:
        table: columns `row`, `frames_per_second`, `memory_mb`, `seconds` (a dict: stage to seconds of a run), maybe
            `synthetic`.
        width: in inches.
    """
    styles = styles_of(table)
    frame = table.set_index("row").reindex(list(styles))
    figure = style.canvas(
        width, 0.85 + style.row_height([style.row_label(row) for row in frame.index]) * max(len(frame), 1)
    )
    speed, time, memory = figure.subplots(1, 3, sharey=True)
    places = np.arange(len(frame))[::-1]
    _bars(speed, places, frame["frames_per_second"], list(styles.values()))
    _bars(memory, places, frame["memory_mb"] / 1000, list(styles.values()))
    handles = _stages(time, places, list(frame["seconds"]))
    speed.set_yticks(places, [style.row_label(row) for row in frame.index])
    speed.set_ylim(-0.6, len(frame) - 0.4)
    for axes, label in zip((speed, time, memory), ("frames/s", "min a run", "peak GB"), strict=True):
        axes.set_title(label)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", visible=False)
    time.locator_params(axis="x", nbins=3)
    style.legend_below(figure, handles)
    style.stamp(figure, table)
    return figure


def _bars(axes: Axes, places: Any, values: pandas.Series, drawn: list[EncoderStyle]) -> None:
    for place, value, encoder_style in zip(places, values.to_numpy(float), drawn, strict=True):
        if np.isfinite(value):
            axes.barh(
                place, value, 0.66, color=encoder_style.fill, edgecolor=encoder_style.colour, hatch=encoder_style.hatch
            )
            axes.annotate(
                f"{value:,.0f}" if 100 <= value < 1e6 else f"{value:.2g}",
                (value, place),
                xytext=(2, 0),
                textcoords="offset points",
                va="center",
                fontsize=SMALL,
            )
    highest = values.max()
    axes.set_xlim(0, 1.75 * highest if highest > 0 else 1.0)  # room for the numbers behind the bars
    axes.set_xticks([0])


def _stages(axes: Axes, places: Any, seconds: list[Any]) -> list[Any]:
    handles: dict[str, Any] = {}
    for place, spent in zip(places, seconds, strict=True):
        known = {stage: spent.get(stage, 0.0) for stage in STAGES} if isinstance(spent, dict) else {}
        if not known:
            continue
        known["other"] = max(0.0, sum(spent.values()) - sum(known.values()))
        left = 0.0
        for stage, value in known.items():
            if value > 0:
                colour = tint(STAGE_COLOUR, STAGES.get(stage, 0.93))
                part = axes.barh(place, value / 60, 0.66, left / 60, color=colour, ec=PAPER, lw=0.4, label=stage)
                handles.setdefault(stage, part)
            left += value
    return list(handles.values())
