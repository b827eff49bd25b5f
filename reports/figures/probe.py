"""What the encoders see: how much of the scene's state a linear probe reads from their features."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..analysis.prediction import Prediction, prediction
from ..analysis.probe import clock_scores
from ..analysis.scores import task_order
from ..data.collect import Material
from . import style
from .charts import legend_rows, task_label
from .encoder_styles import styles_of
from .scores import PAPER_ENCODERS
from .specification import Drawing, figure
from .style import COLUMN, LONGEST_LINE, MUTED, SMALL

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

CLOCK = "the clock alone"


@figure(
    "probe",
    section="probe",
    title="What the encoders see",
    caption="R² of a ridge regression from frozen features to quantities of the scene, on held-out episodes, mean over "
    "tasks; 0 is as good as guessing the mean, negative values are drawn as 0. The clock: the same regression from the "
    "time in the episode alone.",
    command=f"probe --encoder {PAPER_ENCODERS} --task all",
    missing="a probe",
    wide=True,
    tables=("probe",),
)
def probe(material: Material) -> Drawing | None:
    """Prepare the probe's results that can be read."""
    table = material.probe
    found = table[table["problem"] == ""].dropna(subset=["r2"]) if len(table) else table
    return Drawing(partial(probe_heat_map, found)) if len(found) else None


@style.styled
def probe_heat_map(probe: pandas.DataFrame, *, width: float = COLUMN) -> Figure:
    """Draw R² by quantity and encoder.

    Args:
        probe: columns `title`, `quantity`, `r2` (NaN where it is not defined), maybe `task` (cells are means over
            tasks), `clock_r2` (a column of its own on the right) and `synthetic`.
        width: in inches.
    """
    import seaborn

    order = list(styles_of(probe.assign(row=probe["title"])))
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


@figure(
    "probe_prediction",
    section="probe",
    title="Does the probe predict success?",
    caption="One mark per encoder and task: the mean R² of the probe over the task's quantities (negative ones as 0) "
    "against the success of the last policies. Spearman's correlation is over encoders, task by task, then averaged; "
    "chance is how often encoders paired with each other's successes at random correlate as well.",
    command=f"probe --encoder {PAPER_ENCODERS} --task all",
    missing="four encoders both probed and run on the same tasks",
)
def probe_prediction(material: Material) -> Drawing | None:
    """Prepare R² against success, for the largest suite that has enough encoders in common with the probe."""
    for suite in material.suites:
        found = prediction(material.probe, suite.runs)
        if found is not None:
            labelled = found._replace(cells=suite.labelled(found.cells))
            by_task = ", ".join(f"{task} {value:+.2f}" for task, value in found.by_task.items())
            words = f"Suite {suite.name}: mean correlation {found.mean:+.2f} (chance {found.chance:.2g}); {by_task}."
            return Drawing(partial(prediction_dots, labelled), words)
    return None


@style.styled
def prediction_dots(found: Prediction, *, width: float = COLUMN) -> Figure:
    """Draw success against R², one panel per task.

    Args:
        found: as `reports.analysis.prediction.prediction` returns it; its cells with an encoder's parts and, maybe,
            `synthetic`.
        width: in inches.
    """
    cells = found.cells
    styles, tasks = styles_of(cells), task_order(list(dict.fromkeys(cells["task"])))
    rows = [row for row in styles if row in set(cells["row"])]
    across = min(3, len(tasks))
    down = -(-len(tasks) // across)
    figure = style.canvas(width, 0.4 + 1.3 * down + 0.14 * legend_rows(rows, width))
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    handles = {}
    for axes, task in zip(grid.flat, tasks, strict=False):
        for line in cells[cells["task"] == task].to_dict("records"):
            one = styles[line["row"]]
            marks = {"color": one.colour, "mfc": one.marker_fill, "ms": 5, "ls": ""}
            (handles[line["row"]],) = axes.plot(line["r2"], line["success"], one.marker, label=line["row"], **marks)
        axes.set_title(task_label(task), fontsize=SMALL)
        if task in found.by_task:
            axes.annotate(
                f"{found.by_task[task]:+.2f}",
                (0.97, 0.04),
                xycoords="axes fraction",
                ha="right",
                fontsize=SMALL,
                color=MUTED,
            )
    for axes in grid.flat[len(tasks) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("success (%)")
    for axes in [*grid.flat[max(0, len(tasks) - across) : len(tasks)]]:  # the lowest one of every column
        axes.set_xlabel("R² of the probe")
        axes.tick_params(labelbottom=True)
    grid[0, 0].set_ylim(-4, 104)
    style.legend_below(figure, [handles[row] for row in rows])
    style.stamp(figure, cells)
    return figure
