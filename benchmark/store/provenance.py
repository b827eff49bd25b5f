"""The versions and the machine that a run used: recorded in every run folder, never compared."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

DISTRIBUTION = "hindex-bench"

RESULTS_VERSION = 2
"""Raised only when the numbers of a run change; part of a suite (see the design)."""

RECORDED_PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "mujoco",
    "fast-simplification",
    "gymnasium",
    "gymnasium-robotics",
    "numpy",
    "scipy",
    "pandas",
    "pyarrow",
    "safetensors",
)


def package_version() -> str:
    """Return the installed version of this distribution, `0+unknown` where it is not installed."""
    return package_versions([DISTRIBUTION]).get(DISTRIBUTION, "0+unknown")


def package_versions(names: Iterable[str] = RECORDED_PACKAGES) -> dict[str, str]:
    """Return the versions of those named distributions that are installed; nothing is imported."""
    versions = {}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def record() -> dict[str, Any]:
    """Return the machine and the versions, ready for JSON."""
    return {
        "version": package_version(),
        "results_version": RESULTS_VERSION,
        "commit": commit(),
        "python": platform.python_version(),
        "packages": package_versions(),
        "platform": platform.platform(),
        "cpu": cpu_model(),
        "cpu_count": os.cpu_count(),
    }


def commit() -> str | None:
    """Return the git commit that this code is checked out at, with `-dirty` where files differ.

    None where the code is installed rather than checked out, or git is missing.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    head = _output(["git", "-C", str(root), "rev-parse", "HEAD"])
    if not head:
        return None
    changed = _output(["git", "-C", str(root), "status", "--porcelain", "--untracked-files=no"])
    return f"{head}-dirty" if changed else head


def cpu_model() -> str:
    """Return the processor's name as the system reports it."""
    if sys.platform.startswith("linux"):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if sys.platform == "darwin":
        return _output(["sysctl", "-n", "machdep.cpu.brand_string"]) or platform.machine()
    return platform.processor() or platform.machine()


def _output(command: list[str]) -> str:
    try:
        finished = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return finished.stdout.strip() if finished.returncode == 0 else ""
