"""A table: what is shown, the numbers behind it, and both as files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pandas.api.types import is_numeric_dtype

from benchmark.store.atomic import naming_failures
from benchmark.store.paths import user_path

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas

LATEX = {
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "\n": " "},
    **{"±": r"$\pm$", "—": "---", "†": r"$\dagger$", "²": r"$^2$", "≥": r"$\geq$"},
}


FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a formula begins with in a spreadsheet."""


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        name: of its files, without ending.
        caption: what it holds and how to read it.
        shown: cells as a reader sees them, strings; the first column heads the rows.
        data: the numbers behind it, one observation per row.
        best: (rows, columns) of `shown`, which cells to set in bold; None for no bold.
        synthetic: whether any number in it is invented.
    """

    name: str
    caption: str
    shown: pandas.DataFrame
    data: pandas.DataFrame
    best: npt.NDArray[np.bool_] | None = None
    synthetic: bool = False

    @property
    def full_caption(self) -> str:
        """The caption, which says so where the numbers are invented."""
        return f"SYNTHETIC: {self.caption}" if self.synthetic else self.caption

    def csv(self) -> str:
        """Return the numbers as CSV; empty fields where there is no number."""
        frame = self.data.assign(**({"synthetic": True} if self.synthetic else {}))
        texts = [name for name in frame.columns if not is_numeric_dtype(frame[name])]
        frame = frame.assign(**{name: frame[name].map(_no_formula) for name in texts})
        return str(frame.rename(columns=_no_formula).to_csv(index=False))

    def latex(self) -> str:
        r"""Return what is shown as a LaTeX table, for ``\usepackage{booktabs}``."""
        cells = [[escape(str(cell)) for cell in row] for row in self.shown.to_numpy(object)]
        if self.best is not None:
            marked = zip(cells, self.best, strict=True)
            cells = [[rf"\textbf{{{c}}}" if b else c for c, b in zip(*row, strict=True)] for row in marked]
        rows = [[escape(str(name)) for name in self.shown.columns], *cells]
        lines = [_row_start(" & ".join(row)) + r" \\" for row in rows]
        return "\n".join(
            [
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{escape(self.full_caption)}}}",
                rf"\label{{tab:{self.name}}}",
                rf"\begin{{tabular}}{{l{'r' * (len(self.shown.columns) - 1)}}}",
                r"\toprule",
                lines[0],
                r"\midrule",
                *lines[1:],
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
                "",
            ]
        )


def escape(text: str) -> str:
    """Return text as LaTeX sets it."""
    return "".join(LATEX.get(letter, letter) for letter in text)


def _row_start(line: str) -> str:
    """Return a row that LaTeX does not take for options of the row end before it, as it would take [ and *."""
    return f"{{}}{line}" if line.startswith(("[", "*")) else line


def _no_formula(cell: Any) -> Any:
    """Return a text that a spreadsheet does not run: names come from folders, and ``=`` begins a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell


def write(tables: Iterable[Table], folder: Path | str) -> list[Path]:
    """Write ``<name>.csv`` and ``<name>.tex`` of each table into `folder`, which is made where it is missing."""
    there = user_path(folder)
    with naming_failures(there):
        there.mkdir(parents=True, exist_ok=True)
    written = []
    for table in tables:
        for ending, content in (("csv", table.csv()), ("tex", table.latex())):
            path = there / f"{table.name}.{ending}"
            with naming_failures(path):
                path.write_text(content, encoding="utf-8")
            written.append(path)
    return written
