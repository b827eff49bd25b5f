"""Pen: turn a pen in the hand until it points like the target.

Source: DAPG's ``pen-v0`` as the H-InDex release runs it (``../shared/spec/tasks.md`` 4.3 gives the numbers).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .base import FloatArray, Reading, Start, Task, norm
from .cards import PEN
from .engine import mujoco
from .scene.backgrounds import dress_adroit
from .scene.hand import load_scene
from .subject import Subject

CAMERA_POSITION = (0.0, -0.8, 0.8)
OPAQUE_GEOMS = ("pen", "target")
TARGET_ANGLE = 1.0
PEN_LENGTH = 0.13
GOAL_DISTANCE = 0.075
GOAL_COSINE = 0.95
NEAR_COSINE = 0.9
DROPPED_HEIGHT = 0.075


class Pen(Task):
    """The pen task; see `tasks.base.Task` for the interface."""

    card = PEN
    subject = Subject(
        "Object", "eps_ball", axis=("object_top", "object_bottom"), target_axis=("target_top", "target_bottom")
    )
    field_name = "body_quat"
    field_body = "target"

    def build(self) -> mujoco.MjSpec:
        """The released scene: the camera nearer, pen and target opaque."""
        spec = load_scene("adroit_pen.xml", self.physics)
        dress_adroit(spec, self.background)
        spec.camera("vil_camera").pos = CAMERA_POSITION
        for name in OPAQUE_GEOMS:
            spec.geom(name).rgba[3] = 1.0
        return spec

    def draw(self, generator: np.random.Generator) -> Start:
        """The target's orientation (4,), a quaternion: a turn about x, then about the turned y."""
        about_x, about_y = generator.uniform(-TARGET_ANGLE, TARGET_ANGLE, size=2) / 2
        cos_x, sin_x, cos_y, sin_y = np.cos(about_x), np.sin(about_x), np.cos(about_y), np.sin(about_y)
        return Start(np.array([cos_x * cos_y, sin_x * cos_y, cos_x * sin_y, sin_x * sin_y]))

    def bind_readings(self) -> None:
        """The ends of pen and target, the wanted place, the pen's position."""
        self._qpos, self._qvel = self.batch.bind("qpos"), self.batch.bind("qvel")
        self._sites, self._bodies = self.batch.bind("site_xpos"), self.batch.bind("xpos")
        self._pen = self.model.body("Object").id
        self._wanted = self._site("eps_ball")
        self._pen_ends = self._site("object_top"), self._site("object_bottom")
        self._target_ends = self._site("target_top"), self._site("target_bottom")

    def read(self, slots: npt.NDArray[np.integer] | slice) -> Reading:
        """Observation (n, 45): joints, pen position and velocity, the two axes, position and axis errors."""
        qpos = self._qpos[slots]
        pen = self._bodies[slots, self._pen]
        axis, target_axis = self._axis(slots, self._pen_ends), self._axis(slots, self._target_ends)
        offset = pen - self._sites[slots, self._wanted]
        observation = np.concatenate(
            [qpos[:, :24], pen, self._qvel[slots][:, 24:30], axis, target_axis, offset, axis - target_axis], axis=1
        )
        distance, cosine = norm(offset), np.einsum("ij,ij->i", axis, target_axis)
        dropped = pen[:, 2] < DROPPED_HEIGHT
        reward = sparse_reward(distance, cosine)
        if self.reward_mode == "dense":
            reward += -distance + cosine + 10.0 * ((distance < GOAL_DISTANCE) & (cosine > NEAR_COSINE)) - 5.0 * dropped
        return Reading(
            observation, qpos[:, :24].copy(), reward, cosine, cosine > GOAL_COSINE, dropped, np.zeros_like(dropped)
        )

    def _axis(self, slots: npt.NDArray[np.integer] | slice, ends: tuple[int, int]) -> FloatArray:
        top, bottom = ends
        axis: FloatArray = (self._sites[slots, top] - self._sites[slots, bottom]) / PEN_LENGTH
        return axis


def sparse_reward(distance: FloatArray, cosine: FloatArray) -> FloatArray:
    """(n,) reward from the pen's distance (metres) to its place and the cosine between its axis and the target's."""
    return np.where((distance < GOAL_DISTANCE) & (cosine > GOAL_COSINE), 50.0, 0.0)
