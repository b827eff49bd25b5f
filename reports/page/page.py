"""The page: one file, nothing fetched, readable on a phone, in the dark and on paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from string import Template

from .inline_svg import dark_colours

ASSETS = Path(__file__).with_name("assets")


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading.

    Attributes:
        key: its id.
        title: its heading, plain words.
        body: HTML.
        short: its name in the contents; empty for the title.
        suite: whether it opens the part of one suite of several.
    """

    key: str
    title: str
    body: str
    short: str = ""
    suite: bool = False


@dataclass(frozen=True)
class Page:
    """What stands on the page.

    Attributes:
        title: of the window.
        heading: of the page.
        kicker: the line above the heading.
        lede: HTML below it: what this is in two sentences, and badges.
        sections: in order.
        version: of this package.
        made: when.
    """

    title: str
    heading: str
    kicker: str
    lede: str
    sections: Sequence[Section]
    version: str
    made: datetime = field(default_factory=lambda: datetime.now(timezone.utc))


def render(page: Page) -> str:
    """Return the page as one HTML document that needs nothing beside it."""
    css = _asset("page.css").replace("/* dark colours of encoders */", dark_colours())
    return Template(_asset("page.html")).substitute(
        title=escape(page.title),
        heading=escape(page.heading),
        kicker=escape(page.kicker),
        lede=page.lede,
        version=escape(page.version),
        css=css,
        script=_asset("page.js"),
        contents="\n".join(_entry(section) for section in page.sections),
        main="\n".join(_section(section) for section in page.sections),
        footer=f"<p>Made {page.made.day} {page.made:%B %Y, %H:%M} UTC by hindex-bench {escape(page.version)} from run "
        "folders alone. This page fetches nothing: figures, films and styles lie inside it.</p>",
    )


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8").rstrip("\n")


def _entry(section: Section) -> str:
    kind = ' class="suite"' if section.suite else ""
    return f'<li{kind}><a href="#{section.key}">{escape(section.short or section.title)}</a></li>'


def _section(section: Section) -> str:
    kind = ' class="suite"' if section.suite else ""
    return f'<section id="{section.key}">\n<h2{kind}>{escape(section.title)}</h2>\n{section.body}\n</section>'
