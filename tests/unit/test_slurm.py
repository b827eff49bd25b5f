"""The Slurm scripts, run under bash with programs on PATH that write down how they were called."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "examples" / "slurm"
GIVEN = ["--encoder", "hindex,vc1", "--task", "all", "--out", "/shared/my runs"]
JOB = {
    "SLURM_CPUS_PER_TASK": "16",
    "SLURM_GPUS_PER_TASK": "2",
    "SLURM_JOB_NODELIST": "node[07-08]",
    "SLURM_JOB_NUM_NODES": "2",
}
RECORD = '#!/bin/bash\n{ printf "%s" "${0##*/}"; printf "\\t%s" "$@"; echo; } >> "$CALLS"\n'
STUBS = {
    "sbatch": RECORD + 'while [[ $1 == -* ]]; do shift; done\nexec bash "$@"\n',
    "srun": RECORD + 'while [[ $1 == -* ]]; do shift; done\nexec "$@"\n',
    "ray": RECORD + 'while [[ $1 != -- ]]; do shift; done\nshift\nexec "$@"\n',
    "scontrol": RECORD + "printf 'node07\\nnode08\\n'\n",
    "bench": RECORD,
}


@pytest.fixture
def submit(tmp_path):
    """Submit a script as the page does; return the calls that follow from it."""
    for name, text in STUBS.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)

    def call(script, without=()):
        job = {name: value for name, value in JOB.items() if name not in without}
        environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "CALLS": str(tmp_path / "calls"), **job}
        command = ["sbatch", "--time=1:00:00", str(SCRIPTS / script), *GIVEN]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        calls = [line.split("\t") for line in (tmp_path / "calls").read_text().splitlines()]
        return done, calls[1:]

    return call


def test_an_array_shares_the_runs_of_one_command(submit):
    done, calls = submit("shared.sh")
    assert done.returncode == 0, done.stderr
    assert calls == [
        ["srun", "--ntasks=1", "--cpus-per-task=16", "bench", "run", *GIVEN],
        ["bench", "run", *GIVEN],
    ]


def test_a_job_of_several_nodes_is_a_ray_cluster(submit):
    done, calls = submit("ray.sh")
    assert done.returncode == 0, done.stderr
    assert calls[0] == ["scontrol", "show", "hostnames", "node[07-08]"]
    assert calls[2][:8] == ["ray", "symmetric-run", "--address", "node07:6379", "--min-nodes", "2", "--num-cpus", "16"]
    assert calls[2][8:11] == ["--num-gpus", "2", "--"]
    shares = ["--cpus-per-run", "4", "--gpus-per-run", "0.25"]
    assert calls[3] == ["bench", "run", "--launcher", "ray", "--address", "auto", *shares, *GIVEN]
    assert submit("ray.sh", without=["SLURM_GPUS_PER_TASK"])[1][-2][8:10] == ["--num-gpus", "0"]


@pytest.mark.parametrize("script", ["shared.sh", "ray.sh"])
def test_outside_of_a_job_nothing_is_started(submit, script):
    done, calls = submit(script, without=JOB)
    assert done.returncode != 0
    assert "unbound variable" in done.stderr
    assert calls == []


@pytest.mark.parametrize("script", sorted(path.name for path in SCRIPTS.glob("*.sh")))
def test_settings_of_the_job_stand_before_the_first_command(script):
    """Slurm reads them up to there, and ignores later ones."""
    text = (SCRIPTS / script).read_text()
    assert text.startswith("#!/bin/bash\n")
    before, _, after = text.partition("\nset -euo pipefail\n")
    assert all(line.startswith("#") for line in before.splitlines())
    assert len(re.findall(r"^#SBATCH --[a-z-]+(=\S+)?$", before, re.M)) == before.count("#SBATCH")
    assert "#SBATCH" not in after


def test_rays_command_has_the_options_of_the_script():
    pytest.importorskip("ray")
    from ray.scripts.scripts import start
    from ray.scripts.symmetric_run import symmetric_run

    known = {option for command in (start, symmetric_run) for each in command.params for option in each.opts}
    text = (SCRIPTS / "ray.sh").read_text()
    of_ray = text.partition("symmetric-run")[2].partition(" -- ")[0]
    assert set(re.findall(r"--[a-z-]+", of_ray)) <= known
