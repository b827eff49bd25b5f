"""Environment variables that other projects leave in a shell profile, and their effect here."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

DRAWN_WITHOUT = "ignored: frames are drawn through EGL, without MuJoCo's own binding"
FIXED_THREADS = "ignored by runs, whose torch threads are `--set torch_threads=N`"

MEANINGS = {
    "MUJOCO_GL": DRAWN_WITHOUT,
    "PYOPENGL_PLATFORM": DRAWN_WITHOUT,
    "MUJOCO_EGL_DEVICE_ID": "ignored: choose the device that draws with `--set egl_device=N`",
    "DISPLAY": "used by `bench tasks show --interactive` alone",
    "MPLBACKEND": "ignored: figures are drawn into files",
    "CUDA_VISIBLE_DEVICES": "decides which GPUs torch sees",
    "OMP_NUM_THREADS": FIXED_THREADS,
    "MKL_NUM_THREADS": FIXED_THREADS,
    "OPENBLAS_NUM_THREADS": "decides numpy's threads",
    "TMPDIR": "for temporary files",
}
THREAD_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def findings() -> Iterator[tuple[str, str]]:
    """Yield the name of each known variable that is set, and its value with its effect."""
    for name, meaning in MEANINGS.items():
        value = os.environ.get(name)
        if value is not None:
            yield name, f"'{value}': {_problem(name, value) or meaning}"
    encoding = getattr(sys.stdout, "encoding", None) or "none"
    if encoding.lower().replace("-", "") != "utf8":
        yield "encoding", f"{encoding}: what it lacks is printed as ?; set LC_ALL=C.UTF-8"


def _problem(name: str, value: str) -> str:
    if name in THREAD_COUNTS and not all(part.strip().isdecimal() for part in value.split(",")):
        return "no number, so it is ignored"
    if name == "TMPDIR" and not Path(value).is_dir():
        return f"no folder; temporary files lie in {tempfile.gettempdir()}"
    return ""


def print_what_fits() -> None:
    """Print a ``?`` for characters that the output's encoding lacks; discard output if it is closed."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  open until the process ends
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None and stream.errors == "strict":
            reconfigure(errors="replace")
