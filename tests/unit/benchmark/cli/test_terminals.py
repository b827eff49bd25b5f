"""What the command line prints on narrow terminals, into pipes, and where standard output is closed."""

import io
import re
import sys

import pytest
import torch

import tasks
from benchmark.adapt.config import configure as configure_adaptation
from benchmark.cli import app as cli
from benchmark.cli import console
from benchmark.config import configure
from benchmark.device import choose_device
from benchmark.environment import print_what_fits
from benchmark.errors import ConfigError
from benchmark.runner.runner import RunResult


class Terminal(io.StringIO):
    def isatty(self):
        return True

    def text(self):
        """What was printed, without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.getvalue())


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_every_task_can_be_read_in_the_results_at_any_width(width, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys, "stdout", Terminal())
    scores = {-1: (-182.0, 0.0), 0: (7665.3, 0.5), 40: (16232.1, 1.0)}
    results = [(name, 0, RunResult(tmp_path, "hindex (builtin)", scores, False)) for name in tasks.names()]
    console.print_results(results, "Run folders in runs.")
    said = sys.stdout.text()
    assert all(any(name in line for line in said.splitlines()) for name in tasks.names())
    assert said.count("16232.1 (100%)") == 2 * len(results)
    assert said.count("-182.0 (0%)") == len(results)
    assert width < 60 or all(len(line) <= width for line in said.splitlines())


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("command", [["tasks"], ["encoders"]])
def test_names_are_whole_in_tables(command, width, monkeypatch):
    import encoders

    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys, "stdout", Terminal())
    cli.app(args=command, prog_name="bench", standalone_mode=False)
    said = sys.stdout.text().split()
    assert set(tasks.names() if command == ["tasks"] else encoders.names()) <= set(said)


def test_a_closed_standard_output_takes_what_is_printed(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    print_what_fits()
    sys.stdout.write("nowhere\n")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:one", "CPU", "", "cpu\n"])
def test_a_device_that_is_none_is_told_in_words(name):
    words = "should be auto, cpu, cuda or cuda:N"
    with pytest.raises(ConfigError, match=f"setting 'device': {words}") as told:
        configure("quickstart", task="pen", encoder="state", device=name)
    assert "^" not in str(told.value)
    with pytest.raises(ConfigError, match=words):
        choose_device(name)


def test_other_complaints_are_words_too():
    for setting, words in {
        "precision": "should be 'auto', 'float32'",
        "background": "should be at most 10",
        "seed": "should be at least 0",
    }.items():
        with pytest.raises(ConfigError, match=f"setting '{setting}': {words}") as told:
            configure("quickstart", task="pen", encoder="state", **{setting: 77 if setting == "background" else -1})
        assert "input" not in str(told.value).lower()


def test_a_device_of_an_adaptation_is_refused_before_any_work():
    with pytest.raises(ConfigError, match="setting 'device': should be auto, cpu"):
        configure_adaptation(device="gpu")
    assert choose_device("cpu") == torch.device("cpu")
