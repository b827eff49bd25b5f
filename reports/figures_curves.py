"""Learning curves: a panel a task, a line an encoder, mean of the seeds with its band."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.ticker import EngFormatter, MaxNLocator

from . import style
from .figures_scores import legend_rows, task_label, task_order
from .looks import Look, looks
from .notes import ENOUGH_SEEDS, band_note
from .style import COLUMN

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = {"return": "episode return", "success": "success rate (%)"}


@style.drawn
def learning_curves(
    curves: pandas.DataFrame, *, quantity: Literal["return", "success"] = "return", width: float = COLUMN
) -> Figure:
    """Evaluation over environment steps, one panel a task: Figure 4.

    From three seeds on, a line is the mean of the seeds and the band its 95 % confidence interval (Student's t); with
    fewer, every seed is a thin line of its own, and the figure says so.

    Args:
        curves: one row an evaluation, as `reports.load.load_curves` gives: `task`, `row`, `seed`, `iteration`,
            `steps`, and `return` or `success` (0 to 1).
        quantity: what is drawn.
        width: in inches; two panels side by side in one column, four on both.
    """
    frame = curves[curves["iteration"] >= 0].dropna(subset=[quantity])
    tasks, drawn = task_order(frame["task"]), looks(frame["row"])
    across = max(1, min(len(tasks), 2 if width <= COLUMN else 4))
    down = max(1, -(-len(tasks) // across))
    figure = style.canvas(width, 0.5 + 1.08 * down + 0.14 * legend_rows(list(drawn), width))
    panels = figure.subplots(down, across, squeeze=False)
    handles: dict[str, Any] = {}
    for axes, task in zip(panels.flat, tasks, strict=False):
        here = frame[frame["task"] == task]
        for row, look in drawn.items():
            seeds = here[here["row"] == row]
            if len(seeds):
                handles[row] = _line(axes, seeds, look, quantity, row)
        _dress(axes, task, quantity, short=width <= COLUMN)
    for axes in panels.flat[len(tasks) :]:
        axes.set_visible(False)
    figure.supylabel(LABELS[quantity], fontsize=style.FONT)
    for axes in panels.flat[max(0, len(tasks) - across) : len(tasks)]:
        axes.set_xlabel("environment steps")
    style.legend_below(figure, [handles[row] for row in drawn if row in handles])
    seeds_of_cells = frame.groupby(["task", "row"])["seed"].nunique()
    style.subtitle(figure, band_note(list(seeds_of_cells)))
    style.stamp(figure, curves)
    return figure


def seed_bands(seeds: pandas.DataFrame, quantity: str) -> pandas.DataFrame:
    """Mean over seeds by iteration with its 95 % confidence interval.

    Args:
        seeds: one encoder on one task: `seed`, `iteration`, `steps` and the quantity.
        quantity: its column.

    Returns:
        `steps` (their mean: episodes may end early, so seeds differ), `mean`, `low`, `high`, `seeds` by iteration, where
        all seeds were evaluated; the interval is NaN below two seeds.

    Source: Student's t on the seeds' means.
    """
    from scipy.stats import t

    groups = seeds.groupby("iteration")
    bands = groups[quantity].agg(mean="mean", deviation="std", seeds="count")
    bands.insert(0, "steps", groups["steps"].mean())
    bands = bands[bands["seeds"] == seeds["seed"].nunique()]
    half = t.ppf(0.975, np.maximum(bands["seeds"] - 1, 1)) * bands["deviation"] / np.sqrt(bands["seeds"])
    return bands.assign(low=bands["mean"] - half, high=bands["mean"] + half).drop(columns="deviation").reset_index()


def _line(axes: Axes, seeds: pandas.DataFrame, look: Look, quantity: str, row: str) -> Any:
    scale = 100.0 if quantity == "success" else 1.0
    bands = seed_bands(seeds, quantity)
    steps = bands["steps"].to_numpy(float)
    number = seeds["seed"].nunique()
    if number >= ENOUGH_SEEDS:
        low, high = (scale * bands[name].to_numpy(float) for name in ("low", "high"))
        axes.fill_between(steps, low, high, color=look.colour, alpha=0.15, lw=0)
    elif number > 1:
        for _, one in seeds.groupby("seed"):
            one = one.sort_values("iteration")
            axes.plot(one["steps"], scale * one[quantity], color=look.colour, lw=0.6, alpha=0.55)
    every = max(1, len(steps) // 4)
    (line,) = axes.plot(
        *(steps, scale * bands["mean"].to_numpy(float)),
        **{"color": look.colour, "ls": look.dash, "marker": look.marker, "mfc": look.marker_fill, "label": row},
        **{"ms": 2.8, "mew": 0.7, "markevery": every, "gid": "curve"},
    )
    return line


def _dress(axes: Axes, task: str, quantity: str, *, short: bool) -> None:
    axes.set_title(task_label(task, short=short))
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_major_formatter(EngFormatter(sep="", places=None))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    if quantity == "success":
        axes.set_ylim(-4, 104)
    else:
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))


@style.drawn
def sample_efficiency(scores: pandas.DataFrame, *, width: float = COLUMN, note: str | None = None) -> Figure:
    """Area under the learning curve by task, per cent of the best encoder's: what is learned early counts.

    Args:
        scores: columns `task`, `row`, `value` (per cent), maybe `low`, `high`, `seeds`, `synthetic`.
        width: in inches.
        note: the line above the axes.
    """
    from .figures_scores import task_dots

    return task_dots(scores, label="area under the learning curve (% of the best)", width=width, note=note)
