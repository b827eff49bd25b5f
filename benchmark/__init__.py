"""The shared runner: a run is an encoder, a task, a seed and a configuration; its result is a folder.

``from benchmark import run, RunConfig`` works; nothing heavy is imported before it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import RunConfig, configure
    from .runner.runner import RunResult, run

_HOMES = {"RunConfig": "config", "configure": "config", "RunResult": "runner.runner", "run": "runner.runner"}

__all__ = ["RunConfig", "RunResult", "configure", "run"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
