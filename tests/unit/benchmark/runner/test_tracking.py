"""Trackers: they get what the run folder keeps, once, and never stop a run.

Fake packages hold the calls to the contract; the real ones are read back where they are installed.
"""

import os
import subprocess
import sys
import types

import pytest
from folder_cases import IMPORT_FROM
from small_runs import final, interrupted

from benchmark.errors import ConfigError
from benchmark.runner import tracking
from benchmark.runner.evaluation import Evaluator
from benchmark.runner.runner import run
from benchmark.runner.sweep import check_ready
from benchmark.runner.tracking import TRACKERS, values_of
from benchmark.store.run_folder import RunFolder
from benchmark.verify import verify

NAMES = ("evaluation_return", "evaluation_success", "bc_loss", "kl", "steps", "frames_per_second")


class Kept:
    """A tracker that keeps what it gets; one that fails where it is told to."""

    calls: list = []  # noqa: RUF012
    fails_at = ""

    def __init__(self, run):
        self.fail("open")
        self.calls.append(("open", run))

    def fail(self, at):
        if self.fails_at == at:
            raise OSError(f"no network at {at}\nand more")

    def log(self, iteration, values):
        self.fail("log")
        self.calls.append((iteration, dict(values)))

    def close(self):
        self.fail("close")
        self.calls.append(("close",))


@pytest.fixture
def kept(monkeypatch):
    """Stands for W&B."""
    monkeypatch.setattr(Kept, "calls", [])
    monkeypatch.setitem(TRACKERS, "wandb", Kept)
    monkeypatch.setattr(tracking, "find_spec", lambda name: object())
    return Kept


def logged(kept):
    return [call for call in kept.calls if isinstance(call[0], int)]


def test_trackers_get_the_rows_of_the_run_folder(kept, configured, tmp_path):
    result = run(configured(track=("wandb",)), tmp_path)
    rows = RunFolder(result.path).metrics()
    assert logged(kept) == [(row["iteration"], values_of(row)) for row in rows]
    assert set(NAMES) <= {name for _, values in logged(kept) for name in values}
    (_, opened), *_, closed = kept.calls
    assert closed == ("close",)
    assert opened.name == result.path.relative_to(tmp_path).as_posix()
    assert opened.config["learner.iterations"] == 2
    assert verify(tmp_path).faults == []


def test_trackers_change_no_result_and_no_identity(kept, configured, tmp_path):
    alone = run(configured(), tmp_path / "alone")
    assert final(run(configured(track=("wandb",)), tmp_path / "tracked")) == final(alone)
    assert run(configured(track=("wandb",)), tmp_path / "alone").found


@pytest.mark.parametrize("after", [False, True])
def test_a_resumed_run_passes_on_no_step_twice(kept, configured, tmp_path, after):
    config = configured(track=("wandb",))
    interrupted(config, tmp_path, RunFolder, "save_checkpoint", 2, after=after)
    run(config, tmp_path)
    assert [iteration for iteration, _ in logged(kept)] == [0, 1, 2]
    assert len({call[1].id for call in kept.calls if call[0] == "open"}) == 1


def test_a_run_that_was_begun_without_tracker_is_passed_on_whole(kept, configured, tmp_path):
    interrupted(configured(), tmp_path, Evaluator, "evaluate", 3)
    run(configured(track=("wandb",)), tmp_path)
    assert [iteration for iteration, _ in logged(kept)] == [0, 1, 2]


@pytest.mark.parametrize("at", ["open", "log", "close"])
def test_a_tracker_that_fails_says_so_once_and_stops_nothing(kept, configured, tmp_path, monkeypatch, at):
    monkeypatch.setattr(Kept, "fails_at", at)
    lines = []

    class Lines:
        def say(self, line):
            lines.append(line)

        def __getattr__(self, name):
            return lambda *arguments: None

    result = run(configured(track=("wandb",)), tmp_path, progress=Lines())
    failures = [line for line in lines if line.startswith("wandb failed")]
    assert failures == [f"wandb failed and gets no more of this run (OSError: no network at {at})"]
    assert RunFolder(result.path).status == "finished"


def test_without_the_package_one_line_says_what_to_install(configured, monkeypatch, tmp_path):
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    config = configured(track=("wandb", "mlflow"))
    for work in (lambda: check_ready([config]), lambda: run(config, tmp_path / "runs")):
        with pytest.raises(ConfigError, match=r"^--track wandb,mlflow: not installed; pip install 'hindex-bench\["):
            work()
    assert not (tmp_path / "runs").exists()


def test_what_is_no_number_is_left_out():
    row = {"iteration": 3, "kl": 0.5, "bc_loss": [2.0, 1.0], "steps": 7, "steps_per_second": 9.0}
    row |= {"evaluation_return": None, "seconds": {"physics": 1.0}, "demonstrations": {"episodes": 2}}
    assert values_of(row) == {"kl": 0.5, "bc_loss": 1.0, "steps": 7.0, "frames_per_second": 9.0}


# The packages, played.


@pytest.fixture
def played(monkeypatch):
    """Put a module in the place of a package."""

    def put(name, **contents):
        module = types.ModuleType(name)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr(tracking, "find_spec", lambda asked: module if asked == name else None)

    return put


def test_wandb_is_offline_unless_its_variable_says_otherwise(played, configured, tmp_path, monkeypatch):
    calls = []

    class Run:
        def log(self, values, step):
            calls.append((step, sorted(values)))

        def finish(self):
            calls.append("finish")

    def init(**options):
        calls.append(options)
        return Run()

    played("wandb", init=init, Settings=lambda **options: options)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    run(configured(track=("wandb",)), tmp_path)
    options, *steps, end = calls
    assert (options["mode"], options["resume"], options["project"]) == ("offline", "allow", "hindex-bench")
    assert options["dir"] == str(tmp_path / "tracking" / "wandb")
    assert [step for step, _ in steps] == [0, 1, 2]
    assert end == "finish"
    monkeypatch.setenv("WANDB_MODE", "online")
    run(configured(track=("wandb",), seed=1), tmp_path)
    assert [call["mode"] for call in calls if isinstance(call, dict)] == ["offline", "online"]


def test_mlflow_goes_on_with_the_run_of_the_same_id(played, configured, tmp_path, monkeypatch):
    runs, metrics = {}, []

    class Client:
        def __init__(self, tracking_uri):
            self.uri = tracking_uri

        def get_experiment_by_name(self, name):
            return types.SimpleNamespace(experiment_id="7") if runs else None

        def create_experiment(self, name):
            return "7"

        def search_runs(self, experiments, wanted):
            return [found for found in runs.values() if f"'{found.id}'" in wanted and experiments == ["7"]]

        def create_run(self, experiment, run_name, tags):
            info = types.SimpleNamespace(run_id=f"run-{len(runs)}")
            runs[info.run_id] = types.SimpleNamespace(info=info, id=tags["hindex_bench.run"], uri=self.uri)
            return runs[info.run_id]

        def log_param(self, run_id, name, value):
            assert run_id in runs

        def log_metric(self, run_id, name, value, step):
            metrics.append((run_id, name, step))

        def set_terminated(self, run_id):
            assert run_id in runs

    played("mlflow", MlflowClient=Client)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    config = configured(track=("mlflow",))
    interrupted(config, tmp_path, RunFolder, "save_checkpoint", 2)
    run(config, tmp_path)
    assert list(runs) == ["run-0"]
    assert runs["run-0"].uri == (tmp_path / "tracking" / "mlflow").as_uri()
    assert len(metrics) == len(set(metrics))
    assert [step for _, name, step in metrics if name == "evaluation_return"] == [0, 1, 2]


def test_trackio_keeps_its_files_beside_the_runs(played, configured, tmp_path, monkeypatch):
    calls = []
    monkeypatch.delenv("TRACKIO_DIR", raising=False)
    played(
        "trackio",
        init=lambda **options: calls.append((os.environ["TRACKIO_DIR"], options)),
        log=lambda values, step: calls.append(step),
        finish=lambda: calls.append("finish"),
    )
    run(configured(track=("trackio",)), tmp_path)
    (place, options), *steps, end = calls
    monkeypatch.delenv("TRACKIO_DIR")
    assert place == str(tmp_path / "tracking" / "trackio")
    assert options["resume"] == "allow"
    assert (steps, end) == ([0, 1, 2], "finish")


# The packages themselves, in processes of their own, as some keep threads and settings.

RUN = """
import sys
from small_runs import tiny_config
from benchmark.runner.runner import run
class Lines:
    def say(self, line): print(line)
    def __getattr__(self, name): return lambda *arguments: None
print(run(tiny_config(sys.argv[1], track=(sys.argv[3],)), sys.argv[2], progress=Lines()).path)
"""


@pytest.fixture
def really(demonstration_file, tmp_path):
    """Do a small run with a real tracker; return its rows of metrics."""

    def do(tool):
        pytest.importorskip(tool)
        variables = {"PYTHONPATH": os.pathsep.join([str(IMPORT_FROM), str(IMPORT_FROM / "tests" / "unit")])}
        own = ("WANDB_MODE", "MLFLOW_TRACKING_URI", "TRACKIO_DIR", "PYTHONPATH")
        environment = {name: value for name, value in os.environ.items() if name not in own} | variables
        command = [sys.executable, "-c", RUN, str(demonstration_file("pen")), str(tmp_path / "runs"), tool]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "failed" not in done.stdout, done.stdout + done.stderr[-3000:]
        return RunFolder(done.stdout.splitlines()[-1]).metrics()

    return do


@pytest.mark.slow
def test_event_files_of_tensorboard_are_read_back(really, tmp_path):
    rows = really("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (events,) = (tmp_path / "runs" / "tracking" / "tensorboard").rglob("events.*")
    read = EventAccumulator(str(events.parent)).Reload()
    for name in NAMES[:2]:
        expected = [(row["iteration"], row[name]) for row in rows]
        assert [(event.step, event.value) for event in read.Scalars(name)] == [
            (step, pytest.approx(value)) for step, value in expected
        ]
    assert set(NAMES) <= set(read.Tags()["scalars"])


@pytest.mark.slow
def test_runs_of_mlflow_are_read_back(really, tmp_path, monkeypatch):
    rows = really("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=(tmp_path / "runs" / "tracking" / "mlflow").as_uri())
    experiment = client.get_experiment_by_name("hindex-bench")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.status == "FINISHED"
    history = client.get_metric_history(found.info.run_id, "evaluation_return")
    assert [(one.step, one.value) for one in history] == [(r["iteration"], r["evaluation_return"]) for r in rows]


@pytest.mark.slow
def test_wandb_writes_an_offline_run(really, tmp_path):
    really("wandb")
    (folder,) = (tmp_path / "runs" / "tracking" / "wandb" / "wandb").glob("offline-run-*")
    (file,) = folder.glob("run-*.wandb")
    content = file.read_bytes()
    assert b"evaluation_return" in content
    assert b"frames_per_second" in content


@pytest.mark.slow
def test_trackio_keeps_a_local_run(really, tmp_path):
    really("trackio")
    kept = tmp_path / "runs" / "tracking" / "trackio"
    assert any(b"evaluation_return" in path.read_bytes() for path in kept.rglob("*") if path.is_file())
