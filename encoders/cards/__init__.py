"""The cards of all built-in encoders, by name."""

from __future__ import annotations

from . import packaged as cards_of_the_package_index
from . import paper as cards_of_the_paper
from . import robot_learning as cards_of_robot_learning
from . import today as cards_of_today
from .record import CLIP, HALF, IMAGENET, UNIT, Card, Normalisation, Source, Wheel

__all__ = ["CARDS", "CLIP", "HALF", "IMAGENET", "UNIT", "Card", "Normalisation", "Source", "Wheel"]

CARDS: dict[str, Card] = {
    card.name: card
    for card in (
        *cards_of_the_paper.CARDS,
        *cards_of_today.CARDS,
        *cards_of_robot_learning.CARDS,
        *cards_of_the_package_index.CARDS,
        *cards_of_the_paper.CONTROLS,
    )
}
