"""Download asset packs, or import them from a folder; every file is checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from encoders.errors import EncoderError
from encoders.weights.download import CannotFetch, download, forget
from tasks.errors import AssetError
from tasks.scene import ycb

from .errors import OutputError
from .progress import Progress, Silent
from .store import atomic, cache
from .store.paths import user_path

RAW_FILES = "https://raw.githubusercontent.com"
"""GitHub's raw-file host: ``RAW_FILES/owner/name/commit/path``."""

TEXTURE_KILOBYTES = 6_000
"""Assumed size of a texture of unknown size, for the ETA only."""

NAMED_FILES = 5


@dataclass(frozen=True)
class Outcome:
    """The result of fetching or importing a pack; all required files are present.

    Attributes:
        folder: of the pack.
        written: number of files written now.
        kept: number of files already present.
        without_texture: folder names of objects without their official texture.
    """

    folder: Path
    written: int
    kept: int
    without_texture: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """Yield a summary of one or two lines."""
        yield f"ycb: complete in {self.folder}; {self.written} files written, {self.kept} were there already"
        if self.without_texture:
            yield (
                f"ycb: no official texture of {', '.join(self.without_texture)}; "
                "textures are optional, the tasks run without"
            )


def fetch_ycb(progress: Progress | None = None) -> Outcome:
    """Download missing and damaged files of the YCB pack; textures come last and are optional.

    Each file is complete and has the official hash before it gets its name, so a killed download can be continued.

    Args:
        progress: receives updates in kilobytes.

    Raises:
        AssetError: a required file cannot be downloaded, or is not the official one.
        OutputError: the cache cannot be written.
    """
    progress = progress or Silent()
    manifest, folder = ycb.manifest(), ycb.cache_folder()
    wanted = [path for path in manifest.files if not ycb.is_official(path)]
    written: list[str] = []
    if not wanted:
        return _outcome(written, wanted)
    cache.require_writable(folder)
    try:
        _begin(progress, f"ycb: {len(wanted)} files from {manifest.repository} on GitHub", wanted)
        for number, path in enumerate(wanted, start=1):
            progress.stage(f"file {number} of {len(wanted)}")
            try:
                _write(folder / path, _downloaded(path))
            except CannotFetch as error:
                if path in manifest.required:
                    raise AssetError(_fetch_refusal(error)) from error
                progress.say(f"optional texture of {_object_of(path)} left out: {error.why}")
                if error.unreachable:
                    break
            else:
                written.append(path)
            progress.advance(_kilobytes(path))
        progress.end()
    finally:
        progress.close()
    return _outcome(written, wanted)


def import_ycb(folder: Path, progress: Progress | None = None) -> Outcome:
    """Copy missing files of the YCB pack from a folder; all files are checked before any is copied.

    Args:
        folder: contains ``collision/`` and ``visual/``, directly or in ``ycb/``, or is a checkout of the repository.
        progress: receives updates in kilobytes.

    Raises:
        AssetError: required files are missing or not the official ones; nothing was copied.
        OutputError: the cache cannot be written.
    """
    progress = progress or Silent()
    manifest, target = ycb.manifest(), ycb.cache_folder()
    source = _pack_in(folder)
    wanted = [path for path in manifest.files if not ycb.is_official(path)]
    good = [path for path in wanted if _official_content(source / path, manifest.files[path]) is not None]
    lacking = [path for path in wanted if path in manifest.required and path not in good]
    if lacking:
        raise AssetError(_import_refusal(source, lacking))
    written: list[str] = []
    if not good:
        return _outcome(written, wanted)
    cache.require_writable(target)
    try:
        _begin(progress, f"ycb: {len(good)} files from {source}", good)
        for path in good:
            progress.stage(f"file {len(written) + 1} of {len(good)}")
            content = _official_content(source / path, manifest.files[path])
            if content is None:
                raise AssetError(f"ycb: {source / path} changed while it was imported; run the command again")
            _write(target / path, content)
            progress.advance(_kilobytes(path))
            written.append(path)
        progress.end()
    finally:
        progress.close()
    return _outcome(written, wanted)


def _downloaded(path: str) -> bytes:
    """Download a file and return its official content."""
    manifest = ycb.manifest()
    url = f"{RAW_FILES}/{manifest.repository}/{manifest.commit}/{manifest.folder}/{path}"
    staged = ycb.cache_folder().with_name(".incoming-ycb") / Path(path).name
    try:
        download(url, staged, resume=False)
        content = staged.read_bytes()
    except EncoderError as error:
        raise OutputError(str(error)) from error
    finally:
        forget(staged)
        with suppress(OSError):
            staged.parent.rmdir()
    if not manifest.files[path].matches(content):
        raise CannotFetch(url, f"{len(content)} bytes came that are not the official file")
    return content


def _write(path: Path, content: bytes) -> None:
    with cache.naming_variable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_bytes(path, content)


def _official_content(path: Path, known: ycb.OfficialFile) -> bytes | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    return content if known.matches(content) else None


def _pack_in(folder: Path) -> Path:
    """Return the pack's folder inside the folder that the user gave."""
    manifest = ycb.manifest()
    folder = user_path(folder)
    if not folder.is_dir():
        raise AssetError(f"ycb: there is no folder {folder}; give --from a folder that has the files")
    # A checkout may be of the whole repository, or of the simulator inside it.
    inside = Path(manifest.folder)
    places = [folder, folder / "ycb", *(folder / Path(*inside.parts[skip:]) for skip in range(len(inside.parts)))]
    for place in places:
        if any((place / path).is_file() for path in manifest.files):
            return place
    raise AssetError(
        f"ycb: {folder} holds none of the files; expected a folder with collision/ and visual/, one with ycb/ in it, "
        f"or a checkout of {manifest.repository}"
    )


def _begin(progress: Progress, title: str, paths: Sequence[str]) -> None:
    kilobytes = sum(map(_kilobytes, paths))
    progress.begin(f"{title}, about {kilobytes / 1000:.0f} MB", kilobytes)


def _kilobytes(path: str) -> int:
    size = ycb.manifest().files[path].size
    return TEXTURE_KILOBYTES if size is None else max(1, round(size / 1000))


def _outcome(written: Sequence[str], wanted: Sequence[str]) -> Outcome:
    manifest = ycb.manifest()
    without = tuple(_object_of(path) for path in wanted if path in manifest.optional and path not in written)
    return Outcome(ycb.cache_folder(), len(written), len(manifest.files) - len(wanted), without)


def _object_of(path: str) -> str:
    return path.split("/")[1]


def _fetch_refusal(error: CannotFetch) -> str:
    manifest = ycb.manifest()
    there = len(manifest.required) - len(ycb.missing())
    return (
        f"ycb: could not fetch {error}; {there} of {len(manifest.required)} required files are in "
        f"{ycb.cache_folder()} and stay there: "
        "with a network run `bench assets fetch ycb` again, or `bench assets fetch ycb --from DIR` with a copy of "
        f"{manifest.folder} of {manifest.repository}"
    )


def _import_refusal(source: Path, lacking: Sequence[str]) -> str:
    absent = sum(not (source / path).is_file() for path in lacking)
    more = f" and {len(lacking) - NAMED_FILES} more" if len(lacking) > NAMED_FILES else ""
    return (
        f"ycb: {len(lacking)} required files cannot be taken from {source} ({absent} missing, "
        f"{len(lacking) - absent} not the official ones): {', '.join(lacking[:NAMED_FILES])}{more}; nothing was "
        "copied, give a whole copy or run `bench assets fetch ycb`"
    )
