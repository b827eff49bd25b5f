"""How a command ends that nature ends: signals, names too long, memory."""

import os
import signal
import threading

import pytest
import typer

from benchmark import signals
from benchmark.cli import app as cli
from benchmark.cli import mistakes
from benchmark.errors import SimulationError

LONG = "w" * 5000


@pytest.fixture(autouse=True)
def heard():
    """A shell's background jobs ignore Ctrl-C, and so would tests that one of them runs."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def ended(capsys, action, *arguments, monkeypatch=None):
    """Exit code and what was said on standard error."""
    with signals.raising_terminated():
        code = mistakes.guarded(action, debug=False)
    return code, capsys.readouterr().err


def bench(capsys, *arguments):
    return ended(capsys, lambda: cli.app(args=list(arguments), prog_name="bench", standalone_mode=False))


def test_a_setting_out_of_range_is_one_line(capsys):
    assert bench(capsys, "adapt", "--set", "size=100") == (
        2,
        "bench: setting 'size': should be a multiple of 32, got 100\n",
    )


@pytest.mark.parametrize(
    ("command", "option", "key"),
    [
        ("adapt", "--learning-rate", "learning_rate"),
        ("pretrain", "--held-out", "held_out"),
        ("run", "--step-size", "learner.step_size"),
    ],
)
def test_an_option_that_is_a_setting_is_answered_by_it(capsys, command, option, key):
    code, said = bench(capsys, command, option, "3")
    assert code == 2
    assert (
        said == f"bench: there is no option {option}: give --set {key}=VALUE instead (see `bench {command} --help`)\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--encoder", "hindex", "--task", "pen", "--weights", LONG),
        ("run", "--encoder", "random", "--task", "pen", "--weights", LONG),
        ("run", "--encoder", LONG, "--task", "pen"),
        ("run", "--encoder", f"{LONG}.py:Mine", "--task", "pen"),
        ("run", "--encoder", "state", "--task", "pen", "--out", LONG),
        ("run", "--encoder", "state", "--task", LONG),
        ("run", "--encoder", "state", "--task", "pen", "--set", f"demonstrations.source={LONG}"),
        ("adapt", "--weights", LONG),
        ("adapt", "--heads", LONG),
        ("report", LONG),
        ("eval", LONG),
        ("demos", "import", LONG, "--task", "pen"),
        ("demos", "collect", "--out", LONG, "--task", "pen"),
        ("demos", "play", "--source", LONG, "--task", "pen", "--out", "x.mp4"),
        ("weights", "import", "r3m", LONG),
        ("encoders", "check", f"{LONG}.py:Mine"),
        ("assets", "fetch", "ycb", "--from", LONG),
    ],
    ids=lambda arguments: " ".join(arguments).replace(LONG, "LONG")[:60],
)
def test_a_name_of_5000_characters_is_one_short_line(capsys, arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, said = bench(capsys, *arguments)
    assert code == 2
    assert said.startswith("bench: ")
    assert said.count("\n") == 1
    assert len(said) < 1000


def test_what_the_system_refuses_is_one_line(capsys):
    def read():
        return open("/")

    assert ended(capsys, read) == (2, "bench: cannot use /: Is a directory\n")


def test_faults_of_ours_keep_their_traceback():
    for error in (OSError("no file in it"), RuntimeError("a mistake"), ValueError("another")):

        def fail(error=error):
            raise error

        with pytest.raises(type(error)):
            mistakes.guarded(fail, debug=False)


def test_exhausted_memory_is_one_line(capsys):
    def fail():
        raise MemoryError

    code, said = ended(capsys, fail)
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith("bench: out of memory")


def interrupted():
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()


def terminated():
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()


@pytest.mark.parametrize(
    ("action", "command", "code", "line"),
    [
        (terminated, "run", 143, "bench: terminated; the same command goes on from the last iteration\n"),
        (terminated, "adapt", 143, "bench: terminated; the same command goes on from the last iteration\n"),
        (terminated, "demos", 143, "bench: terminated; the same command begins anew\n"),
        (interrupted, "run", 130, "bench: interrupted; the same command goes on from the last iteration\n"),
    ],
)
def test_signals_end_a_command_with_a_line(capsys, monkeypatch, action, command, code, line):
    monkeypatch.setattr("sys.argv", ["bench", command])
    before = signal.getsignal(signal.SIGTERM)
    assert ended(capsys, action) == (code, line)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_command_that_typer_aborts_counts_as_terminated(capsys, monkeypatch):
    """Click turns the interruption into an error of its own."""
    monkeypatch.setattr("sys.argv", ["bench", "run"])

    def action():
        try:
            terminated()
        except KeyboardInterrupt:
            raise typer.Abort from None

    assert ended(capsys, action)[0] == 143


def test_a_worker_that_the_signal_reached_first_is_not_blamed(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["bench", "pretrain"])
    seen = []

    def action():
        with signals.stop_signals(lambda: seen.append(1)):
            os.kill(os.getpid(), signal.SIGTERM)
            threading.Event().wait(0.01)
            raise SimulationError("image worker 0 died (exit code -15)")

    assert ended(capsys, action) == (143, "bench: terminated; the same command goes on from the last iteration\n")
    assert seen == [1]


def test_a_second_signal_does_not_disturb_the_way_out(capsys):
    left = []

    def action():
        try:
            terminated()
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            left.append("cleaned up")

    assert ended(capsys, action)[0] == 143
    assert left == ["cleaned up"]
