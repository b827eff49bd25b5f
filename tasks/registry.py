"""Names to tasks, without importing a simulator before one is made."""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .cards import CARDS, TaskCard
from .errors import ExpertError, UnknownTask

if TYPE_CHECKING:
    from .base import Task
    from .experts import Actor

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


def get(name: str) -> type[Task]:
    """The class of a task.

    Raises:
        UnknownTask: there is no such task.
    """
    module, _, class_name = _CLASSES[card(name).name].partition(":")
    found: type[Task] = getattr(import_module(f".{module}", __package__), class_name)
    return found


def has_expert(name: str) -> bool:
    """Whether a task has an expert that demonstrates it.

    Raises:
        UnknownTask: there is no such task.
    """
    return get(name).expert() is not None


def expert(name: str) -> Actor:
    """The policy that demonstrates a task.

    Raises:
        UnknownTask: there is no such task.
        ExpertError: it has no expert.
    """
    actor = get(name).expert()
    if actor is None:
        raise ExpertError(f"task '{name}' has no expert; give an expert's file, or demonstrations")
    return actor


def make(name: str, **options: Any) -> Task:
    """Build a task.

    Args:
        name: one of `names`.
        **options: those of `tasks.base.Task`: ``slots``, ``threads``, ``physics``, ``reward``, ``objects``,
            ``background``; and the scene's own, which the card lists.

    Raises:
        UnknownTask: there is no such task.
    """
    return get(name)(**options)
