"""Pieces of the page: every function turns plain values into HTML and escapes them."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    import numpy as np
    import pandas
    from numpy.typing import NDArray

    from ..tables.table import Table

MINUS = "\N{MINUS SIGN}"

MISSING = "—"
"""A cell without a number, as `reports.tables.tables` writes it."""

LONG_TABLE = 15
"""Rows from which a table can be filtered."""


def table(frame: pandas.DataFrame, *, caption: str = "", best: NDArray[np.bool_] | None = None) -> str:
    """Return a sortable table: the frame's columns in order, the first as row headers; missing values are dashes.

    A column is one of numbers where every cell is a number or begins with one, as in ``93.1 ± 2.0``.

    Args:
        frame: the values; column names are headings.
        caption: HTML above it.
        best: which cells are set in bold.
    """
    numeric = [place > 0 and _is_numeric(frame.iloc[:, place]) for place in range(frame.shape[1])]
    heads = "".join(
        f'<th scope="col"{_number(is_number)}>{escape(str(name))}</th>'
        for name, is_number in zip(frame.columns, numeric, strict=True)
    )
    lines = []
    for row, values in enumerate(frame.itertuples(index=False, name=None)):
        bold = [False] * len(values) if best is None else list(best[row])
        cells = [_cell(value, k, numeric[k], bool(bold[k])) for k, value in enumerate(values)]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    kind = "sortable filtered" if len(frame) >= LONG_TABLE else "sortable"
    heading = f"<caption>{caption}</caption>" if caption else ""
    label = escape(_plain(caption)[:80], quote=True) or "numbers"
    body = "\n".join(lines)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Table: {label}">'
        f'<table class="{kind}">{heading}<thead><tr>{heads}</tr></thead><tbody>\n{body}\n</tbody></table></div>'
    )


def table_of(made: Table, files: Sequence[str]) -> str:
    """Return one of the report's tables, with links to its files."""
    caption = f"{escape(made.full_caption)}{file_links(files)}"
    return table(made.shown, caption=caption, best=made.best)


def figure(picture: str, caption: str, *, narrow: str = "", full: bool = False, files: Sequence[str] = ()) -> str:
    """Return a figure with its caption.

    Args:
        picture: HTML of the figure.
        caption: HTML.
        narrow: HTML of the same figure for a phone.
        full: whether it takes the whole width.
        files: paths beside the page that hold the same.
    """
    shown = f'<div class="wide">{picture}</div><div class="narrow">{narrow}</div>' if narrow else picture
    kind = ' class="full"' if full else ""
    return f"<figure{kind}>{shown}<figcaption>{caption}{file_links(files)}</figcaption></figure>"


def file_links(files: Sequence[str]) -> str:
    """Return links to files beside the page, called by their kind."""
    links = (f'<a href="{quote(name)}">{Path(name).suffix[1:].upper()}</a>' for name in files)
    return f' <span class="files">{" · ".join(links)}</span>' if files else ""


def film(video: Path, poster: bytes, caption: str) -> str:
    """Return a video that lies inside the page.

    Args:
        video: an MP4.
        poster: a JPEG shown before it plays.
        caption: plain words.
    """
    source = base64.b64encode(video.read_bytes()).decode()
    still = f' poster="data:image/jpeg;base64,{base64.b64encode(poster).decode()}"' if poster else ""
    label = escape(caption, quote=True)
    return (
        f'<figure><video controls loop muted playsinline preload="none" aria-label="{label}"{still} '
        f'src="data:video/mp4;base64,{source}"></video><figcaption>{escape(caption)}</figcaption></figure>'
    )


def picture(jpeg: bytes, caption: str) -> str:
    """Return a picture that lies inside the page.

    Args:
        jpeg: the file's content.
        caption: plain words.
    """
    label = escape(caption, quote=True)
    source = base64.b64encode(jpeg).decode()
    return (
        f'<figure><img alt="{label}" style="max-width: 100%" src="data:image/jpeg;base64,{source}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def definitions(pairs: Mapping[str, str]) -> str:
    """Return a list of names and values; values are HTML, empty ones are left out."""
    return (
        "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{value}</dd>" for name, value in pairs.items() if value) + "</dl>"
    )


def linked(text: str) -> str:
    """Return plain words with their web addresses as links."""
    return re.sub(
        r"https?://[^\s<>\"]+[^\s<>\".,;)]",
        lambda found: f'<a href="{found[0]}">{found[0]}</a>',
        escape(text, quote=False),
    )


def identifier(*parts: str) -> str:
    """Return an id of letters, digits and dashes.

    >>> identifier("small-ycb", "Fig. 4")
    'small-ycb-fig-4'
    """
    return re.sub(r"[^a-z0-9]+", "-", " ".join(parts).lower()).strip("-")


def _cell(value: Any, place: int, numeric: bool, bold: bool) -> str:
    if _missing(value):
        return f'<td class="empty{" number" if numeric else ""}">{MISSING}</td>'
    shown, sorted_by = escape(str(value)), ""
    if numeric and isinstance(value, str):
        sorted_by = f' data-value="{_leading_number(value)}"'
    elif numeric:
        shown, sorted_by = number(float(value)), f' data-value="{float(value):.12g}"'
    if bold:
        shown = f"<strong>{shown}</strong>"
    return f'<th scope="row">{shown}</th>' if place == 0 else f"<td{_number(numeric)}{sorted_by}>{shown}</td>"


def number(value: float, digits: int | None = None) -> str:
    """Return a number to read: three or so digits, thousands apart, a true minus.

    >>> number(12345.6), number(0.0421), number(-3.0, 1)
    ('12,346', '0.042', '−3.0')
    """
    if digits is None:
        size = abs(value)
        digits = 0 if size >= 100 or float(value).is_integer() else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:,.{digits}f}".replace("-", MINUS)


def _number(numeric: bool) -> str:
    return ' class="number"' if numeric else ""


def _missing(value: Any) -> bool:
    return value is None or value in ("", MISSING) or (isinstance(value, float) and math.isnan(value))


def _is_numeric(values: pandas.Series) -> bool:
    present = [value for value in values if not _missing(value)]
    return bool(present) and all(
        _leading_number(value) != "" if isinstance(value, str) else not isinstance(value, bool) for value in present
    )


def _leading_number(text: str) -> str:
    """Return the number that a cell begins with, empty where it begins with something else or runs on into letters."""
    found = re.match(rf"([-{MINUS}]?\d+(?:,\d{{3}})*(?:\.\d+)?)(?=$|[ %\[(/])", text)
    return found[1].replace(MINUS, "-").replace(",", "") if found else ""


def _plain(html: str) -> str:
    return re.sub(r"<[^>]+>", "", html)
