"""Lists on the command line: each entry once, in order; `all` and patterns; and what is no list is one line."""

import pytest

import tasks
from benchmark.cli.lists import listed, seeds, task_names
from benchmark.errors import ConfigError
from tasks.errors import UnknownTask


def test_an_entry_counts_once_and_keeps_its_place():
    assert listed(" rrl, hindex,rrl,,") == ["rrl", "hindex"]
    assert seeds("2,0,2, 0") == [2, 0]
    assert task_names("pen,door,pen") == ["pen", "door"]


def test_all_and_patterns_stand_for_the_tasks_that_match():
    assert task_names("all") == tasks.names()
    assert task_names("door,all") == ["door", *(name for name in tasks.names() if name != "door")]
    assert task_names("relocate-*") == [name for name in tasks.names() if name.startswith("relocate-")]


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
