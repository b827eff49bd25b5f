"""What a long action tells while it runs."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told what is going on; the command line draws it, a notebook may ignore it."""

    def begin(self, title: str, steps: int) -> None:
        """A run starts that will take about so many control steps."""

    def stage(self, name: str) -> None:
        """Another part of it starts."""

    def advance(self, steps: int) -> None:
        """Control steps were taken, or turned out not to be needed."""

    def say(self, line: str) -> None:
        """Something worth a line."""

    def end(self) -> None:
        """The run is over and went well."""

    def close(self) -> None:
        """The run is over, however it went."""


class Silent:
    """Says nothing."""

    def begin(self, title: str, steps: int) -> None:
        """Ignore it."""

    def stage(self, name: str) -> None:
        """Ignore it."""

    def advance(self, steps: int) -> None:
        """Ignore it."""

    def say(self, line: str) -> None:
        """Ignore it."""

    def end(self) -> None:
        """Ignore it."""

    def close(self) -> None:
        """Ignore it."""
