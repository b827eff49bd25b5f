"""What the encoders see: how much of the scene's state a linear probe reads from their features."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..analysis.probe import clock_scores
from ..data.collect import Material
from . import style
from .encoder_styles import styles_of
from .scores import PAPER_ENCODERS
from .specification import Drawing, figure
from .style import COLUMN, LONGEST_LINE, SMALL

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
