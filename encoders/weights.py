"""Which weights an encoder gets: official if cached, else built-in, else, where allowed, random and called so."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from .cards import Card, Source
from .errors import EncoderError, WeightsInvalid, WeightsMissing

Kind = Literal["official", "builtin", "random", "file", "own", "none"]
CACHE_VARIABLE = "HINDEX_BENCH_CACHE"
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
    """The folder of downloaded files: ``HINDEX_BENCH_CACHE``, else the user's cache of this platform. Not created."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    import pooch

    return Path(pooch.os_cache("hindex-bench"))


def cached_path(card: Card, source: Source) -> Path:
    """Where an official file lies once it is fetched."""
    return cache_dir() / "weights" / card.name / source.filename


def resolve(
    name: str,
    weights: str | os.PathLike[str] = "auto",
    *,
    allow_random: bool = False,
    task: str | None = None,
) -> WeightsOrigin:
    """Decide which weights an encoder gets, without building it (except to hash random weights, once a process).

    Args:
        name: the encoder's name, or ``file.py:Class``.
        weights: ``auto``, ``official``, ``builtin``, ``random``, or the path of a file; of a folder, for an encoder
            with one official file a task.
        allow_random: whether ``auto`` may end with random weights (the rehearsal preset).
        task: the task, for encoders with one file each.

    Raises:
        UnknownEncoder: there is no such encoder.
        WeightsMissing: the weights are not on this machine; the message names the command that gets them.
        WeightsInvalid: a cached file is not the one it should be.
    """
    from . import registry

    choice = os.fspath(weights)
    card = registry.card(name)
    if card is not None and not card.sources:
        return _by_definition(card, choice)
    if choice == "random":
        return WeightsOrigin("random", None, _random_sha256(name), "(random)")
    if choice not in _CHOICES:
        return _from_path(name, card, Path(choice).expanduser(), task)
    if card is None:
        if choice == "auto":
            return WeightsOrigin("own")
        raise WeightsMissing(
            f"encoder '{name}': has no {choice} weights, it sees to its own; use --weights auto or --weights PATH"
        )
    found = None if choice == "builtin" else _official(card, task)
    if found is None and choice != "official":
        found = _builtin(card)
    if found is not None:
        return found
    if choice == "auto" and allow_random:
        return WeightsOrigin("random", None, _random_sha256(name), "(random)")
    raise WeightsMissing(_how_to_get(card, choice, task))


def fetch(name: str, *, progress: Any = None) -> Path:
    """Download an encoder's official weights into the cache, check their hash, and only then give the file its name.

    Args:
        name: the encoder's name.
        progress: an object with ``total`` (bytes), ``update(bytes)``, ``reset()`` and ``close()``, as pooch drives it.

    Returns:
        The file.

    Raises:
        UnknownEncoder: there is no such encoder.
        EncoderError: it needs no weights.
        WeightsMissing: the file cannot be fetched; the message says where it is to be had.
        WeightsInvalid: something else than the official file came.
    """
    import pooch

    from . import registry

    card = registry.card(name)
    if card is None or not card.sources:
        raise EncoderError(f"encoder '{name}': there are no official weights to fetch; it needs none")
    source = card.sources[0]
    if source.sha256 is None or not source.direct:
        raise WeightsMissing(f"encoder '{name}': cannot be fetched yet; {_by_hand(card)}")
    path = cached_path(card, source)
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel("WARNING")
    try:
        pooch.retrieve(
            source.url,
            known_hash=f"sha256:{source.sha256}",
            fname=path.name,
            path=path.parent,
            downloader=pooch.HTTPDownloader(progressbar=progress or False),
        )
    except OSError as error:  # every error of requests is one
        raise WeightsMissing(
            f"encoder '{name}': {source.url} could not be fetched to {path.parent} "
            f"({type(error).__name__}: {str(error)[:120]}); "
            f"with a network run `bench weights fetch {name}`, or give the file with --weights PATH"
        ) from error
    except ValueError as error:
        raise WeightsInvalid(
            f"encoder '{name}': {source.url} gave another file than sha256 {source.sha256[:12]}...; nothing was kept, "
            f"run `bench weights fetch {name}` again"
        ) from error
    finally:
        logger.setLevel(level)
    return path


def file_sha256(path: Path) -> str:
    """The sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _by_definition(card: Card, choice: str) -> WeightsOrigin:
    allowed = ("auto", "random") if card.uses_images else ("auto",)
    if choice not in allowed:
        raise EncoderError(f"encoder '{card.name}': --weights {choice} has no meaning here; use --weights auto")
    return WeightsOrigin("random", None, _random_sha256(card.name)) if card.uses_images else WeightsOrigin("none")


def _official(card: Card, task: str | None) -> WeightsOrigin | None:
    for source in card.sources:
        path = cached_path(card, source)
        if source.task in (None, task) and path.is_file():
            return WeightsOrigin("official", path, _checked_sha256(card, source, path))
    return None


def _builtin(card: Card) -> WeightsOrigin | None:
    path = Path(__file__).parent / "builtin" / f"{card.name}.safetensors"
    return WeightsOrigin("builtin", path, file_sha256(path), "(builtin)") if path.is_file() else None


def _from_path(name: str, card: Card | None, path: Path, task: str | None) -> WeightsOrigin:
    if path.is_dir() and card is not None:
        of_task = [source.filename for source in card.sources if source.task is not None and source.task == task]
        if not of_task:
            raise WeightsMissing(f"encoder '{name}': --weights {path} is a folder; expected a file")
        path = path / of_task[0]
    if not path.is_file():
        raise WeightsMissing(
            f"encoder '{name}': --weights {path} is no file; expected {', '.join(_CHOICES)} or the path of a file"
        )
    digest = file_sha256(path)
    if card is not None and digest in [source.sha256 for source in card.sources]:
        return WeightsOrigin("official", path, digest)
    return WeightsOrigin("file", path, digest, f"(file {digest[:8]})")


def _checked_sha256(card: Card, source: Source, path: Path) -> str:
    """The file's hash, equal to the published one or, where none is, to the one recorded when it was first used."""
    digest = file_sha256(path)
    record = path.with_name(path.name + ".sha256")
    known = source.sha256
    if known is None and record.is_file():
        known = record.read_text().strip()
    if known is None:
        with suppress(OSError):  # a cache that others own: there is nowhere to record it
            unfinished = record.with_name(f"{record.name}.{os.getpid()}")
            unfinished.write_text(f"{digest}\n")
            unfinished.replace(record)
    elif known != digest:
        what = "published" if source.sha256 else "recorded at first use"
        raise WeightsInvalid(
            f"weights {path}: sha256 is {digest[:12]}..., {what} was {known[:12]}...; "
            f"delete it and run `bench weights fetch {card.name}`"
        )
    return digest


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


def _by_hand(card: Card) -> str:
    source = card.sources[0]
    several = "archive of one file a task" if source.task else "file"
    target = cached_path(card, source).parent
    return (
        f"download the {several} from {source.url} and give it with --weights PATH, "
        f"or put it at {target if source.task else target / source.filename}"
    )


@lru_cache(maxsize=32)
def _random_sha256(name: str) -> str:
    from .checkpoint import state_sha256
    from .factory import construct

    return state_sha256(construct(name, None).state_dict())
