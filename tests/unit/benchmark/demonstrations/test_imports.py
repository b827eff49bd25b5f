"""``bench demos import``: whose reader takes a file, what it says, and what it leaves behind."""

import errno
import os
import pickle

import numpy as np
import pytest

import tasks
from benchmark.demonstrations import commands as demo_commands
from benchmark.demonstrations.imports import import_to_cache
from benchmark.demonstrations.sources import imported_path
from benchmark.errors import BenchError, ConfigError, OutputError
from tasks import experts
from tasks.demonstrations.dataset import Demonstrations
from tasks.demonstrations.rollout import collect
from tasks.errors import DemonstrationError, TaskError

STEPS = 6


def demonstrations(name):
    task = tasks.make(name, slots=2)
    return collect(task, experts.shipped(name), episodes=2, first_seed=0, horizon=STEPS, successful_only=False)


@pytest.fixture(scope="module")
def door():
    return demonstrations("door")


@pytest.fixture
def minari(tmp_path, door, hdf5_layouts):
    """A data set's folder."""
    (tmp_path / "human-v2" / "data").mkdir(parents=True)
    hdf5_layouts.write_minari(tmp_path / "human-v2" / "data" / "main_data.hdf5", door)
    return tmp_path / "human-v2"


@pytest.mark.parametrize("name", ["door", "relocate"])
def test_hdf5_files_are_imported_and_replayed(tmp_path, name, cache, hdf5_layouts):
    published = demonstrations(name)
    hdf5_layouts.write_d4rl(tmp_path / f"{name}-human-v1.hdf5", published)
    line = import_to_cache(tmp_path / f"{name}-human-v1.hdf5", name, 2)
    assert line == f"{imported_path(name)}: 2 episodes of {name}, 0% successful when replayed here"
    stored = Demonstrations.load(imported_path(name))
    assert stored.metadata["source"] == "D4RL file"
    assert stored.metadata["replayed"] is True
    for one, other in zip(stored.episodes, published.episodes, strict=True):
        np.testing.assert_array_equal(one.actions, other.actions)
        np.testing.assert_allclose(one.observations, other.observations, atol=1e-5)


def test_the_folder_of_a_minari_data_set_is_taken(minari, cache):
    import_to_cache(minari, "door", 2)
    assert Demonstrations.load(imported_path("door")).metadata["source"] == "Minari file"
    (minari / "data" / "main_data.hdf5").unlink()
    with pytest.raises(ConfigError, match=r"no file .*human-v2/data/main_data\.hdf5"):
        import_to_cache(minari, "door", 2)


def test_recordings_of_another_environment_are_named(tmp_path, door, cache, hdf5_layouts):
    import h5py

    hdf5_layouts.write_d4rl(tmp_path / "door.hdf5", door)
    with h5py.File(tmp_path / "door.hdf5", "a") as file:
        file["observations"][0, 3] += 0.25
    assert "first observations differ from this simulator's by up to 0.25" in import_to_cache(
        tmp_path / "door.hdf5", "door", 2
    )


@pytest.mark.parametrize("content", [b"", b"nothing", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(2000), "list"])
@pytest.mark.parametrize("suffix", ["pickle", "hdf5", "npz"])
def test_what_cannot_be_read_is_one_line_with_the_path_once(tmp_path, cache, content, suffix):
    path = tmp_path / f"file.{suffix}"
    path.write_bytes(pickle.dumps([{"actions": [1]}]) if content == "list" else content)
    with pytest.raises((BenchError, TaskError)) as refusal:
        import_to_cache(path, "door", 1)
    assert str(refusal.value).count(str(path)) == 1
    assert "\n" not in str(refusal.value)


def test_hdf5_of_a_task_without_recordings_says_which_have_some(tmp_path, door, cache, hdf5_layouts):
    hdf5_layouts.write_d4rl(tmp_path / "door.hdf5", door)
    with pytest.raises(DemonstrationError, match="no demonstrations of 'pour' in D4RL's and Minari's files, only of"):
        import_to_cache(tmp_path / "door.hdf5", "pour", 2)


def test_a_cache_that_cannot_be_written_is_named_before_the_work(tmp_path, door, cache, monkeypatch, hdf5_layouts):
    hdf5_layouts.write_d4rl(tmp_path / "door.hdf5", door)
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_text("a file where the folder should be")
    monkeypatch.setattr("benchmark.demonstrations.imports.replay", lambda *_: pytest.fail("worked in vain"))
    with pytest.raises(OutputError, match="set HINDEX_BENCH_CACHE to a folder that can be written"):
        import_to_cache(tmp_path / "door.hdf5", "door", 2)


def full_disk(monkeypatch):
    """Let every write reach the disk's end when it is to be made durable."""

    def fsync(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)


def test_a_full_disk_leaves_nothing_behind(tmp_path, door, cache, monkeypatch, hdf5_layouts):
    out = tmp_path / "out"
    out.mkdir()
    hdf5_layouts.write_d4rl(tmp_path / "door.hdf5", door)
    door.save(out / "before.npz")
    full_disk(monkeypatch)
    with pytest.raises(DemonstrationError, match=r"No space left on device\); choose another folder"):
        import_to_cache(tmp_path / "door.hdf5", "door", 2)
    assert list(imported_path("door").parent.iterdir()) == []
    with pytest.raises(DemonstrationError, match="No space left"):
        door.save(out / "before.npz")
    with pytest.raises(TaskError, match="No space left"):
        experts.shipped("door").save(out / "expert.safetensors", {})
    assert [path.name for path in out.iterdir()] == ["before.npz"]
    assert Demonstrations.load(out / "before.npz").content_hash == door.content_hash


def test_the_list_names_a_broken_import_and_goes_on(cache):
    imported_path("door").parent.mkdir(parents=True)
    imported_path("door").write_bytes(b"broken")
    lines = list(demo_commands.overview())
    assert len(lines) == len(tasks.names())
    assert any("imported, but" in line and "broken or not a demonstrations file" in line for line in lines)


def test_folders_that_cannot_be_written_are_named_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("benchmark.demonstrations.commands.collect", lambda *_, **__: pytest.fail("worked in vain"))
    options = {"episodes": 1, "seed": None, "expert": None, "successful_only": False, "stochastic": True}
    with pytest.raises(OutputError, match="cannot write to the output folder"):
        demo_commands.collect_to("door", tmp_path / "file" / "door.npz", **options)
    with pytest.raises(ConfigError, match=r"is a folder; give the path of a file"):
        demo_commands.collect_to("door", tmp_path, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
