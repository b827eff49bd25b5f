"""What an encoder costs and what it sees: speed, time and memory; the probe's heat map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import style
from .encoder_styles import KNOWN, PAPER, Look, looks, tint
from .style import COLUMN, LONGEST_LINE, SMALL

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STAGES = {"simulate": 0.0, "encode": 0.32, "act": 0.85, "clone": 0.72, "update": 0.55}
"""How pale the stages of a run are drawn; what else was measured is paler still."""
CLOCK = "the clock alone"
STAGE_COLOUR = KNOWN["rrl"].colour


@style.drawn
def costs(table: pandas.DataFrame, *, width: float = COLUMN) -> Figure:
    """Frames a second, wall time by stage and peak memory, one line an encoder.

    Args:
        table: columns `row`, `frames_per_second`, `memory_mb`, `seconds` (a dict: stage to seconds of a run), maybe
            `synthetic`.
        width: in inches.
    """
    drawn = looks(table["row"])
    frame = table.set_index("row").reindex(list(drawn))
    figure = style.canvas(width, 0.85 + style.row_height(list(frame.index)) * max(len(frame), 1))
    speed, time, memory = figure.subplots(1, 3, sharey=True)
    places = np.arange(len(frame))[::-1]
    _bars(speed, places, frame["frames_per_second"], list(drawn.values()))
    _bars(memory, places, frame["memory_mb"] / 1000, list(drawn.values()))
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


@style.drawn
def probe_heat_map(probe: pandas.DataFrame, *, width: float = COLUMN) -> Figure:
    """How much of the scene's state a linear probe reads from each encoder's features: R² by quantity.

    Args:
        probe: columns `title`, `quantity`, `r2` (NaN where it is not defined), maybe `task` (cells are means over
            tasks), `clock_r2` (a column of its own on the right) and `synthetic`.
        width: in inches.
    """
    import seaborn

    order = list(looks(probe["title"]))
    cells = probe.pivot_table(index="quantity", columns="title", values="r2", aggfunc="mean", sort=False)
    cells = cells.reindex(columns=order)
    if {"task", "clock_r2"} <= set(probe) and probe["clock_r2"].notna().any():
        cells = cells.assign(**{CLOCK: clock_scores(probe).reindex(cells.index)})
        order.append(CLOCK)
    figure = style.canvas(width, 1.0 + 0.2 * max(len(cells), 1))
    axes = figure.add_subplot()
    small = len(order) <= 9
    seaborn.heatmap(
        cells.clip(0, 1),
        annot=cells if small else False,
        fmt=".2f",
        **{"cmap": "cividis", "vmin": 0, "vmax": 1, "ax": axes, "linewidths": 0.5, "linecolor": style.GRID},
        annot_kws={"fontsize": SMALL},
        cbar_kws={"shrink": 0.9, "pad": 0.02, "aspect": 14},
    )
    axes.set(xlabel="", ylabel="")
    axes.tick_params(length=0)
    axes.set_xticks(
        np.arange(len(order)) + 0.5,
        [style.short(name, LONGEST_LINE) for name in order],
        rotation=35,
        ha="right",
        rotation_mode="anchor",
    )
    names = [style.short(str(name).replace("_", " "), LONGEST_LINE) for name in cells.index]
    axes.set_yticks(np.arange(len(cells)) + 0.5, names, rotation=0)
    style.subtitle(figure, "R² of a linear probe on held-out frames")
    style.stamp(figure, probe)
    return figure


def clock_scores(probe: pandas.DataFrame) -> pandas.Series:
    """What the time in the episode alone tells of each quantity: R² by quantity, mean over tasks.

    Args:
        probe: columns `quantity`, `task` and `clock_r2`, NaN where it was not recorded.
    """
    by_task = probe.groupby(["quantity", "task"], sort=False)["clock_r2"].mean()
    return by_task.groupby("quantity", sort=False).mean()


def _bars(axes: Axes, places: Any, values: pandas.Series, drawn: list[Look]) -> None:
    for place, value, look in zip(places, values.to_numpy(float), drawn, strict=True):
        if np.isfinite(value):
            axes.barh(place, value, 0.66, color=look.fill, edgecolor=look.colour, hatch=look.hatch)
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
