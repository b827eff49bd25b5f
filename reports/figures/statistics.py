"""How certain differences are: aggregates with intervals, performance profiles, probabilities of improvement.

Source: Agarwal et al. 2021, sections 4.1 to 4.3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from ..analysis import scores
from ..data.collect import PARTS, Suite
from . import style
from .charts import axis_names, legend_rows, seeds_of, whole_first
from .encoder_styles import EncoderStyle, styles_of
from .interval_notes import interval_note, intervals, one_task_words
from .scores import ALONE, PAPER_RUNS, part
from .specification import Drawing, figure
from .style import COLUMN, LONGEST_LINE, MUTED

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@figure(
    "aggregates",
    section="statistics",
    title="Mean, interquartile mean (IQM) and optimality gap",
    caption="The interquartile mean leaves out the best and the worst quarter of all runs; the optimality gap is how "
    "far runs stay below 100 on average, so less is better.",
    command=PAPER_RUNS,
    missing=ALONE,
    wide=True,
    tables=("aggregates-fixed",),
)
def aggregates(suite: Suite) -> Drawing | None:
    """Prepare mean, interquartile mean and optimality gap of the main encoders."""
    if not suite.compares:
        return None
    table = _corrected(suite, suite.aggregates)
    table["part"] = part(table)
    table["statistic"] = table["statistic"].replace("interquartile mean", "IQM")
    return Drawing(partial(aggregate_panels, table), intervals(len(suite.comparison.tasks)))


@figure(
    "performance_profiles",
    section="statistics",
    title="Performance profiles",
    caption="The share of all runs, over tasks and seeds, whose score exceeds a threshold; higher lines are better.",
    command=PAPER_RUNS,
    missing=ALONE,
)
def profiles(suite: Suite) -> Drawing | None:
    """Prepare the performance profiles of the main encoders."""
    if not suite.compares:
        return None
    table = _corrected(suite, scores.profiles(suite.comparison))
    table["seeds"] = table["row"].map(_fewest_seeds(suite))
    words = [one_task_words()] if len(suite.comparison.tasks) == 1 else []
    lacking = [row for row, has in zip(suite.comparison.rows, suite.comparison.seeds > 0, strict=True) if not has.all()]
    if lacking and len(suite.comparison.rows) - len(lacking) > 1:
        table = table[~table["row"].isin(lacking)]
        words.append(f"Left out, as they lack tasks: {', '.join(lacking)}.")
    elif lacking:
        words.append(f"Not on the same tasks, as these lack some: {', '.join(lacking)}.")
    return Drawing(partial(performance_profiles, table), " ".join(words))


@figure(
    "probability_of_improvement",
    section="statistics",
    title="Probability of improvement",
    caption="The chance that a run of one encoder beats a run of another on the same task, averaged over the tasks "
    "they share; an interval that keeps clear of one half is evidence. All pairs are in the table.",
    command=PAPER_RUNS,
    missing="two encoders with finished runs on one task",
    tables=("improvement",),
)
def improvements(suite: Suite) -> Drawing | None:
    """Prepare the probability that hindex, or the first encoder without it, beats each other one."""
    if suite.improvements.empty:
        return None
    fewest, table = _fewest_seeds(suite), suite.improvements
    hindex = [row for row in suite.comparison.rows if suite.parts.loc[row, "encoder"] == "hindex"]
    pairs = _corrected(suite, table[table["row"] == (hindex or suite.comparison.rows)[0]])
    if pairs.empty:
        return None
    pairs = pairs.join(suite.parts.add_prefix("other_"), on="other")
    pairs["seeds"] = [min(fewest[row], fewest[other]) for row, other in zip(pairs["row"], pairs["other"], strict=True)]
    return Drawing(partial(improvement_dots, pairs), one_task_words() if pairs["tasks"].min() == 1 else "")


def _corrected(suite: Suite, table: pandas.DataFrame) -> pandas.DataFrame:
    """Return the table with the corrected intervals as those to draw."""
    return suite.labelled(table).assign(low=table["corrected_low"], high=table["corrected_high"])


def _fewest_seeds(suite: Suite) -> dict[str, int]:
    """Return the fewest seeds that each row has on any of its tasks."""
    rows = zip(suite.comparison.rows, suite.comparison.seeds, strict=True)
    return {row: int(seeds[seeds > 0].min()) for row, seeds in rows}


@style.styled
def performance_profiles(profiles: pandas.DataFrame, *, width: float = COLUMN, note: str | None = None) -> Figure:
    """Draw the share of runs that score above a threshold, one line with its band per encoder.

    Args:
        profiles: columns `row`, `threshold`, `share` (0 to 1), `low`, `high` (NaN without a band), maybe `seeds` and
            `synthetic`.
        width: in inches.
        note: the line above the axes; by default what the seeds allow to say of the bands.

    Source: Agarwal et al. 2021, section 4.2.
    """
    styles = styles_of(profiles)
    figure = style.canvas(width, 2.15 + 0.14 * legend_rows(list(styles), width))
    axes = figure.add_subplot()
    handles: list[Any] = []
    for row, encoder_style in styles.items():
        line = profiles[profiles["row"] == row].sort_values("threshold")
        threshold = line["threshold"].to_numpy(float)
        if line["low"].notna().any():
            axes.fill_between(
                threshold, line["low"], line["high"], color=encoder_style.colour, alpha=0.14, lw=0, step="post"
            )
        (drawn_line,) = axes.step(
            threshold, line["share"], where="post", color=encoder_style.colour, ls=encoder_style.dash, label=row
        )
        handles.append(drawn_line)
    axes.set_xlabel("normalised score τ")
    axes.set_ylabel("share of runs above τ")
    axes.set_ylim(-0.02, 1.02)
    style.legend_below(figure, handles)
    style.subtitle(figure, interval_note(seeds_of(profiles), "band") if note is None else note)
    style.stamp(figure, profiles)
    return figure


@style.styled
def aggregate_panels(aggregates: pandas.DataFrame, *, width: float = COLUMN, note: str | None = None) -> Figure:
    """Draw one panel per statistic (mean, interquartile mean, optimality gap), one dot with its interval per encoder.

    Args:
        aggregates: columns `statistic` (a panel each, in order of appearance), `row`, `value`, `low`, `high`, maybe
            `seeds`, `part` (as in `charts.score_bars`) and `synthetic`.
        width: in inches.
        note: the line above the axes; by default what the seeds allow to say of the intervals.

    Source: Agarwal et al. 2021, section 4.3.
    """
    styles = styles_of(aggregates)
    statistics = list(dict.fromkeys(aggregates["statistic"]))
    first = aggregates[aggregates["statistic"] == statistics[0]] if statistics else aggregates
    first = whole_first(first)
    order, names = list(first["row"]), axis_names(first)
    figure = style.canvas(width, 0.62 + style.row_height(names) * max(len(order), 1))
    panels = figure.subplots(1, max(len(statistics), 1), sharey=True, squeeze=False)[0]
    places = {row: len(order) - 1 - k for k, row in enumerate(order)}
    for axes, statistic in zip(panels, statistics, strict=False):
        for dot in aggregates[aggregates["statistic"] == statistic].to_dict("records"):
            _interval_dot(axes, places[dot["row"]], dot, styles[dot["row"]])
        axes.set_title(statistic)
        axes.tick_params(axis="y", length=0)
        axes.locator_params(axis="x", nbins=3)
    if statistics:
        panels[0].set_yticks(list(places.values()), names)
        panels[0].set_ylim(-0.6, len(order) - 0.4)
    style.subtitle(figure, interval_note(seeds_of(aggregates)) if note is None else note)
    style.stamp(figure, aggregates)
    return figure


@style.styled
def improvement_dots(pairs: pandas.DataFrame, *, width: float = COLUMN, note: str | None = None) -> Figure:
    """Draw the probability that one encoder's run beats another's on the same task, one line per pair.

    Args:
        pairs: columns `row`, `other`, `value` (0 to 1), `low`, `high`, maybe `seeds`, `synthetic`, and `encoder` and
            `weights_label` of both (``other_encoder``, ``other_weights_label``).
        width: in inches.
        note: the line above the axes; by default what the seeds allow to say of the intervals.

    Source: Agarwal et al. 2021, section 4.3.
    """
    import pandas

    others = pairs.filter(like="other").rename(columns=lambda name: name.removeprefix("other_"))
    both = pandas.concat([pairs.filter(["row", *PARTS]), others.rename(columns={"other": "row"})])
    styles = styles_of(both)
    names = [
        f"{style.short(row, LONGEST_LINE)} > {style.short(other, LONGEST_LINE)}"
        for row, other in zip(pairs["row"], pairs["other"], strict=True)
    ]
    figure = style.canvas(
        width, 0.66 + (0.27 if any(len(name) > 2 * style.LONG_NAME for name in names) else 0.18) * max(len(pairs), 1)
    )
    axes = figure.add_subplot()
    axes.axvline(0.5, color=MUTED, lw=0.7, ls=(0, (3, 2)))
    for k, pair in enumerate(pairs.to_dict("records")):
        _interval_dot(axes, len(pairs) - 1 - k, pair, styles[pair["row"]])
    names = [name.replace(" > ", "\n> ") if len(name) > 2 * style.LONG_NAME else name for name in names]
    axes.set_yticks(range(len(pairs))[::-1], names)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.6, len(pairs) - 0.4)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("probability of improvement")
    style.subtitle(figure, interval_note(seeds_of(pairs)) if note is None else note)
    style.stamp(figure, pairs)
    return figure


def _interval_dot(axes: Axes, place: float, dot: Mapping[str, Any], encoder_style: EncoderStyle) -> None:
    low, high = dot.get("low", math.nan), dot.get("high", math.nan)
    if math.isfinite(low) and math.isfinite(high):
        axes.plot([low, high], [place, place], color=encoder_style.colour, lw=2.6, alpha=0.35, solid_capstyle="butt")
    axes.plot(
        dot["value"], place, encoder_style.marker, color=encoder_style.colour, mfc=encoder_style.marker_fill, ms=4.2
    )
