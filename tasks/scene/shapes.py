"""Parametric likenesses of the YCB objects, unscaled, in the body frame; metres.

Rounded things are convex hulls over a few analytic cross-sections. Two convex hulls touch in one point only, boxes in
several; so an object that the official pack describes by hulls is made of hulls here too, and about as many, lest it
stand and turn in the hand differently. This is also faster, as there are fewer contacts to solve for. The numbers
(heights, half widths, radii) are measured on the released objects.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from math import atan2, cos, degrees, hypot, pi, radians, sin
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..engine import mujoco

Geom = mujoco.mjtGeom
FloatArray = npt.NDArray[np.float64]
Rgba = tuple[float, float, float, float]
Quaternion = tuple[float, float, float, float]
Vector3 = tuple[float, float, float]

LINING_RED = (0.32, 0.04, 0.04, 1.0)
BEVEL = 0.004


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of a shape.

    Attributes:
        kind: box, cylinder, capsule, or mesh with ``vertices``, whose convex hull it is.
        size: as MuJoCo wants it for the kind; unused for a hull.
        position: of its centre.
        quaternion: its orientation.
        vertices: (n, 3) of a hull.
        rgba: its colour; None for the object's.
        collides: whether it takes part in contacts or is only seen.
    """

    kind: mujoco.mjtGeom
    size: tuple[float, ...] = ()
    position: Vector3 = (0.0, 0.0, 0.0)
    quaternion: Quaternion = (1.0, 0.0, 0.0, 0.0)
    vertices: FloatArray | None = None
    rgba: Rgba | None = None
    collides: bool = True


class Section(NamedTuple):
    """A horizontal cross-section, the superellipse |x / half_x|^p + |y / half_y|^p = 1.

    Attributes:
        height: its z.
        half_x: half its width.
        half_y: half its depth.
        x: of its centre.
        y: of its centre.
        power: 2 is an ellipse, more is boxier.
    """

    height: float
    half_x: float
    half_y: float
    x: float = 0.0
    y: float = 0.0
    power: float = 2.0


def pieces(name: str) -> tuple[Piece, ...]:
    """Return the pieces of an object by its name."""
    return _SHAPES[name]()


def loft(sections: Sequence[Section], angle: float = 0.0, count: int = 12) -> Piece:
    """Return the convex hull over horizontal cross-sections.

    Args:
        sections: their centres and half widths are along axes turned by ``angle``.
        angle: about z, degrees.
        count: vertices of each section.
    """
    turns = np.arange(count) * 2 * pi / count
    rings = []
    for section in sections:
        cosines, sines = np.cos(turns), np.sin(turns)
        x = section.x + section.half_x * np.sign(cosines) * np.abs(cosines) ** (2 / section.power)
        y = section.y + section.half_y * np.sign(sines) * np.abs(sines) ** (2 / section.power)
        rings.append(np.stack([x, y, np.full(count, section.height)], axis=1))
    cosine, sine = cos(radians(angle)), sin(radians(angle))
    turn = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    return Piece(Geom.mjGEOM_MESH, vertices=np.concatenate(rings) @ turn.T)


def as_hull(box: Piece) -> Piece:
    """Return the same box as the convex hull of its corners."""
    corners = np.array(list(product((-1.0, 1.0), repeat=3))) * box.size
    rotation = np.empty(9)
    mujoco.mju_quat2Mat(rotation, np.array(box.quaternion))
    return Piece(Geom.mjGEOM_MESH, vertices=corners @ rotation.reshape(3, 3).T + box.position)


def foam_brick() -> tuple[Piece, ...]:
    """Return one box."""
    return (as_hull(Piece(Geom.mjGEOM_BOX, (0.0268, 0.0392, 0.0259), (0.0003, -0.0001, 0.0081))),)


def sugar_box() -> tuple[Piece, ...]:
    """Return a box, which leans a little as the scanned one does."""
    sections = [
        Section(-0.0934, 0.0225, 0.0440, 0.0028, -0.0017, 8.0),
        Section(-0.0910, 0.0239, 0.0476, 0.0028, -0.0017, 8.0),
        Section(0.0820, 0.0222, 0.0470, -0.0023, -0.0008, 8.0),
        Section(0.0845, 0.0190, 0.0440, -0.0010, -0.0008, 8.0),
    ]
    return (loft(sections, -2.2, 16),)


def tomato_soup_can() -> tuple[Piece, ...]:
    """Return a cylinder."""
    return (
        loft(
            [
                Section(-0.0600, 0.0322, 0.0330, -0.0003, 0.0017),
                Section(-0.0570, 0.0338, 0.0342, -0.0003, 0.0018),
                Section(0.0410, 0.0346, 0.0347, -0.0002, 0.0017),
                Section(0.0435, 0.0335, 0.0335, -0.0002, 0.0017),
            ],
            count=16,
        ),
    )


def potted_meat_can() -> tuple[Piece, ...]:
    """Return a tin with rounded corners and the wider rim of its lid."""
    body = [
        Section(-0.0506, 0.0465, 0.0255, -0.0022, -0.0004, 4.5),
        Section(-0.0480, 0.0489, 0.0273, -0.0022, -0.0004, 4.5),
        Section(0.0224, 0.0492, 0.0272, -0.0024, -0.0004, 4.5),
    ]
    rim = [
        Section(0.0224, 0.0492, 0.0274, -0.0024, -0.0005, 4.5),
        Section(0.0310, 0.0521, 0.0299, -0.0026, -0.0004, 4.5),
        Section(0.0345, 0.0505, 0.0288, -0.0026, -0.0004, 4.5),
    ]
    return loft(body, 3.0, 16), loft(rim, 3.0, 16)


def mustard_bottle() -> tuple[Piece, ...]:
    """Return a squeeze bottle: a body with a waist, shoulders like a cone, and a cap."""
    lower = [
        Section(-0.0848, 0.0250, 0.0400, -0.0035, 0.0010, 2.6),
        Section(-0.0790, 0.0291, 0.0481, -0.0025, -0.0002, 2.6),
        Section(-0.0440, 0.0284, 0.0498, -0.0029, 0.0002, 2.6),
        Section(-0.0083, 0.0266, 0.0412, -0.0029, 0.0, 3.3),
    ]
    upper = [
        Section(-0.0083, 0.0264, 0.0396, -0.0025, 0.0004, 3.6),
        Section(0.0180, 0.0282, 0.0488, -0.0026, -0.0002, 2.4),
        Section(0.0470, 0.0293, 0.0465, -0.0021, -0.0002, 2.4),
        Section(0.0640, 0.0303, 0.0363, -0.0021, 0.0001, 2.05),
        Section(0.1083, 0.0102, 0.0096, -0.0008, 0.0),
    ]
    cap = [
        Section(0.0900, 0.0152, 0.0152, -0.0010, 0.0002),
        Section(0.1055, 0.0145, 0.0145, -0.0009, 0.0001),
        Section(0.1083, 0.0110, 0.0110, -0.0008, 0.0),
    ]
    return loft(lower, 67.0, 16), loft(upper, 67.0, 14), loft(cap, 67.0)


class Disc(NamedTuple):
    """A round end or bend of a bar, seen from above: its centre and its radius."""

    x: float
    y: float
    radius: float


def bar(low: float, high: float, *discs: Disc) -> Piece:
    """Return a flat bar, the convex hull over discs, with bevelled edges between the heights ``low`` and ``high``."""
    levels = ((low, BEVEL), (low + BEVEL, 0.0), (high - BEVEL, 0.0), (high, BEVEL))
    sections = [
        Section(height, disc.radius - inset, disc.radius - inset, disc.x, disc.y)
        for disc in discs
        for height, inset in levels
    ]
    return loft(sections, count=8)


def large_clamp() -> tuple[Piece, ...]:
    """Return a spring clamp that lies on its side: two halves of the hinge, two jaws and two grips."""
    return (
        bar(-0.0130, 0.0145, Disc(-0.0230, -0.0040, 0.0138), Disc(-0.0100, -0.0040, 0.0130)),
        bar(-0.0197, 0.0178, Disc(-0.0040, -0.0030, 0.0130), Disc(0.0265, -0.0040, 0.0135)),
        bar(
            -0.0105, 0.0204, Disc(-0.0280, 0.0145, 0.0100), Disc(-0.0610, 0.0500, 0.0100), Disc(-0.0630, 0.0620, 0.0085)
        ),
        bar(-0.0150, 0.0122, Disc(0.0185, 0.0120, 0.0125), Disc(0.0420, 0.0785, 0.0090)),
        bar(
            -0.0172,
            0.0140,
            Disc(-0.0240, -0.0280, 0.0130),
            Disc(-0.0245, -0.0440, 0.0085),
            Disc(-0.0040, -0.0735, 0.0055),
        ),
        bar(-0.0197, 0.0098, Disc(0.0305, -0.0270, 0.0130), Disc(0.0110, -0.0740, 0.0100)),
    )


# Along the banana: x, y, z and half its thickness.
BANANA = (
    (-0.0125, -0.1010, -0.0045, 0.0055),
    (-0.0135, -0.0860, -0.0015, 0.0135),
    (-0.0160, -0.0500, 0.0005, 0.0175),
    (-0.0115, -0.0060, 0.0013, 0.0187),
    (0.0075, 0.0330, 0.0013, 0.0187),
    (0.0360, 0.0575, 0.0005, 0.0165),
    (0.0580, 0.0670, -0.0025, 0.0095),
    (0.0715, 0.0715, -0.0060, 0.0050),
)
BANANA_WIDTH = 1.1  # times its thickness


def banana() -> tuple[Piece, ...]:
    """Return a bow of hulls, each over a few round cross-sections that stand across the bow."""
    points = np.array(BANANA)
    along = np.gradient(points[:, :2], axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = np.stack([along[:, 1], -along[:, 0]], axis=1)
    turns = np.arange(8) * pi / 4
    rings = np.empty((len(points), len(turns), 3))
    width = BANANA_WIDTH * points[:, 3, None] * np.cos(turns)
    rings[:, :, :2] = points[:, None, :2] + width[:, :, None] * across[:, None]
    rings[:, :, 2] = points[:, 2, None] + points[:, 3, None] * np.sin(turns)
    spans = ((0, 3), (2, 4), (3, 5), (4, 6), (5, 8))
    return tuple(Piece(Geom.mjGEOM_MESH, vertices=rings[start:stop].reshape(-1, 3)) for start, stop in spans)


def ring(radius: float, half: Vector3, center: Vector3 = (0.0, 0.0, 0.0), sides: int = 12) -> list[Piece]:
    """Boxes around a vertical axis, of half sizes (radial, tangential, vertical)."""
    angles = [2 * pi * side / sides for side in range(sides)]
    x, y, z = center
    return [
        Piece(Geom.mjGEOM_BOX, half, (x + radius * cos(a), y + radius * sin(a), z), about_z(degrees(a))) for a in angles
    ]


def strut(start: tuple[float, float], end: tuple[float, float], thickness: float, width: float) -> Piece:
    """Return a box between two points (x, z) of a mug's handle, of half sizes ``thickness`` and ``width``."""
    (x, z), (end_x, end_z) = start, end
    length, slope = hypot(end_x - x, end_z - z), atan2(z - end_z, end_x - x)
    middle = ((x + end_x) / 2, -0.002, (z + end_z) / 2)
    return Piece(Geom.mjGEOM_BOX, (length / 2 + thickness / 3, width, thickness), middle, about_y(degrees(slope)))


def only_seen(parts: Sequence[Piece], rgba: Rgba = LINING_RED) -> list[Piece]:
    """Return the same pieces, without contacts and in a colour of their own."""
    return [replace(part, collides=False, rgba=rgba) for part in parts]


def mug() -> tuple[Piece, ...]:
    """Return the mug of relocate: thin walls, a rim, a bottom and a handle."""
    x, y = -0.0036, 0.0007
    corners = ((0.0410, 0.0335), (0.0560, 0.0290), (0.0628, 0.0165), (0.0620, -0.0060), (0.0400, -0.0210))
    handle = [strut(start, end, 0.0038, 0.0065) for start, end in pairwise(corners)]
    walls = ring(0.0391, (0.0022, 0.0112, 0.0370), (x, y, 0.0))
    rim = ring(0.0420, (0.0040, 0.0122, 0.0029), (x, y, 0.0396))
    return (
        *map(as_hull, [*walls, *rim, *handle]),
        Piece(Geom.mjGEOM_CYLINDER, (0.0400, 0.0035), (x, y, -0.0361)),
        *only_seen(ring(0.0366, (0.0003, 0.0100, 0.0370), (x, y, 0.0052))),
        *only_seen([Piece(Geom.mjGEOM_CYLINDER, (0.0365, 0.0004), (x, y, -0.0321))]),
    )


def pouring_mug() -> tuple[Piece, ...]:
    """Return the mug of pour: twelve thick walls, so that no particle slips through, a bottom and a handle."""
    walls = ring(0.042, (0.006, 0.014, 0.040), (0.0, 0.0, 0.00152))
    walls[8] = replace(walls[8], size=(0.006, 0.012, 0.040))
    handle = [
        Piece(Geom.mjGEOM_BOX, (0.004, 0.006, 0.020), (0.06184, -0.00269, 0.00481)),
        Piece(Geom.mjGEOM_BOX, (0.012, 0.006, 0.004), (0.05383, -0.00269, 0.02681), about_y(30)),
        Piece(Geom.mjGEOM_BOX, (0.012, 0.006, 0.004), (0.05383, -0.00269, -0.01937), about_y(-35)),
    ]
    return (
        *map(as_hull, [*walls, *handle]),
        Piece(Geom.mjGEOM_CYLINDER, (0.0425, 0.005), (0.0, 0.0, -0.03349)),
        *mug_lining(),
    )


def box_mug() -> tuple[Piece, ...]:
    """Return the mug of place_inside, as the released code builds it from boxes."""
    walls = []
    for number in range(12):
        angle = number * pi / 6
        position = (0.045 * sin(angle) - 0.006, -0.042 * cos(angle), 0.0015)
        walls.append(Piece(Geom.mjGEOM_BOX, (0.014, 0.0025, 0.04), position, about_z(30 * number)))
    return (
        *walls,
        Piece(Geom.mjGEOM_BOX, (0.0125, 0.006, 0.004), (0.054, 0.0, 0.03), about_y(40)),
        Piece(Geom.mjGEOM_BOX, (0.0125, 0.006, 0.004), (0.054, 0.0, -0.02), about_y(-40)),
        Piece(Geom.mjGEOM_BOX, (0.004, 0.006, 0.02), (0.062, 0.0, 0.005)),
        Piece(Geom.mjGEOM_CYLINDER, (0.0425, 0.005), (0.0, 0.0, -0.033)),
    )


def mug_lining() -> tuple[Piece, ...]:
    """Return what shows inside the box mugs and around their rim: the scanned mug, which has no contacts."""
    x, y = -0.0036, 0.0007
    walls = ring(0.0378, (0.0010, 0.0064, 0.0375), (x, y, 0.0040), 20)
    rim = ring(0.0449, (0.0012, 0.0073, 0.0028), (x, y, 0.0396), 20)
    return tuple(only_seen([*walls, *rim]))


def about_z(angle: float) -> Quaternion:
    """Return the rotation about z by an angle in degrees."""
    half = radians(angle) / 2
    return (cos(half), 0.0, 0.0, sin(half))


def about_y(angle: float) -> Quaternion:
    """Return the rotation about y by an angle in degrees."""
    half = radians(angle) / 2
    return (cos(half), 0.0, sin(half), 0.0)


_SHAPES: dict[str, Callable[[], tuple[Piece, ...]]] = {
    "foam_brick": foam_brick,
    "sugar_box": sugar_box,
    "tomato_soup_can": tomato_soup_can,
    "potted_meat_can": potted_meat_can,
    "mustard_bottle": mustard_bottle,
    "large_clamp": large_clamp,
    "mug": mug,
    "pouring_mug": pouring_mug,
    "banana": banana,
}
