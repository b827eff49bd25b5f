"""MuJoCo, whatever the environment says about its windows: every module of ours takes ``mujoco`` from here.

MuJoCo chooses an OpenGL binding while it is imported, and fails there if ``MUJOCO_GL`` names a library that is not
installed or a word it does not know. Nothing here draws through that binding (see `rendering.egl`), so MuJoCo is then
imported without one. The same holds for ``MUJOCO_GL=osmesa``, installed or not: a process that loads both OSMesa and
EGL crashes when it draws. The variables are as before afterwards.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

__all__ = ["BINDING_VARIABLES", "Batch", "mujoco"]

BINDING_VARIABLES = ("MUJOCO_GL", "PYOPENGL_PLATFORM")
"""What chooses MuJoCo's own OpenGL binding; MuJoCo sets the second one from the first."""


@contextmanager
def _without_binding() -> Iterator[None]:
    """Tell MuJoCo to import no OpenGL binding on Linux; elsewhere, the one of the platform, which draws our frames."""
    before = {name: os.environ.pop(name, None) for name in BINDING_VARIABLES}
    if sys.platform == "linux":
        os.environ["MUJOCO_GL"] = "off"
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


_platform = os.environ.get("PYOPENGL_PLATFORM")
try:
    with _without_binding() if os.environ.get("MUJOCO_GL", "").strip().lower() == "osmesa" else nullcontext():
        import mujoco
except (AttributeError, ImportError, OSError, RuntimeError, TypeError):  # each is raised by one binding or another
    if _platform is None:
        os.environ.pop("PYOPENGL_PLATFORM", None)
    with _without_binding():
        import mujoco

from mujoco.batch import Batch  # noqa: E402 - only now can MuJoCo be imported
