"""How encoders are drawn: one colour, marker and dash per encoder, the same in every figure.

The paper's encoders have styles of their own, distinct in normal sight and in simulated protanopia and deuteranopia
(measured by `tests/unit/reports/figures/test_encoder_styles.py`). Any other name derives its style from its hash, so it
keeps that style from one report to the next unless two names on a page collide. Markers and dashes repeat what colours
say, for grey prints; pale and hatched means that the weights are not the official ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from matplotlib.colors import to_hex, to_rgb

if TYPE_CHECKING:
    import pandas

Origin = Literal["official", "builtin", "random"]
Dash = tuple[float, tuple[float, ...]]

PAPER = "#fefefe"
"""The colour of the ground, where something is drawn in it; the page replaces it in dark mode."""

_DASHES: tuple[Dash, ...] = ((0, ()), (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
_HATCHES: Mapping[Origin, str] = {"official": "", "builtin": "....", "random": "////"}
_PALE = 0.55

ORIGINS: Mapping[str, Origin] = {"(builtin)": "builtin", "(random)": "random"}
"""Where weights come from, by the label that a run records; others are drawn like official ones."""


@dataclass(frozen=True)
class EncoderStyle:
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


KNOWN: Mapping[str, EncoderStyle] = {
    "hindex": EncoderStyle("#b91b06", "o", _DASHES[0]),
    "vc1": EncoderStyle("#0053b5", "s", _DASHES[1]),
    "mvp": EncoderStyle("#6badff", "^", _DASHES[2]),
    "r3m": EncoderStyle("#e2b018", "D", _DASHES[3]),
    "rrl": EncoderStyle("#4d5a7d", "v", _DASHES[0]),
    "frankmocap_hand": EncoderStyle("#dda8bf", "P", _DASHES[1]),
    "frankmocap_body": EncoderStyle("#4d7253", "X", _DASHES[2]),
    "alphapose": EncoderStyle("#98c375", "<", _DASHES[3]),
    "random": EncoderStyle("#8d939e", "h", _DASHES[2]),
    "state": EncoderStyle("#2f333b", "d", _DASHES[3]),
    "blind": EncoderStyle("#b9bdc4", "*", _DASHES[1]),
}

OTHER_COLOURS = (
    *("#4c8c40", "#8c8cbf", "#597ff2", "#bf8c26", "#2666a6", "#26a5c4"),
    *("#bfbf59", "#337373", "#f2a6a6", "#4c6633", "#a666cc", "#8c7399"),
)


def styles_of(frame: pandas.DataFrame) -> dict[str, EncoderStyle]:
    """Return a style for every row of a frame; the paper's encoders first, then by name.

    Rows of one encoder share its colour, with markers and dashes of their own from the second on.
    Other encoders on one page have different colours up to twelve of them, and differ in colour or marker up to sixty.

    Args:
        frame: column `row`, and where known `encoder` (its name alone; the row's without) and `weights_label`
            (``(random)``, ``(builtin)``, or anything else for official weights).
    """
    rows = frame["row"].astype(str)
    names = frame.get("encoder", rows)
    labels = frame["weights_label"] if "weights_label" in frame else [""] * len(rows)
    parts = {row: (name, label) for row, name, label in zip(rows, names, labels, strict=True)}
    known, count = list(KNOWN), len(OTHER_COLOURS)
    slots: dict[str, int] = {}
    for name in sorted({name for name, _ in parts.values()} - KNOWN.keys()):
        hashed = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % count
        free = (turn * count + (hashed + k) % count for turn in range(len(_MARKERS)) for k in range(count))
        slots[name] = next((slot for slot in free if slot not in slots.values()), hashed)
    styles: dict[str, EncoderStyle] = {}
    alike: dict[str, int] = {}
    for row in sorted(parts, key=lambda row: (*_rank(parts[row][0], known), row)):
        name, label = parts[row]
        styles[row] = _other(_style_of(name, slots, ORIGINS.get(label, "official")), alike.get(name, 0))
        alike[name] = alike.get(name, 0) + 1
    return styles


def ramp(count: int, towards: str = KNOWN["hindex"].colour) -> list[EncoderStyle]:
    """Return styles for the ordered variants of one ablation: from pale to ``towards``, the full method last."""
    pale = [0.7 * (count - 1 - k) / max(count - 1, 1) for k in range(count)]
    return [
        EncoderStyle(tint(towards, amount), _MARKERS[k % len(_MARKERS)], _DASHES[(count - 1 - k) % len(_DASHES)])
        for k, amount in enumerate(pale)
    ]


def tint(colour: str, amount: float) -> str:
    """Return the colour mixed with white, 0 for itself and 1 for white."""
    red, green, blue = (channel + (1 - channel) * amount for channel in to_rgb(colour))
    return to_hex((red, green, blue))


def _other(encoder_style: EncoderStyle, turn: int) -> EncoderStyle:
    """Return the same colour with another marker and dash for the encoder's next row on a page."""
    if turn == 0:
        return encoder_style
    marker = (
        _MARKERS[(_MARKERS.index(encoder_style.marker) + 4 * turn) % len(_MARKERS)]
        if encoder_style.marker in _MARKERS
        else "o"
    )
    return replace(
        encoder_style, marker=marker, dash=_DASHES[(_DASHES.index(encoder_style.dash) + turn) % len(_DASHES)]
    )


def _rank(name: str, known: list[str]) -> tuple[int, str]:
    return (known.index(name), "") if name in known else (len(known), name)


def _style_of(name: str, slots: Mapping[str, int], origin: Origin) -> EncoderStyle:
    if name in KNOWN:
        return replace(KNOWN[name], origin=origin)
    slot = slots[name]
    turn, colour = divmod(slot, len(OTHER_COLOURS))
    marker = _MARKERS[(colour + turn) % len(_MARKERS)]
    return EncoderStyle(OTHER_COLOURS[colour], marker, _DASHES[colour % len(_DASHES)], origin)
