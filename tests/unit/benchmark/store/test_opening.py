"""Opening a run folder: new, to go on with, finished, held by another process, of another run; where it may lie."""

import json
import os
import signal

import numpy as np
import pytest
from folder_cases import CONFIG, IDENTITY, episode, start

from benchmark.errors import ConfigError, FolderError, OutputError
from benchmark.store import atomic, run_folder
from benchmark.store.run_folder import RunFolder, cell_path, check_writable


def test_status_and_files(folder):
    assert RunFolder(folder.path / "none").status == "absent"
    assert folder.status == "unfinished"
    assert folder.config == CONFIG
    assert folder.identity == IDENTITY
    assert json.loads((folder.path / "machine.json").read_text())["packages"]["numpy"] == np.__version__
    folder.finish()
    assert folder.status == "finished"


def test_same_identity_goes_on_with_the_latest_configuration(folder):
    folder.append_metrics({"iteration": 0})
    folder.close()
    assert folder.create({"workers": 4}, IDENTITY) == "unfinished"
    assert folder.config == {"workers": 4}
    assert folder.metrics() == [{"iteration": 0}]


def test_finished_run_is_not_touched(folder):
    folder.finish()
    before = {file: file.read_bytes() for file in folder.path.iterdir() if file.name != ".lock"}
    assert folder.create({"workers": 4}, IDENTITY) == "finished"
    assert before == {file: file.read_bytes() for file in folder.path.iterdir() if file.name != ".lock"}
    assert folder.altered() == []


def test_another_identity_is_refused_in_one_line_that_names_the_keys(folder):
    other = {"task": "door", "learner": {"step_size": 0.02, "gae_lambda": 0.9, "epochs": 1}, "seed": 1}
    with pytest.raises(OutputError) as refusal:
        folder.create(CONFIG, other)
    assert str(refusal.value) == (
        f"{folder.path} holds a run of another identity (learner.epochs absent -> 1, "
        "learner.gae_lambda 0.97 -> 0.9, learner.step_size 0.05 -> 0.02 and 2 more): go on where it was begun; "
        "for the new settings choose another --out, or --overwrite that run, whose results are then lost"
    )
    assert folder.identity == IDENTITY


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"config": {"torch_threads": 1}}, "to go on with it, give --set torch_threads=2"),
        ({"device": "cpu"}, "to go on with it, give --device cuda"),
        ({"config": {"torch_threads": 1}, "device": "cpu"}, "give --set torch_threads=2 --device cuda"),
        ({"config": {"torch_threads": 2, "learner": {"hidden": [8]}}}, "give --set 'learner.hidden=[8, 8]'"),
        ({"encoder": {"precision": "float32"}}, "give --precision bfloat16"),
        ({"encoder": {"adaptation_sha256": "9"}}, "its encoder had another adaptation: restore the folder `adapt`"),
        ({"demonstrations": "f"}, "its demonstrations were others"),
    ],
)
def test_a_refusal_names_the_settings_that_would_match_before_any_other_remedy(tmp_path, changes, advice):
    old = {
        "config": {"torch_threads": 2, "learner": {"hidden": [8, 8]}},
        "encoder": {"precision": "bfloat16", "adaptation_sha256": "1"},
        "demonstrations": "a",
        "device": "cuda",
    }
    new = {key: value | changes.get(key, {}) if isinstance(value, dict) else value for key, value in old.items()}
    new |= {key: value for key, value in changes.items() if not isinstance(value, dict)}
    with RunFolder(tmp_path / "seed-0") as folder:
        folder.create({}, old)
    with RunFolder(tmp_path / "seed-0") as folder, pytest.raises(FolderError) as refusal:
        folder.create({}, new)
    line = str(refusal.value)
    assert advice in line
    assert line.index(advice) < line.index("another --out") < line.index("--overwrite")


@pytest.mark.parametrize("name", ["manifest.json", "checkpoint.safetensors", "metrics.jsonl", "episodes.parquet"])
def test_results_without_an_identity_are_refused_and_overwritten_only_when_asked(tmp_path, name):
    (tmp_path / name).write_bytes(b"{}")
    with RunFolder(tmp_path) as folder:
        with pytest.raises(FolderError, match=rf"holds {name} but no identity\.json; restore it from a copy"):
            folder.create(CONFIG, IDENTITY)
        assert folder.create(CONFIG, IDENTITY, overwrite=True) == "absent"
        assert not (tmp_path / name).exists()


def test_overwrite_begins_anew(folder):
    folder.append_metrics({"iteration": 0})
    folder.append_episodes([episode(0)])
    folder.save_checkpoint({"policy": np.ones(3)}, {"iteration": 0})
    (folder.path / "frames").mkdir()
    (folder.path / "frames" / "start.png").write_bytes(b"png")
    folder.finish()
    other = IDENTITY | {"task": "pen"}
    assert folder.create(CONFIG, other, overwrite=True) == "absent"
    assert folder.identity == other
    assert sorted(file.name for file in folder.path.iterdir()) == [
        ".lock",
        "config.json",
        "identity.json",
        "machine.json",
    ]


def test_a_lock_that_was_deleted_in_the_meantime_is_taken_anew(tmp_path, monkeypatch):
    """As if another process had given up a folder that it had only claimed, between our opening and our locking."""
    held, hold = [], run_folder.hold

    def late(path):
        lock = hold(path)
        if not held:
            (path / ".lock").unlink()
        held.append(lock)
        return lock

    monkeypatch.setattr(run_folder, "hold", late)
    with RunFolder(tmp_path / "seed-0") as folder:
        folder.claim()
        assert len(held) == 2
        assert (tmp_path / "seed-0" / ".lock").exists()


def test_second_process_is_refused_until_the_first_dies(folder):
    code = (
        "import sys, time; from benchmark.store.run_folder import RunFolder\n"
        "folder = RunFolder(sys.argv[1]); folder.create({}, {}); print('held', flush=True); time.sleep(60)"
    )
    path = folder.path.with_name("seed-1")
    writer = start(code, path)
    assert writer.stdout.readline() == "held\n"
    with pytest.raises(OutputError, match=rf"is being written by process {writer.pid} on ") as refusal:
        RunFolder(path).create({}, {})
    assert "\n" not in str(refusal.value)
    writer.kill()
    writer.wait()
    with RunFolder(path) as mine:
        assert mine.create({}, {}) == "unfinished"


def test_forked_worker_that_outlives_the_run_does_not_hold_it(tmp_path):
    code = (
        "import os, sys, time; from benchmark.store.run_folder import RunFolder\n"
        "folder = RunFolder(sys.argv[1]); folder.create({}, {})\n"
        "child = os.fork()\n"
        "if child: print(child, flush=True)\n"
        "time.sleep(60)"
    )
    writer = start(code, tmp_path / "seed-0")
    child = int(writer.stdout.readline())
    try:
        writer.kill()
        writer.wait()
        with RunFolder(tmp_path / "seed-0") as mine:
            assert mine.create({}, {}) == "unfinished"
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a\nb"])
def test_cell_path_refuses_what_names_no_folder(tmp_path, name):
    with pytest.raises(ConfigError, match="cannot name a folder"):
        cell_path(tmp_path, "suite", "door", name, 0)


def test_check_writable_makes_the_folder_and_leaves_it_empty(tmp_path):
    check_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_output_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "runs"):
        with pytest.raises(OutputError, match=r"^cannot write to the output folder .*; choose another --out$"):
            check_writable(out)
    with pytest.raises(OutputError, match=r"^cannot write "):
        RunFolder(tmp_path / "file" / "seed-0").create({}, {})


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_output_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        check_writable(tmp_path)


def test_failed_write_keeps_the_old_file_and_leaves_nothing_behind(tmp_path, monkeypatch):
    target = tmp_path / "config.json"
    atomic.write_bytes(target, b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"config\.json: No space left on device$"):
        atomic.write_bytes(target, b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]
