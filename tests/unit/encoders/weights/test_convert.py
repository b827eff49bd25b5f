"""Checkpoints as safetensors: the same content, mapped, made once, and anew from another original."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

import encoders
from encoders.weights import convert, pickles
from encoders.weights.files import file_sha256
from encoders.weights.unpickling import Placeholder

HOME = Path(encoders.__file__).resolve().parents[1]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An encoder's folder in a cache of its own."""
    monkeypatch.setenv("HINDEX_BENCH_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "weights" / "some"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def reads(monkeypatch):
    """Which checkpoints were read themselves."""
    found, read = [], pickles.read
    monkeypatch.setattr(pickles, "read", lambda path: found.append(path) or read(path))
    return found


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def content():
    shared = torch.arange(6.0).reshape(2, 3)
    return {
        "model": OrderedDict({"conv1.weight": shared, "again": shared, "turned": shared.T, "half": shared.half()}),
        "brain": torch.arange(3).to(torch.bfloat16),
        "count": torch.tensor(3),
        "empty": torch.zeros(0, 2),
        "array": np.arange(4, dtype=np.int32),
        "number": np.float32(0.5),
        "list": [1, "a", None, True, (2, 3.5), torch.ones(1)],
        7: "an odd key",
        "optimizer": {"state": {0: {"momentum": torch.ones(9)}}},
        "args": torch.device("cpu"),
    }


def same(found, expected):
    if isinstance(expected, torch.Tensor):
        return found.dtype == expected.dtype and torch.equal(found, expected)
    if isinstance(expected, np.ndarray):
        return found.dtype == expected.dtype and np.array_equal(found, expected)
    if isinstance(expected, dict):
        return list(found) == list(expected) and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, (list, tuple)):
        return type(found) is type(expected) and all(map(same, found, expected))
    if isinstance(expected, Placeholder):
        return isinstance(found, Placeholder) and found.origin == expected.origin
    return type(found) is type(expected) and found == expected


def test_a_conversion_holds_what_the_checkpoint_does(folder, reads):
    path = folder / "w.pth"
    torch.save(content(), path)
    first = convert.tensors(path)
    again = convert.tensors(path)
    assert reads == [path]
    expected = pickles.read(path)
    for found in (first, again):
        assert found["optimizer"].origin == "left out"
        assert same({**found, "optimizer": 0}, {**expected, "optimizer": 0})
    assert files(folder) == ["w.pth", "w.pth.safetensors"]


def test_a_conversion_is_plain_safetensors_with_the_nesting_in_its_metadata(folder):
    path = folder / "w.pth"
    torch.save(content(), path)
    convert.tensors(path)
    with safe_open(convert.converted_path(path), "pt") as file:
        assert "model/conv1.weight" in file.keys()  # noqa: SIM118
        assert "model/again" not in file.keys()  # noqa: SIM118
        assert not any("optimizer" in name for name in file.keys())  # noqa: SIM118
        assert file.metadata()["original_sha256"] == file_sha256(path)
        assert json.loads(file.metadata()["tree"])["dict"][0][0] == "model"


def test_another_original_is_converted_anew(folder, reads):
    path = folder / "w.pth"
    torch.save({"a": torch.zeros(3)}, path)
    convert.tensors(path)
    torch.save({"a": torch.ones(3)}, path)
    assert same(convert.tensors(path), {"a": torch.ones(3)})
    assert same(convert.tensors(path), {"a": torch.ones(3)})
    assert len(reads) == 2


@pytest.mark.parametrize("keep", [0, 5, 0.5, 0.99])
def test_a_broken_conversion_is_made_anew(folder, reads, keep):
    path = folder / "w.pth"
    torch.save({"a": torch.zeros(300)}, path)
    convert.tensors(path)
    converted = convert.converted_path(path)
    whole = converted.read_bytes()
    converted.write_bytes(whole[: keep if isinstance(keep, int) else int(keep * len(whole))])
    assert same(convert.tensors(path), {"a": torch.zeros(300)})
    assert converted.read_bytes() == whole
    assert len(reads) == 2


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_changes_no_weight(folder, place, bit):
    path = folder / "w.pth"
    if not path.exists():
        torch.save(content(), path)
    expected = convert.tensors(path)
    converted = convert.converted_path(path)
    damaged = bytearray(converted.read_bytes())
    damaged[int(place * len(damaged))] ^= 1 << bit
    converted.unlink()  # another conversion may still be mapped
    converted.write_bytes(damaged)
    assert same(convert.tensors(path), expected)


def test_damage_is_said_in_one_line(folder, caplog):
    path = folder / "w.pth"
    torch.save({"a": torch.zeros(300)}, path)
    convert.tensors(path)
    converted = convert.converted_path(path)
    converted.write_bytes(converted.read_bytes()[:-1])
    convert.tensors(path)
    (line,) = caplog.messages
    assert line == f"{converted} is damaged (its content is not what was written); converting it again from w.pth"


def test_a_conversion_of_before_digests_is_made_anew(folder, reads, caplog):
    path = folder / "w.pth"
    torch.save({"a": torch.zeros(3)}, path)
    converted = convert.converted_path(path)
    metadata = {"format_version": "1", "original_sha256": file_sha256(path), "tree": json.dumps({"dict": []})}
    converted.write_bytes(safetensors.torch.save({}, metadata))
    assert same(convert.tensors(path), {"a": torch.zeros(3)})
    assert len(reads) == 1
    assert caplog.messages == []


def test_a_conversion_that_cannot_be_read_back_is_no_reason_to_stop(folder, monkeypatch):
    """Such as on a file system that cannot map files into memory."""
    path = folder / "w.pth"
    torch.save({"a": torch.zeros(3)}, path)

    def refuse(*_, **__):
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    monkeypatch.setattr(safetensors, "safe_open", refuse)
    assert same(convert.tensors(path), {"a": torch.zeros(3)})
    assert same(convert.tensors(path), {"a": torch.zeros(3)})


@pytest.mark.parametrize("place", [".", "cache/weights/some/.incoming-1"])
def test_outside_of_the_cache_and_before_a_file_is_accepted_nothing_is_written(tmp_path, folder, place):
    path = tmp_path / place / "w.pth"
    path.parent.mkdir(exist_ok=True)
    torch.save({"a": torch.zeros(3)}, path)
    assert same(convert.tensors(path), {"a": torch.zeros(3)})
    assert files(tmp_path) == ["w.pth"]


def test_what_safetensors_cannot_hold_is_read_from_the_checkpoint(folder):
    path = folder / "w.pth"
    torch.save({"a": torch.zeros(3, dtype=torch.complex64), "b": b"bytes"}, path)
    assert same(convert.tensors(path), {"a": torch.zeros(3, dtype=torch.complex64), "b": b"bytes"})
    assert files(folder) == ["w.pth"]


def test_a_full_disk_is_no_reason_to_stop(folder, monkeypatch):
    path = folder / "w.pth"
    torch.save({"a": torch.zeros(3)}, path)

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert same(convert.tensors(path), {"a": torch.zeros(3)})
        assert files(folder) == ["w.pth"]
    convert.tensors(path)
    assert files(folder) == ["w.pth", "w.pth.safetensors"]


def test_a_killed_conversion_leaves_nothing_under_its_name(folder):
    path = folder / "w.pth"
    torch.save({"a": torch.zeros(3)}, path)
    code = (
        "import os, time; from pathlib import Path; from encoders.weights import convert\n"
        "os.fsync = lambda _: (Path('stuck').touch(), time.sleep(60))\n"
        f"convert.tensors(Path({str(path)!r}))"
    )
    environment = os.environ | {"PYTHONPATH": str(HOME), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", code], cwd=folder, env=environment) as process:
        limit = time.monotonic() + 30
        while not (folder / "stuck").exists() and time.monotonic() < limit:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not convert.converted_path(path).exists()
    partials = list(folder.glob(".*.partial"))
    assert len(partials) == 1
    os.utime(partials[0], (0, 0))
    assert same(convert.tensors(path), {"a": torch.zeros(3)})
    assert files(folder) == ["stuck", "w.pth", "w.pth.safetensors"]
