"""Runs as Ray tasks: what is asked for and said. What clusters do is in tests/system/test_ray.py."""

import sys

import pytest
from typer.testing import CliRunner

from benchmark.cli.app import app
from benchmark.config import configure
from benchmark.errors import ConfigError, FolderError
from benchmark.runner import ray_launcher
from benchmark.runner.ray_launcher import Cluster, Tally, launch, placed
from benchmark.runner.runner import RunResult
from benchmark.runner.sweep import Outcome
from benchmark.store.paths import user_path


def config(**values):
    return configure("quickstart", task="pen", encoder="state", **values)


def refusal(*options):
    result = CliRunner().invoke(app, ["run", "--encoder", "state", "--task", "pen", *options])
    assert isinstance(result.exception, ConfigError)
    return str(result.exception)


def test_without_ray_one_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"^--launcher ray needs Ray .*: pip install 'hindex-bench\[ray\]'$"):
        launch([config()], tmp_path, Cluster())
    assert list(tmp_path.iterdir()) == []


def test_options_that_do_not_go_together_are_refused():
    assert refusal("--launcher", "slurm").startswith("--launcher slurm: the one launcher is ray")
    assert refusal("--address", "auto") == "--address is an option of --launcher ray; add that"
    assert refusal("--gpus-per-run", "0.5") == "--gpus-per-run is an option of --launcher ray; add that"


def test_runs_are_kept_on_a_file_system():
    with pytest.raises(ConfigError, match=r"^s3://bucket/runs is no path of a file system: .* mounted$"):
        user_path("s3://bucket/runs")
    assert str(user_path("s3:/runs")) == "s3:/runs"


def test_simulation_processes_follow_the_cpus_of_a_run():
    assert placed(config(), Cluster(cpus_per_run=3)).workers == 3
    assert placed(config(workers=0), Cluster(cpus_per_run=3)).workers == 0


def test_ray_chooses_the_gpu():
    with pytest.raises(ConfigError, match="Ray chooses the GPU of each run; use --device cuda"):
        placed(config(device="cuda:1"), Cluster(gpus_per_run=1))
    with pytest.raises(ConfigError, match="give each run a share of a GPU"):
        placed(config(device="cuda"), Cluster())
    assert placed(config(device="cuda"), Cluster(gpus_per_run=0.25)).device == "cuda"


def test_lines_count_and_estimate_from_new_runs_alone(monkeypatch, tmp_path):
    clock = iter([0.0, 60.0, 90.0, 100.0])
    monkeypatch.setattr(ray_launcher.time, "monotonic", lambda: next(clock))
    tally = Tally(5)

    def ended(found=False, failure=""):
        result = None if failure else RunResult(tmp_path, "state", {0: (1.0, 0.5)}, found)
        return tally.count(Outcome(config(), result, failure))

    assert ended(found=True) == "1 of 5 done; state on pen, seed 0: was finished"
    assert ended() == "2 of 5 done, about 0:03:00 left; state on pen, seed 0: finished"
    assert ended(failure="no disk") == "2 of 5 done, 1 failed, about 0:01:30 left; state on pen, seed 0: no disk"
    assert ended() == "3 of 5 done, 1 failed, about 0:00:33 left; state on pen, seed 0: finished"


def test_an_error_is_one_line():
    assert ray_launcher._one_line(FolderError("a is damaged")) == "a is damaged"
    assert ray_launcher._one_line(ValueError("wrong\nin detail")) == "ValueError: wrong"
