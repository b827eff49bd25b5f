"""The downloader: it resumes, never takes a part for the whole, and says in one line why it cannot go on."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import gdown
import pytest
import requests
from downloads import OFFICIAL, files, nothing, one_line

import encoders
from encoders import EncoderError, WeightsInvalid, WeightsMissing, cards, fetch, intake, resolve
from encoders.weights.download import CannotFetch, download

HOME = Path(encoders.__file__).resolve().parents[1]


def started(code, **options):
    """A process of Python that runs this code, with this test's cache."""
    environment = os.environ | {"PYTHONPATH": str(HOME), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", code], cwd=HOME, env=environment, text=True, **options)


def begin(header):
    """The first byte that a request asks for; 0 for the whole file."""
    return int(header.removeprefix("bytes=").removesuffix("-")) if header else 0


def test_a_dead_link_ends_with_the_places_and_the_command(server, publish):
    mirrors = ("http://127.0.0.1:9/w.pth", f"{server.url}/gone")
    publish(mirrors=mirrors)
    server.faults = {"w.pth": 403, "gone": 410}
    server.files["gone"] = b""
    began = time.monotonic()
    with pytest.raises(WeightsMissing) as caught:
        fetch("rrl")
    assert time.monotonic() - began < 5
    one_line(caught, f"{server.url}/w.pth (the server says 403", *mirrors, "410", "`bench weights import rrl FILE`")
    assert "object at 0x" not in str(caught.value)
    assert "refused" in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "content", "size", "reason"),
    [
        ("html", b"<!DOCTYPE html><html>login</html>", None, "a web page came instead"),
        (None, b"x" * 1024, 5, "a file of 1024 bytes is offered, expected 5"),
    ],
)
def test_what_cannot_be_the_file_is_not_kept(server, cache, publish, fault, content, size, reason):
    publish(sha256=None, size=size, content=content)
    server.faults["w.pth"] = fault
    with pytest.raises(WeightsMissing, match=reason):
        fetch("rrl", check=nothing)
    assert files(cache) == []


def test_a_broken_download_is_resumed(server, cache, publish):
    publish()
    server.faults["w.pth"] = "cut once"
    assert fetch("rrl").read_bytes() == OFFICIAL
    (first, whole), (again, rest) = server.asked
    assert (first, again, whole) == ("w.pth", "w.pth", None)
    assert begin(rest) > 0
    assert files(cache) == ["weights/rrl/w.pth"]


def test_a_later_fetch_resumes_too(server, cache, publish):
    publish()
    server.faults["w.pth"] = "cut"
    with pytest.raises(WeightsMissing, match=r"w\.pth could not be downloaded"):
        fetch("rrl")
    assert not (cache / "weights/rrl/w.pth").exists()
    with pytest.raises(WeightsMissing, match="no official weights"):
        resolve("rrl", "official")
    server.faults, server.asked = {}, []
    assert fetch("rrl").read_bytes() == OFFICIAL
    assert max(begin(header) for _, header in server.asked) > len(OFFICIAL) // 4
    assert files(cache) == ["weights/rrl/w.pth"]


@pytest.mark.parametrize("how", ["no version", "another version"])
@pytest.mark.parametrize("sha256", [True, False])
def test_a_download_that_cannot_be_resumed_begins_anew(server, cache, publish, how, sha256):
    publish(**({} if sha256 else {"sha256": None}))
    server.faults["w.pth"] = "cut"
    with pytest.raises(WeightsMissing):
        fetch("rrl", check=nothing)
    server.faults = {} if how == "another version" else {"w.pth": how}
    server.version = "2" if how == "another version" else "1"
    server.asked = []
    assert fetch("rrl", check=nothing).read_bytes() == OFFICIAL
    assert server.asked == [("w.pth", None)]


def test_a_server_that_does_not_resume_gives_the_file_all_the_same(server, cache, publish):
    publish()
    server.faults["w.pth"] = "cut"
    with pytest.raises(WeightsMissing):
        fetch("rrl")
    server.faults["w.pth"] = "plain"
    assert fetch("rrl").read_bytes() == OFFICIAL
    assert files(cache) == ["weights/rrl/w.pth"]


def test_a_download_that_was_whole_is_not_repeated(server, publish, monkeypatch):
    publish()
    with monkeypatch.context() as patch:
        patch.setattr(intake, "accept", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fetch("rrl")
    server.asked.clear()
    assert fetch("rrl").read_bytes() == OFFICIAL
    assert server.asked == []


def test_a_killed_fetch_leaves_the_cache_usable_and_is_resumed(server, cache, publish):
    source = publish()
    server.faults["w.pth"] = "hangs"
    code = (
        "from dataclasses import replace; from encoders import cards, fetch\n"
        "card = cards.CARDS['rrl']\n"
        f"what = {{'filename': 'w.pth', 'url': {source.url!r}, 'sha256': {source.sha256!r}, 'size': None}}\n"
        "source = replace(card.sources[0], **what)\n"
        "cards.CARDS['rrl'] = replace(card, sources=(source,))\n"
        "fetch('rrl')"
    )
    with started(code) as process:
        limit = time.monotonic() + 30
        while not (part := list(cache.rglob(".incoming-*/w.pth*.part"))) or part[0].stat().st_size < 400_000:
            assert time.monotonic() < limit
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not (cache / "weights/rrl/w.pth").exists()
    with pytest.raises(WeightsMissing):
        resolve("rrl", "official")
    server.faults, server.asked = {}, []
    assert fetch("rrl").read_bytes() == OFFICIAL
    assert max(begin(header) for _, header in server.asked) > 0
    assert files(cache) == ["weights/rrl/w.pth"]


def test_a_full_disk_is_one_line_and_gives_the_space_back(server, cache, publish, monkeypatch):
    publish()

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(EncoderError) as caught:
            fetch("rrl")
    one_line(caught, "cannot write", "No space left on device; make room, or set HINDEX_BENCH_CACHE")
    assert files(cache) == []
    assert fetch("rrl").read_bytes() == OFFICIAL


def test_a_disk_that_fills_midway_is_one_line(server, cache, publish):
    publish()
    code = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "from pathlib import Path; from encoders import EncoderError; from encoders.weights import download\n"
        f"path = Path({str(cache)!r}) / 'w.pth'\n"
        f"try:\n    download.download({server.url + '/w.pth'!r}, path)\nexcept EncoderError as error:\n    print(error)"
    )
    with started(code, stdout=subprocess.PIPE) as process:
        line = process.stdout.read()
    assert line.startswith(f"cannot write {cache / 'w.pth'}: File too large")
    assert line.count("\n") == 1
    assert files(cache) == []


def test_two_fetches_do_not_mix(server, publish):
    publish()
    staged = intake.staging(cards.CARDS["rrl"], cards.CARDS["rrl"].sources[0], f"{server.url}/w.pth")
    code = (
        "from pathlib import Path; from encoders.weights.download import held\n"
        f"with held(Path({str(staged)!r})):\n    print(1, flush=True); input()"
    )
    with started(code, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(EncoderError, match="being written by another process"):
            fetch("rrl")
        other.stdin.write("\n")
        other.stdin.close()
    assert fetch("rrl").read_bytes() == OFFICIAL


def test_a_cache_that_cannot_be_written_is_one_line(cache, publish):
    publish()
    cache.write_text("a file in its place")
    with pytest.raises(EncoderError) as caught:
        fetch("rrl")
    one_line(caught, f"cannot write {cache}")


# Google Drive.


@pytest.fixture
def drive(server, monkeypatch):
    """Google Drive's addresses lead to the server; which file they ask for."""
    send, asked = requests.Session.send, []

    def redirected(session, request, **options):
        if request.url.startswith("https://drive.google.com/uc?id="):
            asked.append(request.url.partition("=")[2])
            request.url = f"{server.url}/drive"
        return send(session, request, **options)

    monkeypatch.setattr(requests.Session, "send", redirected)
    return asked


@pytest.mark.parametrize("page", ["file/d/1Ab-_c/view?usp=sharing", "uc?export=download&id=1Ab-_c", "file/d/1Ab-_c"])
def test_a_page_of_google_drive_stands_for_its_file(page, server, drive, tmp_path):
    server.files["drive"] = b"weights"
    download(f"https://drive.google.com/{page}", tmp_path / "w.pth")
    assert (tmp_path / "w.pth").read_bytes() == b"weights"
    assert set(drive) == {"1Ab-_c"}


def test_the_page_before_a_large_file_is_gone_through(server, drive, tmp_path, monkeypatch):
    form = f'<form id="download-form" action="{server.url}/drive-file"><input type="hidden" name="a" value="b"></form>'
    server.files |= {"drive": form.encode(), "drive-file?a=b": b"weights"}
    answer = server.answer

    def without_disposition(request, name):
        answer(request, "page" if name == "drive" else name)

    server.files["page"] = server.files["drive"]
    server.faults["page"] = "html"
    monkeypatch.setattr(server, "answer", without_disposition)
    download("https://drive.google.com/file/d/1Ab", tmp_path / "w.pth")
    assert (tmp_path / "w.pth").read_bytes() == b"weights"


def test_a_page_that_refuses_is_one_line(server, drive, tmp_path):
    server.files["page"] = b'<p class="uc-error-subcaption">Too many users have viewed this file</p>'
    answer = server.answer
    server.answer = lambda request, _: answer(request, "page")
    with pytest.raises(CannotFetch, match="Too many users have viewed") as caught:
        download("https://drive.google.com/file/d/1Ab", tmp_path / "w.pth")
    one_line(caught, "https://drive.google.com/file/d/1Ab (")
    assert files(tmp_path) == []


@pytest.mark.parametrize("name", ["alphapose", "r3m"])
def test_files_on_google_drive_are_held_to_what_is_published(name, server, drive, cache):
    server.files["drive"] = b"weights"
    if name == "r3m":  # of which an md5 is published
        with pytest.raises(WeightsInvalid, match="md5 differs from the published aa8e41a52670"):
            fetch(name, check=nothing)
    else:
        assert fetch(name, accept_licence=True, check=nothing).read_bytes() == b"weights"
    assert set(drive) == {cards.CARDS[name].sources[0].url.rpartition("/")[2]}


def test_gdown_bears_what_is_asked_of_it():
    """Its older versions know neither; see pyproject.toml."""
    assert {"timeout", "retries", "progress", "resume"} <= set(gdown.download.__code__.co_varnames)
