"""Looking for altered, missing and damaged files in everything below a folder of runs; nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from .adapt import folder as adapt_folder
from .errors import FolderError, OutputError, PackError
from .probe import folder as probe_folder
from .runner import resume
from .store import atomic, pack, sealed
from .store import training as training_files
from .store.identity import file_hash
from .store.manifest import MANIFEST
from .store.paths import user_path
from .store.run_folder import CHECKPOINT, CONFIG, ENCODER, EPISODES, IDENTITY, MACHINE, METRICS, RunFolder
from .store.runs import below, run_paths

STAGE_1_WEIGHTS = "stage1.safetensors"


class Verdict(NamedTuple):
    """What was checked, and what is wrong with it.

    Attributes:
        counts: how many runs, packs, adaptations, probes and Stage 1 trainings, by name.
        faults: a line per altered, missing or damaged file, which names it.
    """

    counts: dict[str, int]
    faults: list[str]


def verify(root: Path | str) -> Verdict:
    """Check every run, pack of results, adaptation, probe and Stage 1 training in or below a folder.

    Finished ones are held to the hashes of their manifests. Of unfinished ones, and of those from before there were
    hashes, it is seen whether they can be read and whether their checkpoint and rows belong together.

    Raises:
        OutputError: there is no such folder, or nothing of the kind below it.
    """
    folder = user_path(root).absolute()
    if not folder.is_dir():
        raise OutputError(f"{root} is no folder; give a folder of runs")
    kinds: list[tuple[str, list[Path], Callable[[Path], Iterator[str]]]] = [
        ("runs", run_paths(folder), run_faults),
        ("packs", below(folder, f"*{pack.SUFFIX}"), pack_faults),
        ("adaptations", [path for path in below(folder, "adapt/*/*") if path.is_dir()], adaptation_faults),
        ("probes", below(folder, "probe/*/*.json"), probe_faults),
        ("Stage 1 trainings", below(folder, STAGE_1_WEIGHTS), stage_1_faults),
    ]
    if not any(paths for _, paths, _ in kinds):
        raise OutputError(f"{root} holds no run, pack, adaptation or probe; give a folder of runs")
    faults = [fault for _, paths, look in kinds for path in paths for fault in look(path)]
    return Verdict({name: len(paths) for name, paths, _ in kinds if paths}, faults)


def run_faults(path: Path) -> Iterator[str]:
    """Yield what is wrong with a run folder."""
    folder = RunFolder(path)
    try:
        status, names = folder.status, folder.altered()
    except FolderError as error:
        yield str(error)
        return
    if status == "absent":
        if any((path / name).exists() for name in (MANIFEST, CHECKPOINT, METRICS, EPISODES)):
            yield f"{path / IDENTITY}: missing"
        return
    yield from _altered(path, names)
    if names:
        return
    objects = [name for name in (IDENTITY, CONFIG, MACHINE, ENCODER) if (path / name).exists()]
    damaged = list(_complaints(partial(atomic.read_json, path / name) for name in objects))
    yield from damaged or _complaints([partial(resume.inspect, folder)])


def pack_faults(path: Path) -> Iterator[str]:
    """Yield what is wrong with a pack of results."""
    yield from _complaints([partial(pack.read, path)])


def adaptation_faults(path: Path) -> Iterator[str]:
    """Yield what is wrong with an adaptation's folder."""
    names = adapt_folder.altered(path)
    yield from _altered(path, names)
    if names:
        return
    tensors = [adapt_folder.BATCHNORM, adapt_folder.PRETRAINED, adapt_folder.HEADS]
    if adapt_folder.is_finished(path):
        yield from (f"{path / name}: missing" for name in tensors if not (path / name).exists())
    objects = [name for name in (IDENTITY, CONFIG, adapt_folder.CARD) if (path / name).exists()]
    tensors = [name for name in (*tensors, adapt_folder.TRUNK) if (path / name).exists()]
    yield from _complaints(partial(atomic.read_json, path / name) for name in objects)
    yield from _complaints(partial(sealed.require_whole, path / name, adapt_folder.REMEDY) for name in tensors)
    yield from _complaints([partial(training_files.read_checkpoint, path / CHECKPOINT)])


def probe_faults(path: Path) -> Iterator[str]:
    """Yield what is wrong with a probe's cell, given its JSON file."""
    yield from _complaints([partial(probe_folder.read, path)])


def stage_1_faults(weights: Path) -> Iterator[str]:
    """Yield what is wrong with a Stage 1 training, given its weights."""
    try:
        if file_hash(weights) != atomic.read_json(weights.with_name("card.json")).get("sha256"):
            yield f"{weights}: altered"
    except FolderError as error:
        yield str(error)
    yield from _complaints([partial(training_files.read_checkpoint, weights.with_name(CHECKPOINT))])


def _altered(folder: Path, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        path = folder / name
        yield f"{path}: {'damaged' if name == MANIFEST else 'altered' if path.exists() else 'missing'}"


def _complaints(checks: Iterable[Callable[[], object]]) -> Iterator[str]:
    """Yield the messages of the checks that fail."""
    for check in checks:
        try:
            check()
        except (FolderError, PackError) as error:
            yield str(error)
