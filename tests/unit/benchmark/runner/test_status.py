"""What runs are at, and sweeps that share a folder."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from folder_cases import IMPORT_FROM, start
from small_runs import TINY, Interruption, interrupted
from typer.testing import CliRunner

from benchmark.cli.app import app
from benchmark.errors import FolderError, FolderInUse
from benchmark.runner import sweep as sweeping
from benchmark.runner.evaluation import Evaluator
from benchmark.runner.runner import run
from benchmark.runner.status import State, overview, status
from benchmark.runner.sweep import cell_of, sweep
from benchmark.store import lock, sweeps
from benchmark.store.run_folder import RunFolder
from encoders.weights import files

HOLD = (
    "import sys, time; from benchmark.store.run_folder import RunFolder\n"
    "folder = RunFolder(sys.argv[1]); folder.claim(); print('held', flush=True); time.sleep(60)"
)


@pytest.fixture
def cells(configured):
    """Configurations of three seeds."""
    return [configured(seed=seed) for seed in range(3)]


def states(out):
    return [run.state for run in overview(out).runs]


def test_states_of_a_sweep(cells, tmp_path):
    sweeps.write(tmp_path, [cell_of(config, tmp_path) for config in cells])
    assert states(tmp_path) == [State.WAITING] * 3
    run(cells[0], tmp_path)
    interrupted(cells[1], tmp_path, Evaluator, "evaluate", 2)
    assert states(tmp_path) == [State.DONE, State.STOPPED, State.WAITING]
    assert overview(tmp_path).runs[1].detail == "iteration 0 of 2"
    RunFolder(cell_of(cells[1], tmp_path)).note_failure("the learning diverged")
    failed = overview(tmp_path).runs[1]
    assert (failed.state, failed.detail) == (State.FAILED, "the learning diverged")
    assert not run(cells[1], tmp_path).found
    assert states(tmp_path) == [State.DONE, State.DONE, State.WAITING]


def test_runs_that_may_only_be_read_can_be_looked_at(cells, tmp_path, monkeypatch):
    interrupted(cells[0], tmp_path, Evaluator, "evaluate", 3)
    open_file = Path.open

    def read_only(path, mode="r", *rest, **options):
        if set(mode) & set("wax+"):
            raise PermissionError(13, "Permission denied", str(path))
        return open_file(path, mode, *rest, **options)

    monkeypatch.setattr(Path, "open", read_only)
    assert status(cell_of(cells[0], tmp_path)).state is State.STOPPED


def test_a_look_does_not_keep_a_run_from_beginning(tmp_path, monkeypatch):
    answers = [False]  # as if `bench status` looked at this moment
    monkeypatch.setattr(lock, "lock_file", lambda file: answers.pop() if answers else files.lock(file))
    lock.hold(tmp_path).close()
    assert not answers


def test_a_run_of_another_process_is_running_and_says_whose(cells, tmp_path):
    interrupted(cells[0], tmp_path, Evaluator, "evaluate", 3)
    path = cell_of(cells[0], tmp_path)
    writer = start(HOLD, path)
    try:
        assert writer.stdout.readline() == "held\n"
        found = status(path)
        assert found.state is State.RUNNING
        assert found.detail.startswith(f"iteration 1 of 2, process {writer.pid} on ")
        assert found.seconds_left > 0
        with pytest.raises(FolderInUse, match=f"process {writer.pid}"):
            run(cells[0], tmp_path)
    finally:
        writer.kill()
        writer.wait()
    assert status(path).state is State.STOPPED


def test_a_folder_that_was_only_claimed_leaves_nothing(tmp_path):
    out = tmp_path / "runs"
    with RunFolder(out / "suite" / "pen" / "state" / "seed-0") as folder:
        folder.claim()
    assert list(out.iterdir()) == []


def test_a_failure_is_kept_until_the_next_start(cells, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise FolderError("a disk of another world")

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "evaluate", fail)
        (outcome,) = sweep(cells[:1], tmp_path)
    assert outcome.failure == "a disk of another world"
    assert overview(tmp_path).runs[0].detail == "a disk of another world"
    sweep(cells[:1], tmp_path)
    assert states(tmp_path) == [State.DONE]
    assert not list(tmp_path.rglob("failure.json"))


def test_a_sweep_leaves_a_run_of_another_process_for_later(cells, tmp_path, monkeypatch):
    writer = start(HOLD, cell_of(cells[0], tmp_path))
    assert writer.stdout.readline() == "held\n"

    def kill(seconds):
        writer.kill()
        writer.wait()

    monkeypatch.setattr(sweeping, "sleep", kill)
    outcomes = sweep(cells, tmp_path)
    assert [outcome.config.seed for outcome in outcomes] == [0, 1, 2]
    assert all(outcome.result is not None for outcome in outcomes)


SHARE = """
import json, sys
from benchmark.config import configure
from benchmark.runner.sweep import sweep
configs = [
    configure("quickstart", json.loads(sys.argv[2]), task="pen", encoder="state", seed=seed, workers=0, torch_threads=1)
    for seed in range(6)
]
print(json.dumps([outcome.config.seed for outcome in sweep(configs, sys.argv[1]) if not outcome.result.found]))
"""


def test_two_sweeps_on_one_folder_do_every_run_once(demonstration_file, tmp_path):
    settings = json.dumps([f"demonstrations.source={demonstration_file('pen')}", *TINY])
    command = [sys.executable, "-c", SHARE, str(tmp_path / "runs"), settings]
    both = [subprocess.Popen(command, cwd=IMPORT_FROM, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    done = [json.loads(process.communicate(timeout=300)[0]) for process in both]
    assert sorted([*done[0], *done[1]]) == list(range(6))
    assert states(tmp_path / "runs") == [State.DONE] * 6


def test_the_command_shows_it(cells, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/bin/bench", "run", "--encoder", "state", "--out", "my runs"])
    sweeps.write(tmp_path, [cell_of(config, tmp_path) for config in cells])
    run(cells[0], tmp_path)
    result = CliRunner().invoke(app, ["status", str(tmp_path)])
    assert result.output.startswith("1 done, 2 waiting")
    assert "go on: bench run --encoder state --out 'my runs'" in result.output
    assert CliRunner().invoke(app, ["status", str(tmp_path / "nothing")]).output.startswith("no runs")


def test_the_record_of_a_sweep_that_is_damaged_is_one_line(cells, tmp_path):
    sweeps.write(tmp_path, [cell_of(config, tmp_path) for config in cells])
    (record,) = (tmp_path / ".sweeps").iterdir()
    record.write_text(json.dumps({"command": "", "cells": ["../../etc"]}))
    with pytest.raises(FolderError, match="is damaged; delete it"):
        overview(tmp_path)


def test_a_dry_run_lists_the_runs_and_what_they_take(demonstration_file, tmp_path):
    given = [f"--set={setting}" for setting in (*TINY, f"demonstrations.source={demonstration_file('pen')}")]
    arguments = ["run", "--encoder", "random", "--task", "pen", "--seed", "0,1", "--out", str(tmp_path / "runs")]
    result = CliRunner().invoke(app, [*arguments, "--dry-run", "--workers", "1", *given])
    assert result.exit_code == 0, result.output
    assert "2 runs, 0 done; the others take about 0:0" in result.output
    assert not list(tmp_path.rglob("identity.json"))


def test_an_interruption_is_no_failure(cells, tmp_path, monkeypatch):
    def end(*arguments, **options):
        raise Interruption

    monkeypatch.setattr(Evaluator, "evaluate", end)
    with pytest.raises(Interruption):
        sweep(cells[:1], tmp_path)
    assert states(tmp_path) == [State.STOPPED]
