"""What Stage 2 did: its keypoints (Figure 10), and BatchNorm's parameters before and after it (Figure 11)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.batchnorm import DEPTHS
from ..data.collect import Material
from . import style
from .charts import task_label
from .encoder_styles import KNOWN
from .pictures import PIXELS, picture_grid
from .specification import Drawing, figure
from .style import COLUMN, MUTED, SMALL

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PARAMETERS = {"scale": "scale \N{GREEK SMALL LETTER GAMMA}", "offset": "offset β"}
SIGMA = "\N{GREEK SMALL LETTER SIGMA}"
STATES = {"pretrained": MUTED, "adapted": KNOWN["hindex"].colour}
COMMAND = "adapt --encoder frankmocap_hand --task all"


@figure(
    "fig10_keypoints",
    section="stage-2",
    title="Figure 10: keypoints of Stage 2",
    caption="Keypoints that the adapted encoder's model finds on frames of the tasks.",
    command=COMMAND,
    missing="a Stage 2 result with keypoints",
    wide=True,
)
def keypoints(material: Material) -> Drawing | None:
    """Prepare the keypoints of adapted encoders, not of those where the heads alone were trained."""
    table = material.adapted
    table = table[table["keypoints"].map(len) > 0] if len(table) else table
    return Drawing(partial(keypoint_grid, table)) if len(table) else None


@figure(
    "fig11_batchnorm",
    section="stage-2",
    title="Figure 11: BatchNorm's affine parameters before and after Stage 2",
    caption="Histograms and Gaussian fits of scales and offsets by depth of the network, before and after.",
    command=COMMAND,
    missing="a Stage 2 result that has BatchNorm's parameters from before and after",
)
def batchnorm(material: Material) -> Drawing | None:
    """Prepare the parameters of the first adaptation that can be read."""
    values = material.affine_values
    if values is None:
        return None
    title, task = values[["title", "task"]].iloc[0]
    return Drawing(partial(affine_distributions, values, note=f"{title} on {task}"))


@style.styled
def keypoint_grid(pictures: pandas.DataFrame, *, width: float = COLUMN, most: int = 24) -> Figure:
    """Draw frames with the keypoints that Stage 2 found, some for every task: Figure 10.

    Args:
        pictures: columns `task`, `title`, `keypoints` (a tuple of paths), maybe `synthetic`.
        width: in inches.
        most: pictures drawn in all, shared out evenly among the rows.
    """
    rows = pictures[pictures["keypoints"].map(len) > 0].to_dict("records")
    each = max(1, most // max(len(rows), 1))
    cells = [
        (task_label(str(row["task"]), short=True), Path(path)) for row in rows for path in list(row["keypoints"])[:each]
    ]
    drawn = picture_grid(cells, width, (3, 6), 2 * PIXELS)
    style.stamp(drawn, pictures)
    return drawn


@style.styled
def affine_distributions(values: pandas.DataFrame, *, width: float = COLUMN, note: str = "") -> Figure:
    """Draw histograms of BatchNorm's scales and offsets by depth before and after Stage 2, with fits: Figure 11.

    Args:
        values: as `affine_values` gives, maybe with `synthetic`.
        width: in inches.
        note: the line above the axes, such as the encoder and task.
    """
    depths = [depth for depth in DEPTHS if depth in set(values["depth"])]
    figure = style.canvas(width, 0.62 + 0.86 * max(len(depths), 1))
    panels = figure.subplots(max(len(depths), 1), 2, squeeze=False)
    handles: dict[str, Any] = {}
    for line, depth in zip(panels, depths, strict=False):
        for axes, parameter in zip(line, PARAMETERS, strict=True):
            here = values[(values["depth"] == depth) & (values["parameter"] == parameter)]
            _distributions(axes, here, handles)
        line[0].set_ylabel(depth)
    for axes, name in zip(panels[0], PARAMETERS.values(), strict=True):
        axes.set_title(name)
    style.legend_below(figure, list(handles.values()))
    style.subtitle(figure, note)
    style.stamp(figure, values)
    return figure


def _distributions(axes: Axes, here: pandas.DataFrame, handles: dict[str, Any]) -> None:
    lowest, highest = np.quantile(here["value"], (0.002, 0.998)) if len(here) else (0.0, 1.0)
    margin = 0.08 * (highest - lowest) or 0.1
    edges = np.linspace(lowest - margin, highest + margin, 41)
    grid = np.linspace(edges[0], edges[-1], 160)
    for k, (state, colour) in enumerate(STATES.items()):
        numbers = here.loc[here["state"] == state, "value"].to_numpy(float)
        if not len(numbers):
            continue
        axes.hist(numbers, list(edges), density=True, color=colour, alpha=0.22, histtype="stepfilled", lw=0)
        mean, deviation = float(numbers.mean()), float(numbers.std())
        if deviation > 0:
            density = np.exp(-0.5 * ((grid - mean) / deviation) ** 2) / (deviation * np.sqrt(2 * np.pi))
            dash = "--" if state == "pretrained" else "-"
            (handles[state],) = axes.plot(
                grid, density, color=colour, ls=dash, label=f"{state}: histogram, Gaussian fit"
            )
        axes.annotate(
            f"μ {mean:.3f}\n{SIGMA} {deviation:.3f}",
            xy=(0.02, 0.97) if k == 0 else (0.98, 0.97),
            xycoords="axes fraction",
            ha="left" if k == 0 else "right",
            va="top",
            fontsize=SMALL,
            color=colour,
            linespacing=1.05,
        )
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False)
    axes.set_xlim(edges[0], edges[-1])
    top = axes.get_ylim()[1]
    axes.set_ylim(0, 1.45 * top)  # the annotations stand above the curves
    axes.locator_params(axis="x", nbins=4)
