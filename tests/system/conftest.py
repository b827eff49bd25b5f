"""The command line as a user runs it: in a process, a folder and a cache of its own."""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import benchmark

HOME = Path(benchmark.__file__).resolve().parents[1]
BENCH = [sys.executable, "-c", "from benchmark.cli.app import main; main()"]


@pytest.fixture(scope="session")
def synthetic():
    """The module that writes synthetic run folders."""
    path = Path(__file__).resolve().parents[1] / "unit" / "reports" / "synthetic_suite.py"
    spec = importlib.util.spec_from_file_location("hindex_bench_synthetic_suite_cli", path)
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def environment(tmp_path):
    """What the processes of a test see: the packages under test, and a cache that is empty at first."""
    own = {"PYTHONPATH": str(HOME), "HINDEX_BENCH_CACHE": str(tmp_path / "cache"), "COLUMNS": "110"}
    return os.environ | own


@pytest.fixture
def bench(tmp_path, environment):
    """Run ``bench ARGUMENTS`` to its end in the test's own folder."""

    def call(*arguments, **variables):
        return subprocess.run(
            [*BENCH, *map(str, arguments)],
            cwd=tmp_path,
            env=environment | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return call


@pytest.fixture
def start(tmp_path, environment):
    """Start ``bench ARGUMENTS`` in a process group of its own, and end whatever of it is left after the test."""
    started = []

    def begin(*arguments):
        log = (tmp_path / f"log-{len(started)}").open("w")
        process = subprocess.Popen(
            [*BENCH, *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            # A shell's background jobs ignore Ctrl-C, and so would what they start.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        log.close()
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, 9)
            process.wait()
