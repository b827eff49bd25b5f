"""A small asset pack in place of the real one, for tests that fetch, import or list it."""

import hashlib
import json
from contextlib import contextmanager

import pytest
from downloads import Server

from benchmark import assets
from tasks.scene import ycb as pack

FOLDER = "owner/name/0123456789abcdef/assets/ycb"
REQUIRED = {
    **{f"collision/025_mug/v0/025_mug_{k}.stl": b"piece %d" % k for k in range(1, 8)},
    "visual/025_mug/textured_simple_blender.msh": bytes(200_000),
}
TEXTURES = {"visual/011_banana/texture_map.png": b"yellow", "visual/025_mug/texture_map.png": b"red"}
OFFICIAL = REQUIRED | TEXTURES


@contextmanager
def published(folder):
    """Let this be the pack; gives its manifest's file. The mug's texture is known by its git blob only."""
    groups = {
        "required": {
            path: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for path, content in REQUIRED.items()
        },
        "optional": {path: {"git_blob": pack.git_blob_id(content)} for path, content in TEXTURES.items()},
    }
    owner, name, commit, *inside = FOLDER.split("/")
    source = {"repository": f"{owner}/{name}", "commit": commit, "folder": "/".join(inside)}
    file = folder / "manifest.json"
    file.write_text(json.dumps({"licence": "CC BY 4.0", "source": source} | groups))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack, "MANIFEST", file)
        pack.manifest.cache_clear()
        yield file
    pack.manifest.cache_clear()


@contextmanager
def served():
    """Let a server of our own stand for GitHub's."""
    running = Server(FOLDER)
    running.files = dict(OFFICIAL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assets, "RAW_FILES", running.url)
        patch.setattr("random.uniform", lambda *_: 0.0)  # the seconds between tries
        yield running
    running.close()


def contents(folder):
    """What lies in a folder, leftovers included: path -> content."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def lay_out(folder, files):
    """Write a folder with these contents."""
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder
