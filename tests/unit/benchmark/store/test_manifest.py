"""The manifest of a finished run: what was altered is named, and nothing else is."""

import contextlib
import json

import pytest
from folder_cases import CONFIG, IDENTITY, episode

from benchmark.errors import FolderError
from benchmark.store import atomic
from benchmark.store.identity import identity_hash


def test_manifest_finds_what_was_altered(folder):
    folder.append_metrics({"iteration": 0})
    (folder.path / "frames").mkdir()
    (folder.path / "frames" / "start.png").write_bytes(b"png")
    folder.finish()
    manifest = json.loads((folder.path / "manifest.json").read_text())
    assert manifest["identity"] == identity_hash(IDENTITY)
    assert sorted(manifest["sha256"]) == [
        "config.json",
        "frames/start.png",
        "identity.json",
        "machine.json",
        "metrics.jsonl",
    ]
    assert folder.altered() == []
    (folder.path / "frames" / "start.png").unlink()
    folder.append_metrics({"iteration": 1})
    assert folder.altered() == ["frames/start.png", "metrics.jsonl"]


def test_an_unfinished_run_is_not_altered(folder):
    folder.append_metrics({"iteration": 0})
    assert folder.altered() == []


def test_files_that_others_added_are_no_alteration(folder):
    (folder.path / "notes.txt").write_text("before")
    folder.finish()
    (folder.path / "notes.txt").write_text("after")
    (folder.path / "more.txt").write_text("after")
    assert folder.altered() == []


@pytest.mark.parametrize(
    ("content", "names"),
    [
        (b"", ["manifest.json"]),
        (b"\xff\xfe", ["manifest.json"]),
        (b"[" * 100_000, ["manifest.json"]),
        (b"{}", ["manifest.json"]),
        (b'{"identity": 1, "sha256": [1]}', ["manifest.json"]),
    ],
)
def test_a_damaged_manifest_is_named_itself(folder, content, names):
    folder.finish()
    (folder.path / "manifest.json").write_bytes(content)
    assert folder.altered() == names


def test_a_manifest_of_another_run_is_named_itself(folder):
    folder.finish()
    manifest = json.loads((folder.path / "manifest.json").read_text())
    (folder.path / "manifest.json").write_text(json.dumps(manifest | {"identity": "another"}))
    assert folder.altered() == ["manifest.json"]


def test_a_file_that_the_manifest_no_longer_lists_counts_as_altered(folder):
    folder.append_metrics({"iteration": 0})
    folder.finish()
    manifest = json.loads((folder.path / "manifest.json").read_text())
    del manifest["sha256"]["metrics.jsonl"]
    (folder.path / "manifest.json").write_text(json.dumps(manifest))
    assert folder.altered() == ["manifest.json"]
    del manifest["digest"]  # as before manifests had one
    (folder.path / "manifest.json").write_text(json.dumps(manifest))
    assert folder.altered() == ["metrics.jsonl"]


def test_a_folder_where_a_file_was_is_an_alteration(folder):
    folder.finish()
    (folder.path / "identity.json").unlink()
    (folder.path / "identity.json").mkdir()
    assert folder.altered() == ["identity.json"]


def test_an_altered_run_is_neither_skipped_nor_evaluated_nor_touched(folder):
    folder.append_metrics({"iteration": 0})
    folder.finish()
    folder.close()
    folder.append_metrics({"iteration": 1})
    before = {file: file.read_bytes() for file in folder.path.iterdir() if file.name != ".lock"}
    for action in (lambda: folder.create(CONFIG, IDENTITY), folder.reopen):
        with pytest.raises(FolderError, match=r"was altered after the run had finished \(metrics\.jsonl\): .* restore"):
            action()
        folder.close()
    assert before == {file: file.read_bytes() for file in folder.path.iterdir() if file.name != ".lock"}
    assert folder.create(CONFIG, IDENTITY, overwrite=True) == "absent"


def test_an_evaluation_killed_at_any_write_leaves_an_unaltered_run(folder, monkeypatch):
    class Killed(BaseException):
        pass

    folder.append_episodes([episode(0)])
    folder.finish()
    writes = atomic.write_bytes
    for survive in range(5):
        left = iter(range(survive))

        def write(path, content, left=left):
            if next(left, None) is None:
                raise Killed
            writes(path, content)

        monkeypatch.setattr(atomic, "write_bytes", write)
        with pytest.raises(Killed) if survive < 4 else contextlib.nullcontext():
            folder.add_evaluation([episode(0, 3.0, "1")], {"frames/background-01.png": bytes([survive])})
        monkeypatch.undo()
        assert folder.altered() == []
    assert "pending" not in json.loads((folder.path / "manifest.json").read_text())
    folder.append_episodes([episode(0)])
    assert folder.altered() == ["episodes.parquet"]
