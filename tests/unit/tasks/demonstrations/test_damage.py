"""Demonstrations and pickles that are damaged or hostile: one line each, in bounded time and memory."""

import json
import pickle
import struct
import time
import tracemalloc
import zipfile
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.demonstrations.dataset import Demonstrations, Episode
from tasks.demonstrations.npz import BrokenArchive, read_arrays
from tasks.errors import DemonstrationError

MEBIBYTE = 2**20


def demonstrations(lengths=(4, 7)):
    generator = np.random.default_rng(0)
    episodes = [
        Episode(
            {"qpos": generator.normal(size=3), "qvel": np.zeros(3)},
            generator.normal(size=(length, 2)),
            generator.normal(size=(length, 5)),
            generator.normal(size=length),
            np.zeros(length, bool),
            success=False,
            seed=length,
        )
        for length in lengths
    ]
    return Demonstrations("door", tuple(episodes), {"source": "test", "scene": {"physics": "paper"}})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "demos.npz"
    demonstrations().save(path)
    return path.read_bytes()


def arrays_of(content, tmp_path):
    path = tmp_path / "whole.npz"
    path.write_bytes(content)
    return read_arrays(path)


class Watched:
    """Refuses more than so much memory and time between entry and exit."""

    def __init__(self, mebibytes=64, seconds=5.0):
        self.most, self.seconds = mebibytes * MEBIBYTE, seconds

    def __enter__(self):
        tracemalloc.start()
        self.began = time.perf_counter()

    def __exit__(self, *_):
        seconds, (_, peak) = time.perf_counter() - self.began, tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < self.most, f"{peak:,} bytes"
        assert seconds < self.seconds, f"{seconds:.1f} s"


@contextmanager
def one_line(kind):
    """Let nothing out but an error of this kind, which is swallowed if it is one line."""
    try:
        yield
    except kind as error:
        if "\n" in str(error):
            raise


# Our own files.


def edited(arrays, header=None, **changes):
    described = {**json.loads(str(arrays["header"])), **(header or {})}
    return {**arrays, "header": np.array(json.dumps(described)), **changes}


DAMAGED = {
    "metadata that is no object": (lambda a: edited(a, {"metadata": [1]}), "header is not an object with"),
    "a scene that is no object": (lambda a: edited(a, {"metadata": {"scene": "paper"}}), "scene in the header"),
    "a task that is no text": (lambda a: edited(a, {"task": 3}), "header is not an object with"),
    "a header that is a list": (lambda a: {**a, "header": np.array("[1, 2]")}, "header is not an object with"),
    "a header that is no JSON": (lambda a: {**a, "header": np.array("{")}, "broken or not"),
    "a header nested 100,000 deep": (lambda a: {**a, "header": np.array("[" * 100_000)}, "nested too deep"),
    "a header of numbers": (lambda a: {**a, "header": np.zeros(3)}, "no header of text"),
    "no header": (lambda a: {name: value for name, value in a.items() if name != "header"}, "no header of text"),
    "no actions": (lambda a: {name: value for name, value in a.items() if name != "actions"}, "actions"),
    "actions of text": (lambda a: {**a, "actions": np.full((11, 2), "1")}, "actions: <U1 of shape"),
    "actions of complex numbers": (lambda a: {**a, "actions": a["actions"] * 1j}, "not plain numbers"),
    "one number for actions": (lambda a: {**a, "actions": np.float32(1)}, "actions: float32 of shape"),
    "lengths that disagree": (lambda a: {**a, "lengths": np.array([4, 8])}, "not 12 rows of numbers"),
    "negative lengths": (lambda a: {**a, "lengths": np.array([-4, 15])}, "no lengths of episodes"),
    "lengths of 10^18": (lambda a: {**a, "lengths": np.array([10**18, 10**18])}, "rows of numbers"),
    "real lengths": (lambda a: {**a, "lengths": np.array([4.0, 7.0])}, "no lengths of episodes"),
    "too few seeds": (lambda a: {**a, "seeds": a["seeds"][:1]}, "not 2 seeds and successes"),
    "successes that are numbers": (lambda a: {**a, "successes": np.array([1, 0])}, "not 2 seeds and successes"),
    "too many initial states": (lambda a: {**a, "initial_qpos": np.zeros((3, 3))}, "initial_qpos"),
    "NaN": (lambda a: {**a, "rewards": a["rewards"] * np.nan}, "not finite"),
    "numbers too large for float32": (lambda a: {**a, "actions": np.full((11, 2), 1e300)}, "not finite"),
    "changed numbers": (lambda a: {**a, "actions": a["actions"] + 1}, "content and header differ"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_content_is_one_line(tmp_path, whole, name):
    change, reason = DAMAGED[name]
    path = tmp_path / "demos.npz"
    np.savez(path, **change(arrays_of(whole, tmp_path)))
    with pytest.raises(DemonstrationError, match=reason) as raised:
        Demonstrations.load(path)
    assert "\n" not in str(raised.value)
    assert str(raised.value).count(str(path)) == 1


def rewritten(path, whole, method=zipfile.ZIP_STORED, **members):
    """The archive with other bytes for some members, such as ``actions=b""``."""
    path.write_bytes(whole)
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    contents |= {f"{name}.npy": content for name, content in members.items()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def npy(header, content=b""):
    text = header.encode() + b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


ARRAYS = {
    "10^12 numbers": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}"),
    "a negative extent": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -2)}", b"12345678"),
    "cut short": npy("{'descr': '<f4', 'fortran_order': False, 'shape': (11, 2)}", b"1234"),
    "pickled objects": npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", pickle.dumps([1])),
    "empty text": npy("{'descr': '<U0', 'fortran_order': False, 'shape': (1000000000000,)}"),
    "a structure": npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", b"1234"),
    "another key": npy("{'descr': '<f4', 'shape': (1,)}", b"1234"),
    "a call": npy("{'descr': __import__('os').system('true'), 'fortran_order': False, 'shape': ()}"),
    "deep nesting": npy("(" * 5000),
    "no text": npy("\x00\x01"),
    "an unknown type": npy("{'descr': 'q9', 'fortran_order': False, 'shape': ()}"),
    "no magic": b"no array",
    "nothing": b"",
    "format 9": b"\x93NUMPY\x09\x00" + bytes(100),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_broken_array_headers_are_one_line(tmp_path, whole, name):
    path = rewritten(tmp_path / "demos.npz", whole, actions=ARRAYS[name])
    with Watched(), pytest.raises(DemonstrationError, match="broken or not a demonstrations file") as raised:
        Demonstrations.load(path)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400 + len(str(path))


def test_archives_that_numpy_does_not_write_are_refused(tmp_path, whole):
    path = tmp_path / "demos.npz"
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        rewritten(path, whole, method)
        with pytest.raises(DemonstrationError, match="compressed by method"):
            Demonstrations.load(path)
    encrypted = bytearray(rewritten(path, whole).read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = encrypted.find(signature)
        encrypted[at + flags] |= 1
    path.write_bytes(encrypted)
    with pytest.raises(DemonstrationError, match="is encrypted"):
        Demonstrations.load(path)
    with zipfile.ZipFile(rewritten(path, whole), "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("actions.npy", b"")
    with pytest.raises(DemonstrationError, match="'actions' twice"):
        Demonstrations.load(path)


def test_an_archive_that_says_it_is_enormous_is_not_unpacked(tmp_path, whole):
    path = rewritten(tmp_path / "demos.npz", whole, zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    at = content.find(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<I", 2**32 - 2)
    path.write_bytes(content)
    with (
        Watched(),
        pytest.raises(DemonstrationError, match=r"says that it holds 4,294,96\d,\d+ bytes, which cannot be"),
    ):
        Demonstrations.load(path)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damage_anywhere_is_refused_or_changes_nothing(tmp_path_factory, whole, data):
    check_damage(tmp_path_factory, whole, data)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None)
@given(data=st.data())
def test_much_damage_anywhere_is_refused_or_changes_nothing(tmp_path_factory, whole, data):
    check_damage(tmp_path_factory, whole, data)


def check_damage(tmp_path_factory, whole, data):
    content = damaged(whole, data)
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(content)
    with Watched(), one_line(DemonstrationError):
        assert Demonstrations.load(path).content_hash == demonstrations().content_hash


def damaged(content, data):
    """A file cut short, or with bytes changed, put in or taken out at places that hypothesis chooses."""
    places = st.integers(0, len(content) - 1)
    kind = data.draw(st.sampled_from(["cut", "change", "insert", "remove"]))
    at = data.draw(places)
    if kind == "cut":
        return content[:at]
    if kind == "change":
        changed = bytearray(content)
        for place in [at, *data.draw(st.lists(places, max_size=7))]:
            changed[place] = data.draw(st.integers(0, 255))
        return bytes(changed)
    if kind == "insert":
        return content[:at] + data.draw(st.binary(min_size=1, max_size=16)) + content[at:]
    return content[:at] + content[at + data.draw(st.integers(1, 64)) :]


def test_a_broken_archive_does_not_name_the_file_twice(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK")
    with pytest.raises(BrokenArchive) as raised:
        read_arrays(tmp_path / "a.npz")
    assert "a.npz" not in str(raised.value)
