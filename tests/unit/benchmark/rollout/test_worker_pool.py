"""Worker processes: started from any script, given up when they do not answer, and gone when their parent is."""

import contextlib
import errno
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmark.errors import ConfigError, OutputError, SimulationError
from benchmark.pretrain.workers import ImageSettings, ImageWorkers
from benchmark.rollout import worker_pool as module
from benchmark.rollout.simulators import Simulators
from benchmark.rollout.slots import SceneSettings
from benchmark.rollout.worker_pool import PATIENCE_VARIABLE, Worker, close, patience
from reports.page import writer

ROOT = Path(__file__).resolve().parents[4]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
BARE = SceneSettings("pen", slots=2, group=1, images=False)
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")

NO_GUARD = """
from benchmark.rollout.simulators import Simulators
from benchmark.rollout.slots import SceneSettings
with Simulators(SceneSettings("pen", slots=1, images=False), workers=1) as simulators:
    print(len(simulators.begin([0], [7]).reading.observation))
"""

FROM_A_CHILD = """
import multiprocessing
from benchmark.errors import BenchError
from benchmark.rollout.simulators import Simulators
from benchmark.rollout.slots import SceneSettings

def start():
    try:
        Simulators(SceneSettings("pen", slots=1, images=False), workers=1)
    except BenchError as error:
        print(type(error).__name__, error)

if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=start, daemon=True)
    child.start()
    child.join()
"""


ANSWERING = """
import time

def answer(pipe, delay, content):
    while True:
        pipe.recv()
        time.sleep(delay)
        pipe.send(content)
"""


@pytest.fixture
def answering(tmp_path, monkeypatch):
    """A function for workers: answer every message with some content, after some seconds."""
    (tmp_path / "answering.py").write_text(ANSWERING)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("answering").answer
    del sys.modules["answering"]


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setenv(PATIENCE_VARIABLE, "2")


def stop_youngest():
    victim = max(multiprocessing.active_children(), key=lambda process: process.pid)
    os.kill(victim.pid, signal.SIGSTOP)
    return victim


@pytest.mark.parametrize("how", ["a script", "standard input"])
def test_workers_start_from_a_script_without_a_main_guard(how, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(NO_GUARD)
    with script.open() as file:
        arguments, stdin = ([str(script)], None) if how == "a script" else (["-"], file)
        done = subprocess.run(
            [sys.executable, *arguments], stdin=stdin, env=ENVIRONMENT, capture_output=True, text=True, timeout=100
        )
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_a_process_that_cannot_have_children_is_told_what_to_do(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(FROM_A_CHILD)
    done = subprocess.run([sys.executable, str(script)], env=ENVIRONMENT, capture_output=True, text=True, timeout=100)
    assert done.stdout.startswith("ConfigError worker processes cannot be started from"), done.stderr
    assert 'if __name__ == "__main__":' in done.stdout
    assert "workers=0" in done.stdout
    assert "Traceback" not in done.stderr


def test_the_callers_script_is_there_again_after_a_start_that_failed():
    script = sys.modules["__main__"]
    with pytest.raises(ConfigError, match=r"cannot be started \(no memory\); use fewer"), module.starting_workers():
        raise OSError(errno.ENOMEM, "no memory" if sys.modules["__main__"] is not script else "script is there")
    assert sys.modules["__main__"] is script


def test_a_simulation_worker_that_stops_answering_ends_the_run_in_one_line():
    with Simulators(BARE, workers=2) as simulators:
        simulators.begin([0, 1], [0, 1])
        for worker in simulators._workers:
            worker.wait_at_most(2)
        victim = stop_youngest()
        began = time.monotonic()
        with pytest.raises(SimulationError) as failure:
            simulators.step([0, 1], np.zeros((2, 24)), [])
        assert 1.5 < time.monotonic() - began < 20
    assert str(failure.value) == (
        f"the simulation worker of slots 1 to 1 (process {victim.pid}) did not answer for 2 s while taking a step, and "
        "was ended; start the same command again to resume, with HINDEX_BENCH_WORKER_SECONDS set to more seconds if "
        "the machine is only slow"
    )
    assert not multiprocessing.active_children()
    assert not Path(f"/proc/{victim.pid}").exists(), "a zombie is left"


def test_an_image_worker_that_stops_answering_is_given_up():
    with ImageWorkers(ImageSettings(32, held_out=0), 2) as workers:
        workers.tolerant = True
        for worker in workers._workers:
            worker.wait_at_most(2)
        stop_youngest()
        deadline = time.monotonic() + 60
        while not workers.lost and time.monotonic() < deadline:
            block = workers.poll(0.5)
            if block is not None:
                workers.give_back(block)
        assert "did not answer for 2 s while drawing images" in workers.lost[0]
    assert not multiprocessing.active_children()


def test_a_slow_answer_is_waited_for_and_a_large_message_comes_whole(answering):
    worker = Worker("the test's worker", "start again", answering, (1.5, b"1" * 5_000_000))
    try:
        worker.send(b"2" * 5_000_000, "answering")
        assert worker.receive() == b"1" * 5_000_000
    finally:
        close([worker])


def test_a_worker_that_does_not_take_a_large_message_is_given_up(answering):
    worker = Worker("the test's worker", "start again", answering, (0, b""))
    try:
        worker.send(b"", "answering")
        worker.receive()
        worker.wait_at_most(2)
        os.kill(worker.process.pid, signal.SIGSTOP)
        with pytest.raises(SimulationError, match="did not answer for 2 s while answering"):
            worker.send(b"2" * 5_000_000, "answering")
    finally:
        close([worker])
    assert not multiprocessing.active_children()


@linux
@pytest.mark.parametrize("delay", [0, 1000], ids=["waiting", "at work"])
def test_workers_of_a_killed_process_end_by_themselves(delay, answering, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import time\n"
        "from answering import answer\n"
        "from benchmark.rollout.worker_pool import Worker\n"
        f"worker = Worker('a worker', 'start again', answer, ({delay}, b''))\n"
        "worker.send(b'', 'answering')\n"
        "print(worker.process.pid, flush=True)\n"
        "time.sleep(1000)\n"
    )
    parent = subprocess.Popen([sys.executable, str(script)], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    time.sleep(3)  # until it has started
    assert Path(f"/proc/{worker}").exists()
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    with contextlib.suppress(OSError):
        os.kill(worker, signal.SIGKILL)
        pytest.fail("the worker outlived its parent")


@pytest.mark.parametrize("text", ["0", "-1", "soon", "inf", "nan", "1e300"])
def test_a_deadline_that_is_no_number_of_seconds_is_refused(text, monkeypatch):
    monkeypatch.setenv(PATIENCE_VARIABLE, text)
    with pytest.raises(ConfigError, match=f"{PATIENCE_VARIABLE}={text}: expected seconds, such as 300"):
        patience()


def test_a_report_does_not_wait_without_end_for_a_process_that_draws(monkeypatch, impatient):
    monkeypatch.setattr(writer, "write_figure", time.sleep)
    with pytest.raises(OutputError, match="figures are not drawn after 2 s"), writer.drawing_processes(2) as pool:
        writer._write_with(pool, [1000])
    assert not multiprocessing.active_children()


def test_a_process_that_draws_and_dies_is_one_line(monkeypatch):
    monkeypatch.setattr(writer, "write_figure", os._exit)
    with (
        pytest.raises(OutputError, match="a process that drew figures was killed"),
        writer.drawing_processes(2) as pool,
    ):
        writer._write_with(pool, [1])
