"""Folders named after encoders: safe, one for each title, and as they were before."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

import encoders
from benchmark.errors import ConfigError
from benchmark.probe.probe import cell_path as probe_path
from benchmark.store.run_folder import cell_path
from benchmark.store.titles import folder_name, title_of

REGISTERED = st.from_regex(r"[a-z0-9][a-z0-9_\-]*", fullmatch=True)
OF_TIMM = st.text(string.ascii_lowercase + string.digits + "._-", min_size=1).map("timm:{}".format)
NAMES = st.one_of(REGISTERED, OF_TIMM)
ENDS = st.sampled_from(["", " (random)", " (builtin)", "+ema-0.01", "+unit+ema-all (file 0123abcd)"])


@given(NAMES, ENDS)
def test_a_folder_is_safe_and_gives_its_title_back(name, end):
    folder = folder_name(name + end)
    assert not set(folder) & set('\\/:*?"<>|')
    assert title_of(folder) == name + end


@given(NAMES, NAMES)
def test_two_titles_never_share_a_folder(one, other):
    assert (folder_name(one) == folder_name(other)) == (one == other)


@given(REGISTERED, ENDS)
def test_folders_of_registered_encoders_are_named_as_ever(name, end):
    assert folder_name(name + end) == title_of(name + end) == name + end


def test_folders_of_the_built_in_encoders_are_named_as_ever(tmp_path):
    for name in encoders.names():
        assert cell_path(tmp_path, "s", "door", f"{name} (random)", 0).parent.name == f"{name} (random)"


def test_a_colon_elsewhere_is_still_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot name a folder"):
        cell_path(tmp_path, "s", "door", "a:b", 0)


def test_a_probe_of_before_is_found_where_it_was_written(tmp_path):
    title = "timm:resnet10t (random)"
    assert probe_path(tmp_path, title, "door").parent.name == "timm.resnet10t (random)"
    before = tmp_path / "probe" / title / "door.json"
    before.parent.mkdir(parents=True)
    before.touch()
    assert probe_path(tmp_path, title, "door") == before
    assert probe_path(tmp_path, title, "pen").parent.name == "timm.resnet10t (random)"
