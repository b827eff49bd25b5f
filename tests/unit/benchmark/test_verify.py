"""``bench verify``: every altered, missing or damaged file below a folder has its line, and nothing is changed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from typer.testing import CliRunner

from benchmark.adapt import folder as adapt_folder
from benchmark.cli import app as cli
from benchmark.errors import OutputError
from benchmark.probe import folder as probe_folder
from benchmark.store.run_folder import RunFolder
from benchmark.store.training import write_checkpoint
from benchmark.verify import verify

BEFORE = Path(__file__).parents[2] / "data" / "run-folders-fa7125c" / "runs"
IDENTITY = {"encoder": "tiny"}


@pytest.fixture
def runs(tmp_path):
    """A finished run and a killed one, an adaptation finished and one not, a probe's cell, and a Stage 1 training."""
    root = shutil.copytree(BEFORE, tmp_path / "runs")
    tensors = safetensors.numpy.save({"weight": np.ones(4, np.float32)})
    adapted = root / "adapt" / "pen" / "tiny"
    (adapted / "keypoints").mkdir(parents=True)
    for name in ("batchnorm", "pretrained", "heads"):
        (adapted / f"{name}.safetensors").write_bytes(tensors)
    (adapted / "keypoints" / "000.png").write_bytes(b"png")
    (adapted / "identity.json").write_text(json.dumps(IDENTITY))
    adapt_folder.finish(adapted, {"task": "pen"}, IDENTITY)
    begun = root / "adapt" / "door" / "tiny"
    begun.mkdir(parents=True)
    (begun / "identity.json").write_text(json.dumps(IDENTITY))
    write_checkpoint(begun / "checkpoint.safetensors", {}, IDENTITY, {"step": 1})
    probe_folder.write(probe_folder.cell_path(root, "tiny", "pen"), {"rows": [{"r2": 0.5}]}, {"a/total": np.ones(2)})
    stage_1 = root / "stage1"
    stage_1.mkdir()
    (stage_1 / "stage1.safetensors").write_bytes(tensors)
    (stage_1 / "card.json").write_text(json.dumps({"sha256": adapt_folder.sha256(tensors).hexdigest()}))
    return root


def call(root):
    done = CliRunner().invoke(cli.app, ["verify", str(root)])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.exit_code, done.stdout.splitlines()


def content(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_where_all_is_well_there_is_one_line(runs):
    before = content(runs)
    looked_at = "2 runs, 2 adaptations, 1 probes, 1 Stage 1 trainings"
    assert call(runs) == (0, [f"{looked_at}: nothing is altered, missing or damaged"])
    assert content(runs) == before


def test_every_file_of_finished_things_counts(runs):
    finished = [
        *(path for path in runs.glob("*/pen/state/seed-0/*") if path.suffix and path.name != "manifest.json"),
        *(runs / "adapt" / "pen" / "tiny").rglob("*.*"),
        *(runs / "probe" / "tiny").iterdir(),
        runs / "stage1" / "stage1.safetensors",
    ]
    assert len(finished) == 8 + 7 + 2 + 1
    for path in finished:
        whole = path.read_bytes()
        middle = len(whole) // 2
        path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
        (fault,) = verify(runs).faults
        assert str(path) in fault, path
        path.write_bytes(whole)
    assert verify(runs).faults == []


def test_each_fault_has_its_own_line(runs):
    (finished,) = runs.glob("*/pen/state/seed-0")
    (finished / "metrics.jsonl").unlink()
    (finished / "episodes.parquet").write_bytes(b"")
    (killed,) = runs.glob("*/pen/state/seed-1")
    (killed / "checkpoint.safetensors").write_bytes(b"short")
    (runs / "adapt" / "pen" / "tiny" / "card.json").write_text("{}")
    (runs / "adapt" / "door" / "tiny" / "identity.json").write_text("[" * 100_000)
    code, lines = call(runs)
    assert code == 1
    assert lines[:2] == [f"{finished / 'episodes.parquet'}: altered", f"{finished / 'metrics.jsonl'}: missing"]
    assert lines[2].startswith(f"{killed / 'checkpoint.safetensors'} is damaged (it is cut short)")
    assert lines[3].startswith(f"{runs / 'adapt' / 'door' / 'tiny' / 'identity.json'} is damaged (nested too deeply)")
    assert lines[4] == f"{runs / 'adapt' / 'pen' / 'tiny' / 'card.json'}: altered"
    assert lines[5].endswith(": 5 files are altered, missing or damaged")


def test_an_unfinished_runs_files_are_read(runs):
    (killed,) = runs.glob("*/pen/state/seed-1")
    lines = (killed / "metrics.jsonl").read_text().splitlines(keepends=True)
    damages = {
        "config.json": b"{",
        "machine.json": b"\xff",
        "identity.json": b"[]",
        "metrics.jsonl": lines[1].encode(),
        "episodes.parquet": b"PAR1",
    }
    for name, damage in damages.items():
        whole = (killed / name).read_bytes()
        (killed / name).write_bytes(damage)
        (fault,) = verify(runs).faults
        assert fault.startswith(f"{killed / name} is damaged")
        (killed / name).write_bytes(whole)
    (killed / "identity.json").unlink()
    assert verify(runs).faults == [f"{killed / 'identity.json'}: missing"]


def test_one_folder_alone_can_be_looked_at_and_nothing_is_not_well(runs, tmp_path):
    (finished,) = runs.glob("*/pen/state/seed-0")
    assert verify(finished).counts == {"runs": 1}
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "none"):
        with pytest.raises(OutputError, match="give a folder of runs"):
            verify(path)


def test_things_from_before_there_were_hashes_are_read(runs):
    (runs / "adapt" / "pen" / "tiny" / "manifest.json").unlink()
    cell = probe_folder.cell_path(runs, "tiny", "pen")
    cell.write_text(json.dumps({"rows": []}))
    assert verify(runs).faults == []
    heads = runs / "adapt" / "pen" / "tiny" / "heads.safetensors"
    heads.write_bytes(heads.read_bytes()[:-1])
    cell.with_suffix(".safetensors").write_bytes(b"")
    first, second = verify(runs).faults
    assert first.startswith(f"{heads} is damaged (it is cut short")
    assert second.startswith(f"{cell.with_suffix('.safetensors')} is damaged")


def test_an_altered_run_is_named_by_its_files(runs):
    (finished,) = runs.glob("*/pen/state/seed-0")
    with (finished / "metrics.jsonl").open("a") as file:
        file.write("\n")
    assert RunFolder(finished).altered() == ["metrics.jsonl"]
    assert verify(finished).faults == [f"{finished / 'metrics.jsonl'}: altered"]
