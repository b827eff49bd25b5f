"""Fetching and importing official weights: what gets a name in the cache is whole and the right file."""

import errno
import hashlib
import http.server
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import encoders
from encoders import (
    EncoderError,
    LicenceNotAccepted,
    UnknownEncoder,
    WeightsInvalid,
    WeightsMissing,
    acquire,
    cards,
    fetch,
    import_file,
    resolve,
)
from encoders.weights import download, licences
from encoders.weights.download import direct_url

HOME = Path(encoders.__file__).resolve().parents[1]
OFFICIAL = bytes(range(256)) * 4000
DIGEST = hashlib.sha256(OFFICIAL).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("HINDEX_BENCH_CACHE", str(folder))
    return folder


class Server:
    """A web server on this machine: files by name, and what is wrong with them.

    A fault is a status, or ``cut`` (ends early, each time), ``cut once``, ``hangs`` (midway), ``html``, ``plain`` (no
    ranges), ``no version`` (neither an ETag nor a date).
    """

    def __init__(self):
        self.files, self.faults, self.asked, self.version = {}, {}, [], "1"
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.answer(self)

            def log_message(self, *arguments):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def answer(self, request):
        name = request.path.strip("/")
        begin = request.headers.get("Range")
        self.asked.append((name, begin))
        fault, content = self.faults.get(name), self.files.get(name)
        if content is None or isinstance(fault, int):
            request.send_error(fault or 404)
            return
        tag, start = f'"{self.version}"', 0
        if begin and fault != "plain" and request.headers.get("If-Range") == tag:
            start = int(begin.removeprefix("bytes=").removesuffix("-"))
        if start >= len(content) and start:
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(content)}")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.send_header("Content-Length", str(len(content) - start))
        request.send_header("Content-Type", "text/html" if fault == "html" else "application/octet-stream")
        if fault != "no version":
            request.send_header("ETag", tag)
        request.end_headers()
        body = content[start:]
        if fault in ("cut", "cut once", "hangs"):
            body = body[: len(body) // 2]
        if fault == "cut once":
            del self.faults[name]
        request.wfile.write(body)
        request.wfile.flush()
        if fault == "hangs":
            self.faults["stuck"] = True
            time.sleep(5)
        request.close_connection = True


@pytest.fixture
def server():
    running = Server()
    yield running
    running.http.shutdown()
    running.http.server_close()


@pytest.fixture
def publish(monkeypatch, server):
    """Let an encoder's official file be a small one on the server."""

    def change(name="rrl", content=OFFICIAL, *, commercial_use=True, **changes):
        server.files["w.pth"] = content
        card = cards.CARDS[name]
        changes = {"sha256": hashlib.sha256(content).hexdigest(), "url": f"{server.url}/w.pth"} | changes
        changes = {"size": None, "md5": None, "sha256_prefix": None, "mirrors": ()} | changes
        source = replace(card.sources[0], filename="w.pth", task=None, direct=True, **changes)
        monkeypatch.setitem(cards.CARDS, name, replace(card, sources=(source,), commercial_use=commercial_use))
        return source

    return change


class Told:
    def __init__(self):
        self.titles, self.total, self.done, self.ended, self.closed = [], 0, 0, 0, 0

    def begin(self, title, steps):
        self.titles.append(title)
        self.total, self.done = steps, 0

    def advance(self, steps):
        self.done += steps

    def say(self, line):
        pass

    def end(self):
        self.ended += 1

    def close(self):
        self.closed += 1


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def begin(header):
    """The first byte that a request asks for."""
    return int(header.removeprefix("bytes=").removesuffix("-"))


def nothing(_):
    """A structural check that finds no fault."""


def one_line(caught, *words):
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text, text


# Fetching.


def test_fetch_downloads_checks_and_keeps(server, cache, publish):
    publish(size=len(OFFICIAL))
    progress = Told()
    path = fetch("rrl", progress=progress)
    assert path.read_bytes() == OFFICIAL
    assert progress.done == progress.total == len(OFFICIAL) // 1000
    assert (progress.ended, progress.closed) == (1, 1)
    assert progress.titles == ["w.pth: 1 MB"]
    assert resolve("rrl").path == path == acquire.path("rrl")
    assert files(cache) == ["weights/rrl/w.pth"]
    assert fetch("rrl") == path
    assert server.asked == [("w.pth", None)]
    assert acquire.verify("rrl") == [acquire.Verified(path, DIGEST, "published sha256")]


def test_a_cached_file_that_changed_is_noticed(cache, publish):
    publish()
    fetch("rrl").write_bytes(b"changed")
    for action in (lambda: fetch("rrl"), lambda: acquire.verify("rrl")):
        with pytest.raises(WeightsInvalid) as caught:
            action()
        one_line(caught, "delete it and run `bench weights fetch rrl`", str(cache))


@pytest.mark.parametrize("changes", [{}, {"sha256": None, "md5": "1" * 32}, {"sha256": None, "sha256_prefix": "0123"}])
def test_nothing_is_kept_of_another_file(server, cache, publish, changes):
    publish(**changes)
    server.files["w.pth"] = b"something else"
    with pytest.raises(WeightsInvalid) as caught:
        fetch("rrl", check=nothing)
    one_line(caught, "another file than the official one", "published", server.url)
    assert files(cache) == []
    assert not (cache / "weights" / "rrl").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"md5": hashlib.md5(OFFICIAL).hexdigest()},
        {"sha256_prefix": DIGEST[:8]},
        {"md5": hashlib.md5(OFFICIAL).hexdigest(), "sha256_prefix": DIGEST[:8]},
        {},
    ],
)
def test_without_a_whole_hash_the_first_file_counts(cache, publish, changes):
    publish(sha256=None, **changes)
    path = fetch("rrl", check=nothing)
    assert (path.with_name("w.pth.sha256")).read_text().strip() == DIGEST
    assert acquire.verify("rrl")[0].how == "sha256 recorded at first use"
    path.unlink()
    path.with_name("w.pth.sha256").write_text("0" * 64)
    with pytest.raises(WeightsInvalid) as caught:
        fetch("rrl", check=nothing)
    one_line(caught, "recorded at first use was 000000000000", "delete ")
    assert not path.exists()


def test_without_a_hash_the_network_says_whether_it_is_the_file(cache, publish):
    stream = io.BytesIO()
    torch.save({"conv1.weight": torch.zeros(2)}, stream)
    publish(content=stream.getvalue(), sha256=None)
    with pytest.raises(WeightsInvalid) as caught:
        fetch("rrl")
    one_line(caught, "this is not the official w.pth", "missing")
    assert files(cache) == []


def test_mirrors_are_tried_in_order(server, cache, publish):
    server.files |= {"second": b"wrong", "third": OFFICIAL}
    publish(url=f"{server.url}/nowhere", mirrors=(f"{server.url}/second", f"{server.url}/third"))
    path = fetch("rrl", progress=Told())
    assert path.read_bytes() == OFFICIAL
    assert [name for name, _ in server.asked] == ["nowhere", "second", "third"]
    assert files(cache) == ["weights/rrl/w.pth"]


def test_a_dead_link_ends_with_the_places_and_the_command(server, publish):
    mirrors = ("http://127.0.0.1:9/w.pth", f"{server.url}/gone")
    publish(mirrors=mirrors)
    server.faults = {"w.pth": 403, "gone": 410}
    with pytest.raises(WeightsMissing) as caught:
        fetch("rrl")
    one_line(caught, f"{server.url}/w.pth (the server says 403", *mirrors, "410", "`bench weights import rrl FILE`")
    assert "object at 0x" not in str(caught.value)
    assert "refused" in str(caught.value)


def test_a_web_page_is_not_the_file(server, cache, publish):
    publish(sha256=None)
    server.faults["w.pth"] = "html"
    with pytest.raises(WeightsMissing, match="a web page came instead"):
        fetch("rrl", check=nothing)
    assert "weights/rrl/w.pth" not in files(cache)


def test_a_file_of_another_size_is_not_downloaded(server, publish):
    publish(size=5)
    with pytest.raises(WeightsMissing, match=r"1024000 bytes is offered, expected 5"):
        fetch("rrl")


def test_a_broken_download_goes_on_where_it_was(server, cache, publish):
    publish()
    server.faults["w.pth"] = "cut once"
    assert fetch("rrl").read_bytes() == OFFICIAL
    (first, whole), (again, rest) = server.asked
    assert (first, again, whole) == ("w.pth", "w.pth", None)
    assert begin(rest) == len(OFFICIAL) // 2 // download.CHUNK_BYTES * download.CHUNK_BYTES
    assert files(cache) == ["weights/rrl/w.pth"]


def test_a_later_fetch_goes_on_too(server, cache, publish):
    publish()
    server.faults["w.pth"] = "cut"
    with pytest.raises(WeightsMissing, match=r"w\.pth could not be fetched"):
        fetch("rrl")
    assert not (cache / "weights/rrl/w.pth").exists()
    with pytest.raises(WeightsMissing, match="no official weights"):
        resolve("rrl", "official")
    server.faults, server.asked = {}, []
    assert fetch("rrl").read_bytes() == OFFICIAL
    assert len(server.asked) == 1
    assert begin(server.asked[0][1]) > len(OFFICIAL) * 3 // 4
    assert files(cache) == ["weights/rrl/w.pth"]


@pytest.mark.parametrize("how", ["plain", "no version", "another version"])
def test_a_download_that_cannot_go_on_begins_anew(server, cache, publish, how):
    publish()
    server.faults["w.pth"] = "cut"
    with pytest.raises(WeightsMissing):
        fetch("rrl")
    server.faults = {} if how == "another version" else {"w.pth": how}
    server.version = "2" if how == "another version" else "1"
    assert fetch("rrl").read_bytes() == OFFICIAL
    assert files(cache) == ["weights/rrl/w.pth"]


def test_a_download_that_was_whole_is_not_repeated(server, cache, publish, monkeypatch):
    publish()
    with monkeypatch.context() as patch:
        patch.setattr(acquire, "_accept", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fetch("rrl")
    assert fetch("rrl").read_bytes() == OFFICIAL
    assert server.asked[1:] == [("w.pth", f"bytes={len(OFFICIAL)}-")]


def test_a_killed_fetch_leaves_the_cache_usable_and_goes_on(server, cache, publish):
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
    environment = os.environ | {"PYTHONPATH": str(HOME), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", code], cwd=HOME, env=environment) as process:
        limit = time.monotonic() + 30
        while not (partial := list(cache.rglob(".incoming-*/w.pth"))) or partial[0].stat().st_size < 400_000:
            assert time.monotonic() < limit
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not (cache / "weights/rrl/w.pth").exists()
    with pytest.raises(WeightsMissing):
        resolve("rrl", "official")
    server.faults, server.asked = {}, []
    assert fetch("rrl").read_bytes() == OFFICIAL
    assert server.asked[0][1] is not None
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


def test_a_disk_that_fills_midway_is_one_line(server, cache, publish, monkeypatch):
    publish()
    limited = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limited += "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
    code = limited + (
        "from pathlib import Path; from encoders import EncoderError; from encoders.weights import download\n"
        f"path = Path({str(cache)!r}) / 'w.pth'; path.parent.mkdir()\n"
        f"try:\n    download.download({server.url + '/w.pth'!r}, path)\nexcept EncoderError as error:\n    print(error)"
    )
    environment = os.environ | {"PYTHONPATH": str(HOME), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=HOME, env=environment, capture_output=True, text=True)
    assert done.stdout.startswith(f"cannot write {cache / 'w.pth'}: File too large"), done.stderr
    assert done.stdout.count("\n") == 1
    assert files(cache) == []


def test_two_fetches_do_not_mix(server, cache, publish):
    publish()
    staged = acquire._staging(cards.CARDS["rrl"], cards.CARDS["rrl"].sources[0], f"{server.url}/w.pth")
    code = (
        "from pathlib import Path; from encoders.weights.download import held\n"
        f"file = held(Path({str(staged)!r})); print(1, flush=True); input()"
    )
    environment = os.environ | {"PYTHONPATH": str(HOME)}
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=HOME, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        other.stdout.readline()
        with pytest.raises(EncoderError, match="being written by another process"):
            fetch("rrl")
        other.stdin.write(b"\n")
        other.stdin.close()
    assert fetch("rrl").read_bytes() == OFFICIAL


def test_a_cache_that_cannot_be_written_is_one_line(cache, publish):
    publish()
    cache.write_text("a file in its place")
    with pytest.raises(EncoderError) as caught:
        fetch("rrl")
    one_line(caught, f"cannot write {cache}")


@pytest.mark.parametrize("name", ["random", "state"])
def test_controls_have_nothing_to_fetch(name):
    for action in (fetch, acquire.verify, acquire.path, lambda name: import_file(name, __file__)):
        with pytest.raises(EncoderError, match="no official weights"):
            action(name)
    with pytest.raises(UnknownEncoder, match="did you mean 'rrl'"):
        fetch("rlr")


def test_what_no_command_can_fetch_says_how_to_get_it():
    with pytest.raises(WeightsMissing) as caught:
        fetch("hindex", "pen", accept_licence=True)
    one_line(caught, "get the archive", "https://drive.google.com/", "`bench weights import hindex ARCHIVE`")
    with pytest.raises(WeightsMissing, match="no official weights for task 'juggle'"):
        fetch("hindex", "juggle")


@pytest.mark.parametrize(
    ("page", "file"),
    [
        (
            "https://drive.google.com/file/d/1Ab-_c/view?usp=sharing",
            "https://drive.usercontent.google.com/download?id=1Ab-_c&export=download&confirm=t",
        ),
        (
            "https://drive.google.com/uc?export=download&id=1Ab",
            "https://drive.usercontent.google.com/download?id=1Ab&export=download&confirm=t",
        ),
        ("https://huggingface.co/a/b/blob/main/c/d.pth", "https://huggingface.co/a/b/resolve/main/c/d.pth"),
        ("https://huggingface.co/a/b/resolve/main/d.pth", "https://huggingface.co/a/b/resolve/main/d.pth"),
        ("https://www.dropbox.com/s/1/a.pth?dl=0", "https://www.dropbox.com/s/1/a.pth?dl=1"),
        ("https://host/a.pth", "https://host/a.pth"),
    ],
)
def test_pages_before_a_file_are_gone_around(page, file):
    assert direct_url(page) == file


@pytest.mark.parametrize("name", ["alphapose", "alphapose_se", "r3m"])
def test_a_file_on_google_drive_is_fetched_and_its_warning_page_refused(name, server, cache, monkeypatch):
    """Drive answers for a large file with a page that asks, unless it is told at once that one is sure."""
    asked = []

    def redirected(url):
        asked.append(direct_url(url))
        return f"{server.url}/w.pth"

    monkeypatch.setattr("encoders.weights.download.direct_url", redirected)
    server.files["w.pth"], server.faults["w.pth"] = b"<html>Google Drive can't scan this file</html>", "html"
    with pytest.raises(WeightsMissing) as caught:
        fetch(name, accept_licence=True, check=nothing)
    place = cards.CARDS[name].sources[0].url
    one_line(caught, f"{place} (a web page came instead of the file)", f"`bench weights import {name} FILE`")
    key = place.rpartition("/")[2]
    assert set(asked) == {f"https://drive.usercontent.google.com/download?id={key}&export=download&confirm=t"}
    assert [file for file in files(cache) if file.startswith("weights")] == []
    server.files["w.pth"] = b"weights"
    del server.faults["w.pth"]
    if name == "r3m":  # of which an md5 is published
        with pytest.raises(WeightsInvalid, match="md5 is another than the published aa8e41a52670"):
            fetch(name, check=nothing)
    else:
        assert fetch(name, accept_licence=True, check=nothing).read_bytes() == b"weights"


@pytest.mark.parametrize("file", ["dinov3_vits16_pretrain_lvd1689m-08c60483.pth", "got.pth", "got.safetensors"])
def test_of_two_files_that_will_do_either_is_imported_under_its_own_name(file, cache, tmp_path, monkeypatch):
    card = cards.CARDS["dinov3_small"]
    own, metas = card.sources
    unpinned = replace(card, sources=(own, replace(metas, sha256_prefix=None)))
    monkeypatch.setitem(cards.CARDS, "dinov3_small", unpinned)
    (tmp_path / file).write_bytes(b"weights")
    right = own if file.endswith("safetensors") else metas
    (kept,) = import_file("dinov3_small", tmp_path / file, check=nothing)
    assert kept.name == right.filename
    assert acquire.path("dinov3_small") == kept
    assert acquire.verify("dinov3_small")[0].path == kept
    monkeypatch.setitem(cards.CARDS, "dinov3_small", card)
    if right is metas:
        with pytest.raises(WeightsInvalid, match=r"published was 08c60483\.\.\."):
            acquire.verify("dinov3_small")


# Licences.


@pytest.mark.parametrize("use", [False, None])
def test_a_restricting_licence_is_asked_for_once(server, cache, publish, use):
    publish("frankmocap_hand", commercial_use=use)
    with pytest.raises(LicenceNotAccepted) as caught:
        fetch("frankmocap_hand")
    one_line(caught, "CC BY-NC 4.0", "commercial use", "`bench weights fetch frankmocap_hand --accept-licence`")
    assert server.asked == []
    path = fetch("frankmocap_hand", accept_licence=True)
    record = json.loads((cache / "licences" / "frankmocap_hand.json").read_text())
    assert record["licence"] == "CC BY-NC 4.0"
    assert record["licence_sha256"] == licences.licence_sha256(cards.CARDS["frankmocap_hand"])
    assert record["accepted_by"]
    assert record["accepted_at"].startswith("20")
    path.unlink()
    fetch("frankmocap_hand")


def test_another_licence_is_accepted_anew(publish, monkeypatch):
    publish("frankmocap_hand", commercial_use=False)
    fetch("frankmocap_hand", accept_licence=True)
    card = replace(cards.CARDS["frankmocap_hand"], licence="all rights reserved")
    monkeypatch.setitem(cards.CARDS, "frankmocap_hand", card)
    with pytest.raises(LicenceNotAccepted, match="all rights reserved"):
        resolve("frankmocap_hand")


def test_a_broken_record_is_no_acceptance(cache):
    path = licences.record_path(cards.CARDS["hindex"])
    path.parent.mkdir(parents=True)
    for text in ("", "[]", "{}", "\xff"):
        path.write_text(text)
        assert not licences.accepted(cards.CARDS["hindex"])


def test_accepting_makes_cached_weights_usable(cache, publish):
    publish("frankmocap_hand", commercial_use=False)
    path = cache / "weights" / "frankmocap_hand" / "w.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(OFFICIAL)
    with pytest.raises(LicenceNotAccepted):
        resolve("frankmocap_hand")
    assert fetch("frankmocap_hand", accept_licence=True) == path
    assert resolve("frankmocap_hand").kind == "official"


# Importing.


@pytest.fixture
def given(tmp_path):
    file = tmp_path / "downloads" / "model (1).pth"
    file.parent.mkdir()
    file.write_bytes(OFFICIAL)
    return file


def test_import_copies_and_checks(cache, publish, given):
    publish()
    assert import_file("rrl", given) == [cache / "weights" / "rrl" / "w.pth"]
    assert given.read_bytes() == OFFICIAL
    assert files(cache) == ["weights/rrl/w.pth"]
    assert resolve("rrl").kind == "official"
    assert import_file("rrl", cache / "weights" / "rrl" / "w.pth") == [cache / "weights" / "rrl" / "w.pth"]


def test_import_of_another_file_keeps_what_is_there(cache, publish, given):
    publish()
    import_file("rrl", given)
    given.write_bytes(b"other")
    with pytest.raises(WeightsInvalid) as caught:
        import_file("rrl", given)
    one_line(caught, "not the official w.pth", f"published was {DIGEST[:12]}")
    assert (cache / "weights" / "rrl" / "w.pth").read_bytes() == OFFICIAL
    assert files(cache) == ["weights/rrl/w.pth"]


def test_import_asks_for_the_licence(publish, given, cache):
    publish("frankmocap_hand", commercial_use=False)
    with pytest.raises(LicenceNotAccepted):
        import_file("frankmocap_hand", given)
    assert files(cache) == []
    import_file("frankmocap_hand", given, accept_licence=True)
    assert resolve("frankmocap_hand").kind == "official"


def test_import_of_nothing_is_refused(tmp_path):
    with pytest.raises(WeightsMissing, match="cannot import nowhere: no such file"):
        import_file("rrl", "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsMissing, match=r"nothing in .* has the name of an official file; expected resnet50"):
        import_file("rrl", tmp_path / "empty")


def test_a_file_of_a_task_is_known_by_its_name_or_by_the_task(cache, given):
    with pytest.raises(WeightsMissing, match="say which it is with --task, or give it its name, such as hammer-v0"):
        import_file("hindex", given, accept_licence=True, check=nothing)
    assert import_file("hindex", given, "pen", check=nothing) == [cache / "weights" / "hindex" / "pen-v0.pth"]
    named = given.rename(given.with_name("door-v0.pth"))
    assert import_file("hindex", named, check=nothing) == [cache / "weights" / "hindex" / "door-v0.pth"]
    assert resolve("hindex", task="pen").kind == "official"
    assert acquire.path("hindex", "pen").name == "pen-v0.pth"
    with pytest.raises(WeightsMissing, match="name the task with --task"):
        acquire.path("hindex")
    assert [one.path.name for one in acquire.verify("hindex")] == ["door-v0.pth", "pen-v0.pth"]


@pytest.mark.parametrize("kind", ["folder", "zip", "tar", "gztar"])
def test_a_folder_or_archive_of_all_files_is_imported_at_once(tmp_path, cache, kind):
    inside = tmp_path / "got" / "archive" / "adapted_frankmocap_hand_ckpts"
    inside.mkdir(parents=True)
    for name in ("pen-v0.pth", "pour.pth", "README", "relocate-mug.pth"):
        (inside / name).write_bytes(name.encode())
    given = tmp_path / "got"
    if kind != "folder":
        given = Path(shutil.make_archive(str(tmp_path / "archive"), kind, tmp_path / "got"))
    found = import_file("hindex", given, accept_licence=True, check=nothing)
    assert [path.name for path in found] == ["pen-v0.pth", "pour.pth", "relocate-mug.pth"]
    for path in found:
        assert path.read_bytes() == path.name.encode()
    assert [path.name for path in import_file("hindex", given, "pen", check=nothing)] == ["pen-v0.pth"]


def test_an_archive_cannot_write_elsewhere(tmp_path, cache):
    evil = tmp_path / "evil.tar"
    with tarfile.open(evil, "w") as archive:
        for name, kind in (("../../pen-v0.pth", tarfile.REGTYPE), ("pour.pth", tarfile.SYMTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.size, member.linkname = kind, 3 * (kind == tarfile.REGTYPE), "/etc/passwd"
            archive.addfile(member, io.BytesIO(b"abc") if member.size else None)
    found = import_file("hindex", evil, accept_licence=True, check=nothing)
    assert found == [cache / "weights" / "hindex" / "pen-v0.pth"]
    assert not list(tmp_path.glob("pen-v0.pth"))


@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_cut_archive_is_one_line(tmp_path, cache, keep):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("pen-v0.pth", b"1" * 5000)
    content = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(content[: int(keep * len(content))])
    with pytest.raises(EncoderError) as caught:
        import_file("hindex", tmp_path / "a.zip", accept_licence=True, check=nothing)
    assert "\n" not in str(caught.value)
    assert not (cache / "weights").exists() or files(cache / "weights") == []


def test_a_checkpoint_of_torch_is_no_archive(tmp_path, cache, publish):
    torch.save({"a": torch.zeros(2)}, tmp_path / "w.zip")
    publish(content=(tmp_path / "w.zip").read_bytes())
    assert import_file("rrl", tmp_path / "w.zip")[0].name == "w.pth"


def test_a_full_disk_while_importing_is_one_line(cache, publish, given, monkeypatch):
    publish()

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(EncoderError) as caught:
            import_file("rrl", given)
    one_line(caught, "cannot write", "No space left on device")
    assert files(cache) == []
    import_file("rrl", given)
