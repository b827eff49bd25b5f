"""Asset packs on this machine: fetched from where they were published, or imported from a folder, always checked."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import AssetError
from tasks.scene import ycb

from .progress import Progress, Silent
from .store import atomic, cache
from .store.paths import user_path

RAW_FILES = "https://raw.githubusercontent.com"
"""GitHub's raw-file host: ``RAW_FILES/owner/name/commit/path``."""

TEXTURE_KILOBYTES = 6_000
"""About what a texture of unknown size weighs; for the ETA only."""

ATTEMPTS = 2
TIMEOUT_SECONDS = 30
CHUNK_BYTES = 1 << 16
NAMED_FILES = 5


@dataclass(frozen=True)
class Outcome:
    """What fetching or importing a pack came to; every required file is in the folder.

    Attributes:
        folder: where the pack lies.
        written: files that were written now.
        kept: files that were there already.
        without_texture: folder names of the objects whose official texture could not be had.
    """

    folder: Path
    written: int
    kept: int
    without_texture: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """The outcome in a line or two."""
        yield f"ycb: complete in {self.folder}; {self.written} files written, {self.kept} were there already"
        if self.without_texture:
            yield (
                f"ycb: no official texture of {', '.join(self.without_texture)}; "
                "textures are optional, the tasks run without"
            )


def fetch_ycb(progress: Progress | None = None) -> Outcome:
    """Download what is missing or broken of the YCB pack; textures last, and their absence is no error.

    A file gets its name only when it is whole and has the official hash, so a killed download goes on where it was.

    Args:
        progress: told of kilobytes as its steps.

    Raises:
        AssetError: a required file cannot be had, or is not the official one.
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
                content = _download(path, progress)
            except _CannotFetch as error:
                if path in manifest.required:
                    raise AssetError(_fetch_refusal(error)) from error
                progress.say(f"optional texture of {_object_of(path)} left out: {error.why}")
                if error.unreachable:
                    break
                continue
            _write(folder / path, content)
            written.append(path)
        progress.end()
    finally:
        progress.close()
    return _outcome(written, wanted)


def import_ycb(folder: Path, progress: Progress | None = None) -> Outcome:
    """Copy what the cache lacks of the YCB pack from a folder that holds it; all is checked before anything is copied.

    Args:
        folder: holds ``collision/`` and ``visual/`` itself, in ``ycb/``, or as a checkout of the published repository.
        progress: told of kilobytes as its steps.

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


class _CannotFetch(Exception):
    """One file could not be downloaded; `unreachable` if its server did not answer, or not to the end."""

    def __init__(self, url: str, why: str, *, unreachable: bool = False) -> None:
        super().__init__(f"{url} could not be fetched ({why})")
        self.why, self.unreachable = why, unreachable


class _FileProgress:
    """Passes a file's bytes, as pooch counts them, on as kilobytes: never more than the file was announced with."""

    total = 0

    def __init__(self, progress: Progress, kilobytes: int) -> None:
        self._progress, self._left, self._bytes = progress, kilobytes, 0

    def update(self, count: int) -> None:
        """So many bytes more came."""
        self._bytes += count
        self._advance(min(self._bytes // 1000, self._left))

    def reset(self) -> None:
        """Pooch counts a whole file once more at its end."""

    def close(self) -> None:
        """The file is whole."""
        self._advance(self._left)

    def _advance(self, kilobytes: int) -> None:
        if kilobytes > 0:
            self._bytes -= 1000 * kilobytes
            self._left -= kilobytes
            self._progress.advance(kilobytes)


def _download(path: str, progress: Progress) -> bytes:
    """The official content of a file, from where it was published."""
    import pooch

    manifest = ycb.manifest()
    url = f"{RAW_FILES}/{manifest.repository}/{manifest.commit}/{manifest.folder}/{path}"
    bar = _FileProgress(progress, _kilobytes(path))
    get = pooch.HTTPDownloader(progressbar=bar, chunk_size=CHUNK_BYTES, timeout=TIMEOUT_SECONDS)
    failure = _CannotFetch(url, "not tried")
    for _ in range(ATTEMPTS):
        content = io.BytesIO()
        try:
            get(url, content, None)
        except OSError as error:  # every error of requests is one
            # requests wraps urllib3's "max retries exceeded" around what was the matter.
            reason = getattr(error.args[0], "reason", error) if error.args else error
            unreachable = getattr(error, "response", None) is None
            failure = _CannotFetch(url, f"{type(error).__name__}: {str(reason)[:160]}", unreachable=unreachable)
            continue
        if manifest.files[path].matches(content.getvalue()):
            return content.getvalue()
        failure = _CannotFetch(url, f"{content.tell()} bytes came that are not the official file")
    raise failure


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
    """The folder of the pack itself, wherever it lies in what the user named."""
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


def _fetch_refusal(error: _CannotFetch) -> str:
    manifest = ycb.manifest()
    there = len(manifest.required) - len(ycb.missing())
    return (
        f"ycb: {error}; {there} of {len(manifest.required)} required files are in {ycb.cache_folder()} and stay there: "
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
