"""A finished run in a pack counts as done, without its folder."""

import shutil

import pytest

from benchmark.errors import PackError
from benchmark.runner import runner
from benchmark.runner.runner import run
from benchmark.runner.status import State, overview
from benchmark.runner.sweep import cell_of
from benchmark.store import packing, sweeps


@pytest.fixture
def packed(configured, tmp_path):
    """A folder with a pack of one run, whose folder is gone; its configuration; and the result of before."""
    config = configured()
    result = run(config, tmp_path / "first")
    packing.make([tmp_path / "first"], tmp_path / "runs" / "reference.pack.zip")
    shutil.rmtree(tmp_path / "first")
    return tmp_path / "runs", config, result


def test_it_is_found_with_the_same_numbers_and_nothing_is_done(packed, monkeypatch):
    out, config, before = packed
    monkeypatch.setattr(runner, "learn", None)
    found = run(config, out)
    assert found.found
    assert found.evaluations == before.evaluations
    assert not found.path.exists()


def test_a_run_of_another_identity_does_not_count(packed, configured):
    out, config, _ = packed
    assert not run(configured("learner.value_epochs=1"), out).found
    assert not run(config, out, overwrite=True).found


def test_its_folder_comes_first(packed):
    out, config, before = packed
    run(config, out, overwrite=True)
    (out / "reference.pack.zip").unlink()
    assert run(config, out).evaluations == before.evaluations


def test_status_counts_it(packed):
    out, config, _ = packed
    sweeps.write(out, [cell_of(config, out)])
    assert [one.state for one in overview(out).runs] == [State.DONE]


def test_a_damaged_pack_is_named(packed):
    out, config, _ = packed
    (out / "reference.pack.zip").write_bytes(b"nothing of the kind")
    with pytest.raises(PackError, match=r"reference\.pack\.zip"):
        run(config, out)
