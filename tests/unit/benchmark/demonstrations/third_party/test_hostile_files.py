"""Pickles and zips from strangers: the two readers of them, those of checkpoints and of demonstrations, bear anything.

Each attack is a few bytes that would cost the standard library minutes or gigabytes.
"""

import io
import os
import pickle
import random
import resource
import signal
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.demonstrations.third_party.pickles import PickleError, load_mjrl_policy, load_plain
from encoders.errors import EncoderError
from encoders.weights.pickles import read

SECONDS = 20
KILOBYTES = 1_500_000


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def name(full):
    module, _, attribute = full.rpartition(".")
    return f"c{module}\n{attribute}\n".encode()


PAIRS = b")" + 40 * b"2\x86"
"""A tuple of pairs of pairs: 40 objects, 2 ** 40 when written out."""
COLLIDING = b"".join(b"\x8a\x0a" + ((2**61 - 1) * i).to_bytes(10, "little") for i in range(1, 40_001))


def integer_pairs(count):
    return b"".join(b"J" + struct.pack("<i", i) + b"K\x01\x86" for i in range(count))


ATTACKS = {
    "a key of nested pairs": b"}" + PAIRS + b"K\x01s.",
    "several keys of nested pairs": b"}(" + PAIRS + b"K\x01u.",
    "a dictionary at once": b"(" + PAIRS + b"K\x01d.",
    "a member of a set": b"\x8f(" + PAIRS + b"\x90.",
    "a member of a frozen set": b"(" + PAIRS + b"\x91.",
    "a set by a call": name("__builtin__.set") + b"]" + PAIRS + b"a\x85R.",
    "a frozen set by a call": name("__builtin__.frozenset") + PAIRS + b"\x85\x85R.",
    "a set as an object": b"(" + name("__builtin__.set") + b"]" + PAIRS + b"ao.",
    "a set as an instance": b"(]" + PAIRS + b"ai__builtin__\nset\n.",
    "a frozen set made new": name("__builtin__.frozenset") + PAIRS + b"\x85\x85\x81.",
    "an ordered dictionary": name("collections.OrderedDict") + b"]" + PAIRS + b"K\x01\x86a\x85R.",
    "a key inside of a parameter": b"}" + name("torch.nn.parameter.Parameter") + PAIRS + b"\x85RK\x01s.",
    "a deep key": b"}N" + 100_000 * b"\x85" + b"K\x01s.",
    "deep lists": 100_000 * b"]" + 99_999 * b"a" + b".",
    "lists of the same lists": b"]" + b"".join(b"q\x00]h\x00ah\x00a" for _ in range(40)) + b".",
    "keys that collide": b"}(" + COLLIDING.replace(b"\x8a\x0a", b"K\x01\x8a\x0a") + b"K\x01u.",
    "members that collide": b"\x8f(" + COLLIDING + b"\x90.",
    "many tuples as keys": b"}(" + b"".join(pair + b"N" for pair in [integer_pairs(1)] * 40_000) + b"u.",
    "a memo of 4 billion": b"Nr\xff\xff\xff\xff.",
    "a memo of a trillion": b"Np999999999999\n.",
    "bytes of 8 gigabytes": b"\x8e" + struct.pack("<Q", 1 << 33) + b".",
    "an array of 8 gigabytes": b"\x96" + struct.pack("<Q", 1 << 33) + b".",
    "a frame of 8 gigabytes": b"\x95" + struct.pack("<Q", 1 << 33) + b".",
    "text of 4 gigabytes": b"X\xff\xff\xff\xff.",
    "a number of 10 megabytes": b"\x8b" + struct.pack("<i", 10_000_000) + 10_000_000 * b"\x7f" + b".",
    "the same arguments again and again": (
        b"(" + 100_000 * b"N" + b"tq\x000" + name("numpy.ndarray") + b"q\x010" + 50_000 * b"h\x01h\x00R0" + b"N."
    ),
    "many names": b"".join(name(f"torch.n{i}") + b"0" for i in range(50_000)) + b"N.",
    "many instructions": 3_000_000 * b"N" + b".",
    "many sets": 1_000_000 * b"\x8f" + b".",
    "arrays that share their bytes": (
        b"(" + b"B" + struct.pack("<I", 4_000_000) + bytes(4_000_000) + b"q\x000"
        b"(tq\x010" + name("numpy.ndarray") + b"q\x020" + name("numpy.core.multiarray._reconstruct") + b"q\x030"
        b"cnumpy\ndtype\nX\x02\x00\x00\x00u1K\x00K\x01\x87Rq\x040"
        + 2000 * (b"h\x03h\x02K\x00\x85h\x00\x87R(K\x01J" + struct.pack("<i", 4_000_000) + b"\x85h\x04\x89h\x00tb")
        + b"l."
    ),
}  # fmt: skip


def as_torch_zip(payload):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", payload)
    return stream.getvalue()


def as_old_torch(payload):
    head = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
    return b"".join(pickle.dumps(part, 2) for part in head) + payload + pickle.dumps([], 2)


READERS = {
    "checkpoint": (read, lambda payload: as_torch_zip(b"\x80\x02" + payload), EncoderError),
    "old checkpoint": (read, lambda payload: as_old_torch(b"\x80\x02" + payload), EncoderError),
    "demonstrations": (load_plain, lambda payload: b"\x80\x02" + payload, PickleError),
    "policy": (load_mjrl_policy, lambda payload: b"\x80\x02" + payload, PickleError),
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
@pytest.mark.parametrize("reader", ["checkpoint", "demonstrations"])
@pytest.mark.parametrize("attack", list(ATTACKS))
def test_a_small_pickle_takes_neither_long_nor_much(tmp_path, attack, reader):
    load, wrap, error = READERS[reader]
    path = tmp_path / "w.pth"
    path.write_bytes(wrap(ATTACKS[attack]))
    refusal = one_line(load, path, error)
    assert refusal or attack.startswith("a memo")  # which is a dictionary here


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("reader", ["old checkpoint", "policy"])
@pytest.mark.parametrize("attack", ["a key of nested pairs", "a memo of 4 billion", "an array of 8 gigabytes"])
def test_the_other_readers_have_the_same_bounds(tmp_path, attack, reader):
    load, wrap, error = READERS[reader]
    path = tmp_path / "w.pth"
    path.write_bytes(wrap(ATTACKS[attack]))
    assert one_line(load, path, error) or attack == "a memo of 4 billion"


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
