"""What a task's scene is about, by the names in its model: what the probe asks for and where Stage 2 looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Hand:
    """The names of a hand in a scene.

    Attributes:
        root: the body whose subtree is the hand.
        palm: site of the palm.
        fingertips: site of each fingertip, by the finger's name.
        joints: what the names of its joints start with.
        arm: what the names of the joints that carry it start with.
    """

    root: str
    palm: str
    fingertips: Mapping[str, str] = field(hash=False)
    joints: tuple[str, ...]
    arm: tuple[str, ...] = ()


ADROIT_HAND = Hand(
    root="forearm",
    palm="S_grasp",
    fingertips={
        "first": "S_fftip",
        "middle": "S_mftip",
        "ring": "S_rftip",
        "little": "S_lftip",
        "thumb": "S_thtip",
    },
    joints=("WRJ", "FFJ", "MFJ", "RFJ", "LFJ", "THJ"),
    arm=("ART", "ARR"),
)


@dataclass(frozen=True)
class Subject:
    """What a task's scene is about.

    Attributes:
        handled: the body that the hand moves; the hand's contact with its subtree is the contact.
        target: body or site that the task moves something to, or that its reset places.
        site: where the handled body is, if that is not its origin.
        axis: sites of its two ends if only its axis shows; otherwise its whole orientation counts.
        turns: whether it has an orientation of its own.
        joints: what the names of the joints start with that the task moves besides the hand's.
        target_axis: sites of the target's two ends.
        translucent: sites that one sees hand and object through, and that masks of these leave out.
        hand: the hand.
    """

    handled: str
    target: str
    site: str | None = None
    axis: tuple[str, str] | None = None
    turns: bool = True
    joints: tuple[str, ...] = ()
    target_axis: tuple[str, str] | None = None
    translucent: tuple[str, ...] = ()
    hand: Hand = ADROIT_HAND
