"""The list of official YCB files, and that nothing but them is handed out."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tasks
from encoders.weights.cache import cache_dir
from tasks.errors import AssetError
from tasks.scene import ycb as pack

ALONE = "collision/011_banana/011_banana_1.stl"
PIECES = {
    ("004_sugar_box", None): 1,
    ("005_tomato_soup_can", None): 1,
    ("006_mustard_bottle", None): 2,
    ("010_potted_meat_can", None): 2,
    ("011_banana", None): 2,
    ("025_mug", "v0"): 49,
    ("025_mug", "v2"): 16,
    ("051_large_clamp", None): 26,
    ("061_foam_brick", None): 1,
}
OBJECTS = sorted({name for name, _ in PIECES})


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HINDEX_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ycb"


@pytest.fixture
def own_manifest(tmp_path, monkeypatch):
    """Make the pack's files these: path -> content, or path -> (kind of hash, content); optional if a PNG."""

    def publish(**contents):
        groups = {"required": {}, "optional": {}}
        for path, content in contents.items():
            known = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            if path.startswith("visual/blob"):
                known = {"git_blob": pack.git_blob_id(content)}
            groups["optional" if path.endswith(".png") else "required"][path] = known
        source = {"repository": "owner/name", "commit": "0" * 40, "folder": "some/where/ycb"}
        file = tmp_path / "manifest.json"
        file.write_text(json.dumps({"licence": "CC BY 4.0", "source": source} | groups))
        monkeypatch.setattr(pack, "MANIFEST", file)
        pack.manifest.cache_clear()

    yield publish
    monkeypatch.undo()
    pack.manifest.cache_clear()


def put(folder, path, content):
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(content)
    return folder / path


def one_line(caught, *words):
    line = str(caught.value)
    assert "\n" not in line
    assert all(word in line for word in words), line


def test_the_cache_is_the_encoders_cache(cache, monkeypatch):
    assert pack.cache_folder() == cache_dir() / "ycb" == cache
    monkeypatch.setenv("HINDEX_BENCH_CACHE", "~/elsewhere")
    assert pack.cache_folder() == cache_dir() / "ycb"
    monkeypatch.delenv("HINDEX_BENCH_CACHE")
    assert pack.cache_folder() == cache_dir() / "ycb"


def test_the_manifest_names_every_object_and_only_official_files():
    manifest = pack.manifest()
    assert re.fullmatch("[0-9a-f]{40}", manifest.commit)
    assert manifest.licence == "CC BY 4.0"
    collision = [path for path in manifest.required if path.startswith("collision/")]
    assert len(collision) == sum(PIECES.values()) == 100
    assert sorted(set(manifest.required) - set(collision)) == [f"visual/{name}/{pack.MESH_FILE}" for name in OBJECTS]
    assert list(manifest.optional) == [f"visual/{name}/{pack.TEXTURE_FILE}" for name in OBJECTS]
    for known in manifest.required.values():
        assert re.fullmatch("[0-9a-f]{64}", known.sha256)
        assert known.size > 0
    for known in manifest.optional.values():
        assert (known.sha256 is None) != (known.git_blob is None)


def test_the_manifest_agrees_with_the_recorded_files(ycb):
    manifest = pack.manifest()
    for path in ycb.rglob("*"):
        name = path.relative_to(ycb).as_posix()
        if path.is_file() and name != "README.md" and "substitute" not in name:
            assert manifest.files[name].size == path.stat().st_size
            assert manifest.files[name].matches(path.read_bytes()), name


def test_nothing_there_is_said_in_one_line_with_the_remedy(cache):
    assert len(pack.missing()) == len(pack.manifest().required)
    assert pack.textures() == []
    assert pack.texture_file("025_mug") is None
    with pytest.raises(AssetError) as caught:
        pack.visual_file("025_mug")
    one_line(caught, str(cache / "visual/025_mug"), "No such file", "`bench assets fetch ycb`", "--from DIR")
    with pytest.raises(AssetError, match=r"011_banana_1\.stl cannot be read"):
        pack.collision_files("011_banana")


@pytest.mark.parametrize(
    ("ask", "expected"),
    [
        (
            lambda: pack.collision_files("012_cup"),
            "no collision meshes collision/012_cup; expected one of 004_sugar_box",
        ),
        (lambda: pack.collision_files("025_mug"), "025_mug/v0, 025_mug/v2"),
        (lambda: pack.collision_files("025_mug", "v1"), "025_mug/v0, 025_mug/v2"),
        (lambda: pack.visual_file("012_cup"), "no visual mesh of 012_cup"),
        (lambda: pack.texture_file("../025_mug"), "no texture of"),
    ],
)
def test_unknown_objects_are_refused_with_what_there_is(ask, expected):
    with pytest.raises(AssetError, match=re.escape(expected)):
        ask()


def test_pieces_come_in_the_order_of_their_file_names(cache, own_manifest):
    contents = {f"collision/025_mug/v0/025_mug_{k}.stl": b"%d" % k for k in (10, 2, 1, 11, 9)}
    own_manifest(**contents, **{"collision/025_mug/v2/025_mug_1.stl": b"other"})
    for path, content in contents.items():
        put(cache, path, content)
    found = pack.collision_files("025_mug", "v0")
    assert [path.read_bytes() for path in found] == [b"1", b"10", b"11", b"2", b"9"]
    assert pack.missing() == ["collision/025_mug/v2/025_mug_1.stl"]


def test_a_file_that_changes_later_is_found_out(cache, own_manifest):
    own_manifest(**{ALONE: b"official"})
    path = put(cache, ALONE, b"official")
    assert pack.collision_files("011_banana") == [path]
    state = path.stat()
    path.write_bytes(b"tampered")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    with pytest.raises(AssetError) as caught:
        pack.collision_files("011_banana")
    one_line(caught, f"{path} is not the official file", "`bench assets fetch ycb`")
    assert pack.missing() == [ALONE]


def test_a_file_is_hashed_once_a_process(cache, own_manifest, monkeypatch):
    own_manifest(**{ALONE: b"hashed once"})
    put(cache, ALONE, b"hashed once")
    pack.collision_files("011_banana")
    monkeypatch.setattr(Path, "read_bytes", None)
    assert len(pack.collision_files("011_banana")) == 1


def test_a_texture_is_known_by_its_sha256_or_by_its_git_blob(cache, own_manifest):
    names = {"blob_mug": b"a picture", "banana": b"another"}
    own_manifest(**{ALONE: b""}, **{f"visual/{name}/{pack.TEXTURE_FILE}": content for name, content in names.items()})
    for name, content in names.items():
        path = put(cache, f"visual/{name}/{pack.TEXTURE_FILE}", content)
        assert pack.texture_file(name) == path
        path.write_bytes(content[::-1] + b" ")
        with pytest.raises(AssetError, match="is not the official file"):
            pack.texture_file(name)
    assert pack.textures() == []


def test_git_blob_ids_are_gits():
    assert pack.git_blob_id(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    assert pack.git_blob_id(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_the_packs_name_is_that_of_its_required_files(own_manifest):
    assert pack.pack_sha256() == "0009e0a01bbeb6919838e1f290fd5554ce9c9f72b334f9b88480f4643ed21e8c"
    own_manifest(**{ALONE: b"a", "visual/blob/x.png": b"b"})
    first = pack.pack_sha256()
    own_manifest(**{ALONE: b"a", "visual/blob/x.png": b"c"})
    assert pack.pack_sha256() == first
    own_manifest(**{ALONE: b"d"})
    assert pack.pack_sha256() != first


def test_all_files_are_handed_out_where_they_are(ycb, cache):
    shutil.copytree(ycb, cache, ignore=shutil.ignore_patterns("*substitute*", "README.md"))
    assert pack.missing() == []
    assert {key: len(pack.collision_files(*key)) for key in PIECES} == PIECES
    assert all(pack.visual_file(name).is_file() for name in OBJECTS)
    assert pack.textures() == ["011_banana"]
    assert pack.texture_file("011_banana").is_file()


def test_importing_it_loads_neither_torch_nor_platformdirs():
    code = (
        "import sys, tasks.scene.ycb; sys.exit(bool({'torch', 'platformdirs', 'mujoco', 'numpy'} & set(sys.modules)))"
    )
    home = Path(tasks.__file__).resolve().parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=home).returncode == 0
