"""How fast encoders learn: learning curves (Figure 4) and the area under them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator

from ..analysis.learning import curve_bands, learning_speed
from ..analysis.scores import task_order
from ..data.collect import Suite
from . import style
from .charts import legend_rows, task_dots, task_label
from .encoder_styles import EncoderStyle, styles_of
from .interval_notes import ENOUGH_SEEDS, band_note, one_task_coverage_of, one_task_note, one_task_words
from .scores import ALONE, PAPER_RUNS
from .specification import Drawing, figure
from .style import COLUMN

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = {"return": "episode return", "success": "success rate (%)"}
SCALES = {"return": 1.0, "success": 100.0}
CAPTION = (
    "Evaluation over environment steps, beginning with the cloned policy; mean over seeds and its 95 % band from three "
    "seeds on, each seed a thin line below that. A cross ends a run that did not finish."
)
NOT_REPEATED = "a run that was evaluated more than once"


@figure(
    "fig04_learning_curves",
    section="learning",
    title="Figure 4: learning curves",
    caption=CAPTION,
    command=PAPER_RUNS,
    missing=NOT_REPEATED,
    wide=True,
)
def return_curves(suite: Suite) -> Drawing | None:
    """Prepare learning curves of the return."""
    return _curves(suite, "return")


@figure(
    "success_curves",
    section="learning",
    title="Learning curves: success rate",
    caption=CAPTION,
    command=PAPER_RUNS,
    missing=NOT_REPEATED,
    wide=True,
)
def success_curves(suite: Suite) -> Drawing | None:
    """Prepare learning curves of the success rate."""
    return _curves(suite, "success")


@figure(
    "sample_efficiency",
    section="learning",
    title="Sample efficiency",
    caption="Area under the learning curve from cloning on, per cent of the best encoder's: what is learned early "
    "counts. Tasks on which no encoder has a positive area are left out.",
    command=PAPER_RUNS,
    missing=ALONE,
    tables=("efficiency",),
)
def sample_efficiency(suite: Suite) -> Drawing | None:
    """Prepare the area under each encoder's learning curve by task."""
    speed = learning_speed(suite.curves)
    speed = speed[speed["row"].isin(suite.comparison.rows)]
    means = speed.groupby(["task", "row"])["mean_return"].agg(value="mean", seeds="count").reset_index()
    best = means.groupby("task")["value"].transform("max")
    cells = suite.labelled(means.assign(value=(100 * means["value"] / best).where(best > 0))).dropna(subset=["value"])
    if not suite.compares or cells.empty:
        return None
    return Drawing(partial(task_dots, cells, label="area under the learning curve (% of best)", note="mean over seeds"))


def _curves(suite: Suite, quantity: Literal["return", "success"]) -> Drawing | None:
    frame = suite.curves[suite.curves["row"].isin(suite.comparison.rows)]
    cloned = frame[frame["iteration"] >= 0]
    if cloned.empty or cloned.groupby(["task", "row", "seed"])["steps"].nunique().max() < 2:
        return None
    seeds = frame[frame["used"]].groupby(["task", "row"])["seed"].nunique()
    draw = partial(learning_curves, frame, quantity=quantity, coverage=one_task_coverage_of(seeds))
    return Drawing(draw, one_task_words())


@style.styled
def learning_curves(
    curves: pandas.DataFrame,
    *,
    quantity: Literal["return", "success"] = "return",
    width: float = COLUMN,
    coverage: tuple[float, float] | None = None,
) -> Figure:
    """Draw evaluations over environment steps, one panel per task: Figure 4.

    From three seeds on, a line is the mean of the seeds and the band its 95 % interval; with fewer, every seed is a
    thin line of its own, and the figure says so. Runs that did not finish are thin lines that end in a cross.

    Args:
        curves: one row per evaluation, as `reports.data.load.load_curves` gives, of one suite: `suite`, `task`, `row`,
            `seed`, `used`, `status`, `iteration`, `steps`, and `return` or `success` (0 to 1).
        quantity: what is drawn.
        width: in inches; two panels side by side in one column, four on both.
        coverage: lowest and highest simulated coverage of the bands, to be said above the panels.
    """
    frame = curves[curves["iteration"] >= 0].dropna(subset=[quantity])
    bands = curve_bands(frame, quantity)
    tasks, styles = task_order(list(frame["task"])), styles_of(frame)
    across = max(1, min(len(tasks), 2 if width <= COLUMN else 4))
    down = max(1, -(-len(tasks) // across))
    figure = style.canvas(width, 0.5 + 1.08 * down + 0.14 * legend_rows(list(styles), width))
    panels = figure.subplots(down, across, squeeze=False)
    handles: dict[str, Any] = {}
    for axes, task in zip(panels.flat, tasks, strict=False):
        for row, encoder_style in styles.items():
            seeds = frame[(frame["task"] == task) & (frame["row"] == row)]
            band = bands[(bands["task"] == task) & (bands["row"] == row)]
            if len(band):
                handles[row] = _line(axes, band, encoder_style, quantity, row)
            _seeds(
                axes, seeds, encoder_style, quantity, alone=len(band) == 0 or int(band["seeds"].max()) < ENOUGH_SEEDS
            )
        _dress(axes, task, quantity, bands[bands["task"] == task], short=width <= COLUMN)
    for axes in panels.flat[len(tasks) :]:
        axes.set_visible(False)
    figure.supylabel(LABELS[quantity], fontsize=style.FONT)
    for axes in panels.flat[max(0, len(tasks) - across) : len(tasks)]:
        axes.set_xlabel("environment steps")
    style.legend_below(figure, [handles[row] for row in styles if row in handles])
    note = band_note([int(n) for n in bands.groupby(["task", "row"])["seeds"].max()])
    style.subtitle(figure, one_task_note(note, coverage))
    style.stamp(figure, curves)
    return figure


def _line(axes: Axes, band: pandas.DataFrame, encoder_style: EncoderStyle, quantity: str, row: str) -> Any:
    scale = SCALES[quantity]
    steps, middle = band["steps"].to_numpy(float), scale * band["value"].to_numpy(float)
    if int(band["seeds"].max()) >= ENOUGH_SEEDS:
        low, high = (scale * band[name].to_numpy(float) for name in ("corrected_low", "corrected_high"))
        axes.fill_between(steps, low, high, color=encoder_style.colour, alpha=0.15, lw=0)
    (line,) = axes.plot(
        steps,
        middle,
        color=encoder_style.colour,
        ls=encoder_style.dash,
        marker=encoder_style.marker,
        mfc=encoder_style.marker_fill,
        ms=2.8,
        mew=0.7,
        markevery=max(1, len(steps) // 4),
        label=row,
        gid="curve",
    )
    return line


def _seeds(axes: Axes, seeds: pandas.DataFrame, encoder_style: EncoderStyle, quantity: str, *, alone: bool) -> None:
    """Single seeds where there are too few for a band, and runs that did not finish."""
    several = seeds["seed"].nunique() > 1
    for (_, used), one in seeds.groupby(["seed", "used"]):
        one = one.sort_values("iteration")
        unfinished = not used and (one["status"] != "finished").all()
        if unfinished or (used and alone and several):
            axes.plot(
                one["steps"],
                SCALES[quantity] * one[quantity],
                color=encoder_style.colour,
                lw=0.6,
                alpha=0.6,
                gid="seed",
            )
        if unfinished:
            last = one.iloc[-1]
            axes.plot(
                last["steps"],
                SCALES[quantity] * last[quantity],
                "x",
                color=encoder_style.colour,
                ms=4,
                gid="unfinished",
            )


def _dress(axes: Axes, task: str, quantity: str, bands: pandas.DataFrame, *, short: bool) -> None:
    """Return names and ticks; the lines set the axis, and bands are drawn up to half its span beyond them."""
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
    """Return thousands as 12k; what is smaller as it is."""
    del position
    return f"{value / 1000:g}k" if abs(value) >= 1000 else f"{value:g}"
