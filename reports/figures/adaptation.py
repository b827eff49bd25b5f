"""What Stage 2 did to BatchNorm: its affine parameters before and after, with Gaussian fits by depth (Figure 11)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..data.reading import Problem, naming
from ..data.records import LARGEST, clean
from . import style
from .encoder_styles import KNOWN
from .style import COLUMN, MUTED, SMALL

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Tensors = Mapping[str, npt.NDArray[Any]]

DEPTHS = ("stem", "layer 1", "layer 2", "layer 3", "layer 4")
PARAMETERS = {"scale": "scale \N{GREEK SMALL LETTER GAMMA}", "offset": "offset β"}
SIGMA = "\N{GREEK SMALL LETTER SIGMA}"
STATES = {"pretrained": MUTED, "adapted": KNOWN["hindex"].colour}


def affine_values(pretrained: Tensors, adapted: Tensors) -> pandas.DataFrame:
    """BatchNorm's affine parameters of a ResNet before and after Stage 2, one row a number.

    Args:
        pretrained: tensors by name, such as ``layer1.0.bn1.weight``; other tensors are left out.
        adapted: the same after Stage 2.

    Returns:
        Columns `layer` (``layer1.0.bn1``), `depth` (one of `DEPTHS`), `parameter` (``scale`` or ``offset``), `state`
        (``pretrained`` or ``adapted``) and `value`; only of tensors that both have.
    """
    import pandas

    parts = []
    for name in sorted(pretrained.keys() & adapted.keys()):
        found = re.search(r"(?:^|\.)((?:layer([1-4])\..*|bn1))\.(weight|bias)$", name)
        if not found or np.ndim(pretrained[name]) != 1:
            continue
        layer, stage, kind = found[1], found[2], {"weight": "scale", "bias": "offset"}[found[3]]
        depth = f"layer {stage}" if stage else DEPTHS[0]
        for state, tensors in (("pretrained", pretrained), ("adapted", adapted)):
            values = np.asarray(tensors[name], np.float64)
            parts.append(
                pandas.DataFrame({"layer": layer, "depth": depth, "parameter": kind, "state": state, "value": values})
            )
    columns = ["layer", "depth", "parameter", "state", "value"]
    return pandas.concat(parts, ignore_index=True) if parts else pandas.DataFrame(columns=columns)


def read_affine_values(pretrained: Path, adapted: Path) -> pandas.DataFrame:
    """The same from two safetensors files.

    Raises:
        Problem: a file cannot be read, or holds numbers that are not finite or are beyond all bounds.
    """
    import safetensors
    from safetensors.numpy import load_file

    tensors = []
    for path in (pretrained, adapted):
        with naming(path.name):
            try:
                tensors.append(load_file(path))
            except safetensors.SafetensorError as error:
                raise Problem(f"{path.name}: {clean(str(error))}") from error
    values = affine_values(*tensors)
    if not values["value"].abs().le(LARGEST).all():
        raise Problem(f"{pretrained.name} or {adapted.name}: a number is not finite, or beyond {LARGEST:g}")
    return values


@style.drawn
def affine_distributions(values: pandas.DataFrame, *, width: float = COLUMN, note: str = "") -> Figure:
    """Histograms of BatchNorm's scales and offsets by depth, before and after Stage 2, with Gaussian fits: Figure 11.

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
