"""Pictures of the tasks and of their shifted backgrounds: Figures 3, 10 and 12, cut from run folders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..analysis.scores import task_order
from . import style
from .encoder_styles import looks
from .interval_notes import interval_note
from .pictures import Picture, read_picture, strip_frames
from .scores import legend_rows, task_label
from .style import COLUMN, MUTED, PAGE, SMALL

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PIXELS = 150
"""Height of a picture on a figure, in pixels: some 200 to the inch."""


@style.drawn
def task_strips(pictures: pandas.DataFrame, *, width: float = PAGE) -> Figure:
    """A line a task: its first frame, its goal and a film strip of one trajectory: Figure 3.

    Args:
        pictures: columns `task`, `start`, `goal`, `strip` (paths; None where there is none), maybe `source` (whose
            trajectory it is) and `synthetic`.
        width: in inches.
    """
    rows = {str(row["task"]): row for row in pictures.to_dict("records")}
    tasks = task_order(list(rows))
    strips = {task: _strip(rows[task]["strip"]) for task in tasks}
    frames = max((len(strip) for strip in strips.values()), default=1)
    across = frames + 2 if width > COLUMN else min(frames, 3) + 2
    side = width / across
    figure = style.canvas(width, (side + 0.17) * max(len(tasks), 1) + 0.24)
    panels = figure.subplots(max(len(tasks), 1), across, squeeze=False)
    for line, task in zip(panels, tasks, strict=False):
        for axes, key in zip(line[:2], ("start", "goal"), strict=True):
            _show(axes, _read(rows[task][key]), "no goal reached" if key == "goal" else "no picture")
        chosen = _spread(strips[task], across - 2)
        for axes, frame in zip(line[2:], chosen, strict=False):
            _show(axes, frame)
        for axes in line[2 + len(chosen) :]:
            _show(axes, None)
        line[0].set_title(task_label(task), loc="left", fontsize=SMALL)
    style.subtitle(figure, "from left: initial configuration, goal, one trajectory")
    style.stamp(figure, pictures)
    return figure


@style.drawn
def keypoint_grid(pictures: pandas.DataFrame, *, width: float = COLUMN, most: int = 24) -> Figure:
    """Frames with the keypoints that Stage 2 found, some for every task: Figure 10.

    Args:
        pictures: columns `task`, `title`, `keypoints` (a tuple of paths), maybe `synthetic`.
        width: in inches.
        most: pictures drawn in all, shared out evenly among the rows.
    """
    rows = pictures[pictures["keypoints"].map(len) > 0].to_dict("records")
    each = max(1, most // max(len(rows), 1))
    drawn = [(row["task"], path) for row in rows for path in list(row["keypoints"])[:each]]
    across = max(1, min(len(drawn), 3 if width <= COLUMN else 6))
    down = max(1, -(-len(drawn) // across))
    figure = style.canvas(width, (width / across + 0.17) * down + 0.24)
    panels = figure.subplots(down, across, squeeze=False)
    for axes, (task, path) in zip(panels.flat, drawn, strict=False):
        _show(axes, read_picture(Path(path), 2 * PIXELS))
        axes.set_title(task_label(str(task), short=True), fontsize=SMALL)
    for axes in panels.flat[len(drawn) :]:
        axes.set_visible(False)
    style.stamp(figure, pictures)
    return figure


@style.drawn
def background_grid(pictures: pandas.DataFrame, *, width: float = COLUMN) -> Figure:
    """The same first frame under each background: the upper half of Figure 12.

    Args:
        pictures: columns `background` (its name), `picture` (path), maybe `synthetic`.
        width: in inches.
    """
    rows = pictures.to_dict("records")
    across = max(1, min(len(rows), 4 if width <= COLUMN else 6))
    down = max(1, -(-len(rows) // across))
    figure = style.canvas(width, (width / across + 0.17) * down + 0.2)
    panels = figure.subplots(down, across, squeeze=False)
    for axes, row in zip(panels.flat, rows, strict=False):
        _show(axes, read_picture(Path(row["picture"]), PIXELS))
        axes.set_title(str(row["background"]), fontsize=SMALL)
    for axes in panels.flat[len(rows) :]:
        axes.set_visible(False)
    style.stamp(figure, pictures)
    return figure


@style.drawn
def background_returns(returns: pandas.DataFrame, *, width: float = COLUMN, note: str | None = None) -> Figure:
    """Return kept under each background, per cent of the training scene's: the lower half of Figure 12.

    Args:
        returns: columns `task`, `row`, `background` (its name), `value` (per cent of the return on the training
            scene), maybe `low`, `high`, `seeds` and `synthetic`; a panel a task.
        width: in inches.
        note: the line above the axes; by default what the seeds allow to say of the intervals.
    """
    frame = returns.dropna(subset=["value"])
    tasks, drawn = task_order(list(frame["task"])), looks(frame["row"])
    names = list(dict.fromkeys(frame["background"]))
    count = max(len(tasks), 1)
    figure = style.canvas(
        width, 0.6 + (0.3 + 0.17 * max(len(names), 1)) * count + 0.14 * legend_rows(list(drawn), width)
    )
    panels = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    handles = {}
    for axes, task in zip(panels, tasks, strict=False):
        axes.axvline(100, color=MUTED, lw=0.7, ls=(0, (3, 2)))
        for shift, (row, look) in enumerate(drawn.items()):
            cells = frame[(frame["task"] == task) & (frame["row"] == row)]
            heights = np.array([len(names) - 1 - names.index(name) for name in cells["background"]])
            heights = heights + 0.14 * ((len(drawn) - 1) / 2 - shift)
            if {"low", "high"} <= set(cells):
                axes.hlines(heights, cells["low"], cells["high"], color=look.colour, lw=0.8, alpha=0.7)
            (handles[row],) = axes.plot(
                cells["value"], heights, look.marker, color=look.colour, mfc=look.marker_fill, ms=4.0, label=row
            )
        axes.set_yticks(range(len(names))[::-1], names)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.set_title(task_label(task))
    panels[-1].set_xlabel("return kept (% of the training scene's)")
    style.legend_below(figure, list(handles.values()))
    seeds = [float(n) for n in frame["seeds"].dropna()] if "seeds" in frame else []
    style.subtitle(figure, interval_note(seeds) if note is None else note)
    style.stamp(figure, returns)
    return figure


def _show(axes: Axes, picture: Picture | None, instead: str = "") -> None:
    axes.set_axis_off()
    if picture is None:
        axes.set_aspect("equal")
        axes.text(0.5, 0.5, instead.replace(" ", "\n"), ha="center", va="center", fontsize=SMALL, color=MUTED)
    else:
        axes.imshow(picture)


def _spread(frames: list[Picture], count: int) -> list[Picture]:
    """So many of the frames, evenly spaced."""
    if not frames:
        return []
    return [frames[round(place)] for place in np.linspace(0, len(frames) - 1, count)]


def _read(path: Path | str | None) -> Picture | None:
    return read_picture(Path(path), PIXELS) if isinstance(path, (str, Path)) else None


def _strip(path: Path | str | None) -> list[Picture]:
    picture = _read(path)
    return [] if picture is None else strip_frames(picture)
