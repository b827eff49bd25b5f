"""Protocols of imitation: their numbers beside published ones, and what choosing the best evaluation adds."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from benchmark.presets import PROTOCOLS

from ..analysis.scores import task_order
from ..analysis.selection import protocol_scores
from ..data.collect import Suite
from . import style
from .charts import legend_rows, task_label
from .encoder_styles import PAPER, styles_of
from .specification import Drawing, figure
from .style import COLUMN, INK, MUTED, SMALL

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


@figure(
    "protocol",
    section="protocol",
    title="The protocol's number",
    caption="Filled: success as the protocol reports it, mean over seeds, then over its tasks. Line and bar: the last "
    "policy on held-out episodes that chose nothing, with a 95 % interval over episodes. Hollow diamonds: published "
    "numbers, of the authors' weights, simulator and demonstrations.",
    command="run --encoder hindex",
    missing="an encoder on all tasks of cortexbench or r3m",
)
def protocol_number(suite: Suite) -> Drawing | None:
    """Prepare the number of a protocol with published tasks."""
    import pandas

    protocol = PROTOCOLS.get(suite.preset)
    if protocol is None or not protocol.published_tasks:
        return None
    table = protocol_scores(suite.runs, protocol.published_tasks, protocol.selection)
    if table.empty:
        return None
    known = suite.published[suite.published["quantity"] == suite.preset].set_index("encoder")["value"]
    others = pandas.DataFrame({"row": [name for name in known.index if name not in set(table["row"])]})
    whole = pandas.concat([table, others], ignore_index=True)
    whole["published"] = whole["row"].map(known)
    shown = suite.labelled(whole)
    shown["encoder"] = shown["encoder"].fillna(shown["row"])
    shown["weights_label"] = shown["weights_label"].fillna("")
    return Drawing(partial(protocol_dots, shown))


@style.styled
def protocol_dots(table: pandas.DataFrame, *, width: float = COLUMN) -> Figure:
    """Draw one line per encoder: ours, what held-out episodes say, and the published number; best on top.

    Args:
        table: columns `row`, `value`, `held_out`, `low`, `high`, `published`, in per cent, NaN where unknown, maybe
            `synthetic`.
        width: in inches.
    """
    order = table.assign(key=table["value"].fillna(table["published"])).sort_values("key", kind="stable")
    styles = styles_of(table)
    figure = style.canvas(width, 0.7 + 0.2 * len(order))
    axes = figure.add_subplot()
    for place, line in enumerate(order.to_dict("records")):
        encoder_style = styles[line["row"]]
        colour = encoder_style.colour
        axes.plot([line["held_out"], line["value"]], [place, place], color=MUTED, lw=0.8, zorder=1)
        axes.plot([line["low"], line["high"]], [place, place], color=colour, lw=1.6, zorder=2)
        axes.plot([line["held_out"]], [place], "|", color=colour, ms=7, mew=1.4, zorder=3)
        axes.plot([line["value"]], [place], encoder_style.marker, color=colour, mfc=colour, ms=4.5, zorder=4)
        axes.plot([line["published"]], [place], "D", mfc=PAPER, mec=INK, ls="", ms=4.2, zorder=3)
    axes.set_yticks(range(len(order)), [style.row_label(row) for row in order["row"]])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.set_ylim(-0.6, len(order) - 0.4)
    axes.set_xlim(-3, 103)
    axes.set_xlabel("success rate (%)")
    axes.annotate("hollow: published", (1, 1.01), xycoords="axes fraction", ha="right", fontsize=SMALL, color=INK)
    style.stamp(figure, table)
    return figure


@figure(
    "selection",
    section="protocol",
    title="What choosing the best evaluation adds",
    caption="Hollow: success of the best evaluation of each run, which protocols with a best-of rule report, mean over "
    "seeds. Filled: the same policies on held-out episodes that chose nothing, with 95 % intervals over episodes. The "
    "line between them is the selection gap.",
    command="run --encoder hindex --seed 0,1,2",
    missing="a finished run of cortexbench or r3m, whose policies held-out episodes judge",
    tables=("selection",),
)
def selection_gap(suite: Suite) -> Drawing | None:
    """Prepare the selection gap of every encoder on every task."""
    table = suite.selection
    return Drawing(partial(gap_lines, suite.labelled(table))) if len(table) else None


@style.styled
def gap_lines(table: pandas.DataFrame, *, width: float = COLUMN) -> Figure:
    """Draw one line per task and encoder from the held-out success to that of the best evaluation.

    Args:
        table: columns `task`, `row`, `best`, `held_out_best`, `held_out_best_low`, `held_out_best_high`, in per cent,
            maybe `synthetic`.
        width: in inches.
    """
    styles = styles_of(table)
    tasks, rows = task_order(list(table["task"])), [row for row in styles if row in set(table["row"])]
    height = 0.16 * len(rows) + 0.12
    figure = style.canvas(width, 0.8 + height * len(tasks) + 0.14 * legend_rows(rows, width))
    axes = figure.add_subplot()
    handles = []
    for number, row in enumerate(rows):
        encoder_style, cells = styles[row], table[table["row"] == row]
        places = np.array([len(tasks) - 1 - tasks.index(task) for task in cells["task"]], float)
        places += (0.5 - (number + 0.5) / len(rows)) * 0.8
        colour, marker = encoder_style.colour, encoder_style.marker
        axes.hlines(places, cells["held_out_best"], cells["best"], color=MUTED, lw=0.8, zorder=1)
        axes.hlines(places, cells["held_out_best_low"], cells["held_out_best_high"], color=colour, lw=1.6, zorder=2)
        axes.plot(cells["best"], places, marker, mfc=PAPER, mec=colour, ms=4.5, zorder=3)
        handles += axes.plot(
            cells["held_out_best"], places, marker, color=colour, mfc=colour, ms=4.5, label=row, zorder=4
        )
    for edge in range(1, len(tasks)):
        axes.axhline(edge - 0.5, color=MUTED, lw=0.4)
    axes.set_yticks(range(len(tasks)), [task_label(task) for task in reversed(tasks)])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.5, len(tasks) - 0.5)
    axes.set_xlim(-3, 103)
    axes.set_xlabel("success rate (%)")
    axes.annotate("hollow: best evaluation", (1, 1.01), xycoords="axes fraction", ha="right", fontsize=SMALL, color=INK)
    style.legend_below(figure, handles)
    style.stamp(figure, table)
    return figure
