"""Progress of long work, as callbacks."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives progress updates; the command line draws them, a notebook may ignore them."""

    def begin(self, title: str, steps: int) -> None:
        """Start a run of about ``steps`` control steps."""

    def stage(self, name: str) -> None:
        """Start another stage of it."""

    def advance(self, steps: int) -> None:
        """Count control steps that were taken, or turned out not to be needed."""

    def say(self, line: str) -> None:
        """Print a line."""

    def end(self) -> None:
        """End a run that succeeded."""

    def close(self) -> None:
        """Clean up after a run, whether it succeeded or not."""


class Silent:
    """Ignores all updates."""

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
