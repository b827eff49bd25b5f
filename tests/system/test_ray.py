"""Runs as Ray tasks on clusters of two nodes of 1 CPU each, all on this machine."""

import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from benchmark.config import configure
from benchmark.runner.ray_launcher import Cluster, launch
from benchmark.runner.status import State, overview
from benchmark.runner.sweep import cell_of, sweep
from benchmark.store.identity import file_hash
from benchmark.store.lock import holder
from benchmark.store.run_folder import RunFolder

pytestmark = [pytest.mark.slow]
ray = pytest.importorskip("ray")

SEEDS = range(8)
SECONDS = 900
TINY = (
    "demonstrations.episodes=2",
    "rollout.horizon=6",
    "rollout.slots=2",
    "reward=dense",
    "learner.bc_epochs=5",
    "learner.policy_hidden=[8]",
    "learner.value_hidden=[8]",
    "learner.value_batch_size=4",
    "learner.bc_batch_size=8",
    "learner.iterations=12",  # long enough to be killed in
    "learner.trajectories_per_iteration=3",
    "evaluation.episodes=2",
)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """A cache that all runs of this module share, and quiet nodes."""
    monkeypatch.setenv("HINDEX_BENCH_CACHE", str(tmp_path_factory.getbasetemp() / "ray-cache"))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")


@pytest.fixture(scope="module")
def settings(demonstration_file):
    return [f"demonstrations.source={demonstration_file('pen')}", *TINY]


@pytest.fixture(scope="module")
def configs(settings):
    values = {"task": "pen", "encoder": "state", "workers": 0, "torch_threads": 1}
    return [configure("quickstart", settings, seed=seed, **values) for seed in SEEDS]


@pytest.fixture(scope="module")
def in_sequence(configs, tmp_path_factory):
    """The files of the same runs, done one after another in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HINDEX_BENCH_CACHE", str(tmp_path_factory.getbasetemp() / "ray-cache"))
        out = tmp_path_factory.mktemp("sequence")
        sweep(configs, out)
    return contents(out)


@contextmanager
def two_nodes():
    """Start a cluster of two nodes, and stop it with all its processes."""
    from ray.cluster_utils import Cluster as Nodes

    nodes = Nodes()
    try:
        # A busy machine answers late, but a node that is killed refuses connections at once.
        patience = {"health_check_timeout_ms": 600_000}
        nodes.first = started(nodes, include_dashboard=False, _system_config=patience)
        nodes.second = started(nodes)
        nodes.wait_for_nodes(timeout=SECONDS)
        yield nodes
    finally:
        ray.shutdown()
        nodes.shutdown()


@pytest.fixture
def cluster():
    with two_nodes() as nodes:
        yield nodes


def started(nodes, tries=5, **options):
    """A new node; Ray gives up after 30 seconds, which a busy machine may need."""
    for _ in range(tries):
        with suppress(Exception):
            return nodes.add_node(num_cpus=1, object_store_memory=100_000_000, **options)
    raise TimeoutError("no node of Ray could be started")


def contents(out):
    """The hashes of checkpoints and episodes, by the run's place."""
    names = ("checkpoint.safetensors", "episodes.parquet")
    return {str(path.relative_to(out)): file_hash(path) for name in names for path in Path(out).rglob(name)}


def workers_of(node):
    """The processes that a node runs tasks in."""
    (raylet,) = node.all_processes["raylet"]
    return {child.pid for child in psutil.Process(raylet.process.pid).children(recursive=True)}


def wait_until(condition, what):
    ends = time.monotonic() + SECONDS
    while time.monotonic() < ends:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited in vain: {what}")


def in_the_middle(cells, pids=None):
    """A run that has begun and not ended, in one of these processes or in any."""
    for cell in cells:
        folder, by = RunFolder(cell), holder(cell)
        wanted = by and (pids is None or int(by.split()[1]) in pids)
        if wanted and len(folder.metrics()) > 2 and folder.status == "unfinished":
            return cell
    return None


def test_a_node_that_dies_takes_no_run_with_it(cluster, configs, in_sequence, tmp_path):
    cells = [cell_of(config, tmp_path) for config in configs]
    lines, killed = [], []

    class Lines:
        def say(self, line):
            lines.append(line)

    def kill():
        wait_until(lambda: len([line for line in lines if " done" in line]) >= 3, "three runs to end")
        killed.append(wait_until(lambda: in_the_middle(cells, workers_of(cluster.second)), "a run on the second node"))
        cluster.remove_node(cluster.second, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    outcomes = launch(configs, tmp_path, Cluster(cluster.address), progress=Lines())
    killer.join()
    assert [outcome.config.seed for outcome in outcomes] == list(SEEDS)
    assert not [outcome.failure for outcome in outcomes if outcome.result is None]
    assert lines[0] == "8 runs of 1 CPUs and 0 GPUs each; Ray has 2 nodes with 2 CPUs and 0 GPUs"
    assert lines[-1].startswith("8 of 8 done; ")
    assert contents(tmp_path) == in_sequence
    assert len({row["iteration"] for row in RunFolder(killed[0]).metrics()}) == 13


def test_the_same_command_goes_on_after_the_driver_was_killed(cluster, settings, in_sequence, configs, start, tmp_path):
    seeds = ",".join(map(str, SEEDS))
    options = ["--encoder", "state", "--task", "pen", "--seed", seeds, "--out", "runs", "--workers", "0"]
    options += ["--launcher", "ray", "--address", cluster.address, "--set", "torch_threads=1"]
    command = ["run", *options, *(part for setting in settings for part in ("--set", setting))]
    out = tmp_path / "runs"
    cells = [cell_of(config, out) for config in configs]
    driver = start(*command)
    wait_until(lambda: len(list(out.rglob("manifest.json"))) >= 2 and in_the_middle(cells), "two runs to end")
    driver.kill()
    driver.wait()
    wait_until(lambda: not any(map(holder, cells)), "the tasks to end")
    states = [run.state for run in overview(out).runs]
    assert State.STOPPED in states
    assert 2 <= states.count(State.DONE) < len(SEEDS)

    assert start(*command).wait(timeout=SECONDS) == 0
    assert contents(out) == in_sequence
    said = (tmp_path / "log-1").read_text()
    assert "8 of 8 done" in said
    assert said.count(": was finished") == states.count(State.DONE)


def test_the_same_command_goes_on_after_the_head_was_restarted(
    settings, in_sequence, configs, start, tmp_path, monkeypatch
):
    seeds = ",".join(map(str, SEEDS))
    options = ["--encoder", "state", "--task", "pen", "--seed", seeds, "--out", "runs", "--workers", "0"]
    options += ["--launcher", "ray", "--address", "auto", "--set", "torch_threads=1"]
    command = ["run", *options, *(part for setting in settings for part in ("--set", setting))]
    out = tmp_path / "runs"
    cells = [cell_of(config, out) for config in configs]
    with two_nodes() as nodes:
        monkeypatch.setenv("RAY_ADDRESS", nodes.address)
        driver = start(*command)
        wait_until(lambda: len(list(out.rglob("manifest.json"))) >= 2 and in_the_middle(cells), "two runs to end")
        nodes.remove_node(nodes.second, allow_graceful=False)
        nodes.first.kill_all_processes(check_alive=False, allow_graceful=False)
        assert driver.wait(timeout=SECONDS) != 0
    wait_until(lambda: not any(map(holder, cells)), "the tasks to end")
    states = [run.state for run in overview(out).runs]
    assert State.STOPPED in states
    assert State.RUNNING not in states
    assert 2 <= states.count(State.DONE) < len(SEEDS)

    with two_nodes() as nodes:
        monkeypatch.setenv("RAY_ADDRESS", nodes.address)
        assert start(*command).wait(timeout=SECONDS) == 0
    assert contents(out) == in_sequence
    assert (tmp_path / "log-1").read_text().count(": was finished") == states.count(State.DONE)


HOLD = (
    "import sys, time; from benchmark.store.run_folder import RunFolder\n"
    "folder = RunFolder(sys.argv[1]); folder.claim(); print('held', flush=True); time.sleep(600)"
)


def test_runs_that_fail_or_are_busy_do_not_stop_the_others(configs, tmp_path):
    cells = [cell_of(config, tmp_path) for config in configs[:3]]
    cells[0].mkdir(parents=True)
    (cells[0] / "metrics.jsonl").write_text("left over\n")
    home = Path(__file__).parents[2]
    command = [sys.executable, "-c", HOLD, str(cells[1])]
    writer = subprocess.Popen(command, cwd=home, env=os.environ, stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "held\n"
    lines = []

    class Lines:
        def say(self, line):
            lines.append(line)
            if line.startswith("left for later"):
                writer.kill()
                writer.wait()

    try:
        outcomes = launch(configs[:3], tmp_path, Cluster(), progress=Lines())
    finally:
        writer.kill()
    assert "holds metrics.jsonl but no identity.json" in outcomes[0].failure
    assert [outcome.result is not None for outcome in outcomes] == [False, True, True]
    assert any(f"process {writer.pid}" in line for line in lines)
    assert lines[-1].startswith("2 of 3 done, 1 failed; ")
    assert not ray.is_initialized()
