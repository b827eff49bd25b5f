"""Files from strangers: nothing in them runs, and every reader bears anything: checkpoints, demonstrations, policies.

Each of the costly ones is a few bytes that would cost the standard library minutes or gigabytes.
"""

import contextlib
import io
import os
import pickle
import random
import resource
import signal
import struct
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hostile_pickles import COSTLY, INERT, Runs, as_old_torch, as_torch_zip, calls, nested
from hypothesis import given
from hypothesis import strategies as st

from benchmark.demonstrations.third_party.pickles import PickleError, load_mjrl_policy, load_plain
from encoders.errors import EncoderError
from encoders.weights.pickles import read
from encoders.weights.unpickling import Placeholder

SECONDS = 20
KILOBYTES = 1_500_000

READERS = {
    "checkpoint": (read, as_torch_zip, EncoderError),
    "old checkpoint": (read, as_old_torch, EncoderError),
    "bare pickle": (read, bytes, EncoderError),
    "demonstrations": (load_plain, bytes, PickleError),
    "policy": (load_mjrl_policy, bytes, PickleError),
}


class TookLong(BaseException):
    pass


@pytest.fixture
def bounded():
    """Let a test fail that takes long or much, in seconds of the processor."""

    def late(number, frame):
        raise TookLong

    before, peak = signal.signal(signal.SIGPROF, late), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, before)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < KILOBYTES


def one_line(reader, path, error):
    """Read a file, or get the line that refuses it."""
    refusal = ""
    try:
        reader(path)
    except error as raised:
        refusal = str(raised)
        in_it = str(path) in refusal
    assert not refusal or in_it
    assert "\n" not in refusal
    assert len(refusal) < 1000 + len(str(path))
    return refusal


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("reader", ["checkpoint", "demonstrations", "policy"])
@pytest.mark.parametrize("attack", list(COSTLY))
def test_a_small_pickle_takes_neither_long_nor_much(tmp_path, attack, reader):
    load, wrap, error = READERS[reader]
    path = tmp_path / "w.pth"
    path.write_bytes(wrap(b"\x80\x02" + COSTLY[attack]))
    refusal = one_line(load, path, error)
    if reader == "checkpoint" and attack == "an array of a type that takes long to print":
        assert isinstance(read(path), Placeholder)
    else:
        assert refusal or attack.startswith("a memo")  # which is a dictionary here


@pytest.mark.parametrize("reader", list(READERS))
@pytest.mark.parametrize("place", ["outermost", "nested"])
@pytest.mark.parametrize("way", list(calls("")))
def test_nothing_runs(tmp_path, way, place, reader):
    load, wrap, error = READERS[reader]
    path, probe = tmp_path / "w.pth", tmp_path / "probe"
    payload = calls(probe)[way]
    path.write_bytes(wrap(nested(payload) if place == "nested" else payload))
    refusal = one_line(load, path, error)
    assert not probe.exists()
    if not refusal:
        assert "checkpoint" in reader
        assert way in INERT
        found = read(path)
        while isinstance(found, dict) and found:
            found = next(iter(found.values()))
        assert isinstance(found, (Placeholder, dict))


@pytest.mark.parametrize("way", ["reduce", "stack global", "inst", "obj", "eval", "exec", "memo", "subprocess", "open"])
def test_the_calls_would_run_elsewhere(tmp_path, way):
    """Otherwise they would prove nothing."""
    for payload in (calls(tmp_path / "probe")[way], nested(calls(tmp_path / "probe")[way])):
        pickle.loads(payload)
        assert (tmp_path / "probe").exists()
        (tmp_path / "probe").unlink()


def test_the_refused_name_is_told(tmp_path):
    for load, wrap, error in READERS.values():
        (tmp_path / "w.pth").write_bytes(wrap(pickle.dumps(Runs(os.system, "true"))))
        with pytest.raises(error) as refusal:
            load(tmp_path / "w.pth")
        assert "system, which is refused (nothing has run)" in str(refusal.value)


@pytest.mark.parametrize("kind", ["collections.OrderedDict", "numpy.ndarray", "__builtin__.set", "numpy.dtype"])
def test_attributes_cannot_be_set_on_what_is_shared(tmp_path, kind):
    """BUILD with a slot state sets attributes of whatever lies on the stack, classes included."""
    module, _, name = kind.rpartition(".")
    content = f"\x80\x02c{module}\n{name}\nN}}U\x08__init__K\x01s\x86b.".encode("latin1")
    (tmp_path / "a.pickle").write_bytes(content)
    with pytest.raises(PickleError):
        load_plain(tmp_path / "a.pickle")
    assert OrderedDict(a=1) == {"a": 1}
    assert set("a") == {"a"}
    assert np.dtype("f8").isnative


@pytest.mark.parametrize("reader", list(READERS))
@pytest.mark.parametrize("kind", ["missing", "empty", "folder", "pipe", "device", "text", "long name", "null byte"])
def test_what_is_no_file_of_its_kind_gets_one_line(tmp_path, kind, reader):
    load, _, error = READERS[reader]
    path = tmp_path / "w.pth"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "long name":
        path = tmp_path / (5000 * "w")
    elif kind == "null byte":
        path = tmp_path / "w\0.pth"
    elif kind != "missing":
        path.write_bytes(b"" if kind == "empty" else b"<!DOCTYPE html>\n")
    with pytest.raises(error) as raised:
        load(path)
    assert "\n" not in str(raised.value)


def test_a_file_that_may_not_be_read_gets_one_line(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "w.pth"
    path.write_bytes(b"PK")
    monkeypatch.setattr(Path, "open", refused)
    for load, _, error in READERS.values():
        with pytest.raises(error, match=r"cannot be read \(Permission denied\)"):
            load(path)


# Damage at seeded places.


def honest():
    """Small files that the readers take, with every kind of thing in them."""
    content = {
        "state_dict": {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2).expand(3, 2)},
        "epoch": 7,
        "lists": [1, 2.5, None, ("x", b"y"), {1, 2}, frozenset([3])],
        "numbers": np.arange(4.0),
    }
    for zipped in (True, False):
        stream = io.BytesIO()
        torch.save(content, stream, _use_new_zipfile_serialization=zipped)
        yield "checkpoint", stream.getvalue()
    episode = {"actions": np.arange(6.0).reshape(2, 3), "rewards": [1.0, 2.0], "text": "x", "set": {1, 2}}
    for protocol in (0, 2, 4):
        yield "demonstrations", pickle.dumps([episode, episode], protocol)


def damaged(content, draw):
    """Some bytes changed, cut out, doubled, or replaced by numbers that make trouble."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 5))):
        place = draw.randrange(len(changed))
        kind = draw.randrange(6)
        if kind == 0:
            changed[place] = draw.randrange(256)
        elif kind == 1:
            changed[place] ^= 1 << draw.randrange(8)
        elif kind == 2:
            del changed[place : place + draw.randrange(1, 9)]
        elif kind == 3:
            changed[place:place] = changed[place : place + draw.randrange(1, 40)]
        elif kind == 4:
            value = draw.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF))
            changed[place : place + 8] = struct.pack("<Q", value)[: draw.choice((1, 2, 4, 8))]
        else:
            changed[place : place + 1] = draw.choice((b"r", b"p", b"2\x86", b"s", b"R", b"b", b"\x95", b"\x8e", b"0"))
        if not changed:
            return b""
    return bytes(changed)


def campaign(folder, rounds, seed):
    draw, path = random.Random(seed), folder / "w.pth"
    refused, files = 0, list(honest())
    for _ in range(rounds):
        for reader, content in files:
            load, _, error = READERS[reader]
            path.write_bytes(damaged(content, draw))
            refused += bool(one_line(load, path, error))
            if reader == "demonstrations":
                refused += bool(one_line(load_mjrl_policy, path, error))
    return refused


@pytest.mark.usefixtures("bounded")
def test_a_thousand_damaged_files_are_read_or_refused_in_one_line(tmp_path):
    assert campaign(tmp_path, 200, seed=1) > 400


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_fifty_thousand_damaged_files_are_read_or_refused_in_one_line(tmp_path, seed):
    assert campaign(tmp_path, 1000, seed=100 + seed) > 2000


@given(st.binary(max_size=64))
def test_random_bytes_never_raise_anything_else(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "random.pickle"
    path.write_bytes(b"\x80\x02" + content)
    for load, _, error in READERS.values():
        with contextlib.suppress(error):
            load(path)
