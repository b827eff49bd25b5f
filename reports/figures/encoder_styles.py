"""How encoders look: one colour, marker and dash per encoder, the same in every figure.

The paper's encoders have styles of their own, distinct in normal sight and in simulated protanopia and deuteranopia
(measured by `tests/unit/reports/figures/test_encoder_styles.py`). Any other name derives its style from its hash, so it
keeps that style from one report to the next unless two names on a page collide. Markers and dashes repeat what colours
say, for grey prints; pale and hatched means that the weights are not the official ones.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from matplotlib.colors import to_hex, to_rgb

Origin = Literal["official", "builtin", "random"]
Dash = tuple[float, tuple[float, ...]]

PAPER = "#fefefe"
"""The colour of the ground, where something is drawn in it; the page replaces it in dark mode."""

_DASHES: tuple[Dash, ...] = ((0, ()), (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
_HATCHES: Mapping[Origin, str] = {"official": "", "builtin": "....", "random": "////"}
_PALE = 0.55


@dataclass(frozen=True)
class Look:
    """How one encoder is drawn.

    Attributes:
        colour: ``#rrggbb``, of lines and edges.
        marker: matplotlib's name of a marker.
        dash: matplotlib's dash of its lines.
        origin: where its weights came from.
    """

    colour: str
    marker: str = "o"
    dash: Dash = _DASHES[0]
    origin: Origin = "official"

    @property
    def fill(self) -> str:
        """The colour of areas: the encoder's own, paler where the weights are not official."""
        return self.colour if self.origin == "official" else tint(self.colour, _PALE)

    @property
    def hatch(self) -> str:
        """The hatch of areas: none, dotted for builtin weights, striped for random ones."""
        return _HATCHES[self.origin]

    @property
    def marker_fill(self) -> str:
        """The colour inside markers: paler for builtin weights, hollow for random ones."""
        return PAPER if self.origin == "random" else self.fill


KNOWN: Mapping[str, Look] = {
    "hindex": Look("#b91b06", "o", _DASHES[0]),
    "vc1": Look("#0053b5", "s", _DASHES[1]),
    "mvp": Look("#6badff", "^", _DASHES[2]),
    "r3m": Look("#e2b018", "D", _DASHES[3]),
    "rrl": Look("#4d5a7d", "v", _DASHES[0]),
    "frankmocap_hand": Look("#dda8bf", "P", _DASHES[1]),
    "frankmocap_body": Look("#4d7253", "X", _DASHES[2]),
    "alphapose": Look("#98c375", "<", _DASHES[3]),
    "random": Look("#8d939e", "h", _DASHES[2]),
    "state": Look("#2f333b", "d", _DASHES[3]),
}

OTHER_COLOURS = (
    *("#4c8c40", "#8c8cbf", "#597ff2", "#bf8c26", "#2666a6", "#26a5c4"),
    *("#bfbf59", "#337373", "#f2a6a6", "#4c6633", "#a666cc", "#8c7399"),
)


def looks(titles: Iterable[str]) -> dict[str, Look]:
    """A look for every title, such as ``vc1`` or ``vc1 (random)``; the paper's encoders first, then by name.

    Titles of one encoder share its colour, with markers and dashes of their own from the second on.
    Other encoders on one page have different colours up to twelve of them, and differ in colour or marker up to sixty.
    """
    known = list(KNOWN)
    titles = sorted(set(titles), key=lambda t: (*_rank(encoder_name(t), known), t))
    slots: dict[str, int] = {}
    count = len(OTHER_COLOURS)
    for name in sorted({encoder_name(title) for title in titles} - KNOWN.keys()):
        hashed = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % count
        free = (turn * count + (hashed + k) % count for turn in range(len(_MARKERS)) for k in range(count))
        slots[name] = next((slot for slot in free if slot not in slots.values()), hashed)
    found: dict[str, Look] = {}
    alike: dict[str, int] = {}
    for title in titles:
        name = encoder_name(title)
        found[title] = _other(_look(name, slots, origin_of(title)), alike.get(name, 0))
        alike[name] = alike.get(name, 0) + 1
    return found


def encoder_name(title: str) -> str:
    """The encoder in a title: without the origin or hash of its weights and without changed stages.

    >>> encoder_name("vc1 (random)"), encoder_name("r3m+adapt-all (builtin)"), encoder_name("r3m #0d32a4cb")
    ('vc1', 'r3m', 'r3m')
    """
    return re.split(r" [(#]|\+", title)[0].strip()


def origin_of(title: str) -> Origin:
    """Where the weights came from, as the title says it; no word means official ones."""
    if "(random)" in title:
        return "random"
    return "builtin" if "(builtin)" in title else "official"


def ramp(count: int, towards: str = KNOWN["hindex"].colour) -> list[Look]:
    """Looks for the ordered variants of one ablation: from pale to ``towards``, the full method last."""
    pale = [0.7 * (count - 1 - k) / max(count - 1, 1) for k in range(count)]
    return [
        Look(tint(towards, amount), _MARKERS[k % len(_MARKERS)], _DASHES[(count - 1 - k) % len(_DASHES)])
        for k, amount in enumerate(pale)
    ]


def tint(colour: str, amount: float) -> str:
    """The colour mixed with white, 0 for itself and 1 for white."""
    red, green, blue = (channel + (1 - channel) * amount for channel in to_rgb(colour))
    return to_hex((red, green, blue))


def _other(look: Look, turn: int) -> Look:
    """The same colour for the encoder's next title on a page."""
    if turn == 0:
        return look
    marker = _MARKERS[(_MARKERS.index(look.marker) + 4 * turn) % len(_MARKERS)] if look.marker in _MARKERS else "o"
    return replace(look, marker=marker, dash=_DASHES[(_DASHES.index(look.dash) + turn) % len(_DASHES)])


def _rank(name: str, known: list[str]) -> tuple[int, str]:
    return (known.index(name), "") if name in known else (len(known), name)


def _look(name: str, slots: Mapping[str, int], origin: Origin) -> Look:
    if name in KNOWN:
        return replace(KNOWN[name], origin=origin)
    slot = slots[name]
    turn, colour = divmod(slot, len(OTHER_COLOURS))
    marker = _MARKERS[(colour + turn) % len(_MARKERS)]
    return Look(OTHER_COLOURS[colour], marker, _DASHES[colour % len(_DASHES)], origin)
