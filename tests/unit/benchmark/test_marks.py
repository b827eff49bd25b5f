"""Marks on the fields of settings, and the lists that are derived from them."""

from typing import Annotated

import pytest
import typer

from benchmark.cli.app import app
from benchmark.config import RunConfig
from benchmark.marks import COMPARED, IDENTITY, OPTION, SPEED, Part, marked, without


def test_what_is_left_out_of_a_runs_identity_is_as_ever():
    assert without(RunConfig, IDENTITY) == {
        **dict.fromkeys(["workers", "egl_device", "track", "device", "task_file"], True),
        **dict.fromkeys(["encoder", "weights", "adapted", "adaptation", "precision", "backend", "compiled"], True),
        "evaluation": {"video": True},
        "demonstrations": {"source": True},
    }


def test_what_does_not_make_another_suite_is_as_ever():
    assert without(RunConfig, COMPARED) == {
        **dict.fromkeys(["task", "task_file", "encoder", "seed", "weights", "preset", "physics", "objects"], True),
        **dict.fromkeys(["normalise", "adapt", "adapted", "ema"], True),
        **dict.fromkeys(["device", "torch_threads", "workers", "egl_device", "track"], True),
        "evaluation": {"video": True},
    }


def test_settings_with_an_option_are_as_ever_and_the_command_line_has_them():
    assert marked(RunConfig, OPTION) == {
        *("preset", "task", "encoder", "seed", "weights", "normalise", "adapt", "adapted"),
        *("device", "precision", "backend", "workers", "track", "objects", "background"),
    }
    parameters = {parameter.name for parameter in typer.main.get_command(app).commands["run"].params}
    assert parameters & RunConfig.model_fields.keys() == marked(RunConfig, OPTION)


def test_a_setting_of_a_run_without_a_mark_is_refused_where_it_is_written():
    with pytest.raises(TypeError, match=r"Longer\.patience has no mark: annotate it with one of IDENTITY, OUTCOME and"):

        class Longer(RunConfig):
            patience: int = 3


@pytest.mark.parametrize("marks", [(COMPARED,), (OPTION, COMPARED), (IDENTITY, SPEED)], ids=str)
def test_marks_that_do_not_say_what_a_setting_determines_are_refused(marks):
    with pytest.raises(TypeError, match=r"Longer\.patience has no mark"):

        class Longer(RunConfig):
            patience: Annotated[(int, *marks)] = 3


def test_a_group_gives_its_marks_to_its_settings():
    class Group(Part):
        usual: int = 1
        film: Annotated[bool, SPEED] = True

    class Wider(RunConfig):
        group: Annotated[Group, IDENTITY] = Group()

    assert without(Wider, IDENTITY)["group"] == {"film": True}
    assert without(Wider, COMPARED)["group"] is True
    config = Wider(task="pen", encoder="state")
    assert config.model_dump(exclude=without(Wider, IDENTITY))["group"] == {"usual": 1}
