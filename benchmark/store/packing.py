"""Make packs of results from folders of runs and from other packs, and put packs where reports find them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import ConfigError, FolderError, OutputError, PackError
from . import atomic, episodes, pack
from . import metrics as metric_lines
from .manifest import MANIFEST
from .pack import FILES, SUFFIX, TRACED, PackedRun
from .paths import user_path
from .run_folder import EPISODES, METRICS, RunFolder
from .runs import below, run_paths


class Packed(NamedTuple):
    """A pack that was written.

    Attributes:
        path: of the file.
        runs: how many it holds.
        left_out: a line per run that it does not hold, with the reason.
    """

    path: Path
    runs: int
    left_out: list[str]


def make(sources: Sequence[Path | str], out: Path | str | None = None) -> Packed:
    """Pack the finished runs of folders of runs and of other packs into one archive.

    Args:
        sources: folders of runs, the packs in them included, or packs; of two runs of one cell the first is taken.
        out: the file to write, ``NAME.pack.zip``; by default it is named after the first source and lies beside it.

    Raises:
        ConfigError: `out` is not named like a pack.
        OutputError: there is nothing to pack, the file cannot be written, or it is a pack with runs that would be lost.
        PackError: one of the packs is damaged.
    """
    target = _target(user_path(sources[0]), out)
    runs: dict[tuple[str, ...], PackedRun] = {}
    left_out = []
    for source in map(user_path, sources):
        for path, found in _runs(source):
            if isinstance(found, str):
                left_out.append(f"{path}: {found}")
            elif found.place not in runs:
                runs[found.place] = found
            elif runs[found.place].hashes != found.hashes:
                left_out.append(f"{path}: a second run of one cell")
    if not runs:
        named = ", ".join(map(str, sources))
        more = f" ({len(left_out)} left out, such as {left_out[0]})" if left_out else ""
        raise OutputError(f"no finished run in {named}{more}; `bench run` makes some")
    _make_folder(target.parent)
    _keep(target, runs)
    pack.write(target, list(runs.values()))
    return Packed(target, len(runs), left_out)


def _keep(target: Path, runs: Collection[tuple[str, ...]]) -> None:
    """Refuse to write over a pack that holds runs of other cells than these."""
    try:
        there = [run.place for run in pack.read(target)] if target.exists() else []
    except PackError:  # a damaged one may be written anew
        return
    lost = ["/".join(place) for place in there if place not in runs]
    if lost:
        raise OutputError(
            f"{target}: {len(lost)} of its runs would be lost, such as {lost[0]}; name it among RUNS, or move it away"
        )


def add(file: Path | str, to: Path | str) -> Path:
    """Copy a pack into a folder of runs, where reports find it; its members are checked first.

    Returns:
        Its path there.

    Raises:
        PackError: it is damaged or no pack.
        OutputError: another file of its name is there, or the folder cannot be written.
    """
    source, folder = user_path(file), user_path(to)
    pack.read(source)
    content = atomic.read_bytes(source)
    target = folder / (source.name if pack.is_pack(source) else f"{source.stem}{SUFFIX}")
    if target.exists() and atomic.read_bytes(target) != content:
        raise OutputError(f"{target} is another pack of this name; rename one of them")
    _make_folder(folder)
    atomic.write_bytes(target, content)
    return target


def _make_folder(folder: Path) -> None:
    with atomic.naming_failures(folder):
        folder.mkdir(parents=True, exist_ok=True)


def _target(first: Path, out: Path | str | None) -> Path:
    if out is None:
        return first if pack.is_pack(first) else first.absolute().with_name(f"{first.absolute().name}{SUFFIX}")
    target = user_path(out)
    if not pack.is_pack(target):
        raise ConfigError(f"{out}: packs are found by their names; give NAME{SUFFIX}")
    return target


def _runs(source: Path) -> Iterator[tuple[Path, PackedRun | str]]:
    """Yield each run of a folder or pack, or the reason why it is left out."""
    if source.is_file():
        for run in pack.read(source):
            yield source.joinpath(*run.place), run
        return
    if not source.is_dir():
        raise OutputError(f"{source} is neither a folder of runs nor a pack")
    for path in run_paths(source):
        try:
            yield path, _of_folder(RunFolder(path))
        except FolderError as error:
            yield path, str(error)
    for path in below(source, f"*{SUFFIX}"):
        yield from _runs(path)


def _of_folder(folder: RunFolder) -> PackedRun | str:
    """Return a finished run as a pack holds it, or why it cannot be packed.

    Raises:
        FolderError: a file cannot be read.
    """
    path = folder.path
    if folder.status != "finished":
        return "not finished"
    if names := folder.altered():
        return f"altered after it had finished ({', '.join(names)})"
    suite, task, encoder, seed = path.parts[-4:]
    hashes = atomic.read_json(path / MANIFEST)["sha256"]
    return PackedRun(
        (suite, task, encoder, seed),
        {name: atomic.read_json(path / name) for name in FILES if (path / name).exists()},
        {name: hashes[name] for name in TRACED if name in hashes},
        [line.row for line in metric_lines.read(path / METRICS)],
        episodes.read(path / EPISODES),
    )
