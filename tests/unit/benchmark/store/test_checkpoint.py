"""The checkpoint of a run: exact, aware of damage, and valid whenever its writer is killed."""

import json
import random
import time

import numpy as np
import pytest
import safetensors.numpy
from folder_cases import IDENTITY, start
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmark.errors import FolderError
from benchmark.store.identity import identity_hash
from benchmark.store.run_folder import RunFolder


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
    ids=range(9),  # safetensors orders metadata at random, and pytest-xdist wants the same names in every worker
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
row = {"background": "default", "seed": 0, "success": True, "length": 1, "goal_steps": 1, "goal_at_end": True}
row["split"] = "schedule"
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
