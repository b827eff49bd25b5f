"""What this machine can do, and the command that mends what it cannot.

Standard library only at import, and runnable as a plain script before anything is installed::

    python3 benchmark/doctor.py      # silent and 0, or one line on stderr and 2
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

DEBIAN_PACKAGES = "libegl1 libgl1-mesa-dri"
OLDEST_PYTHON = (3, 10)
PROBE_SECONDS = 30  # a cold disk may take seconds to load a driver; a missing one answers at once

PACKAGES = (
    "hindex-bench",
    "torch",
    "torchvision",
    "mujoco",
    "gymnasium",
    "gymnasium-robotics",
    "numpy",
    "scipy",
    "pandas",
    "pyarrow",
    "safetensors",
)

# EGL and GL constants, named as in the Khronos headers.
EGL_PLATFORM_DEVICE_EXT = 0x313F
EGL_OPENGL_API = 0x30A2
EGL_NONE = 0x3038
EGL_SURFACE_TYPE, EGL_PBUFFER_BIT = 0x3033, 0x0001
EGL_RENDERABLE_TYPE, EGL_OPENGL_BIT = 0x3040, 0x0008
EGL_DEPTH_SIZE = 0x3025
GL_VENDOR, GL_RENDERER, GL_VERSION = 0x1F00, 0x1F01, 0x1F02


class Row(NamedTuple):
    """A line of the report; `remedy` is empty where nothing is wrong."""

    name: str
    value: str
    ok: bool = True
    remedy: str = ""


class Graphics(NamedTuple):
    """The headless OpenGL of this machine; `problem` is empty where a context can be had."""

    vendor: str = ""
    renderer: str = ""
    version: str = ""
    problem: str = ""


def graphics() -> Graphics:
    """Create and drop a headless OpenGL context, in a process of its own.

    A driver may crash, hang, or leave threads behind; none of it reaches the caller. Outside Linux
    the platform's own OpenGL is used and nothing is checked.
    """
    if not sys.platform.startswith("linux"):
        return Graphics(vendor=f"{platform.system()}, not checked")
    command = [sys.executable, "-I", "-S", str(Path(__file__).resolve()), "--probe"]
    try:
        probe = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        return Graphics(problem=f"the EGL driver did not answer within {PROBE_SECONDS} s")
    try:
        return Graphics(**json.loads(probe.stdout.decode().splitlines()[-1]))
    except (ValueError, IndexError, TypeError):
        return Graphics(problem=f"the EGL driver ended its process with status {probe.returncode}")


def complaint(problem: str) -> str:
    """The one line that says why there is no headless OpenGL and how to get it."""
    return f"no headless OpenGL: {problem}; on Debian/Ubuntu: apt-get install {DEBIAN_PACKAGES}"


def require_gl() -> Graphics:
    """The headless OpenGL of this machine.

    Raises:
        GraphicsError: no context can be had; the message names the Debian packages.
    """
    from .errors import GraphicsError

    found = graphics()
    if found.problem:
        raise GraphicsError(complaint(found.problem))
    return found


def report() -> list[Row]:
    """Everything `bench doctor` prints: versions, processor, device, OpenGL, cache, official weights."""
    from encoders.weights import cache_dir

    from . import versions

    cache = cache_dir()
    return [
        _python_row(),
        *_package_rows(),
        Row("CPU", f"{os.cpu_count()} x {versions.cpu_model()}"),
        _torch_row(),
        _graphics_row(),
        Row("cache", f"{cache} ({_megabytes(cache):.0f} MB)"),
        *_weights_rows(),
    ]


def _python_row() -> Row:
    old = sys.version_info < OLDEST_PYTHON
    wanted = ".".join(map(str, OLDEST_PYTHON))
    return Row("Python", platform.python_version(), not old, f"Python >= {wanted}" if old else "")


def _package_rows() -> list[Row]:
    from . import versions

    found = versions.package_versions(PACKAGES)
    missing = (Row(name, "not installed", False, "pip install .") for name in PACKAGES if name not in found)
    return [*(Row(name, version) for name, version in found.items()), *missing]


def _graphics_row() -> Row:
    found = graphics()
    if found.problem:
        return Row("OpenGL", found.problem, False, f"apt-get install {DEBIAN_PACKAGES}")
    return Row("OpenGL", ", ".join(part for part in (found.renderer or found.vendor, found.version) if part))


def _weights_rows() -> list[Row]:
    from encoders import registry
    from encoders.weights import cached_path

    rows = []
    for name in registry.names():
        card = registry.card(name)
        if card is None or not card.sources:
            continue
        cached = sum(cached_path(card, source).is_file() for source in card.sources)
        remedy = "" if cached == len(card.sources) else f"bench weights fetch {name}"
        rows.append(Row(f"weights {name}", f"{cached} of {len(card.sources)} official files", not remedy, remedy))
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


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def _probe() -> Graphics:
    """Create an OpenGL context on the first EGL device that gives one, as MuJoCo does."""
    try:
        egl = ctypes.CDLL("libEGL.so.1")
    except OSError:
        return Graphics(problem="libEGL.so.1 cannot be loaded")
    function = _egl_functions(egl)
    query_devices, platform_display = function("eglQueryDevicesEXT"), function("eglGetPlatformDisplayEXT")
    if query_devices is None or platform_display is None:
        return Graphics(problem="libEGL.so.1 cannot list devices")
    devices, count = (ctypes.c_void_p * 32)(), ctypes.c_int(0)
    query_devices(ctypes.c_int(32), devices, ctypes.byref(count))
    for device in devices[: count.value]:
        display = platform_display(ctypes.c_uint(EGL_PLATFORM_DEVICE_EXT), ctypes.c_void_p(device), None)
        if display and egl.eglInitialize(ctypes.c_void_p(display), None, None):
            found = _context_strings(egl, function, ctypes.c_void_p(display))
            if found is not None:
                return found
    return Graphics(problem="no EGL driver gives a context")


def _egl_functions(egl: ctypes.CDLL) -> Any:
    """Look EGL and GL entry points up by name; each returns a pointer, None where it is unknown."""
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    egl.eglGetProcAddress.argtypes = [ctypes.c_char_p]
    egl.eglCreateContext.restype = ctypes.c_void_p
    pointer_function = ctypes.CFUNCTYPE(ctypes.c_void_p)

    def function(name: str) -> Any:
        address = egl.eglGetProcAddress(name.encode())
        return pointer_function(address) if address else None

    return function


def _context_strings(egl: ctypes.CDLL, function: Any, display: ctypes.c_void_p) -> Graphics | None:
    wanted = (
        *(EGL_SURFACE_TYPE, EGL_PBUFFER_BIT, EGL_RENDERABLE_TYPE, EGL_OPENGL_BIT),
        *(EGL_DEPTH_SIZE, 24, EGL_NONE),
    )
    config, count = ctypes.c_void_p(), ctypes.c_int(0)
    attributes = (ctypes.c_int * len(wanted))(*wanted)
    egl.eglChooseConfig(display, attributes, ctypes.byref(config), 1, ctypes.byref(count))
    if count.value < 1 or not egl.eglBindAPI(ctypes.c_uint(EGL_OPENGL_API)):
        return None
    context = egl.eglCreateContext(display, config, None, None)
    if not context or not egl.eglMakeCurrent(display, None, None, ctypes.c_void_p(context)):
        return None
    get_string = function("glGetString")

    def text(name: int) -> str:
        value = ctypes.cast(get_string(ctypes.c_uint(name)), ctypes.c_char_p).value
        return (value or b"").decode(errors="replace")

    return Graphics(text(GL_VENDOR), text(GL_RENDERER), text(GL_VERSION))


def main(arguments: list[str]) -> int:
    """The script: 0 and silence, or one line on stderr and 2."""
    if arguments == ["--probe"]:
        sys.stdout.write(json.dumps(_probe()._asdict()) + "\n")
        return 0
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
    sys.exit(main(sys.argv[1:]))
