"""A plate: a figure of the report with its caption, or the command that would make the runs it needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

Draw = Callable[..., Figure]
"""Draws at ``width=`` inches; a `functools.partial` of a figure function, so that another process can run it."""


@dataclass(frozen=True)
class Plate:
    """One figure of the report.

    Attributes:
        key: of its files, such as ``fig04_learning_curves``.
        title: what it shows, with the paper's number where it has one.
        caption: how to read it, in plain words.
        draw: makes it; None where there are no runs for it.
        command: what would make the runs it needs.
        lacking: what is missing, where `draw` is None.
        wide: whether it is drawn on both columns too, for wide screens.
        tables: names of tables with the same numbers.
    """

    key: str
    title: str
    caption: str
    draw: Draw | None
    command: str
    lacking: str = ""
    wide: bool = False
    tables: tuple[str, ...] = ()

    @property
    def drawn(self) -> bool:
        """Whether there are runs for it."""
        return self.draw is not None
