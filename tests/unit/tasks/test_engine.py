"""MuJoCo is imported whatever another project left in the environment."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = ("tasks", "benchmark", "encoders", "reports")

SCRIPT = """
import os
before = dict(os.environ)
from tasks.engine import mujoco
assert dict(os.environ) == before or os.environ.get("MUJOCO_GL") == "egl", dict(os.environ)
mujoco.MjModel.from_xml_string("<mujoco/>")
print("simulates")
"""


def python(script, **environment):
    return subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.mark.parametrize(
    "environment",
    [
        {"MUJOCO_GL": "osmesa"},
        {"MUJOCO_GL": "no such word"},
        {"MUJOCO_GL": "wgl", "PYOPENGL_PLATFORM": "osmesa"},
        {"MUJOCO_GL": "egl", "PYOPENGL_PLATFORM": "osmesa"},
        {"MUJOCO_GL": "egl", "MUJOCO_EGL_DEVICE_ID": "none"},
        {"MUJOCO_GL": "", "PYGLFW_LIBRARY": "/no/such/library", "DISPLAY": ":77"},
    ],
    ids=lambda environment: " ".join(f"{name}={value}" for name, value in environment.items()),
)
def test_mujoco_is_imported_and_the_environment_left_as_it_was(environment):
    done = python(SCRIPT, **environment)
    assert (done.returncode, done.stdout) == (0, "simulates\n"), done.stderr


def test_a_binding_that_works_is_kept_for_whoever_draws_with_mujoco_itself():
    done = python("from tasks.engine import mujoco; print(hasattr(mujoco, 'GLContext'))", MUJOCO_GL="glfw")
    assert done.stdout == "True\n", done.stderr


def test_osmesa_is_never_loaded_beside_egl():
    """MuJoCo loads PyOpenGL for it, even where the library itself is missing."""
    script = "import sys; from tasks.engine import mujoco; print('OpenGL' in sys.modules, hasattr(mujoco, 'GLContext'))"
    done = python(script, MUJOCO_GL=" OSMesa ")
    assert done.stdout == "False False\n", done.stderr


def test_frames_are_drawn_whatever_binding_is_named(tmp_path):
    script = "import tasks; from tasks.rendering.render import open_context; print(open_context()[1].name)"
    plain, odd = python(script), python(script, MUJOCO_GL="osmesa", PYOPENGL_PLATFORM="osmesa", DISPLAY="nowhere")
    assert (odd.returncode, odd.stdout) == (plain.returncode, plain.stdout), odd.stderr


def test_nothing_imports_mujoco_around_the_engine():
    around = re.compile(r"^(import mujoco|from mujoco)\b", re.MULTILINE)
    files = (file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
    found = [file.relative_to(ROOT).as_posix() for file in files if around.search(file.read_text(encoding="utf-8"))]
    assert found == ["tasks/engine.py"]
