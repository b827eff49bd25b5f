"""The run folder: identity, refusals, rows, checkpoints, and a writer killed at any moment."""

import contextlib
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import benchmark
from benchmark.errors import ConfigError, FolderError, OutputError
from benchmark.store import atomic
from benchmark.store.identity import identity_changes, identity_hash, same_identity
from benchmark.store.run_folder import RunFolder, cell_path, check_writable

CONFIG = {"workers": 2, "learner": {"step_size": 0.05}}
IDENTITY = {"task": "door", "learner": {"step_size": 0.05, "gae_lambda": 0.97}, "versions": {"torch": "2.13.0"}}
IMPORT_FROM = Path(benchmark.__file__).parents[1]


@pytest.fixture
def folder(tmp_path):
    with RunFolder(cell_path(tmp_path, "quickstart-1", "door", "hindex", 0)) as folder:
        folder.create(CONFIG, IDENTITY)
        yield folder


def episode(iteration, value=1.0, background="default"):
    return {
        "iteration": iteration,
        "background": background,
        "seed": 7,
        "return": value,
        "success": value > 0,
        "length": 25,
    }


def start(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=IMPORT_FROM, stdout=subprocess.PIPE, text=True)


# --- identity -----------------------------------------------------------------------------------


def test_identity_does_not_depend_on_the_order_of_keys():
    turned = dict(reversed(IDENTITY.items()))
    assert same_identity(IDENTITY, turned)
    assert identity_hash(IDENTITY) == identity_hash(turned)


@given(st.dictionaries(st.text(), st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()))
def test_identity_survives_storage(identity):
    assert same_identity(identity, json.loads(json.dumps(identity)))
    assert identity_changes(identity, json.loads(json.dumps(identity))) == []


def test_identity_changes_are_dotted_and_sorted():
    changed = {"task": "pen", "learner": {"step_size": 0.05}, "horizon": 1}
    assert identity_changes(IDENTITY, changed) == [
        "horizon absent -> 1",
        "learner.gae_lambda 0.97 -> absent",
        'task "door" -> "pen"',
        'versions.torch "2.13.0" -> absent',
    ]


def test_identity_refuses_what_has_no_canonical_json():
    with pytest.raises(ValueError, match="JSON"):
        identity_hash({"step_size": math.nan})


# --- opening ------------------------------------------------------------------------------------


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


# --- rows ---------------------------------------------------------------------------------------


def test_metrics_become_plain_json(folder):
    folder.append_metrics(
        {"iteration": np.int64(3), "kl": np.float32(0.5), "loss": math.nan, "seconds": {"render": np.inf}, "x": (1, 2)}
    )
    assert folder.metrics() == [{"iteration": 3, "kl": 0.5, "loss": None, "seconds": {"render": None}, "x": [1, 2]}]


def test_metrics_need_an_iteration(folder):
    with pytest.raises(KeyError):
        folder.append_metrics({"kl": 0.1})


def test_truncation_drops_later_rows_and_a_torn_line(folder):
    for iteration in range(4):
        folder.append_metrics({"iteration": iteration})
    with (folder.path / "metrics.jsonl").open("a") as file:
        file.write('{"iteration": 4, "retu')
    assert [row["iteration"] for row in folder.metrics()] == [0, 1, 2, 3]
    folder.truncate_metrics(1)
    folder.append_metrics({"iteration": 2, "again": True})
    assert folder.metrics() == [{"iteration": 0}, {"iteration": 1}, {"iteration": 2, "again": True}]


def test_damage_inside_the_metrics_is_said(folder):
    folder.append_metrics({"iteration": 0})
    with (folder.path / "metrics.jsonl").open("a") as file:
        file.write("rubbish\n")
    with pytest.raises(OutputError, match=r"metrics\.jsonl is damaged"):
        folder.metrics()


@pytest.mark.parametrize(
    "line",
    [
        *(b"[1]", b"1", b'"text"', b"{}", b"[" * 100_000, b"\xff\xfe", b"\0\0"),
        *(b'{"iteration": "1"}', b'{"iteration": true}'),
        *(b'{"iteration": 1, "kl": NaN}', b'{"iteration": 1, "kl": Infinity}'),
    ],
)
def test_a_line_that_is_no_row_is_one_clear_line(folder, line):
    folder.append_metrics({"iteration": 0})
    with (folder.path / "metrics.jsonl").open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(FolderError, match=r"metrics\.jsonl is damaged \(line 2: ") as refusal:
        folder.metrics()
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "name", ["config.json", "identity.json", "metrics.jsonl", "episodes.parquet", "checkpoint.safetensors"]
)
@pytest.mark.parametrize("kind", ["folder", "pipe", "unreadable"])
def test_what_is_no_readable_file_is_one_clear_line(folder, name, kind):
    path = folder.path / name
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/proc/self/mem")  # unreadable for root too
    reads = {
        "config.json": lambda: folder.config,
        "identity.json": lambda: folder.identity,
        "metrics.jsonl": folder.metrics,
        "episodes.parquet": folder.episodes,
        "checkpoint.safetensors": folder.load_checkpoint,
    }
    with pytest.raises(FolderError, match=rf"cannot read .*{name}: ") as refusal:
        reads[name]()
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"a": NaN}', b"[" * 100_000, b"\xff\xfe{}", b'{"a": ' * 100_000]
)
def test_json_that_is_no_object_is_one_clear_line(folder, content):
    (folder.path / "identity.json").write_bytes(content)
    with pytest.raises(FolderError, match=r"identity\.json is damaged \(.*\); restore it from a copy") as refusal:
        folder.create(CONFIG, IDENTITY)
    assert "\n" not in str(refusal.value)


def parquet(columns):
    buffer = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue().to_pybytes()


GOOD_EPISODE = {name: [value] for name, value in episode(0).items()}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PAR1",
        b"PAR1 these are no episodes PAR1",
        parquet({"iteration": [0]}),
        parquet(GOOD_EPISODE | {"return": ["a lot"]}),
        parquet(GOOD_EPISODE | {"return": pyarrow.array([None], pyarrow.float64())}),
        parquet(GOOD_EPISODE | {"more": [1]}),
        parquet(dict(reversed(GOOD_EPISODE.items()))),
        parquet(GOOD_EPISODE)[:-20],
    ],
)
def test_damaged_episodes_are_one_clear_line(folder, content):
    (folder.path / "episodes.parquet").write_bytes(content)
    with pytest.raises(
        FolderError, match=r"episodes\.parquet (is damaged|has the wrong columns|lacks values)"
    ) as refusal:
        folder.episodes()
    assert "\n" not in str(refusal.value)


def test_episodes_round_trip_and_truncate(folder):
    assert folder.episodes().empty
    folder.append_episodes([episode(0, -1.5), episode(0, 2.5)])
    folder.append_episodes([episode(np.int64(1), np.float64(3.0), "night")])
    frame = folder.episodes()
    assert list(frame.columns) == ["iteration", "background", "seed", "return", "success", "length"]
    assert frame["return"].tolist() == [-1.5, 2.5, 3.0]
    assert frame["success"].tolist() == [False, True, True]
    assert frame["background"].tolist() == ["default", "default", "night"]
    folder.rewind(0)
    assert folder.episodes()["return"].tolist() == [-1.5, 2.5]
    folder.rewind(-1)
    assert folder.episodes().empty


def test_episodes_have_exactly_the_columns(folder):
    with pytest.raises(ValueError, match="columns"):
        folder.append_episodes([{"iteration": 0}])


def test_rewind_of_a_run_without_rows_is_nothing(folder):
    folder.rewind(-1)
    assert not (folder.path / "metrics.jsonl").exists()


# --- checkpoint ---------------------------------------------------------------------------------


def test_checkpoint_round_trip_is_exact(folder):
    generator = np.random.default_rng(0)
    tensors = {
        "policy": generator.normal(size=(3, 4)),
        "transposed": generator.normal(size=(3, 4)).astype(np.float32).T,
        "scalar": np.array(2.5),
        "empty": np.zeros((0, 3), np.float32),
        "torch_rng": generator.integers(0, 256, 5056, dtype=np.uint8),
        "done": np.array([True, False]),
    }
    meta = {"iteration": 4, "step_size": 0.1 + 0.2, "generator": generator.bit_generator.state}
    assert folder.load_checkpoint() is None
    folder.save_checkpoint(tensors, meta)
    loaded, loaded_meta = folder.load_checkpoint()
    assert loaded_meta == meta | {"rows": loaded_meta["rows"]}
    assert loaded.keys() == tensors.keys()
    for name, array in tensors.items():
        assert loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name], array, strict=True)
    for_people = json.loads((folder.path / "checkpoint.json").read_text())
    assert {name: for_people[name] for name in loaded_meta} == loaded_meta


def test_truncated_checkpoint_is_one_clear_line(folder):
    folder.save_checkpoint({"policy": np.ones(1000)}, {"iteration": 0})
    path = folder.path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(
        FolderError, match=r"checkpoint\.safetensors is damaged \(its content does not match its digest\); restore"
    ) as refusal:
        folder.load_checkpoint()
    assert "\n" not in str(refusal.value)


def test_equal_checkpoints_are_equal_files(folder):
    contents = []
    for order in (1, -1):
        tensors = dict(list({"policy": np.ones(3), "value": np.zeros(2)}.items())[::order])
        folder.save_checkpoint(tensors, {"iteration": 0})
        contents.append((folder.path / "checkpoint.safetensors").read_bytes())
    assert contents[0] == contents[1]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, derandomize=True)
@given(st.data())
def test_a_bit_that_flips_anywhere_in_a_checkpoint_is_noticed(folder, data):
    path = folder.path / "checkpoint.safetensors"
    folder.save_checkpoint({"policy": np.arange(6.0), "value": np.ones((2, 3), np.float32)}, {"iteration": 7})
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    with pytest.raises(FolderError, match=r"checkpoint\.safetensors is damaged") as refusal:
        folder.load_checkpoint()
    assert "\n" not in str(refusal.value)


def test_exchanged_tensors_and_another_counter_are_noticed(folder):
    def content(first, second, iteration):
        folder.save_checkpoint({"first": first, "second": second}, {"iteration": iteration})
        return (folder.path / "checkpoint.safetensors").read_bytes()

    ones, zeros = np.ones(100), np.zeros(100)
    good, exchanged, counted = content(ones, zeros, 3), content(zeros, ones, 3), content(ones, zeros, 4)
    length = 8 + int.from_bytes(good[:8], "little")
    digest = json.loads(good[8:length])["__metadata__"]["digest"]
    other = json.loads(counted[8:length])["__metadata__"]["digest"]
    for forged in (good[:length] + exchanged[length:], counted.replace(other.encode(), digest.encode())):
        (folder.path / "checkpoint.safetensors").write_bytes(forged)
        with pytest.raises(FolderError, match="does not match its digest"):
            folder.load_checkpoint()


def test_the_checkpoint_of_another_run_is_refused(folder):
    folder.save_checkpoint({"policy": np.ones(3)}, {"iteration": 0, "identity": identity_hash(IDENTITY | {"seed": 1})})
    with pytest.raises(FolderError, match=r"checkpoint\.safetensors is the checkpoint of another run"):
        folder.load_checkpoint()


def test_a_checkpoint_from_before_there_were_digests_is_read(folder):
    meta = {"iteration": 2, "identity": identity_hash(IDENTITY)}
    content = safetensors.numpy.save({"policy": np.ones(3)}, metadata={"meta": json.dumps(meta)})
    (folder.path / "checkpoint.safetensors").write_bytes(content)
    tensors, found = folder.load_checkpoint()
    assert found == meta
    assert tensors["policy"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        b"\xff" * 100,
        (100_000).to_bytes(8, "little") + b"[" * 100_000,
        (2).to_bytes(8, "little") + b"{}",
        (23).to_bytes(8, "little") + b'{"__metadata__":{"a":1}}'[:23],
        safetensors.numpy.save({"policy": np.ones(1)}),
        safetensors.numpy.save({"policy": np.ones(1)}, metadata={"meta": "[1]"}),
        safetensors.numpy.save({"policy": np.ones(1)}, metadata={"meta": "{", "more": ""}),
    ],
)
def test_what_is_no_checkpoint_is_one_line(folder, content):
    (folder.path / "checkpoint.safetensors").write_bytes(content)
    with pytest.raises(FolderError, match=r"checkpoint\.safetensors is damaged") as refusal:
        folder.load_checkpoint()
    assert "\n" not in str(refusal.value)


WRITER = """
import sys
import numpy as np
from benchmark.store.run_folder import RunFolder

folder = RunFolder(sys.argv[1])
folder.create({}, {"task": "door"})
loaded = folder.load_checkpoint()
last = -1 if loaded is None else loaded[1]["iteration"]
folder.rewind(last)
row = {"background": "default", "seed": 0, "success": True, "length": 1}
while True:
    last += 1
    folder.append_metrics({"iteration": last, "padding": "x" * 2000})
    folder.append_episodes([row | {"iteration": last, "return": float(last)}])
    folder.save_checkpoint({"policy": np.full(50_000, float(last))}, {"iteration": last})
    print(last, flush=True)
"""


def test_writer_killed_at_any_moment_loses_less_than_one_iteration(tmp_path):
    folder = RunFolder(tmp_path / "seed-0")
    delays = random.Random(0)
    committed = -1
    for _ in range(6):
        writer = start(WRITER, folder.path)
        said = int(writer.stdout.readline())
        assert said == committed + 1  # it went on where the last one's checkpoint was
        time.sleep(delays.uniform(0, 0.1))
        writer.kill()
        writer.wait()
        tensors, meta = folder.load_checkpoint()
        committed = meta["iteration"]
        assert committed >= said
        assert np.all(tensors["policy"] == committed)
        rows = [row["iteration"] for row in folder.metrics()]
        assert rows in (list(range(committed + 1)), list(range(committed + 2)))
        assert folder.episodes()["iteration"].tolist() in (list(range(committed + 1)), list(range(committed + 2)))
    with folder:
        folder.create({}, {"task": "door"})
        folder.rewind(committed)
        assert [row["iteration"] for row in folder.metrics()] == list(range(committed + 1))
        assert folder.episodes()["return"].tolist() == list(map(float, range(committed + 1)))
        assert list(folder.path.glob("*.partial")) + list(folder.path.glob(".*.partial")) == []


# --- the end ------------------------------------------------------------------------------------


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


# --- many runs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a\nb"])
def test_cell_path_refuses_what_names_no_folder(tmp_path, name):
    with pytest.raises(ConfigError, match="cannot name a folder"):
        cell_path(tmp_path, "suite", "door", name, 0)


# --- output folder ------------------------------------------------------------------------------


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
