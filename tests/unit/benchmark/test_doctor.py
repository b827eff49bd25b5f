"""The doctor as a plain script, and as the runner and `bench doctor` use it."""

import os
import subprocess
import sys
import time

import pytest

from benchmark import doctor
from benchmark.errors import GraphicsError

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="EGL is Linux's way")


def script(**environment):
    command = [sys.executable, "-I", "-S", doctor.__file__]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=60)


@pytest.fixture
def unloadable(tmp_path):
    """A library path whose libEGL.so.1 is no library."""
    (tmp_path / "libEGL.so.1").write_bytes(b"")
    return {"LD_LIBRARY_PATH": str(tmp_path)}


def test_script_is_silent_where_opengl_can_be_had():
    done = script()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@linux
def test_script_names_the_packages_when_the_library_is_missing(unloadable):
    start = time.monotonic()
    done = script(**unloadable)
    assert time.monotonic() - start < 5
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "bench: no headless OpenGL: libEGL.so.1 cannot be loaded; "
        "on Debian/Ubuntu: apt-get install libegl1 libgl1-mesa-dri\n"
    )


@linux
def test_script_names_the_packages_when_no_driver_is_installed(tmp_path):
    start = time.monotonic()
    done = script(__EGL_VENDOR_LIBRARY_DIRS=str(tmp_path))
    assert time.monotonic() - start < 5
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "no EGL driver gives a context" in done.stderr
    assert "apt-get install libegl1 libgl1-mesa-dri" in done.stderr


def test_require_gl_returns_the_driver():
    assert doctor.require_gl().problem == ""


@linux
def test_require_gl_raises_one_line(monkeypatch, unloadable):
    monkeypatch.setenv("LD_LIBRARY_PATH", unloadable["LD_LIBRARY_PATH"])
    with pytest.raises(GraphicsError, match=r"^no headless OpenGL: .*libegl1 libgl1-mesa-dri$"):
        doctor.require_gl()


@linux
@pytest.mark.parametrize("kills", [1, 3])
def test_a_probe_that_somebody_kills_is_begun_again(kills, monkeypatch):
    run, killed = subprocess.run, []

    def killing(command, **options):
        if len(killed) == kills:
            return run(command, **options)
        killed.append(command)
        return run(["sh", "-c", "kill -9 $$"], **options)

    monkeypatch.setattr(subprocess, "run", killing)
    if kills < doctor.PROBE_TRIES:
        assert doctor.require_gl().problem == ""
    else:
        with pytest.raises(GraphicsError, match=r"was killed 3 times; free some memory, and run it again$"):
            doctor.require_gl()
    assert len(killed) == kills


def test_report_has_versions_machine_cache_and_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("HINDEX_BENCH_CACHE", str(tmp_path))
    (tmp_path / "features.npz").write_bytes(b"0" * 2_000_000)
    rows = doctor.report()
    by_name = {row.name: row for row in rows}
    assert len(by_name) == len(rows)
    assert by_name["Python"].ok
    assert by_name["numpy"].value.count(".") == 2
    assert by_name["cache"].value == f"{tmp_path} (2 MB)"
    assert by_name["weights rrl"] == doctor.Row("weights rrl", "0 of 1 official files", True, "bench weights fetch rrl")
    assert {"CPU", "device", "OpenGL"} <= by_name.keys()


def test_report_survives_a_cache_that_does_not_exist(tmp_path, monkeypatch):
    monkeypatch.setenv("HINDEX_BENCH_CACHE", str(tmp_path / "none"))
    assert {row.name: row for row in doctor.report()}["cache"].value.endswith("(0 MB)")
