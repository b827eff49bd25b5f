"""The paper's style: fonts, sizes, ink; drawing without global state; saving for paper and page."""

from __future__ import annotations

import functools
import io
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmark.store.atomic import naming_failures

if TYPE_CHECKING:
    import pandas

P = ParamSpec("P")

COLUMN = 3.3
"""Width in inches of one column of a two-column paper."""

PAGE = 6.8
"""Width in inches of both."""

FONT = 7.5
SMALL = 7.0
"""Font sizes in points; nothing on a figure is smaller than `SMALL`."""

SYNTHETIC = "synthetic"
"""The word on every figure whose numbers are invented, for tests."""

LONG_NAME = 17
"""Letters of the longest name that stays on one line of an axis."""

LONGEST_LINE = 26
"""Letters of a line of a name on an axis; what is longer loses its middle."""

LONGEST_NAME = 48
"""Letters of a name in a legend."""

SYNTHETIC_ROOM = 12
"""Letters that the line above the panels leaves to it."""

INK = "#22262c"
MUTED = "#697078"
GRID = "#dfe2e6"
ACCENT = "#b4530a"

RC: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": FONT,
    "axes.titlesize": FONT,
    "axes.titleweight": "regular",
    "axes.titlepad": 3.0,
    "axes.labelsize": FONT,
    "axes.labelcolor": INK,
    "axes.labelpad": 2.5,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "axes.formatter.limits": (-4, 5),
    "axes.formatter.use_mathtext": False,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 2.0,
    "ytick.major.size": 2.0,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.pad": 2.0,
    "ytick.major.pad": 2.0,
    "text.color": INK,
    # Names come from folders: a dollar sign is a dollar sign.
    "text.parse_math": False,
    "text.usetex": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.6,
    "lines.markeredgewidth": 0.9,
    "patch.linewidth": 0.7,
    "hatch.linewidth": 0.45,
    "legend.frameon": False,
    "legend.fontsize": SMALL,
    "legend.handlelength": 1.8,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.2,
    "legend.labelspacing": 0.35,
    "legend.borderaxespad": 0.2,
    "figure.facecolor": "none",
    "figure.dpi": 100,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
    "savefig.facecolor": "none",
    # Text stays text: small files, letters that search finds, ink that follows the page's.
    "svg.fonttype": "none",
    "svg.hashsalt": "hindex-bench",
    "pdf.fonttype": 42,
    "image.interpolation": "none",
}


def styled(function: Callable[P, Figure]) -> Callable[P, Figure]:
    """Run a function that draws under this style, whatever the user's settings, which stay as they are."""

    @functools.wraps(function)
    def inside(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with _settings():
            figure = function(*args, **kwargs)
            settle(figure)
            return figure

    return inside


@contextmanager
def _settings() -> Iterator[None]:
    """This style over matplotlib's defaults, whatever a user's matplotlibrc says; it is undone afterwards."""
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams.update(RC)
        # A name may have letters that the font lacks: the PNG shows boxes, the page the letters.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        yield


def canvas(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches, with a layout that keeps labels apart."""
    return Figure(figsize=(width, height), layout="constrained")


def settle(figure: Figure) -> None:
    """Lay the figure out once, so that saving it in several formats does not do it again."""
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")


def legend_below(figure: Figure, handles: Sequence[Any], columns: int | None = None) -> None:
    """Return one legend under all panels, in as many columns as fit the width, or as said."""
    if handles:
        names = [str(handle.get_label()) for handle in handles]
        columns = columns or legend_columns(names, figure.get_figwidth())
        # Matplotlib leaves out labels that begin with an underscore.
        labels = [f"\N{HAIR SPACE}{short(name)}" if name.startswith("_") else short(name) for name in names]
        figure.legend(handles=handles, labels=labels, loc="outside lower center", ncols=columns)


def legend_columns(names: Sequence[str], width: float) -> int:
    """Return columns of a legend of these names that fit a width in inches, filled column by column."""
    names = [short(name) for name in names]
    for columns in range(len(names), 1, -1):
        rows = -(-len(names) // columns)
        letters = sum(max(map(len, names[start : start + rows])) for start in range(0, len(names), rows))
        if letters * 0.56 * SMALL + 25 * columns <= 72 * width and -(-len(names) // rows) == columns:
            return columns
    return 1


def subtitle(figure: Figure, words: str) -> None:
    """Return a small grey line above the panels: what the figure has to say of itself."""
    if words:
        letters = int(figure.get_figwidth() * 72 / (0.54 * SMALL)) - SYNTHETIC_ROOM
        figure.suptitle(textwrap.fill(words, letters), x=0.01, ha="left", fontsize=SMALL, color=MUTED)


def short(name: str, most: int = LONGEST_NAME) -> str:
    """Return a name of so many letters at most: the middle of a longer one is left out.

    >>> short("a_very_long_name_of_an_encoder", 13)
    'a_very…ncoder'
    """
    if len(name) <= most:
        return name
    begin = most // 2
    return f"{name[:begin]}…{name[begin + 1 - most :]}"


def row_label(row: str) -> str:
    """Return an encoder's name for an axis, on a second line what a long name has no room for."""
    if len(row) <= LONG_NAME:
        return row
    begin, space, end = row.rpartition(" ")
    if space:
        return f"{short(begin, LONGEST_LINE)}\n{short(end, LONGEST_LINE)}"
    name = short(row, 2 * LONGEST_LINE)
    return f"{name[:LONGEST_LINE]}\n{name[LONGEST_LINE:]}".rstrip("\n")


def number(value: float) -> str:
    """Return a number beside a bar: one decimal, or three digits and a power of ten where it is large.

    >>> number(93.14), number(1234567.0)
    ('93.1', '1.23e+06')
    """
    return f"{value:.1f}" if abs(value) < 1e5 else f"{value:.3g}"


def row_height(labels: Sequence[str], one_line: float = 0.19) -> float:
    """Return inches that a line of a chart takes: more where a label has two lines."""
    return max(one_line, 0.27) if any("\n" in label for label in labels) else one_line


def stamp(figure: Figure, *frames: pandas.DataFrame) -> None:
    """Say across the figure that its numbers are invented, where any of the frames says so in `synthetic`."""
    words = SYNTHETIC if any("synthetic" in frame and bool(frame["synthetic"].any()) for frame in frames) else ""
    if words:
        if not figure.get_suptitle():
            figure.suptitle(" ", fontsize=SMALL)  # keeps the panels clear of the word in the corner
        figure.text(
            *(0.5, 0.5),
            words,
            ha="center",
            va="center",
            rotation=24,
            fontsize=min(30.0, 8.5 * figure.get_figwidth()),
            color=ACCENT,
            alpha=0.16,
            zorder=-1,
            gid="stamp",
        )
        figure.text(0.998, 0.998, words, ha="right", va="top", fontsize=SMALL, color=ACCENT, gid="stamp-label")


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write ``<name>.png`` (200 dots per inch, white ground) and ``<name>.pdf``."""
    with _settings():
        for suffix, ground in ((".png", "white"), (".pdf", "none")):
            # Without a date the same numbers give the same file.
            metadata = {"CreationDate": None} if suffix == ".pdf" else {"Software": "hindex-bench"}
            path = folder / f"{name}{suffix}"
            with naming_failures(path):
                figure.savefig(path, dpi=200, facecolor=ground, metadata=metadata)


def svg(figure: Figure) -> str:
    """Return the figure as an SVG document of matplotlib's, text as text."""
    buffer = io.StringIO()
    with _settings():
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
