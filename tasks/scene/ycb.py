"""The official YCB meshes of the DexMV tasks: which files they are, where they lie once fetched, and their check.

They are not shipped: ``bench assets fetch ycb`` gets them. Nothing here downloads.

Source: the paper's release; repository, commit and folder are in ``ycb_files.json``, with every file's hash.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import AssetError
from ..files import expanded

MANIFEST = Path(__file__).with_name("ycb_files.json")
CACHE_VARIABLE = "HINDEX_BENCH_CACHE"
MESH_FILE = "textured_simple_blender.msh"
TEXTURE_FILE = "texture_map.png"


@dataclass(frozen=True)
class OfficialFile:
    """A file's size and hashes, of which at least one is given.

    Attributes:
        sha256: hexadecimal.
        git_blob: hexadecimal sha1 that git names the content by, for textures whose sha256 is unknown.
        size: in bytes, None where unknown.
    """

    sha256: str | None = None
    git_blob: str | None = None
    size: int | None = None

    def matches(self, content: bytes) -> bool:
        """Return whether these bytes are the official ones."""
        if self.sha256 is not None:
            return hashlib.sha256(content).hexdigest() == self.sha256
        return git_blob_id(content) == self.git_blob


@dataclass(frozen=True)
class Manifest:
    """The pack's files by their path below the pack's folder, and where they were published.

    Attributes:
        repository: ``owner/name`` on GitHub.
        commit: 40 hexadecimal digits.
        folder: path of the pack inside the repository.
        licence: of the data.
        required: meshes; the tasks need every one.
        optional: textures; a scene without them is drawn in flat colours.
    """

    repository: str
    commit: str
    folder: str
    licence: str
    required: Mapping[str, OfficialFile]
    optional: Mapping[str, OfficialFile]

    @property
    def files(self) -> dict[str, OfficialFile]:
        """All files, the required ones first."""
        return {**self.required, **self.optional}


@cache
def manifest() -> Manifest:
    """Return the list of official files, as it ships with the package."""
    content = json.loads(MANIFEST.read_text(encoding="utf-8"))
    return Manifest(
        **content["source"],
        licence=content["licence"],
        required=_files(content["required"]),
        optional=_files(content["optional"]),
    )


def cache_folder() -> Path:
    """Return the folder that the pack is fetched into, in the encoders' cache; it may not exist yet."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return expanded(chosen) / "ycb"
    import platformdirs

    # A user without a home folder has no cache: then it is a path where nothing can be written.
    nowhere = Path(os.devnull) / "hindex-bench" / "ycb"
    try:
        usual = Path(platformdirs.user_cache_dir("hindex-bench")) / "ycb"
    except RuntimeError:
        return nowhere
    return usual if usual.is_absolute() else nowhere


def collision_files(folder_name: str, version: str | None = None) -> list[Path]:
    """Return the convex collision pieces of an object, binary STL in metres, in the released order.

    That is by file name (1, 10, 11, …, 2, 20, …). It decides the order of contacts and with it the solver's result.

    Args:
        folder_name: such as ``011_banana``.
        version: ``v0`` or ``v2`` for ``025_mug``, None for the others.

    Raises:
        AssetError: there is no such object or version, or a piece is missing or not the official one.
    """
    folder = "/".join(part for part in ("collision", folder_name, version) if part)
    pieces = [path for path in manifest().required if path.rpartition("/")[0] == folder]
    if not pieces:
        raise _unknown(f"collision meshes {folder}", "collision/")
    return [_checked(path) for path in sorted(pieces)]


def visual_file(folder_name: str) -> Path:
    """Return the visual mesh of an object, in MuJoCo's binary format, in metres and in the body's frame.

    Raises:
        AssetError: there is no such object, or its mesh is missing or not the official one.
    """
    path = f"visual/{folder_name}/{MESH_FILE}"
    if path not in manifest().required:
        raise _unknown(f"visual mesh of {folder_name}", "visual/")
    return _checked(path)


def texture_file(folder_name: str) -> Path | None:
    """Return the texture of an object, a PNG, or None where it was not fetched.

    Raises:
        AssetError: there is no such object, or its texture is there and not the official one.
    """
    path = f"visual/{folder_name}/{TEXTURE_FILE}"
    if path not in manifest().optional:
        raise _unknown(f"texture of {folder_name}", "visual/")
    return _checked(path) if os.path.isfile(cache_folder() / path) else None


def pack_sha256() -> str:
    """Return a digest of the required files' paths and hashes: the pack's name in a run's identity.

    It comes from the manifest and says nothing about this machine; textures do not count.
    """
    digest = hashlib.sha256()
    for path, known in sorted(manifest().required.items()):
        digest.update(f"{known.sha256}  {path}\n".encode())
    return digest.hexdigest()


def missing() -> list[str]:
    """Required files that are not in the cache, or are there and not the official ones; paths below its folder."""
    return [path for path in manifest().required if not is_official(path)]


def textures() -> list[str]:
    """Folder names of the objects whose official texture is in the cache."""
    return [path.split("/")[1] for path in manifest().optional if is_official(path)]


def is_official(path: str) -> bool:
    """Return whether a file of the manifest is in the cache and has the official content.

    Args:
        path: below the pack's folder, as the manifest has it.
    """
    known = manifest().files[path]
    try:
        return _hash_matches(cache_folder() / path, known)
    except OSError:
        return False


def git_blob_id(content: bytes) -> str:
    """Return git's blob id of a file's content, 40 hexadecimal digits."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _files(group: dict[str, dict[str, Any]]) -> Mapping[str, OfficialFile]:
    return MappingProxyType(
        {
            path: OfficialFile(known.get("sha256"), known.get("git_blob"), known.get("bytes"))
            for path, known in group.items()
        }
    )


def _checked(path: str) -> Path:
    found = cache_folder() / path
    try:
        official = _hash_matches(found, manifest().files[path])
    except OSError as error:
        what = f"cannot be read ({error.strerror or error})"
    else:
        if official:
            return found
        what = "is not the official file (another hash)"
    raise AssetError(
        f"YCB mesh pack: {found} {what}; run `bench assets fetch ycb`, or `bench assets fetch ycb --from DIR` "
        "with a folder that has the files"
    )


def _hash_matches(path: Path, known: OfficialFile) -> bool:
    state = path.stat()
    return _content_matches(path, state.st_mtime_ns, state.st_size, known)


@lru_cache(maxsize=1024)
def _content_matches(path: Path, mtime_ns: int, size: int, known: OfficialFile) -> bool:
    """Hash the file once per process, as long as its time and size stay the same."""
    return known.size in (None, size) and known.matches(path.read_bytes())


def _unknown(what: str, prefix: str) -> AssetError:
    folders = {path.rpartition("/")[0].removeprefix(prefix) for path in manifest().required if path.startswith(prefix)}
    return AssetError(f"YCB mesh pack: there is no {what}; expected one of {', '.join(sorted(folders))}")
