"""Where an encoder's weights come from, as run folders, legends and tables say it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["official", "builtin", "random", "file", "own", "none"]


@dataclass(frozen=True)
class WeightsOrigin:
    """Where an encoder's weights come from.

    Attributes:
        kind: ``official``, ``builtin``, ``random``, ``file`` (a path, and not the official file), ``own`` (an encoder
            from outside sees to its weights itself) or ``none`` (no network).
        path: the file, or None.
        sha256: of the file; of the tensors themselves where there is no file; None for ``none`` and, before
            `encoders.build` has made the encoder, for ``own``.
        label: what follows the encoder's name in legends and tables, such as ``(random)``; empty for official weights.
    """

    kind: Kind
    path: Path | None = None
    sha256: str | None = None
    label: str = ""

    def title(self, name: str) -> str:
        """Return the encoder's name as every legend and table shows it, such as ``rrl (random)``."""
        return f"{name} {self.label}".rstrip()
