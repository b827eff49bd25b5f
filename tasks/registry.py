"""Names to tasks, without importing a simulator before one is made."""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .cards import CARDS, TaskCard
from .errors import UnknownTask

if TYPE_CHECKING:
    from .base import Task

_CLASSES = {
    "hammer": "hammer:Hammer",
    "door": "door:Door",
    "pen": "pen:Pen",
    "pour": "pour:Pour",
    "place_inside": "place_inside:PlaceInside",
    "relocate-mug": "relocate:RelocateMug",
    "relocate-foam_brick": "relocate:RelocateFoamBrick",
    "relocate-large_clamp": "relocate:RelocateLargeClamp",
    "relocate-mustard_bottle": "relocate:RelocateMustardBottle",
    "relocate-potted_meat_can": "relocate:RelocatePottedMeatCan",
    "relocate-sugar_box": "relocate:RelocateSugarBox",
    "relocate-tomato_soup_can": "relocate:RelocateTomatoSoupCan",
}


def names() -> list[str]:
    """The tasks' names, in the paper's order."""
    return list(CARDS)


def card(name: str) -> TaskCard:
    """The card of a task.

    Raises:
        UnknownTask: there is no such task; the message suggests the nearest name.
    """
    try:
        return CARDS[name]
    except KeyError:
        near = difflib.get_close_matches(name, CARDS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"available: {', '.join(CARDS)}"
        raise UnknownTask(f"unknown task '{name}': {hint}") from None


def make(name: str, **options: Any) -> Task:
    """Build a task.

    Args:
        name: one of `names`.
        **options: those of `tasks.base.Task`: ``slots``, ``threads``, ``physics``, ``reward``, ``objects``,
            ``background``; and the scene's own, which the card lists.

    Raises:
        UnknownTask: there is no such task.
    """
    module, _, class_name = _CLASSES[card(name).name].partition(":")
    task: Task = getattr(import_module(f".{module}", __package__), class_name)(**options)
    return task
