"""Shifted backgrounds: what they look like and what they cost; Figure 12."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..analysis.background_shift import ALL_SHIFTED
from ..analysis.scores import task_order
from ..data.collect import Suite
from . import style
from .charts import legend_rows, seeds_of, task_label
from .encoder_styles import styles_of
from .interval_notes import interval_note
from .pictures import picture_grid
from .specification import Drawing, figure
from .style import COLUMN, MUTED

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

UNSHIFTED = "training scene"
COMMAND = "ablate background --seed 0,1,2"


@figure(
    "fig12_backgrounds",
    section="backgrounds",
    title="Figure 12: the shifted backgrounds",
    caption="The same first frame on the training scene and under the shifted backgrounds.",
    command=COMMAND,
    missing="a run folder with pictures of shifted backgrounds",
    wide=True,
)
def backgrounds(suite: Suite) -> Drawing | None:
    """Prepare the pictures of the first run that has any."""
    import pandas

    for pictures in suite.runs["pictures"]:
        shifted = {_number(name): path for name, path in pictures.items() if name.startswith("background-")}
        if not shifted:
            continue
        rows = [{"background": background_name(number), "picture": path} for number, path in sorted(shifted.items())]
        if 0 not in shifted and "start" in pictures:
            rows.insert(0, {"background": UNSHIFTED, "picture": pictures["start"]})
        return Drawing(partial(background_grid, pandas.DataFrame(rows).assign(synthetic=suite.synthetic)))
    return None


@figure(
    "fig12_background_returns",
    section="backgrounds",
    title="Figure 12: return under shifted backgrounds",
    caption="Return of the trained policy under each background, per cent of its return on the training scene, on the "
    "same initial states; no retraining. Whiskers: one standard deviation over seeds.",
    command=COMMAND,
    missing="a run that was evaluated on shifted backgrounds",
    tables=("background-shift",),
)
def returns_kept(suite: Suite) -> Drawing | None:
    """Prepare the return that each encoder keeps under each background."""
    table = suite.background_shift
    table = suite.labelled(table.assign(value=100 - table["drop"])).dropna(subset=["value"])
    if table.empty:
        return None
    deviation = table["drop_deviation"].where(table["runs"] > 1)
    names = [_shown_background(name) for name in table["background"]]
    table = table.assign(background=names, low=table["value"] - deviation, high=table["value"] + deviation)
    return Drawing(partial(background_returns, table, note="same initial states"))


@style.styled
def background_grid(pictures: pandas.DataFrame, *, width: float = COLUMN) -> Figure:
    """Draw the same first frame under each background: the upper half of Figure 12.

    Args:
        pictures: columns `background` (its name), `picture` (path), maybe `synthetic`.
        width: in inches.
    """
    cells = [(str(row["background"]), Path(row["picture"])) for row in pictures.to_dict("records")]
    drawn = picture_grid(cells, width, (4, 6))
    style.stamp(drawn, pictures)
    return drawn


@style.styled
def background_returns(returns: pandas.DataFrame, *, width: float = COLUMN, note: str | None = None) -> Figure:
    """Draw the return kept under each background, per cent of the training scene's: the lower half of Figure 12.

    Args:
        returns: columns `task`, `row`, `background` (its name), `value` (per cent of the return on the training
            scene), maybe `low`, `high`, `seeds` and `synthetic`; one panel per task.
        width: in inches.
        note: the line above the axes; by default what the seeds allow to say of the intervals.
    """
    frame = returns.dropna(subset=["value"])
    tasks, styles = task_order(list(frame["task"])), styles_of(frame)
    names = list(dict.fromkeys(frame["background"]))
    count = max(len(tasks), 1)
    figure = style.canvas(
        width, 0.6 + (0.3 + 0.17 * max(len(names), 1)) * count + 0.14 * legend_rows(list(styles), width)
    )
    panels = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    handles = {}
    for axes, task in zip(panels, tasks, strict=False):
        axes.axvline(100, color=MUTED, lw=0.7, ls=(0, (3, 2)))
        for place, (row, encoder_style) in enumerate(styles.items()):
            cells = frame[(frame["task"] == task) & (frame["row"] == row)]
            heights = np.array([len(names) - 1 - names.index(name) for name in cells["background"]])
            heights = heights + 0.14 * ((len(styles) - 1) / 2 - place)
            if {"low", "high"} <= set(cells):
                axes.hlines(heights, cells["low"], cells["high"], color=encoder_style.colour, lw=0.8, alpha=0.7)
            (handles[row],) = axes.plot(
                cells["value"],
                heights,
                encoder_style.marker,
                color=encoder_style.colour,
                mfc=encoder_style.marker_fill,
                ms=4.0,
                label=row,
            )
        axes.set_yticks(range(len(names))[::-1], names)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.set_title(task_label(task))
    panels[-1].set_xlabel("return kept (% of the training scene's)")
    style.legend_below(figure, list(handles.values()))
    style.subtitle(figure, interval_note(seeds_of(frame)) if note is None else note)
    style.stamp(figure, returns)
    return figure


def _shown_background(name: str) -> str:
    return "mean of shifted" if name == ALL_SHIFTED else background_name(_number(name))


def background_name(number: int) -> str:
    """Return a background's number and what one sees.

    >>> background_name(3)
    '3 granite'
    """
    from tasks.scene.backgrounds import BACKGROUNDS

    names = {background.number: background.name for background in BACKGROUNDS}
    return f"{number} {names[number]}" if number in names else str(number)


def _number(name: str) -> int:
    digits = "".join(letter for letter in Path(name).name if letter.isdigit())
    return int(digits) if digits else -1
