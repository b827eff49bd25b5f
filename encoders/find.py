"""Which weights an encoder gets: official if cached, else built-in, else, where allowed, random and called so."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from . import registry
from .cards import Card
from .errors import EncoderError, WeightsMissing
from .weights import licences
from .weights.files import IS_A_FOLDER, expanded, file_sha256, why_unreadable
from .weights.official import cached_path, checked_sha256
from .weights.origin import WeightsOrigin

_CHOICES = ("auto", "official", "builtin", "random")


def builtin_path(card: Card) -> Path | None:
    """Return the path of the weights that ship with the package; None for most encoders."""
    return Path(__file__).parent / "builtin" / f"{card.builtin}.safetensors" if card.builtin else None


def resolve(
    name: str,
    weights: str | os.PathLike[str] = "auto",
    *,
    allow_random: bool = False,
    allow_builtin: bool = True,
    task: str | None = None,
) -> WeightsOrigin:
    """Decide which weights an encoder gets, without building it (except to hash random weights, once per process).

    Args:
        name: the encoder's name, or ``file.py:Class``.
        weights: ``auto``, ``official``, ``builtin``, ``random``, or the path of a file; of a folder, for an encoder
            with one official file per task.
        allow_random: whether ``auto`` may end with random weights (the preset quickstart).
        allow_builtin: whether ``auto`` may end with the weights that ship with the package (not for the paper's runs).
        task: the task, for encoders with one file each.

    Raises:
        UnknownEncoder: the encoder is unknown.
        WeightsMissing: the weights are not on this machine; the message names the command that gets them.
        WeightsInvalid: a cached file is not the one it should be.
    """
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
            f"encoder '{name}': has no {choice} weights, since it loads its own; use --weights auto or --weights PATH"
        )
    found = None if choice == "builtin" else _official(card, task)
    if found is None and (choice == "builtin" or (choice == "auto" and allow_builtin)):
        found = _builtin(card)
    if found is not None:
        return found
    if choice == "auto" and allow_random:
        return WeightsOrigin("random", None, _random_sha256(name), "(random)")
    raise WeightsMissing(_how_to_get(card, choice, task))


def _by_definition(card: Card, choice: str) -> WeightsOrigin:
    allowed = ("auto", "random") if card.uses_images else ("auto",)
    if choice not in allowed:
        raise EncoderError(f"encoder '{card.name}': does not take --weights {choice}; use --weights auto")
    return WeightsOrigin("random", None, _random_sha256(card.name)) if card.uses_images else WeightsOrigin("none")


def _official(card: Card, task: str | None) -> WeightsOrigin | None:
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
    """Hash a shipped file once per process: a sweep asks for it several times per run."""
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
        what = "its official weights are one file per task; name the task with --task, and"
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
    from .construction import construct  # imports torch, which all but random weights do without
    from .weights.checkpoint import state_sha256

    return state_sha256(construct(name, None).state_dict())
