"""Runs that are killed with SIGKILL and started again end as if nothing had happened, and leave nothing behind."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from benchmark.store.identity import file_hash
from benchmark.store.run_folder import RunFolder

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


def end(process, accident):
    """Let an accident befall a run, wait until nothing of it is left, and return its exit code."""
    if accident == "run killed":
        os.kill(process.pid, signal.SIGKILL)
    elif accident == "all killed":
        os.killpg(process.pid, signal.SIGKILL)
    elif accident == "ctrl-c":  # reaches the run and its workers alike
        os.killpg(process.pid, signal.SIGINT)
    elif accident == "terminated":  # likewise
        os.killpg(process.pid, signal.SIGTERM)
    code = process.wait(timeout=60)
    wait_for(lambda: not members(process))
    assert not [name for name in os.listdir("/dev/shm") if f"-{process.pid}-" in name]
    return code


def kill_a_worker(process):
    workers = [pid for pid in members(process) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(workers[0], signal.SIGKILL)


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


def test_a_run_survives_every_accident_bit_for_bit(bench, start, demonstration_file, tmp_path):
    numbers = {"rollout.horizon": 50, "learner.trajectories_per_iteration": 40}
    options = settings("pen", demonstration_file("pen"), "state", 2, **numbers)
    out = tmp_path / "unlucky"
    done, said = [], []
    accidents = [(1, "run killed", -9), (3, "ctrl-c", 130), (4, "terminated", 143)]
    for reached, accident, code in accidents:
        process = start(*options, "--out", out)
        if accident == "ctrl-c":
            wait_for(lambda: len(rows(out)) >= 2, process)
            kill_a_worker(process)
        wait_for(lambda reached=reached: len(rows(out)) >= reached, process)
        time.sleep(0.05)
        assert end(process, accident) == code, accident
        assert done[: len(rows(out))] == rows(out)[: len(done)]
        assert len(rows(out)) <= ITERATIONS, "the accident came too late to matter"
        done = rows(out)
        said.append((tmp_path / f"log-{len(said)}").read_text())
        assert "Traceback" not in said[-1]

    assert "the simulation worker of slots" in said[1]
    assert "died (exit code -9); started again" in said[1]
    for line, what in zip(said[1:], ("interrupted", "terminated"), strict=True):
        assert line.splitlines()[-1] == f"bench: {what}; the same command goes on from the last iteration"

    finished, last = finish(bench, options, out)
    resumed = int(last.partition("resumed after iteration ")[2].split()[0])
    assert resumed >= done[-1] - 1, "at most the iteration under way is lost"
    whole, _ = finish(bench, options, tmp_path / "whole")
    assert_equal_runs(finished, whole)


@pytest.mark.slow
def test_a_run_from_pixels_survives_many_kills(bench, start, demonstration_file, tiny_encoder, tmp_path):
    """Killed while it starts its workers and encodes demonstrations, and at odd moments of every iteration."""
    numbers = {"rollout.horizon": 20, "learner.trajectories_per_iteration": 4}
    options = settings("door", demonstration_file("door"), tiny_encoder, 2, **numbers)
    named = {name for name in os.listdir("/dev/shm") if name.startswith("psm_")}
    out = tmp_path / "unlucky"
    moments = [(None, 0.4), (None, 0.8), (None, 2.0), (0, 0.2), (1, 0.0), (2, 0.4), (3, 0.1), (4, 0.7)]
    for number, (reached, delay) in enumerate(moments):
        process = start(*options, "--out", out)
        if reached is None:
            wait_for(lambda: any(out.rglob("identity.json")), process)
        else:
            wait_for(lambda reached=reached: len(rows(out)) >= reached, process)
        time.sleep(delay)
        assert end(process, "run killed" if number % 2 else "all killed") == -9
        assert {name for name in os.listdir("/dev/shm") if name.startswith("psm_")} == named
    finished, _ = finish(bench, options, out)
    whole, _ = finish(bench, options, tmp_path / "whole")
    assert_equal_runs(finished, whole)
    assert (finished.path / "video.mp4").read_bytes() == (whole.path / "video.mp4").read_bytes()
