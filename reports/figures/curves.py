"""Learning curves: a panel a task, a line an encoder, mean of the seeds with its band."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator

from ..analysis.learning import curve_bands
from ..analysis.scores import task_order
from . import style
from .encoder_styles import Look, looks
from .interval_notes import ENOUGH_SEEDS, band_note, one_task_note
from .scores import legend_rows, task_label
from .style import COLUMN

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = {"return": "episode return", "success": "success rate (%)"}
SCALES = {"return": 1.0, "success": 100.0}


@style.drawn
def learning_curves(
    curves: pandas.DataFrame,
    *,
    quantity: Literal["return", "success"] = "return",
    width: float = COLUMN,
    coverage: tuple[float, float] | None = None,
) -> Figure:
    """Evaluation over environment steps, one panel a task: Figure 4.

    From three seeds on, a line is the mean of the seeds and the band its 95 % interval; with fewer, every seed is a
    thin line of its own, and the figure says so. Runs that did not finish are thin lines that end in a cross.

    Args:
        curves: one row an evaluation, as `reports.data.load.load_curves` gives, of one suite: `suite`, `task`, `row`,
            `seed`, `used`, `status`, `iteration`, `steps`, and `return` or `success` (0 to 1).
        quantity: what is drawn.
        width: in inches; two panels side by side in one column, four on both.
        coverage: lowest and highest simulated coverage of the bands, to be said above the panels.
    """
    frame = curves[curves["iteration"] >= 0].dropna(subset=[quantity])
    bands = curve_bands(frame, quantity)
    tasks, drawn = task_order(list(frame["task"])), looks(frame["row"])
    across = max(1, min(len(tasks), 2 if width <= COLUMN else 4))
    down = max(1, -(-len(tasks) // across))
    figure = style.canvas(width, 0.5 + 1.08 * down + 0.14 * legend_rows(list(drawn), width))
    panels = figure.subplots(down, across, squeeze=False)
    handles: dict[str, Any] = {}
    for axes, task in zip(panels.flat, tasks, strict=False):
        for row, look in drawn.items():
            seeds = frame[(frame["task"] == task) & (frame["row"] == row)]
            band = bands[(bands["task"] == task) & (bands["row"] == row)]
            if len(band):
                handles[row] = _line(axes, band, look, quantity, row)
            _seeds(axes, seeds, look, quantity, alone=len(band) == 0 or int(band["seeds"].max()) < ENOUGH_SEEDS)
        _dress(axes, task, quantity, bands[bands["task"] == task], short=width <= COLUMN)
    for axes in panels.flat[len(tasks) :]:
        axes.set_visible(False)
    figure.supylabel(LABELS[quantity], fontsize=style.FONT)
    for axes in panels.flat[max(0, len(tasks) - across) : len(tasks)]:
        axes.set_xlabel("environment steps")
    style.legend_below(figure, [handles[row] for row in drawn if row in handles])
    note = band_note([int(n) for n in bands.groupby(["task", "row"])["seeds"].max()])
    style.subtitle(figure, one_task_note(note, coverage))
    style.stamp(figure, curves)
    return figure


def _line(axes: Axes, band: pandas.DataFrame, look: Look, quantity: str, row: str) -> Any:
    scale = SCALES[quantity]
    steps, middle = band["steps"].to_numpy(float), scale * band["value"].to_numpy(float)
    if int(band["seeds"].max()) >= ENOUGH_SEEDS:
        low, high = (scale * band[name].to_numpy(float) for name in ("corrected_low", "corrected_high"))
        axes.fill_between(steps, low, high, color=look.colour, alpha=0.15, lw=0)
    (line,) = axes.plot(
        steps,
        middle,
        color=look.colour,
        ls=look.dash,
        marker=look.marker,
        mfc=look.marker_fill,
        ms=2.8,
        mew=0.7,
        markevery=max(1, len(steps) // 4),
        label=row,
        gid="curve",
    )
    return line


def _seeds(axes: Axes, seeds: pandas.DataFrame, look: Look, quantity: str, *, alone: bool) -> None:
    """Single seeds where there are too few for a band, and runs that did not finish."""
    several = seeds["seed"].nunique() > 1
    for (_, used), one in seeds.groupby(["seed", "used"]):
        one = one.sort_values("iteration")
        unfinished = not used and (one["status"] != "finished").all()
        if unfinished or (used and alone and several):
            axes.plot(one["steps"], SCALES[quantity] * one[quantity], color=look.colour, lw=0.6, alpha=0.6, gid="seed")
        if unfinished:
            last = one.iloc[-1]
            axes.plot(last["steps"], SCALES[quantity] * last[quantity], "x", color=look.colour, ms=4, gid="unfinished")


def _dress(axes: Axes, task: str, quantity: str, bands: pandas.DataFrame, *, short: bool) -> None:
    """Names and ticks; the lines set the axis, and bands are drawn up to half its span beyond them."""
    axes.set_title(task_label(task, short=short))
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    if quantity == "success":
        axes.set_ylim(-4, 104)
    else:
        axes.yaxis.set_major_formatter(FuncFormatter(_return_label))
        if len(bands):
            low, high = float(bands["value"].min()), float(bands["value"].max())
            bottom, top = axes.get_ylim()
            reach = 0.5 * (high - low or 1.0)
            axes.set_ylim(max(bottom, low - reach), min(top, high + reach))


def _return_label(value: float, position: int | None = None) -> str:
    """Thousands as 12k; what is smaller as it is."""
    del position
    return f"{value / 1000:g}k" if abs(value) >= 1000 else f"{value:g}"
