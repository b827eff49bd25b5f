"""Archives of weights files that are damaged, encrypted or hostile: the file in them, or one line."""

import io
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from encoders import EncoderError, WeightsInvalid, WeightsMissing, import_file, resolve
from encoders.weights import archives


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("HINDEX_BENCH_CACHE", str(folder))
    return folder


def nothing(path):
    """Check nothing of a file."""


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def one_line(caught, *parts):
    line = str(caught.value)
    assert "\n" not in line
    for part in parts:
        assert part in line


def zipped(path, method=zipfile.ZIP_DEFLATED, content=bytes(5000)):
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("pen-v0.pth", content)


def patched(path, local, central, value):
    """Change a number of a zip's only member, in its own header and in the directory."""
    content = bytearray(path.read_bytes())
    for start, offset in ((b"PK\x03\x04", local), (b"PK\x01\x02", central)):
        place = content.index(start) + offset
        content[place : place + len(value)] = value
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("local", "central", "value", "message"),
    [
        (6, 8, b"\x01\x00", "pen-v0.pth is encrypted; unpack it"),
        (8, 10, b"\x61\x00", "compressed by the unsupported method 97"),
        (22, 24, b"\xff\xff\xff\xf0", "pen-v0.pth has 4,043,309,055 bytes; such a weights file has at most"),
        (14, 16, b"\x00\x00\x00\x00", "is damaged (BadZipFile: Bad CRC-32"),
    ],
)
def test_a_zip_that_cannot_be_read_is_one_line(tmp_path, cache, local, central, value, message):
    path = tmp_path / "a.zip"
    zipped(path)
    patched(path, local, central, value)
    with pytest.raises(WeightsInvalid) as caught:
        import_file("hindex", path, accept_licence=True, check=nothing)
    one_line(caught, message, str(path))
    assert not (cache / "weights").exists() or files(cache / "weights") == []


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_methods_of_zip_are_read(tmp_path, cache, method):
    zipped(tmp_path / "a.zip", method)
    (found,) = import_file("hindex", tmp_path / "a.zip", accept_licence=True, check=nothing)
    assert found.read_bytes() == bytes(5000)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_a_tape_that_expands_without_end_is_one_line(tmp_path, cache, monkeypatch, kind):
    monkeypatch.setattr(archives, "_ALWAYS_ALLOWED", 1 << 20)
    path = tmp_path / f"a.tar.{kind}"
    with tarfile.open(path, f"w:{kind}") as archive:
        for name in ("other", "pen-v0.pth"):
            member = tarfile.TarInfo(name)
            member.size = 20_000_000
            archive.addfile(member, io.BytesIO(bytes(member.size)))
    with pytest.raises(WeightsInvalid) as caught:
        import_file("hindex", path, accept_licence=True, check=nothing)
    one_line(caught, "holds over", "unpack it")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(1, 255), kind=st.sampled_from(range(6)))
def test_a_changed_byte_of_an_archive_gives_the_file_or_one_line(tmp_path, cache, place, byte, kind):
    content = bytes(range(256)) * 40

    def official(file):
        if file.read_bytes() != content:
            raise WeightsInvalid("another file")

    path = tmp_path / "a.tar.gz"
    if kind < 3:
        zipped(path, (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)[kind], content)
    else:
        with tarfile.open(path, ("w:gz", "w:bz2", "w:xz")[kind - 3]) as archive:
            member = tarfile.TarInfo("pen-v0.pth")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    damaged = bytearray(path.read_bytes())
    damaged[int(place * len(damaged))] ^= byte
    path.write_bytes(damaged)
    shutil.rmtree(cache / "weights", ignore_errors=True)
    try:
        (found,) = import_file("hindex", path, "pen", accept_licence=True, check=official)
    except EncoderError as error:
        found, line = None, str(error)
    assert found.read_bytes() == content if found else "\n" not in line


@pytest.mark.parametrize("kind", ["pipe", "device", "long name"])
def test_what_is_no_file_is_not_imported(tmp_path, cache, kind):
    path = {"pipe": tmp_path / "pipe", "device": Path("/dev/zero"), "long name": tmp_path / (5000 * "w")}[kind]
    if kind == "pipe":
        os.mkfifo(path)
    for act in (lambda: import_file("rrl", path), lambda: resolve("rrl", path)):
        with pytest.raises(WeightsMissing) as caught:
            act()
        one_line(caught)
