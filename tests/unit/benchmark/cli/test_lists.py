"""Lists on the command line: each entry once, in order; `all` and patterns; and what is no list is one line."""

from pathlib import Path

import pytest

import tasks
from benchmark.cli.lists import listed, seeds, task_names
from benchmark.errors import ConfigError
from tasks.cards import GROUPS
from tasks.errors import TaskContract, UnknownTask

EXAMPLE = Path(__file__).parents[4] / "examples" / "add_a_task.py"


def test_an_entry_counts_once_and_keeps_its_place():
    assert listed(" rrl, hindex,rrl,,") == ["rrl", "hindex"]
    assert seeds("2,0,2, 0") == [2, 0]
    assert task_names("pen,door,pen") == ["pen", "door"]


def test_groups_and_patterns_stand_for_the_tasks_that_match():
    assert len(task_names("all")) == 12
    assert [*task_names("all"), "relocate"] == task_names("every") == tasks.names()
    assert task_names("adroit") == ["hammer", "door", "pen", "relocate"]
    assert task_names("door,all") == ["door", *(name for name in task_names("all") if name != "door")]
    assert task_names("relocate-*") == [name for name in tasks.names() if name.startswith("relocate-")]
    assert task_names("relocate") == ["relocate"]


def test_a_task_in_a_file_is_called_by_its_name_and_all_is_the_papers(tmp_path):
    path = tmp_path / "add_a_task.py"
    path.write_text(EXAMPLE.read_text())
    assert task_names(f"door,{path}:Push,push-*,{path}") == ["door", "push-ball"]
    assert "push-ball" in tasks.names()
    assert task_names("all") == list(GROUPS["all"])
    path.write_text(EXAMPLE.read_text().replace("observation_dim=36", "observation_dim=35"))
    with pytest.raises(TaskContract, match=r"task 'push-ball': .*; set observation_dim = 36"):
        task_names(f"{path}:Push")


@pytest.mark.parametrize("text", ["", " , "])
def test_an_empty_list_is_refused(text):
    with pytest.raises(ConfigError, match="an empty list"):
        listed(text)


def test_what_nothing_matches_is_refused():
    with pytest.raises(ConfigError, match=r"no task matches 'relocate_\*'; available: hammer"):
        task_names("relocate_*")
    with pytest.raises(UnknownTask, match="did you mean 'door'"):
        task_names("pen,dor")
    with pytest.raises(ConfigError, match="expected whole numbers"):
        seeds("1-3")
    with pytest.raises(ConfigError, match="--seed : expected whole numbers"):
        seeds("")
