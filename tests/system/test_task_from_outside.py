"""A task of one's own in one file: checked, trained, probed, adapted to and reported, and nothing else is edited."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "add_a_task.py"
TASK, NAME = "push.py:Push", "push-ball"

IN_ONE_PROCESS = """
import json, sys
from benchmark.cli.app import main
from small_bench import smaller

for command in json.loads(sys.argv[1]):
    sys.argv[1:] = smaller(command)
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise
"""


@pytest.fixture
def own(tmp_path, tiny_encoder):
    """A folder with the example's task, and the options of a run of it."""
    shutil.copy(EXAMPLE, tmp_path / "push.py")
    return ["--encoder", tiny_encoder, "--task", TASK]


@pytest.fixture
def small(tmp_path, environment):
    """Run ``bench`` commands made small, one after another in one process."""
    environment |= {"PYTHONPATH": f"{ROOT}:{Path(__file__).parent}"}

    def call(*commands, code=0):
        text = json.dumps([[str(word) for word in command] for command in commands])
        done = subprocess.run(
            [sys.executable, "-c", IN_ONE_PROCESS, text],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return call


def run_folder(folder):
    (found,) = folder.glob(f"runs/*/{NAME}/*/seed-0")
    return found


def test_it_is_checked_trained_probed_adapted_to_and_reported(small, own, tmp_path):
    done = small(["tasks", "check", TASK], ["run", *own], ["probe", *own], ["report", "runs"])
    assert "ok  the same seed gives the same episode in any slot" in done.stdout
    assert "of 10 episodes succeed" in done.stdout
    assert NAME in done.stdout
    assert "1 of 1 run usable" in done.stdout
    assert list((tmp_path / "runs" / "probe").glob(f"*/{NAME}.json"))
    assert "push ball" in (tmp_path / "runs" / "report" / "report.html").read_text()
    identity, config = (
        json.loads((run_folder(tmp_path) / f"{name}.json").read_text()) for name in ("identity", "config")
    )
    assert identity["config"]["task"] == config["task"] == NAME
    assert config["task_file"] == f"{tmp_path / 'push.py'}:Push"
    assert "task_file" not in identity["config"]
    assert len(identity["task_plugin_sha256"]) == 64


@pytest.mark.slow
def test_demonstrations_are_collected_and_cloned_and_stage_2_adapts_to_it(small, own, tmp_path):
    source = ["--set", "demonstrations.source=push.npz"]
    done = small(
        ["demos", "collect", "--task", TASK, "--out", "push.npz"],
        ["run", *own, *source],
        ["tasks", "show", TASK, "--out", "push.png"],
        ["adapt", "--task", TASK],
    )
    assert (tmp_path / "push.png").exists()
    assert "held-out PSNR" in done.stdout
    (card,) = (tmp_path / "runs" / "adapt" / NAME).glob("*/card.json")
    identity = json.loads(card.with_name("identity.json").read_text())
    assert len(identity["tasks"][0]["task_plugin_sha256"]) == 64


@pytest.mark.slow
def test_other_processes_find_its_runs_again(small, own, tmp_path):
    assert "iteration 1: training return" in small(["run", *own]).stderr
    assert "iteration" not in small(["run", *own]).stderr
    folder = run_folder(tmp_path)

    (folder / "manifest.json").unlink()
    assert "resumed after iteration 1" in small(["run", *own]).stderr

    assert "background 3: return" in small(["eval", "runs", "--background", "3"]).stderr
    moved = (tmp_path / "push.py").rename(tmp_path / "moved.py")
    gone = small(["eval", "runs", "--background", "4"], code=2)
    assert "push.py; expected path/to/file.py:Class" in gone.stderr
    small(["eval", "runs", "--background", "4", "--task", "moved.py:Push"])

    moved.write_text(f"{EXAMPLE.read_text()}\n# changed\n")
    changed = small(["eval", "runs", "--background", "5", "--task", "moved.py:Push"], code=2)
    assert f"the file of task '{NAME}' has changed since the run" in changed.stderr
    other = small(["run", *own[:-1], "moved.py:Push"], code=1)
    assert "task_plugin_sha256" in other.stderr
    assert "the plug-in file has changed since: restore it" in other.stderr


MISTAKES = {
    "no file": (["run", "--task", "none.py:Push"], r"task 'none.py:Push': no file"),
    "no such name": (["probe", "--encoder", "random", "--task", "push-bal"], "unknown task 'push-bal'"),
    "exits": (["run", "--task", "exits.py:Push"], "exits.py, line 1: cannot be imported: SystemExit"),
    "breaks the contract": (["tasks", "check", "--no-draw", "narrow.py:Push"], "set observation_dim = 36"),
    "breaks it in a run": (["run", "--encoder", "state", "--task", "narrow.py:Push"], "set observation_dim = 36"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(mistake, bench, own, tmp_path):
    arguments, line = MISTAKES[mistake]
    (tmp_path / "exits.py").write_text("raise SystemExit\n")
    (tmp_path / "narrow.py").write_text(EXAMPLE.read_text().replace("observation_dim=36", "observation_dim=35"))
    done = bench(*arguments)
    assert done.returncode == 2
    assert line in done.stderr
    assert done.stderr.startswith("bench: ")
    assert done.stderr.count("\n") == 1
