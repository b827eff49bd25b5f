"""Edits that several scenes share."""

from __future__ import annotations

from math import cos, sin

from ..engine import mujoco

TOP_CAMERA_ANGLE = 3.14


def add_top_camera(spec: mujoco.MjSpec, height: float) -> None:
    """Add the camera ``top``: ``height`` metres above the origin, looking straight down, image up along -y."""
    half = TOP_CAMERA_ANGLE / 2
    spec.worldbody.add_camera(name="top", pos=[0.0, 0.0, height], quat=[cos(half), 0.0, 0.0, sin(half)])
