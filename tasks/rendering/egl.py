"""Headless OpenGL contexts through EGL, by ctypes alone.

MuJoCo's own EGL module goes through PyOpenGL, which wants libOpenGL or libGL beside the driver; MuJoCo's renderer needs
neither. Standard library only, and runnable as a script: it prints one JSON object that says what a context would be.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

LIBRARY = "libEGL.so.1"
MAX_DEVICES = 32

# EGL and GL constants, named as in the Khronos headers.
EGL_PLATFORM_DEVICE_EXT = 0x313F
EGL_OPENGL_API = 0x30A2
EGL_NONE = 0x3038
EGL_SURFACE_TYPE, EGL_PBUFFER_BIT = 0x3033, 0x0001
EGL_RENDERABLE_TYPE, EGL_OPENGL_BIT = 0x3040, 0x0008
EGL_RED_SIZE, EGL_GREEN_SIZE, EGL_BLUE_SIZE, EGL_ALPHA_SIZE = 0x3024, 0x3023, 0x3022, 0x3021
EGL_DEPTH_SIZE, EGL_STENCIL_SIZE = 0x3025, 0x3026
GL_VENDOR, GL_RENDERER, GL_VERSION = 0x1F00, 0x1F01, 0x1F02

ATTRIBUTES = (
    *(EGL_SURFACE_TYPE, EGL_PBUFFER_BIT, EGL_RENDERABLE_TYPE, EGL_OPENGL_BIT),
    *(EGL_RED_SIZE, 8, EGL_GREEN_SIZE, 8, EGL_BLUE_SIZE, 8, EGL_ALPHA_SIZE, 8),
    *(EGL_DEPTH_SIZE, 24, EGL_STENCIL_SIZE, 8, EGL_NONE),
)


class EGLError(RuntimeError):
    """No headless OpenGL context can be had."""


class Driver(NamedTuple):
    """What a context is drawn by, in the driver's own words, and the EGL device it is on."""

    vendor: str
    renderer: str
    version: str
    device: int


class EGLContext:
    """An OpenGL context without a window, current in the thread that made it.

    Args:
        device: the EGL device to try first; the others follow in their order.

    Attributes:
        driver: what draws.

    Raises:
        EGLError: the library is missing, or no device gives a context.
    """

    def __init__(self, device: int | None = None) -> None:
        _load_triton_first()
        try:
            self._egl = ctypes.CDLL(LIBRARY)
        except OSError:
            raise EGLError(f"{LIBRARY} cannot be loaded") from None
        self._egl.eglGetProcAddress.restype = ctypes.c_void_p
        self._egl.eglGetProcAddress.argtypes = [ctypes.c_char_p]
        self._egl.eglCreateContext.restype = ctypes.c_void_p
        self._display = ctypes.c_void_p()
        self._context: ctypes.c_void_p | None = None
        handles = self._devices()
        order = sorted(range(len(handles)), key=lambda index: (index != device, index))
        for index in order:
            if self._open(handles[index]):
                self.driver = Driver(self._text(GL_VENDOR), self._text(GL_RENDERER), self._text(GL_VERSION), index)
                return
        raise EGLError("no EGL driver gives a context")

    def make_current(self) -> None:
        """Bind the context to the calling thread.

        Raises:
            EGLError: the driver refuses.
        """
        if not self._egl.eglMakeCurrent(self._display, None, None, self._context):
            raise EGLError("the EGL driver refuses to make its context current")

    def free(self) -> None:
        """Destroy the context."""
        if self._context is not None:
            self._egl.eglMakeCurrent(self._display, None, None, None)
            self._egl.eglDestroyContext(self._display, self._context)
            self._context = None

    def _devices(self) -> list[int | None]:
        query = self._function("eglQueryDevicesEXT")
        if query is None or self._function("eglGetPlatformDisplayEXT") is None:
            raise EGLError(f"{LIBRARY} cannot list devices")
        handles, count = (ctypes.c_void_p * MAX_DEVICES)(), ctypes.c_int(0)
        query(ctypes.c_int(MAX_DEVICES), handles, ctypes.byref(count))
        return list(handles[: count.value])

    def _open(self, handle: int | None) -> bool:
        """Try one device; True leaves its context current."""
        get_display = self._function("eglGetPlatformDisplayEXT")
        address = get_display(ctypes.c_uint(EGL_PLATFORM_DEVICE_EXT), ctypes.c_void_p(handle), None)
        self._display = ctypes.c_void_p(address)
        if not address or not self._egl.eglInitialize(self._display, None, None):
            return False
        config, count = ctypes.c_void_p(), ctypes.c_int(0)
        attributes = (ctypes.c_int * len(ATTRIBUTES))(*ATTRIBUTES)
        self._egl.eglChooseConfig(self._display, attributes, ctypes.byref(config), 1, ctypes.byref(count))
        if count.value < 1 or not self._egl.eglBindAPI(ctypes.c_uint(EGL_OPENGL_API)):
            return False
        context = self._egl.eglCreateContext(self._display, config, None, None)
        if not context:
            return False
        self._context = ctypes.c_void_p(context)
        return bool(self._egl.eglMakeCurrent(self._display, None, None, self._context))

    def _function(self, name: str) -> Any:
        """An EGL or GL entry point that returns a pointer, or None where the library has none of that name."""
        address = self._egl.eglGetProcAddress(name.encode())
        return ctypes.CFUNCTYPE(ctypes.c_void_p)(address) if address else None

    def _text(self, name: int) -> str:
        value = ctypes.cast(self._function("glGetString")(ctypes.c_uint(name)), ctypes.c_char_p).value
        return (value or b"").decode(errors="replace")


def _load_triton_first() -> None:
    """Bind the LLVM inside torch's compiler before Mesa's software driver makes the symbols of its own LLVM global.

    Without it the process would crash when the compiler is imported later, as making a torch optimiser does.
    """
    found = importlib.util.find_spec("triton")
    for folder in (found and found.submodule_search_locations) or []:
        for library in Path(folder).glob("_C/libtriton*.so"):
            with contextlib.suppress(OSError):
                ctypes.CDLL(str(library))


def main() -> None:
    """Print the driver of a context, or the problem, as JSON."""
    try:
        answer = EGLContext().driver._asdict()
    except EGLError as error:
        answer = {"problem": str(error)}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
