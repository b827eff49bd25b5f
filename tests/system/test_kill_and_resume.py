"""Runs that are killed with SIGKILL and started again end as if nothing had happened, and leave nothing behind."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from benchmark.identity import file_hash
from benchmark.store import RunFolder

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc and /dev/shm")

ITERATIONS = 4
PATIENCE = 120.0


def settings(task, source, encoder, workers, **numbers):
    """A run whose iterations last long enough to be killed inside."""
    chosen = {
        "demonstrations.source": source,
        "demonstrations.episodes": 2,
        "reward": "dense",
        "rollout.slots": 2,
        "learner.iterations": ITERATIONS,
        "learner.policy_hidden": "[16]",
        "learner.value_batch_size": 16,
        "evaluation.episodes": 2,
        "evaluation.every": 1,
        "torch_threads": 1,
    } | numbers
    pairs = (part for key, value in chosen.items() for part in ("--set", f"{key}={value}"))
    return ["run", "--task", task, "--encoder", encoder, "--workers", workers, *pairs]


def members(process):
    """The living processes of a process group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:  # it ended while we looked
            continue
        if int(group) == process.pid and state != "Z":
            found.append(int(stat.parent.name))
    return found


def shared_memory():
    return {name for name in os.listdir("/dev/shm") if name.startswith("psm_")}


def rows(out):
    """The iterations that have metrics so far."""
    found = list(out.rglob("metrics.jsonl"))
    return [row["iteration"] for row in RunFolder(found[0].parent).metrics()] if found else []


def wait_for(condition, process=None):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process is None or process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)


def kill(process, whole_group):
    """Kill the run, or everything it started too; return once nothing of it is left."""
    if whole_group:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        os.kill(process.pid, signal.SIGKILL)
    assert process.wait(timeout=30) == -signal.SIGKILL
    wait_for(lambda: not members(process))


def finish(bench, options, out):
    """Start the run once more and let it end; its folder and what it said."""
    done = bench(*options, "--out", out)
    assert done.returncode == 0, done.stderr
    (manifest,) = Path(out).rglob("manifest.json")
    return RunFolder(manifest.parent), done.stderr


def assert_equal_runs(one, other):
    assert file_hash(one.path / "checkpoint.safetensors") == file_hash(other.path / "checkpoint.safetensors")
    assert one.episodes().equals(other.episodes())
    timeless = [
        [
            {key: value for key, value in row.items() if key not in ("seconds", "steps_per_second", "memory_mb")}
            for row in rows
        ]
        for rows in (one.metrics(), other.metrics())
    ]
    assert timeless[0] == timeless[1]
    assert [row["iteration"] for row in timeless[0]] == list(range(ITERATIONS + 1))
    assert one.altered() == other.altered() == []


def test_a_killed_run_ends_bit_for_bit_like_one_that_was_not(bench, start, demonstration_file, tmp_path):
    source = demonstration_file("pen")
    numbers = {"rollout.horizon": 50, "learner.trajectories_per_iteration": 16}
    options = settings("pen", source, "state", 1, **numbers)
    before = shared_memory()
    killed = tmp_path / "killed"
    for number, (reached, whole_group) in enumerate([(1, True), (3, False)]):
        process = start(*options, "--out", killed)
        wait_for(lambda reached=reached: len(rows(killed)) >= reached, process)
        time.sleep(0.1)
        kill(process, whole_group)
        done = rows(killed)
        assert done == list(range(len(done)))
        assert reached <= len(done) <= ITERATIONS, number
        assert shared_memory() == before

    finished, said = finish(bench, options, killed)
    assert "resumed after iteration" in said
    resumed = int(said.partition("resumed after iteration ")[2].split()[0])
    assert resumed >= done[-1] - 1, "at most the iteration under way is lost"
    whole, _ = finish(bench, options, tmp_path / "whole")
    assert_equal_runs(finished, whole)


@pytest.mark.slow
def test_a_run_from_pixels_survives_many_kills(bench, start, demonstration_file, tiny_encoder, tmp_path):
    """Killed in its beginning, while it encodes demonstrations, and at odd moments of every iteration."""
    source = demonstration_file("door")
    numbers = {"rollout.horizon": 20, "learner.trajectories_per_iteration": 4}
    options = settings("door", source, tiny_encoder, 2, **numbers)
    before = shared_memory()
    killed = tmp_path / "killed"
    moments = [(None, 2.0), (0, 0.2), (1, 0.0), (2, 0.4), (3, 0.1), (4, 0.7)]
    for number, (reached, delay) in enumerate(moments):
        process = start(*options, "--out", killed)
        if reached is None:
            wait_for(lambda: any(killed.rglob("identity.json")), process)
        else:
            wait_for(lambda reached=reached: len(rows(killed)) >= reached, process)
        time.sleep(delay)
        kill(process, whole_group=number % 2 == 0)
        assert shared_memory() == before
    finished, _ = finish(bench, options, killed)
    whole, _ = finish(bench, options, tmp_path / "whole")
    assert_equal_runs(finished, whole)
    assert (finished.path / "video.mp4").read_bytes() == (whole.path / "video.mp4").read_bytes()


def test_a_lost_worker_is_one_line_and_the_next_start_goes_on(bench, start, demonstration_file, tmp_path):
    source = demonstration_file("pen")
    options = settings("pen", source, "state", 2, **{"rollout.horizon": 60, "learner.trajectories_per_iteration": 20})
    out = tmp_path / "runs"
    process = start(*options, "--out", out)
    wait_for(lambda: len(rows(out)) >= 1, process)
    workers = [pid for pid in members(process) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    assert process.wait(timeout=60) == 1
    wait_for(lambda: not members(process))
    said = (tmp_path / "log-0").read_text()
    assert "Traceback" not in said
    (line,) = [line for line in said.splitlines() if line.startswith("bench: ")]
    assert "state on pen: the simulation worker of slots" in line
    assert "start the same command again to resume" in line
    _, said = finish(bench, options, out)
    assert "resumed after iteration" in said


def test_an_interrupted_run_says_so_and_ends(start, demonstration_file, tmp_path):
    """Ctrl-C reaches the run and its workers alike."""
    source = demonstration_file("pen")
    options = settings("pen", source, "state", 2, **{"rollout.horizon": 60, "learner.trajectories_per_iteration": 20})
    process = start(*options, "--out", tmp_path / "runs")
    wait_for(lambda: len(rows(tmp_path / "runs")) >= 1, process)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 130
    wait_for(lambda: not members(process))
    said = (tmp_path / "log-0").read_text()
    assert "Traceback" not in said
    assert said.splitlines()[-1] == "bench: interrupted; the same command goes on from the last iteration"
