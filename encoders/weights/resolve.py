"""Which weights an encoder gets: official if cached, else built-in, else, where allowed, random and called so."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from ..cards import Card, Source
from ..errors import EncoderError, WeightsInvalid, WeightsMissing
from .files import expanded, file_md5, file_sha256, write_text
from .foreign_files import IS_A_FOLDER, why_unreadable

Kind = Literal["official", "builtin", "random", "file", "own", "none"]
CACHE_VARIABLE = "HINDEX_BENCH_CACHE"
NO_CACHE = Path(os.devnull) / "hindex-bench"
"""Stands for the cache of a user without a home folder; nothing can be written there."""

_CHOICES = ("auto", "official", "builtin", "random")


@dataclass(frozen=True)
class WeightsOrigin:
    """Where an encoder's weights come from.

    Attributes:
        kind: ``official``, ``builtin``, ``random``, ``file`` (a path, and not the official file), ``own`` (an encoder
            from outside sees to its weights itself) or ``none`` (no network).
        path: the file, or None.
        sha256: of the file; of the tensors themselves where there is no file; None for ``none`` and, before
            `encoders.build` has made the encoder, for ``own``.
        label: what follows the encoder's name in legends and tables, such as ``(random)``; empty for official weights.
    """

    kind: Kind
    path: Path | None = None
    sha256: str | None = None
    label: str = ""

    def title(self, name: str) -> str:
        """The encoder's name as every legend and table shows it, such as ``rrl (random)``."""
        return f"{name} {self.label}".rstrip()


def cache_dir() -> Path:
    """The folder of downloaded files: ``HINDEX_BENCH_CACHE``, else the user's cache of this platform. Not created.

    A user without a home folder, as in some containers, has no cache: then it is a path where nothing can be written.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return expanded(chosen)
    import pooch

    try:
        usual = Path(pooch.os_cache("hindex-bench"))
    except RuntimeError:  # no home folder, in the words of newer versions of platformdirs
        return NO_CACHE
    return usual if usual.is_absolute() else NO_CACHE


def cached_path(card: Card, source: Source) -> Path:
    """Where an official file lies once it is fetched."""
    return cache_dir() / "weights" / card.name / source.filename


def builtin_path(card: Card) -> Path | None:
    """The weights that ship with the package; None for most encoders."""
    return Path(__file__).parents[1] / "builtin" / f"{card.builtin}.safetensors" if card.builtin else None


def resolve(
    name: str,
    weights: str | os.PathLike[str] = "auto",
    *,
    allow_random: bool = False,
    allow_builtin: bool = True,
    task: str | None = None,
) -> WeightsOrigin:
    """Decide which weights an encoder gets, without building it (except to hash random weights, once a process).

    Args:
        name: the encoder's name, or ``file.py:Class``.
        weights: ``auto``, ``official``, ``builtin``, ``random``, or the path of a file; of a folder, for an encoder
            with one official file a task.
        allow_random: whether ``auto`` may end with random weights (the rehearsal preset).
        allow_builtin: whether ``auto`` may end with the weights that ship with the package (not for the paper's runs).
        task: the task, for encoders with one file each.

    Raises:
        UnknownEncoder: there is no such encoder.
        WeightsMissing: the weights are not on this machine; the message names the command that gets them.
        WeightsInvalid: a cached file is not the one it should be.
    """
    from .. import registry

    choice = os.fspath(weights)
    card = registry.card(name)
    if card is not None and not card.sources:
        return _by_definition(card, choice)
    if choice == "random":
        return WeightsOrigin("random", None, _random_sha256(name), "(random)")
    if choice not in _CHOICES:
        return _from_path(name, card, expanded(choice), task)
    if card is None:
        if choice == "auto":
            return WeightsOrigin("own")
        raise WeightsMissing(
            f"encoder '{name}': has no {choice} weights, it sees to its own; use --weights auto or --weights PATH"
        )
    found = None if choice == "builtin" else _official(card, task)
    if found is None and (choice == "builtin" or (choice == "auto" and allow_builtin)):
        found = _builtin(card)
    if found is not None:
        return found
    if choice == "auto" and allow_random:
        return WeightsOrigin("random", None, _random_sha256(name), "(random)")
    raise WeightsMissing(_how_to_get(card, choice, task))


def checked_sha256(card: Card, source: Source, path: Path, known: str | None = None) -> str:
    """A file's hash, equal to the published one or, where none is, to the one recorded when it was first used.

    Args:
        card: the encoder's.
        source: what the file should be.
        path: the file.
        known: its hash, where it was just computed.

    Raises:
        WeightsInvalid: it is another file.
    """
    digest = known or file_sha256(path)
    recorded = recorded_sha256(card, source)
    published = not_as_published(source, path, digest, md5=recorded is None)
    if published or recorded not in (None, digest):
        what = published or f"sha256 is {digest[:12]}..., recorded at first use was {str(recorded)[:12]}..."
        raise WeightsInvalid(f"weights {path}: {what}; delete it and run `bench weights fetch {card.name}`")
    if source.sha256 is None and recorded is None and path == cached_path(card, source):
        with suppress(OSError):  # a cache that others own: there is nowhere to record it
            write_text(first_use_record(card, source), f"{digest}\n")
    return digest


def not_as_published(source: Source, path: Path, digest: str, *, md5: bool = True) -> str:
    """In what a file differs from what was published of it; empty where in nothing.

    Args:
        source: what it should be.
        path: the file.
        digest: its sha256.
        md5: whether to compute and compare the md5 too, where one is published.
    """
    if source.sha256 is not None:
        right = source.sha256 == digest
        return "" if right else f"sha256 is {digest[:12]}..., published was {source.sha256[:12]}..."
    if source.sha256_prefix is not None and not digest.startswith(source.sha256_prefix):
        return f"sha256 is {digest[:12]}..., published was {source.sha256_prefix}..."
    if source.md5 is not None and md5 and not file_md5(path).startswith(source.md5):
        return f"md5 is another than the published {source.md5[:12]}..."
    return ""


def recorded_sha256(card: Card, source: Source) -> str | None:
    """The sha256 that a file without a published one had at first use; None where none is recorded.

    Raises:
        WeightsInvalid: the record is damaged.
    """
    if source.sha256 is not None:
        return None
    record = first_use_record(card, source)
    try:
        text = record.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:  # no record, or a cache that others own
        return None
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise WeightsInvalid(
            f"{record} is damaged: expected the sha256 of {source.filename}; delete it to record it anew"
        )
    return text


def first_use_record(card: Card, source: Source) -> Path:
    """Where the sha256 of a file without a published one is recorded at first use."""
    path = cached_path(card, source)
    return path.with_name(path.name + ".sha256")


def _by_definition(card: Card, choice: str) -> WeightsOrigin:
    allowed = ("auto", "random") if card.uses_images else ("auto",)
    if choice not in allowed:
        raise EncoderError(f"encoder '{card.name}': --weights {choice} has no meaning here; use --weights auto")
    return WeightsOrigin("random", None, _random_sha256(card.name)) if card.uses_images else WeightsOrigin("none")


def _official(card: Card, task: str | None) -> WeightsOrigin | None:
    from . import licences

    for source in card.sources:
        path = cached_path(card, source)
        if source.task in (None, task) and os.path.isfile(path):
            licences.require(card)
            return WeightsOrigin("official", path, checked_sha256(card, source, path))
    return None


def _builtin(card: Card) -> WeightsOrigin | None:
    path = builtin_path(card)
    return WeightsOrigin("builtin", path, _shipped_sha256(path), "(builtin)") if path is not None else None


@lru_cache(maxsize=8)
def _shipped_sha256(path: Path) -> str:
    """Hashed once a process: a sweep asks for it several times a run."""
    return file_sha256(path)


def _from_path(name: str, card: Card | None, path: Path, task: str | None) -> WeightsOrigin:
    unreadable = why_unreadable(path)
    if unreadable == IS_A_FOLDER and card is not None:
        of_task = [source.filename for source in card.sources if source.task is not None and source.task == task]
        if not of_task:
            raise WeightsMissing(f"encoder '{name}': --weights {path} is a folder; expected a file")
        path = path / of_task[0]
        unreadable = why_unreadable(path)
    if unreadable:
        raise WeightsMissing(
            f"encoder '{name}': --weights {str(path)[:200]}: {unreadable}; expected {', '.join(_CHOICES)} or the path "
            "of a file"
        )
    digest = file_sha256(path)
    if card is not None and digest in [source.sha256 for source in card.sources]:
        return WeightsOrigin("official", path, digest)
    return WeightsOrigin("file", path, digest, f"(file {digest[:8]})")


def _how_to_get(card: Card, choice: str, task: str | None) -> str:
    if choice == "builtin":
        return f"encoder '{card.name}': no weights ship with the package; use --weights official or --weights PATH"
    per_task = card.sources[0].task is not None
    fitting = [cached_path(card, source) for source in card.sources if source.task in (None, task)]
    if per_task and task is None:
        what = "its official weights are one file a task; name the task with --task, and"
    elif not fitting:
        what = f"has no official weights for task '{task}';"
    else:
        what = f"no {'official ' if choice == 'official' else ''}weights at {fitting[0]};"
    return (
        f"encoder '{card.name}': {what} run `bench weights fetch {card.name}`, give a file with --weights PATH, "
        "or rehearse with --weights random"
    )


@lru_cache(maxsize=32)
def _random_sha256(name: str) -> str:
    from ..factory import construct
    from .checkpoint import state_sha256

    return state_sha256(construct(name, None).state_dict())
