"""What another project left in the environment: shown by the doctor, and harmless."""

import io
import os
import subprocess
import sys

import pytest

from benchmark import doctor, environment

SETTINGS = {
    "MUJOCO_GL": "osmesa",
    "PYOPENGL_PLATFORM": "osmesa",
    "MUJOCO_EGL_DEVICE_ID": "zero",
    "DISPLAY": ":77",
    "MPLBACKEND": "no such backend",
    "CUDA_VISIBLE_DEVICES": "-1",
    "OMP_NUM_THREADS": "many",
    "TMPDIR": "/no/such/folder",
}


@pytest.fixture
def left_behind(monkeypatch):
    for name in environment.MEANINGS:
        monkeypatch.delenv(name, raising=False)
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("left_behind")
def test_doctor_says_what_it_found_and_what_comes_of_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HINDEX_BENCH_CACHE", str(tmp_path))
    rows = {row.name: row for row in doctor.report()}
    assert all(rows[name].ok and repr(value) in rows[name].value for name, value in SETTINGS.items())
    assert "ignored" in rows["MUJOCO_GL"].value
    assert "no number" in rows["OMP_NUM_THREADS"].value
    assert "no folder" in rows["TMPDIR"].value


def test_a_list_of_thread_counts_is_a_number(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")
    assert "no number" not in dict(environment.findings())["OMP_NUM_THREADS"]


def test_characters_that_the_terminal_lacks_are_printed_as_question_marks(monkeypatch):
    written = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", written)
    environment.print_what_fits()
    sys.stdout.write("R² · door\n")
    written.flush()
    assert written.buffer.getvalue() == b"R? ? door\n"
    assert dict(environment.findings())["encoding"].startswith("ascii")


@pytest.mark.parametrize("backend", ["no such backend", "agg"])
def test_reports_are_imported_with_any_matplotlib_backend(backend):
    script = "import reports.build, os, matplotlib; print(os.environ['MPLBACKEND'], matplotlib.rcParams['backend'])"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "MPLBACKEND": backend, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.stdout == f"{backend} agg\n", done.stderr
