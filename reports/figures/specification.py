"""The figures of the report: each registers itself here, and everything else about it is derived from that.

A figure is one function in a module of this package. It takes a suite, or all material for a figure that belongs to no
suite, and returns what to draw, or None where there are no runs for it:

    @figure("success_rates", section="scores", title="Success rate by task", caption="Share of ...",
            command="run --encoder hindex --task all", missing="a finished run of an encoder")
    def success_rates(suite: Suite) -> Drawing | None:

The page's sections, the names that ``bench report --figure`` accepts and the list of figures that were not run yet come
from the registered specifications.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from shlex import quote

from matplotlib.figure import Figure

from benchmark.errors import ConfigError

from ..data.collect import Material, Suite

SUITE_SECTIONS: Mapping[str, tuple[str, str]] = {
    "scores": ("Scores", ""),
    "learning": ("Learning", ""),
    "statistics": ("How certain this is", "Certainty"),
    "protocol": ("Selection and rules of success", "Selection"),
    "ablations": ("Ablations", ""),
    "backgrounds": ("Background shift", ""),
    "tasks": ("Tasks", ""),
    "cost": ("Cost", ""),
    "weights": ("Weights", ""),
}
"""Sections of a suite's part of the page, in order: heading, and a short name for the contents."""

SHARED_SECTIONS: Mapping[str, tuple[str, str]] = {"probe": ("What the encoders see", ""), "stage-2": ("Stage 2", "")}
"""Sections that belong to no suite; their figures are made from all `Material`."""

Draw = Callable[..., Figure]
"""Draws at ``width=`` inches; a `functools.partial` of a chart, so that another process can run it."""


@dataclass(frozen=True)
class Drawing:
    """What a figure shows of the runs at hand.

    Attributes:
        draw: renders it.
        caption: sentences that depend on the runs, after the specification's.
    """

    draw: Draw
    caption: str = ""


@dataclass(frozen=True)
class FigureSpecification:
    """One figure of the report.

    Attributes:
        name: of its files and on the command line, such as ``fig04_learning_curves``.
        section: of the page, one of `SUITE_SECTIONS` or `SHARED_SECTIONS`.
        title: what it shows, with the paper's number where it has one.
        caption: how to read it, in plain words.
        command: arguments of ``bench`` that make the runs it needs, without preset and folder.
        missing: what is missing where there are no such runs, or a function of the source that says it; completes
            "Missing: ...".
        prepare: selects and computes what is drawn, from a `Suite` or from the `Material`.
        wide: whether it is also drawn across both columns, for wide screens.
        tables: names of tables with the same numbers.
    """

    name: str
    section: str
    title: str
    caption: str
    command: str
    missing: str | Callable[..., str]
    prepare: Callable[..., Drawing | None]
    wide: bool = False
    tables: tuple[str, ...] = ()

    def of(self, source: Suite | Material) -> PreparedFigure:
        """Return the figure of these runs, ready to be drawn where they suffice."""
        drawing = self.prepare(source)
        folder = quote(str(source.folder))
        preset = f" --preset {quote(source.preset)}" if isinstance(source, Suite) else ""
        caption = self.caption if drawing is None else f"{self.caption} {drawing.caption}".rstrip()
        command = f"bench {self.command}{preset} --out {folder}"
        missing = self.missing if isinstance(self.missing, str) else self.missing(source)
        return PreparedFigure(self, caption, command, missing, None if drawing is None else drawing.draw)


@dataclass(frozen=True)
class PreparedFigure:
    """A figure of certain runs.

    Attributes:
        specification: of the figure.
        caption: the whole of it.
        command: that makes the runs it needs.
        missing: what it needs.
        draw: renders it; None where there are no runs for it.
    """

    specification: FigureSpecification
    caption: str
    command: str
    missing: str
    draw: Draw | None

    @property
    def drawn(self) -> bool:
        """Whether there are runs for it."""
        return self.draw is not None

    @property
    def title(self) -> str:
        """What it shows."""
        return self.specification.title


_REGISTERED: dict[str, FigureSpecification] = {}


def figure(
    name: str,
    *,
    section: str,
    title: str,
    caption: str,
    command: str,
    missing: str | Callable[..., str],
    wide: bool = False,
    tables: tuple[str, ...] = (),
) -> Callable[[Callable[..., Drawing | None]], Callable[..., Drawing | None]]:
    """Register the decorated function as the `prepare` of a `FigureSpecification`, which has these fields.

    Raises:
        ValueError: the section does not exist, or another figure has this name.
    """

    def register(prepare: Callable[..., Drawing | None]) -> Callable[..., Drawing | None]:
        if section not in {**SUITE_SECTIONS, **SHARED_SECTIONS}:
            raise ValueError(f"figure {name}: no section {section}; available: {', '.join(SUITE_SECTIONS)}")
        if name in _REGISTERED:
            raise ValueError(f"figure {name} is already registered; give the new one another name")
        _REGISTERED[name] = FigureSpecification(name, section, title, caption, command, missing, prepare, wide, tables)
        return prepare

    return register


def figures() -> tuple[FigureSpecification, ...]:
    """Return all registered figures by section, those of one module in order of definition."""
    _import_modules()
    sections = [*SUITE_SECTIONS, *SHARED_SECTIONS]
    return tuple(sorted(_REGISTERED.values(), key=lambda one: sections.index(one.section)))


def figures_of(section: str, names: Iterable[str] = ()) -> list[FigureSpecification]:
    """Return the figures of a section, or those of them that are named."""
    wanted = set(names)
    return [one for one in figures() if one.section == section and (not wanted or one.name in wanted)]


def find(name: str) -> FigureSpecification:
    """Return the figure of this name.

    Raises:
        ConfigError: no figure has this name.
    """
    available = {one.name: one for one in figures()}
    if name not in available:
        near = difflib.get_close_matches(name, available, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"available: {', '.join(available)}"
        raise ConfigError(f"unknown figure '{name}': {hint}")
    return available[name]


@cache
def _import_modules() -> None:
    """Import every module of this package, so that its figures are registered."""
    package = import_module(__package__)
    for module in iter_modules(package.__path__):
        import_module(f"{__package__}.{module.name}")
