"""Fetching and importing the YCB pack: what arrives is official and whole, what is there stays."""

import errno
import hashlib
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import typer

import benchmark
from benchmark import assets
from benchmark.cli import app as cli
from benchmark.cli import assets as assets_cli
from benchmark.errors import OutputError
from benchmark.progress import Silent
from tasks.errors import AssetError
from tasks.scene import ycb as pack

HOME = Path(benchmark.__file__).resolve().parents[1]
FOLDER = "owner/name/0123456789abcdef/assets/ycb"
REQUIRED = {
    **{f"collision/025_mug/v0/025_mug_{k}.stl": b"piece %d" % k for k in range(1, 8)},
    "visual/025_mug/textured_simple_blender.msh": bytes(200_000),
}
TEXTURES = {"visual/011_banana/texture_map.png": b"yellow", "visual/025_mug/texture_map.png": b"red"}
OFFICIAL = REQUIRED | TEXTURES


class Told(Silent):
    """Remembers what it was told."""

    def __init__(self):
        self.total = self.done = self.closed = 0
        self.title, self.said, self.stages = "", [], []

    def begin(self, title, steps):
        self.title, self.total = title, steps

    def stage(self, name):
        self.stages.append(name)

    def advance(self, steps):
        assert steps > 0
        self.done += steps

    def say(self, line):
        self.said.append(line)

    def close(self):
        self.closed += 1


@pytest.fixture(autouse=True)
def manifest(tmp_path, monkeypatch, request):
    """A small pack in place of the real one: the mug's texture is known by its git blob only."""
    if "ycb" in request.fixturenames:
        yield None
        return
    groups = {
        "required": {
            path: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for path, content in REQUIRED.items()
        },
        "optional": {path: {"git_blob": pack.git_blob_id(content)} for path, content in TEXTURES.items()},
    }
    owner, name, commit, *folder = FOLDER.split("/")
    source = {"repository": f"{owner}/{name}", "commit": commit, "folder": "/".join(folder)}
    file = tmp_path / "manifest.json"
    file.write_text(json.dumps({"licence": "CC BY 4.0", "source": source} | groups))
    with monkeypatch.context() as patch:
        patch.setattr(pack, "MANIFEST", file)
        pack.manifest.cache_clear()
        yield file
    pack.manifest.cache_clear()


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A web server in place of GitHub's; `answers` holds what it sends, `faults` what is wrong with that."""

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.removeprefix(f"/{FOLDER}/")
            self.server.asked.append(path)
            content, fault = self.server.answers.get(path), self.server.faults.get(path)
            if content is None:
                return self.send_error(404)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if fault is not None:
                self.wfile.write(content[: len(content) // 2])
                if fault == "hangs":
                    time.sleep(20)
                if fault == "broken once":
                    del self.server.faults[path]
                return None
            return self.wfile.write(content)

        def log_message(self, *_):
            pass

    with Server(("127.0.0.1", 0), Handler) as running:
        running.answers, running.faults, running.asked = dict(OFFICIAL), {}, []
        running.url = f"http://127.0.0.1:{running.server_port}"
        monkeypatch.setattr(assets, "RAW_FILES", running.url)
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield running
        running.shutdown()


def files(folder):
    """What lies in a folder, leftovers included: path -> content."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lay_out(folder, contents):
    for path, content in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def one_line(caught, *words):
    line = str(caught.value)
    assert "\n" not in line
    assert all(word in line for word in words), line


# Fetching.


def test_fetch_gets_all_and_the_textures_last(server, cache):
    progress = Told()
    outcome = assets.fetch_ycb(progress)
    assert files(cache / "ycb") == OFFICIAL
    assert set(server.asked[-2:]) == set(TEXTURES)
    assert (outcome.written, outcome.kept, outcome.without_texture) == (10, 0, ())
    assert progress.title == "ycb: 10 files from owner/name on GitHub, about 12 MB"
    assert progress.stages[0] == "file 1 of 10"
    assert progress.done == progress.total == 7 + 200 + 2 * assets.TEXTURE_KILOBYTES
    assert progress.closed == 1
    assert pack.missing() == []


def test_a_second_fetch_asks_for_nothing(server, cache):
    assets.fetch_ycb()
    server.asked.clear()
    progress = Told()
    outcome = assets.fetch_ycb(progress)
    assert (outcome.written, outcome.kept) == (0, 10)
    assert server.asked == []
    assert progress.title == ""


def test_fetch_goes_on_where_it_was_and_mends_what_is_broken(server, cache):
    paths = list(OFFICIAL)
    lay_out(cache / "ycb", {paths[0]: OFFICIAL[paths[0]], paths[1]: b"tampered", paths[2]: b""})
    outcome = assets.fetch_ycb()
    assert (outcome.written, outcome.kept) == (9, 1)
    assert sorted(server.asked) == sorted(paths[1:])
    assert files(cache / "ycb") == OFFICIAL


@pytest.mark.parametrize(
    ("path", "fault", "words"),
    [
        ("collision/025_mug/v0/025_mug_3.stl", "wrong", "5 bytes came that are not the official file"),
        ("visual/025_mug/textured_simple_blender.msh", "truncated", "could not be fetched"),
        ("collision/025_mug/v0/025_mug_3.stl", "absent", "404"),
    ],
)
def test_what_is_not_whole_and_official_is_not_kept(server, cache, path, fault, words):
    if fault == "truncated":
        server.faults[path] = fault
    elif fault == "wrong":
        server.answers[path] = b"other"
    else:
        del server.answers[path]
    with pytest.raises(AssetError) as caught:
        assets.fetch_ycb()
    before = dict(list(REQUIRED.items())[: list(REQUIRED).index(path)])
    one_line(caught, f"{server.url}/{FOLDER}/{path}", words, f"{len(before)} of 8 required files are in {cache}/ycb")
    assert files(cache / "ycb") == before
    server.answers, server.faults = dict(OFFICIAL), {}
    assert assets.fetch_ycb().written == 10 - len(before)
    assert files(cache / "ycb") == OFFICIAL


def test_a_connection_that_breaks_once_is_tried_again(server, cache):
    path = "visual/025_mug/textured_simple_blender.msh"
    server.faults[path] = "broken once"
    progress = Told()
    assets.fetch_ycb(progress)
    assert files(cache / "ycb") == OFFICIAL
    assert server.asked.count(path) == 2
    assert progress.done == progress.total


def test_without_a_network_the_source_and_the_other_way_are_named(cache, monkeypatch):
    monkeypatch.setattr(assets, "RAW_FILES", "http://127.0.0.1:9")
    lay_out(cache / "ycb", dict(list(REQUIRED.items())[:3]))
    progress = Told()
    with pytest.raises(AssetError) as caught:
        assets.fetch_ycb(progress)
    one_line(
        caught,
        f"http://127.0.0.1:9/{FOLDER}/collision",
        "3 of 8 required files",
        "`bench assets fetch ycb --from DIR`",
        "assets/ycb of owner/name",
    )
    assert len(files(cache / "ycb")) == 3
    assert progress.closed == 1


@pytest.mark.parametrize("answer", [None, b"not it"])
def test_textures_that_cannot_be_had_are_reported_only(server, cache, answer):
    banana, mug = TEXTURES
    server.answers[banana] = answer
    progress = Told()
    outcome = assets.fetch_ycb(progress)
    assert outcome.without_texture == ("011_banana",)
    assert files(cache / "ycb") == REQUIRED | {mug: b"red"}
    assert len(progress.said) == 1
    assert progress.said[0].startswith("optional texture of 011_banana left out: ")
    assert "no official texture of 011_banana" in list(outcome.lines())[1]


def test_a_network_lost_before_the_textures_is_noticed_once(server, cache, monkeypatch):
    lay_out(cache / "ycb", REQUIRED)
    monkeypatch.setattr(assets, "RAW_FILES", "http://127.0.0.1:9")
    progress = Told()
    outcome = assets.fetch_ycb(progress)
    assert outcome.without_texture == ("011_banana", "025_mug")
    assert len(progress.said) == 1


def test_a_killed_fetch_leaves_whole_files_and_goes_on(server, cache, manifest):
    stuck = list(REQUIRED)[4]
    server.faults[stuck] = "hangs"
    code = (
        "import pathlib; from benchmark import assets; from tasks.scene import ycb\n"
        f"ycb.MANIFEST, assets.RAW_FILES = pathlib.Path({str(manifest)!r}), {server.url!r}\n"
        "assets.fetch_ycb()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=HOME, env=os.environ | {"PYTHONPATH": str(HOME)}
    ) as process:
        limit = time.monotonic() + 20
        while stuck not in server.asked and time.monotonic() < limit:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert files(cache / "ycb") == dict(list(REQUIRED.items())[:4])
    server.faults.clear()
    assert assets.fetch_ycb().kept == 4
    assert files(cache / "ycb") == OFFICIAL


def test_a_full_disk_is_one_line_and_costs_nothing_that_was_written(server, cache, monkeypatch):
    sync, full, calls = os.fsync, list(REQUIRED)[2], []

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) == 5:  # two a file: its content, and its folder's new name
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(OutputError) as caught:
            assets.fetch_ycb()
    one_line(caught, f"cannot write {cache / 'ycb' / full}: No space left on device")
    assert files(cache / "ycb") == dict(list(REQUIRED.items())[:2])
    assert assets.fetch_ycb().kept == 2


# Importing.


@pytest.mark.parametrize("where", [".", "ycb", "assets/ycb"])
def test_import_finds_the_pack_in_what_it_is_given(where, tmp_path, cache):
    lay_out(tmp_path / "given" / where, OFFICIAL | {"visual/025_mug/texture_map_substitute.png": b"no", "README": b""})
    progress = Told()
    outcome = assets.import_ycb(tmp_path / "given", progress)
    assert files(cache / "ycb") == OFFICIAL
    assert (outcome.written, outcome.kept, outcome.without_texture) == (10, 0, ())
    assert progress.done == progress.total
    assert progress.closed == 1


def test_import_lists_all_that_is_missing_or_wrong_and_copies_nothing(tmp_path, cache):
    paths = list(REQUIRED)
    given = lay_out(tmp_path / "given", {paths[0]: b"wrong", paths[6]: REQUIRED[paths[6]], **TEXTURES})
    with pytest.raises(AssetError) as caught:
        assets.import_ycb(given)
    one_line(caught, f"7 required files cannot be taken from {given} (6 missing, 1 not", *paths[:5], "and 2 more")
    assert paths[5] not in str(caught.value)
    assert not cache.exists()


def test_import_takes_what_the_cache_lacks(tmp_path, cache):
    paths = list(REQUIRED)
    lay_out(cache / "ycb", {path: REQUIRED[path] for path in paths[:4]} | {paths[4]: b"broken"})
    given = lay_out(tmp_path / "given", {path: REQUIRED[path] for path in paths[4:]} | {next(iter(TEXTURES)): b"fake"})
    outcome = assets.import_ycb(given)
    assert (outcome.written, outcome.kept, outcome.without_texture) == (4, 4, ("011_banana", "025_mug"))
    assert files(cache / "ycb") == REQUIRED


@pytest.mark.parametrize(("folder", "words"), [("nowhere", "there is no folder"), ("empty", "holds none of the files")])
def test_import_from_nothing_is_refused(folder, words, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(AssetError) as caught:
        assets.import_ycb(tmp_path / folder)
    one_line(caught, str(tmp_path / folder), words)


def test_an_interrupted_import_keeps_what_was_written(tmp_path, cache, monkeypatch):
    given = lay_out(tmp_path / "given", OFFICIAL)

    class Interrupted(Told):
        def stage(self, name):
            if name == "file 4 of 10":
                raise KeyboardInterrupt

    progress = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        assets.import_ycb(given, progress)
    assert progress.closed == 1
    assert files(cache / "ycb") == dict(list(REQUIRED.items())[:3])
    assert assets.import_ycb(given).kept == 3


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path, cache):
    cache.write_text("a file in its place")
    with pytest.raises(OutputError) as caught:
        assets.import_ycb(lay_out(tmp_path / "given", OFFICIAL))
    one_line(caught, f"cannot write {cache / 'ycb'}")


def test_the_recorded_files_are_the_whole_required_pack(ycb, cache):
    outcome = assets.import_ycb(ycb)
    assert outcome.written == 109
    assert "011_banana" not in outcome.without_texture
    assert len(outcome.without_texture) == 7
    assert not list(cache.rglob("*substitute*"))
    assert pack.missing() == []
    shutil.rmtree(cache)


# The command line.


@pytest.fixture
def bench(monkeypatch, capsys):
    """``bench assets ...`` in this process: (exit code, standard output, standard error)."""
    whole = typer.Typer()
    whole.add_typer(assets_cli.app, name="assets")
    monkeypatch.setattr(cli, "check_house", lambda: None)

    def call(*arguments):
        given = ["assets", *map(str, arguments)]
        code = cli._guarded(lambda: whole(args=given, prog_name="bench", standalone_mode=False), False)
        return code, *capsys.readouterr()

    return call


def test_list_tells_the_state_of_each_pack(bench, cache):
    def ycb_line():
        code, out, err = bench("list")
        builtin, line = out.splitlines()
        assert (code, err) == (0, "")
        assert builtin.startswith("builtin  always there")
        assert line.endswith(f"0.2 MB, {len(pack.textures())} of 2 optional textures; CC BY 4.0; {cache / 'ycb'}")
        return line

    assert "absent, 0 of 8 files; run `bench assets fetch ycb`" in ycb_line()
    lay_out(cache / "ycb", dict(list(OFFICIAL.items())[:3]))
    assert "3 of 8 files; run `bench assets fetch ycb`" in ycb_line()
    lay_out(cache / "ycb", OFFICIAL)
    assert "complete, 8 files" in ycb_line()


def test_fetch_from_a_folder_and_from_the_network(bench, server, tmp_path, cache):
    given = lay_out(tmp_path / "given", REQUIRED)
    code, out, err = bench("fetch", "ycb", "--from", given)
    assert code == 0
    complete, textures = out.splitlines()
    assert complete == f"ycb: complete in {cache / 'ycb'}; 8 files written, 0 were there already"
    assert "no official texture of 011_banana, 025_mug" in textures
    assert "ycb: 8 files from" in err
    code, out, err = bench("fetch", "ycb")
    assert code == 0
    assert out == f"ycb: complete in {cache / 'ycb'}; 2 files written, 8 were there already\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("fetch", "ycc"), "no asset pack 'ycc' to fetch; expected ycb"),
        (("fetch", "builtin"), "no asset pack 'builtin' to fetch; expected ycb"),
        (("fetch",), "Missing argument"),
        (("fetch", "ycb", "--from", "/nowhere"), "there is no folder /nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(bench, arguments, expected):
    code, out, err = bench(*arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("bench: ")
    assert expected in err


def test_the_commands_load_nothing_heavy_before_they_are_called():
    heavy = {"torch", "pooch", "mujoco", "numpy", "rich.progress", "requests"}
    code = f"import sys, benchmark.cli.assets; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=HOME).returncode == 0
