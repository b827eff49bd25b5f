"""Fetching and importing the YCB pack: what arrives is official and whole, what is there stays."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import small_pack
from downloads import Told, one_line
from small_pack import FOLDER, OFFICIAL, REQUIRED, TEXTURES, contents, lay_out

import benchmark
from benchmark import assets
from benchmark.errors import OutputError
from tasks.errors import AssetError
from tasks.scene import ycb as pack

HOME = Path(benchmark.__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def manifest(tmp_path, request):
    if "ycb" in request.fixturenames:
        yield None
        return
    with small_pack.published(tmp_path) as file:
        yield file


@pytest.fixture
def server():
    with small_pack.served() as running:
        yield running


# Fetching.


def test_fetch_gets_all_and_the_textures_last(server, cache):
    progress = Told()
    outcome = assets.fetch_ycb(progress)
    assert contents(cache / "ycb") == OFFICIAL
    assert {path for path, _ in server.asked[-2:]} == set(TEXTURES)
    assert (outcome.written, outcome.kept, outcome.without_texture) == (10, 0, ())
    assert progress.titles == ["ycb: 10 files from owner/name on GitHub, about 12 MB"]
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
    assert progress.titles == []


def test_fetch_goes_on_where_it_was_and_mends_what_is_broken(server, cache):
    paths = list(OFFICIAL)
    lay_out(cache / "ycb", {paths[0]: OFFICIAL[paths[0]], paths[1]: b"tampered", paths[2]: b""})
    outcome = assets.fetch_ycb()
    assert (outcome.written, outcome.kept) == (9, 1)
    assert sorted(path for path, _ in server.asked) == sorted(paths[1:])
    assert contents(cache / "ycb") == OFFICIAL


@pytest.mark.parametrize(
    ("path", "fault", "words"),
    [
        ("collision/025_mug/v0/025_mug_3.stl", "wrong", "5 bytes came that are not the official file"),
        ("visual/025_mug/textured_simple_blender.msh", "cut", "could not fetch"),
        ("collision/025_mug/v0/025_mug_3.stl", "absent", "404"),
    ],
)
def test_what_is_not_whole_and_official_is_not_kept(server, cache, path, fault, words):
    if fault == "cut":
        server.faults[path] = fault
    elif fault == "wrong":
        server.files[path] = b"other"
    else:
        del server.files[path]
    with pytest.raises(AssetError) as caught:
        assets.fetch_ycb()
    before = dict(list(REQUIRED.items())[: list(REQUIRED).index(path)])
    one_line(caught, f"{server.url}/{FOLDER}/{path}", words, f"{len(before)} of 8 required files are in {cache}/ycb")
    assert contents(cache / "ycb") == before
    server.files, server.faults = dict(OFFICIAL), {}
    assert assets.fetch_ycb().written == 10 - len(before)
    assert contents(cache / "ycb") == OFFICIAL


def test_a_connection_that_breaks_once_is_tried_again(server, cache):
    path = "visual/025_mug/textured_simple_blender.msh"
    server.faults[path] = "cut once"
    progress = Told()
    assets.fetch_ycb(progress)
    assert contents(cache / "ycb") == OFFICIAL
    assert [asked for asked, _ in server.asked].count(path) == 2
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
    assert len(contents(cache / "ycb")) == 3
    assert progress.closed == 1


@pytest.mark.parametrize("answer", [None, b"not it"])
def test_textures_that_cannot_be_had_are_reported_only(server, cache, answer):
    banana, mug = TEXTURES
    server.files[banana] = answer
    progress = Told()
    outcome = assets.fetch_ycb(progress)
    assert outcome.without_texture == ("011_banana",)
    assert contents(cache / "ycb") == REQUIRED | {mug: b"red"}
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
        while (stuck, None) not in server.asked and time.monotonic() < limit:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert contents(cache / "ycb") == dict(list(REQUIRED.items())[:4])
    server.faults.clear()
    assert assets.fetch_ycb().kept == 4
    assert contents(cache / "ycb") == OFFICIAL


def test_a_full_disk_is_one_line_and_costs_nothing_that_was_written(server, cache, monkeypatch):
    sync, full, calls = os.fsync, list(REQUIRED)[2], []

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) == 8:  # three a file: what was downloaded, its content, and its folder's new name
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(OutputError) as caught:
            assets.fetch_ycb()
    one_line(caught, f"cannot write {cache / 'ycb' / full}: No space left on device")
    assert contents(cache / "ycb") == dict(list(REQUIRED.items())[:2])
    assert assets.fetch_ycb().kept == 2


# Importing.


@pytest.mark.parametrize("where", [".", "ycb", "assets/ycb"])
def test_import_finds_the_pack_in_what_it_is_given(where, tmp_path, cache):
    lay_out(tmp_path / "given" / where, OFFICIAL | {"visual/025_mug/texture_map_substitute.png": b"no", "README": b""})
    progress = Told()
    outcome = assets.import_ycb(tmp_path / "given", progress)
    assert contents(cache / "ycb") == OFFICIAL
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
    assert contents(cache / "ycb") == REQUIRED


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
    assert contents(cache / "ycb") == dict(list(REQUIRED.items())[:3])
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
