"""The cache: damage is found, what cannot be written ends nothing, and what must be written asks before the work."""

import errno
import hashlib
import json
import os
import pwd
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from benchmark import assets, doctor
from benchmark.demonstrations.imports import import_to_cache
from benchmark.errors import OutputError
from benchmark.store import cache
from encoders.acquire import import_file
from encoders.cards import CARDS
from encoders.errors import EncoderError, WeightsInvalid
from encoders.weights import cache as weights
from encoders.weights import files, licences, official, sealed
from tasks.scene import ycb

ARRAYS = {"one": np.arange(6, dtype=np.float32).reshape(2, 3), "none": np.zeros((0, 2), np.int64)}


@pytest.fixture(autouse=True)
def nothing_warned_of_yet(monkeypatch):
    monkeypatch.setattr(files, "_warned", set())


@pytest.fixture
def homeless(monkeypatch):
    """A user without an entry in the password file, as in containers with a number of their own."""

    def unknown(number):
        raise KeyError(f"getpwuid(): uid not found: {number}")

    for name in ("HINDEX_BENCH_CACHE", "HOME", "XDG_CACHE_HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.fixture
def unwritable(tmp_path, monkeypatch):
    """A cache folder that cannot be made: root may write anywhere else."""
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("HINDEX_BENCH_CACHE", str(tmp_path / "file" / "cache"))


@pytest.mark.usefixtures("homeless")
def test_a_user_without_a_home_has_no_cache_and_is_told_so(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    assert weights.cache_dir() == weights.NO_CACHE
    assert ycb.cache_folder() == weights.NO_CACHE / "ycb"
    path = weights.cache_dir() / "features" / "some.safetensors"
    cache.store(path, ARRAYS)
    assert cache.load(path, lambda _: True) is None
    assert "set HINDEX_BENCH_CACHE" in caplog.text
    row = doctor._cache_row(weights.cache_dir())
    assert "no home folder" in row.value
    assert "HINDEX_BENCH_CACHE" in row.remedy
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("homeless")
def test_the_platforms_cache_needs_no_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert weights.cache_dir() == tmp_path / "hindex-bench"


@pytest.mark.usefixtures("unwritable")
def test_what_must_be_in_the_cache_asks_before_the_work(tmp_path, demonstration_file, monkeypatch):
    demonstrations = demonstration_file("pen")
    with pytest.raises(OutputError, match="set HINDEX_BENCH_CACHE"):
        import_to_cache(demonstrations, "pen", None)
    monkeypatch.setattr(assets, "_downloaded", lambda *_: pytest.fail("it was downloaded first"))
    with pytest.raises(OutputError, match="set HINDEX_BENCH_CACHE"):
        assets.fetch_ycb()
    file = tmp_path / "weights.pth"
    file.write_bytes(b"weights")
    with pytest.raises(EncoderError, match="set HINDEX_BENCH_CACHE"):
        import_file("vc1", file, accept_licence=True)


@pytest.mark.usefixtures("unwritable")
def test_a_full_disk_is_said_once_and_ends_nothing(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("HINDEX_BENCH_CACHE", str(tmp_path))

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for name in ("one", "two"):
        cache.store(tmp_path / f"{name}.safetensors", ARRAYS)
    assert len(caplog.messages) == 1
    assert "No space left on device" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_cache_that_others_own_is_shown_by_the_doctor(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "access", lambda *_: False)
    row = doctor._cache_row(tmp_path / "not" / "there")
    assert row.ok
    assert "cannot be written" in row.value


def test_arrays_come_back_and_the_file_is_plain_safetensors(tmp_path):
    path = tmp_path / "arrays.safetensors"
    cache.store(path, ARRAYS)
    for found in (cache.load(path, lambda _: True), safetensors.numpy.load_file(path)):
        assert found.keys() == ARRAYS.keys()
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(found[name], array, strict=True)


@given(place=st.integers(0), bit=st.integers(0, 7))
def test_no_flipped_bit_passes_for_what_was_written(place, bit, tmp_path_factory):
    path = tmp_path_factory.mktemp("sealed") / "arrays.safetensors"
    content = bytearray(sealed.seal(safetensors.numpy.save(ARRAYS), {"title": "some"}))
    content[place % len(content)] ^= 1 << bit
    path.write_bytes(content)
    try:
        has_digest = sealed.check(path)
        found = safetensors.numpy.load(bytes(content))
    except (sealed.Damaged, safetensors.SafetensorError):
        return
    # What was hit is no part of the content: the digest's own name, which makes it a file of before, or a space.
    assert not has_digest or found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


def sealed_before(arrays):
    """A file as earlier versions sealed it."""
    content = safetensors.numpy.save(arrays)
    length = 8 + int.from_bytes(content[:8], "little")
    header, body = json.loads(content[8:length]), content[length:]
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode() + body).hexdigest()
    text = json.dumps({**header, "__metadata__": {"content_sha256": digest}}).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + body


def test_files_sealed_by_earlier_versions_are_checked_too(tmp_path):
    path, content = tmp_path / "arrays.safetensors", bytearray(sealed_before(ARRAYS))
    path.write_bytes(content)
    assert sealed.check(path)
    assert cache.load(path, lambda _: True).keys() == ARRAYS.keys()
    content[-1] ^= 1
    path.write_bytes(content)
    assert cache.load(path, lambda _: True) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"\x01", b"\xff" * 8, b"\x02" + b"\0" * 7 + b"[]", b"\x10\x27" + b"\0" * 6 + b"[" * 10_000],
    ids=["empty", "one byte", "huge header", "no object", "nested deep"],
)
def test_what_is_no_safetensors_file_is_damaged(content, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(sealed.Damaged):
        sealed.check(path)
    assert cache.load(path, lambda _: True) is None


def test_a_damaged_record_of_a_weights_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HINDEX_BENCH_CACHE", str(tmp_path))
    card = next(card for card in CARDS.values() if any(source.sha256 is None for source in card.sources))
    source = next(source for source in card.sources if source.sha256 is None)
    record = official.first_use_record(card, source)
    record.parent.mkdir(parents=True)
    record.write_bytes(b"\xff\xfe" + b"0" * 10)
    with pytest.raises(WeightsInvalid, match=f"{record} is damaged: .*delete it"):
        official.recorded_sha256(card, source)


def test_a_damaged_acceptance_of_a_licence_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("HINDEX_BENCH_CACHE", str(tmp_path))
    card = next(card for card in CARDS.values() if licences.restricted(card))
    licences.require(card, accept=True)
    assert licences.accepted(card)
    for content in (b"", b"[]", b"\xff", b"[" * 100_000):
        Path(licences.record_path(card)).write_bytes(content)
        assert not licences.accepted(card)
