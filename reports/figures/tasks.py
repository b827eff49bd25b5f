"""The tasks in pictures, cut from run folders: Figure 3."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..analysis.scores import task_order
from ..data.collect import Suite
from . import style
from .charts import task_label
from .pictures import PIXELS, Picture, read_picture, show, strip_frames
from .specification import Drawing, figure
from .style import COLUMN, PAGE, SMALL

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


@figure(
    "fig03_tasks",
    section="tasks",
    title="Figure 3: the tasks",
    caption="For each task: the initial configuration, the frame in which the goal is reached, and one trajectory of a "
    "trained policy, as the encoder sees it.",
    command="run --encoder hindex --task all --seed 0",
    missing="a run with pictures",
    wide=True,
)
def tasks(suite: Suite) -> Drawing | None:
    """Prepare one trajectory per task."""
    import pandas

    rows = []
    for task, runs in suite.runs[suite.runs["pictures"].map(len) > 0].groupby("task"):
        # A trajectory that reaches its goal shows more than one that does not; official weights before stand-ins.
        best = runs.assign(goal=runs["pictures"].map(lambda found: "goal" in found))
        run = best.sort_values(["goal", "success_last", "return_last"], ascending=False).iloc[0]
        shown = {name: run["pictures"].get(name) for name in ("start", "goal", "strip")}
        rows.append({"task": task, **shown, "source": run["row"], "synthetic": run["synthetic"]})
    if not rows:
        return None
    by = ", ".join(sorted({str(row["source"]) for row in rows}))
    return Drawing(partial(task_strips, pandas.DataFrame(rows)), f"Trajectories by {by}.")


@style.styled
def task_strips(pictures: pandas.DataFrame, *, width: float = PAGE) -> Figure:
    """Draw one line per task: its first frame, its goal and a film strip of one trajectory: Figure 3.

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
            show(axes, _read(rows[task][key]), "no goal reached" if key == "goal" else "no picture")
        chosen = _spread(strips[task], across - 2)
        for axes, frame in zip(line[2:], chosen, strict=False):
            show(axes, frame)
        for axes in line[2 + len(chosen) :]:
            show(axes, None)
        line[0].set_title(task_label(task), loc="left", fontsize=SMALL)
    style.subtitle(figure, "from left: initial configuration, goal, one trajectory")
    style.stamp(figure, pictures)
    return figure


def _spread(frames: list[Picture], count: int) -> list[Picture]:
    """Return so many of the frames, evenly spaced."""
    if not frames:
        return []
    return [frames[round(place)] for place in np.linspace(0, len(frames) - 1, count)]


def _read(path: Path | str | None) -> Picture | None:
    return read_picture(Path(path), PIXELS) if isinstance(path, (str, Path)) else None


def _strip(path: Path | str | None) -> list[Picture]:
    picture = _read(path)
    return [] if picture is None else strip_frames(picture)
