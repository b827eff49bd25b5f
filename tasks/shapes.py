"""Parametric likenesses of the YCB objects, unscaled, in the body frame; metres."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np
import numpy.typing as npt

import mujoco

Geom = mujoco.mjtGeom
FloatArray = npt.NDArray[np.float64]


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
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    quaternion: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    vertices: FloatArray | None = None
    rgba: tuple[float, float, float, float] | None = None
    collides: bool = True


def about_z(degrees: float) -> tuple[float, float, float, float]:
    half = degrees * pi / 360
    return (cos(half), 0.0, 0.0, sin(half))


def about_y(degrees: float) -> tuple[float, float, float, float]:
    half = degrees * pi / 360
    return (cos(half), 0.0, sin(half), 0.0)


def pieces(name: str) -> tuple[Piece, ...]:
    return _SHAPES[name]()


def foam_brick() -> tuple[Piece, ...]:
    return (Piece(Geom.mjGEOM_BOX, (0.0268, 0.0392, 0.0258), (0.0003, -0.0001, 0.0082)),)


def pouring_mug() -> tuple[Piece, ...]:
    walls = [
        Piece(
            Geom.mjGEOM_BOX,
            (0.006, 0.012 if angle == 240 else 0.014, 0.040),
            (0.042 * cos(angle * pi / 180), 0.042 * sin(angle * pi / 180), 0.00152),
            about_z(angle),
        )
        for angle in range(0, 360, 30)
    ]
    return (
        *walls,
        Piece(Geom.mjGEOM_CYLINDER, (0.0425, 0.005), (0.0, 0.0, -0.03349)),
        Piece(Geom.mjGEOM_BOX, (0.004, 0.006, 0.020), (0.06184, -0.00269, 0.00481)),
        Piece(Geom.mjGEOM_BOX, (0.012, 0.006, 0.004), (0.05383, -0.00269, 0.02681), about_y(30)),
        Piece(Geom.mjGEOM_BOX, (0.012, 0.006, 0.004), (0.05383, -0.00269, -0.01937), about_y(-35)),
    )


def box_mug() -> tuple[Piece, ...]:
    """The mug of place_inside, as the released code builds it from boxes."""
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


_SHAPES = {"foam_brick": foam_brick, "pouring_mug": pouring_mug}
