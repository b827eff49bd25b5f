"""Plates to files and HTML: each is drawn once a width and saved as PNG, PDF and inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from . import style
from .elements import figure, identifier
from .inline_svg import inline
from .plates import Plate
from .style import COLUMN, PAGE


@dataclass(frozen=True)
class Press:
    """Where plates are printed.

    Attributes:
        folder: of the report.
        below: the folder of this suite's figures and tables inside it; empty for the only suite.
    """

    folder: Path
    below: str = ""

    def file(self, kind: str, name: str) -> str:
        """The path of a file from the page: ``figures/name`` or ``tables/name``, below the suite's folder."""
        return "/".join(part for part in (self.below, kind, name) if part)

    def print(self, plate: Plate) -> str:
        """Draw a plate, save it, and return the HTML that shows it; nothing for a plate without runs."""
        if plate.draw is None:
            return ""
        target = self.folder / self.file("figures", "")
        target.mkdir(parents=True, exist_ok=True)
        key = identifier(self.below, plate.key)
        narrow, shown, full = "", "", plate.wide
        if plate.wide:
            drawn = plate.draw(PAGE)
            style.save(drawn, target, f"{plate.key}_wide")
            shown = inline(drawn, f"{key}-wide", plate.title, plate.caption)
        drawn = plate.draw(COLUMN)
        style.save(drawn, target, plate.key)
        narrow = inline(drawn, key, plate.title, plate.caption)
        files = [self.file("figures", f"{plate.key}{'_wide' if full else ''}.{kind}") for kind in ("pdf", "png")]
        files += [self.file("tables", f"{name}.csv") for name in plate.tables if self.has_table(name)]
        caption = f"<strong>{escape(plate.title)}.</strong> {escape(plate.caption)}"
        return figure(shown or narrow, caption, narrow=narrow if shown else "", full=full, files=files)

    def has_table(self, name: str) -> bool:
        """Whether a table was written."""
        return (self.folder / self.file("tables", f"{name}.csv")).is_file()

    def print_all(self, plates: Sequence[Plate]) -> str:
        """The plates that have runs, in a grid."""
        printed = [html for plate in plates if (html := self.print(plate))]
        return f'<div class="figures">\n{"".join(printed)}\n</div>' if printed else ""
