"""What this machine can do, and the command that fixes what it cannot.

Standard library only at import, and runnable as a plain script before anything is installed::

    python3 benchmark/doctor.py      # silent and 0, or one line on stderr and 2
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

DEBIAN_PACKAGES = "libegl1 libgl1-mesa-dri"
OLDEST_PYTHON = (3, 10)
PROBE_SECONDS = 30  # a cold disk may take seconds to load a driver; a missing one answers at once

PROBE_TRIES = 3
KILLED = f"the process that tries the EGL driver was killed {PROBE_TRIES} times"

PROBE = Path(__file__).resolve().parents[1] / "tasks" / "rendering" / "egl.py"


class Row(NamedTuple):
    """A line of the report; `remedy` is empty where there is nothing to do."""

    name: str
    value: str
    ok: bool = True
    remedy: str = ""


class Graphics(NamedTuple):
    """The headless OpenGL of this machine; `problem` is empty if a context can be created."""

    vendor: str = ""
    renderer: str = ""
    version: str = ""
    device: int = 0
    problem: str = ""


def graphics() -> Graphics:
    """Create and drop a headless OpenGL context, in a process of its own.

    A driver may crash, hang, or leave threads behind; none of it reaches the caller. Outside Linux
    the platform's own OpenGL is used and nothing is checked.
    """
    if not sys.platform.startswith("linux"):
        return Graphics(vendor=f"{platform.system()}, not checked")
    command = [sys.executable, "-I", "-S", str(PROBE)]
    for _ in range(PROBE_TRIES):
        try:
            probe = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_SECONDS)
        except subprocess.TimeoutExpired:
            return Graphics(problem=f"the EGL driver did not answer within {PROBE_SECONDS} s")
        if probe.returncode == -signal.SIGKILL:  # by someone else: a driver that crashes does not do that
            continue
        try:
            return Graphics(**json.loads(probe.stdout.decode().splitlines()[-1]))
        except (ValueError, IndexError, TypeError):
            return Graphics(problem=f"the EGL driver ended its process with status {probe.returncode}")
    return Graphics(problem=KILLED)


def complaint(problem: str) -> str:
    """Return a line that says why there is no headless OpenGL and how to get it."""
    if problem == KILLED:
        return f"no headless OpenGL: {problem}; free some memory, and run it again"
    return f"no headless OpenGL: {problem}; on Debian/Ubuntu: apt-get install {DEBIAN_PACKAGES}"


def require_gl() -> Graphics:
    """Return the headless OpenGL of this machine.

    Raises:
        GraphicsError: no context can be created; the message names the Debian packages.
    """
    from .errors import GraphicsError

    found = graphics()
    if found.problem:
        raise GraphicsError(complaint(found.problem))
    return found


def report() -> list[Row]:
    """Return what `bench doctor` prints: versions, processor, device, OpenGL, environment, cache, official weights."""
    from encoders.weights.cache import cache_dir

    from . import environment
    from .store import provenance as versions

    return [
        _python_row(),
        *_package_rows(),
        Row("CPU", f"{os.cpu_count()} x {versions.cpu_model()}"),
        _torch_row(),
        _graphics_row(),
        *(Row(name, what) for name, what in environment.findings()),
        _cache_row(cache_dir()),
        *_weights_rows(),
    ]


def _python_row() -> Row:
    old = sys.version_info < OLDEST_PYTHON
    wanted = ".".join(map(str, OLDEST_PYTHON))
    return Row("Python", platform.python_version(), not old, f"Python >= {wanted}" if old else "")


def _package_rows() -> list[Row]:
    from .store import provenance as versions

    wanted = (versions.DISTRIBUTION, *versions.RECORDED_PACKAGES)
    found = versions.package_versions(wanted)
    missing = (_missing_row(name) for name in wanted if name not in found)
    return [*(Row(name, version) for name, version in found.items()), *missing]


def _missing_row(name: str) -> Row:
    if name == "openvino":  # not every system has wheels
        return Row(name, "not installed; PyTorch computes the encoders")
    return Row(name, "not installed", False, "pip install .")


def _graphics_row() -> Row:
    found = graphics()
    if found.problem:
        return Row("OpenGL", found.problem, False, f"apt-get install {DEBIAN_PACKAGES}")
    return Row("OpenGL", ", ".join(part for part in (found.renderer or found.vendor, found.version) if part))


def _weights_rows() -> list[Row]:
    from encoders import registry
    from encoders.weights.official import cached_path

    rows = []
    for name in registry.names():
        card = registry.card(name)
        if card is None or not card.sources:
            continue
        cached = min(sum(os.path.isfile(cached_path(card, source)) for source in card.sources), card.files_needed)
        remedy = "" if cached == card.files_needed else f"bench weights fetch {name}"
        rows.append(Row(f"weights {name}", f"{cached} of {card.files_needed} official files", remedy=remedy))
    return rows


def _torch_row() -> Row:
    try:
        import torch
    except ImportError as error:
        return Row("device", f"torch cannot be imported: {error}", False, "pip install torch")
    if torch.cuda.is_available():
        names = (torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        return Row("device", f"cuda: {', '.join(names)}")
    if torch.backends.mps.is_available():
        return Row("device", "mps")
    return Row("device", f"cpu, {torch.get_num_threads()} threads")


def _cache_row(folder: Path) -> Row:
    from encoders.weights.cache import CACHE_VARIABLE, NO_CACHE

    set_it = f"set {CACHE_VARIABLE} to a folder that can be written"
    if folder == NO_CACHE:
        return Row("cache", "none, this user has no home folder: nothing is kept for the next time", remedy=set_it)
    there = next(parent for parent in (folder, *folder.absolute().parents) if os.path.lexists(parent))
    writable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    size = f"{folder} ({_megabytes(folder):.0f} MB)"
    return Row("cache", size) if writable else Row("cache", f"{size}, cannot be written", remedy=set_it)


def _megabytes(folder: Path) -> float:
    total = 0
    for where, _, names in os.walk(folder):  # passes over folders that cannot be read
        for name in names:
            with contextlib.suppress(OSError):
                total += os.stat(os.path.join(where, name)).st_size
    return total / 1e6


def main() -> int:
    """Run the script: print nothing and return 0, or print one line to stderr and return 2."""
    if sys.version_info < OLDEST_PYTHON:
        problem = f"Python {platform.python_version()} is too old; 3.10 or newer is needed"
    else:
        found = graphics()
        problem = complaint(found.problem) if found.problem else ""
    if problem:
        sys.stderr.write(f"bench: {problem}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
