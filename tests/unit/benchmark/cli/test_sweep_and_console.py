"""Many runs in a row, and what the terminal shows of them."""

import pytest
from rich.console import Console

from benchmark.cli import console
from benchmark.cli.console import ConsoleProgress, print_results
from benchmark.config import configure
from benchmark.dapg import LearningDiverged
from benchmark.errors import ConfigError, FolderError, OutputError, SimulationError
from benchmark.progress import Silent
from benchmark.runner import sweep
from benchmark.runner.runner import RunResult


class Watched(Silent):
    """A progress that counts how often a run was over."""

    def __init__(self):
        self.closed = 0

    def close(self):
        self.closed += 1


def configs(*seeds):
    return [configure("quickstart", ["demonstrations.episodes=1"], task="pen", encoder="state", seed=n) for n in seeds]


@pytest.fixture
def outcomes(monkeypatch):
    """Replace the runner: a seed's outcome is an error to raise, or nothing for a result."""
    errors, done = {}, []

    def run(config, out, *_):
        done.append(config.seed)
        if config.seed in errors:
            raise errors[config.seed]
        return RunResult(out / str(config.seed), "state", {0: (1.0, 0.5)}, False)

    monkeypatch.setattr(sweep, "run_as_weights_are", run)
    monkeypatch.setattr(sweep, "check_ready", lambda _: None)
    return errors, done


@pytest.mark.parametrize(
    "error",
    [LearningDiverged("iteration 7: step not finite"), SimulationError("worker died"), FolderError("was altered")],
)
def test_a_run_that_fails_by_itself_does_not_take_the_others_with_it(error, outcomes, tmp_path):
    errors, done = outcomes
    errors[1] = error
    progress = Watched()
    found = sweep.sweep(configs(0, 1, 2), tmp_path, progress=progress)
    assert done == [0, 1, 2]
    assert [outcome.result is None for outcome in found] == [False, True, False]
    assert found[1].failure == str(error)
    assert progress.closed == 3


@pytest.mark.parametrize("error", [OutputError("cannot write"), KeyboardInterrupt()])
def test_what_would_fail_again_stops_the_sweep(error, outcomes, tmp_path):
    errors, done = outcomes
    errors[1] = error
    progress = Watched()
    with pytest.raises(type(error)):
        sweep.sweep(configs(0, 1, 2), tmp_path, progress=progress)
    assert done == [0, 1]
    assert progress.closed == 2


def test_all_that_is_missing_is_listed_at_once_and_once(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "run_as_weights_are", None)
    asked = [
        configure("paper", task=task, encoder=encoder, seed=seed)
        for encoder in ("rrl", "hindex")
        for task in ("pen", "door")
        for seed in (0, 1)
    ]
    with pytest.raises(ConfigError) as refusal:
        sweep.sweep(asked, tmp_path)
    line = str(refusal.value)
    assert "\n" not in line
    expected = {"encoder 'rrl'": 1, "hindex/pen-v0": 1, "hindex/door-v0": 1, "of pen": 1, "of door": 1}
    assert {missing: line.count(missing) for missing in expected} == expected


def test_a_scene_option_that_a_task_lacks_is_found_before_any_run(tmp_path):
    asked = [configure("quickstart", ["scene.tank_height=0.1"], task=t, encoder="state") for t in ("pour", "door")]
    with pytest.raises(ConfigError, match="door has no scene option 'tank_height'"):
        sweep.sweep(asked, tmp_path)
    assert not list(tmp_path.iterdir())


def test_official_meshes_that_are_not_there_are_found_before_any_run(tmp_path, monkeypatch):
    monkeypatch.setenv("HINDEX_BENCH_CACHE", str(tmp_path / "empty"))
    asked = [configure("quickstart", task=t, encoder="state", objects="ycb") for t in ("door", "pour")]
    with pytest.raises(ConfigError, match=r"108 of the YCB files are missing in .*: bench assets fetch ycb"):
        sweep.sweep(asked, tmp_path / "runs")


def test_an_unknown_encoder_is_found_before_any_run(outcomes, tmp_path, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(sweep, "run_as_weights_are", None)
    asked = [*configs(0), configure("quickstart", task="pen", encoder="hindx")]
    with pytest.raises(ConfigError, match="unknown encoder 'hindx': did you mean 'hindex'"):
        sweep.sweep(asked, tmp_path)


def test_away_from_a_terminal_there_are_plain_lines(capsys):
    progress = ConsoleProgress()
    progress.begin("rrl · pen · seed 0", 200)
    progress.say("a word")
    progress.end()
    out, err = capsys.readouterr()
    assert out == ""
    title, word, last = err.splitlines()
    assert title == "rrl · pen · seed 0"
    assert word == "  a word"
    assert last.strip().endswith("0:00:00")


def test_what_is_left_follows_from_the_pace_of_late(capsys, monkeypatch):
    seconds = 0.0
    monkeypatch.setattr(console.time, "monotonic", lambda: seconds)
    progress = ConsoleProgress()
    progress.begin("frames, then steps", 1000)
    progress.stage("render")
    for after, steps in ((60.0, 1), (1.0, 10), (30.0, 189), (1000.0, 100), (1000.0, 100)):
        seconds += after
        progress.advance(steps)
    assert capsys.readouterr().err.splitlines()[1:] == [
        "  render: 1/1000 steps",  # a minute of preparation tells nothing about what is left
        "  render: 200/1000 steps, 6.42/s, 0:02:05 left",
        "  render: 300/1000 steps, 0.1/s, 0:40:14 left",
        "  render: 400/1000 steps, 0.1/s, 1:40:00 left",
    ]


def test_steps_of_another_kind_tell_nothing_about_what_is_left(capsys, monkeypatch):
    seconds = 0.0
    monkeypatch.setattr(console.time, "monotonic", lambda: seconds)
    progress = ConsoleProgress()
    progress.begin("cached demonstrations, then an evaluation", 10_000)
    for stage, before, advances in (
        ("demonstrations", 1.0, [(0.0, 5000)]),
        ("clone", 0.0, []),
        ("evaluate", 28.0, [(0.1, 4), (30.0, 2996)]),
        ("iteration 1/2", 5.0, [(0.5, 10), (25.0, 490)]),
        ("iteration 2/2", 25.0, [(0.0, 250)]),
    ):
        seconds += before
        progress.stage(stage)
        for after, steps in advances:
            seconds += after
            progress.advance(steps)
    assert capsys.readouterr().err.splitlines()[1:] == [
        "  evaluate: 8000/10000 steps, 99.9/s, 0:00:20 left",
        "  iteration 1/2: 8500/10000 steps, 19.6/s, 0:01:17 left",
        "  iteration 2/2: 8750/10000 steps, 10/s, 0:01:24 left",  # the update between them counts
    ]


def test_on_a_terminal_there_is_a_bar_with_what_is_left(monkeypatch):
    progress = ConsoleProgress()
    progress._console = Console(force_terminal=True, width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    progress.begin("rrl · pen · seed 0", 200)
    progress.stage("evaluate")
    for _ in range(5):
        progress.advance(10)
    progress._bar.refresh()
    shown = progress._console.export_text()
    assert "evaluate" in shown
    assert "50/200 steps" in shown
    assert "/s" in shown
    assert "left" in shown
    progress.end()
    assert progress._bar is None
    progress._console.file.close()


def test_closing_before_a_run_began_says_nothing(capsys):
    ConsoleProgress().close()
    assert capsys.readouterr() == ("", "")


def test_results_are_a_table_on_standard_output(capsys, tmp_path):
    scores = {-1: (1.0, 0.0), 0: (40.0, 0.25), 1: (90.0, 0.75), 2: (80.0, 0.5)}
    rows = [
        ("pen", 0, RunResult(tmp_path, "hindex (random)", scores, False)),
        ("door", 3, RunResult(tmp_path, "rrl", {0: (2.0, 0.0)}, True)),
    ]
    print_results(rows, "a caption")
    out, err = capsys.readouterr()
    assert err == ""
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
    assert cells[0] == ["pen", "hindex (random)", "0", "1.0 (0%)", "40.0 (25%)", "80.0 (50%)", "90.0 (75%)"]
    assert cells[1] == ["door", "rrl", "3", "-", "2.0 (0%)", "2.0 (0%)", "2.0 (0%)"]
    assert "a caption" in out


def test_runs_that_only_clone_have_one_column(tmp_path, capsys):
    results = [("door", 3, RunResult(tmp_path, "rrl", {0: (2.0, 0.25)}, True))]
    print_results(results, "a caption")
    out = capsys.readouterr().out
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
    assert cells == [["door", "rrl", "3", "2.0 (25%)"]]
    assert "cloned" in out
    assert "final" not in out
