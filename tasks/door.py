"""Door: turn the latch and swing the door open.

Source: DAPG's ``door-v0`` as the H-InDex release runs it (``../shared/spec/tasks.md`` 4.2 gives the numbers).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .base import FloatArray, Reading, Start, Task, norm
from .cards import DOOR
from .engine import mujoco
from .scene.backgrounds import dress_adroit
from .scene.edits import add_top_camera
from .scene.hand import load_scene
from .subject import Subject

CAMERA_HEIGHT = 1.5
FRAME_LOW = (-0.3, 0.25, 0.252)
FRAME_HIGH = (-0.2, 0.35, 0.35)
OPEN_ANGLE = 1.57
GOAL_ANGLE = 1.4
HALF_OPEN_ANGLE = 1.0
BONUSES = ((0.2, 2.0), (1.0, 8.0), (1.35, 10.0))


class Door(Task):
    """The door task; see `tasks.base.Task` for the interface."""

    card = DOOR
    subject = Subject("door", "frame", site="S_handle", turns=False, joints=("door_hinge", "latch"))
    field_name = "body_pos"
    field_body = "frame"

    def build(self) -> mujoco.MjSpec:
        """The released scene with the paper's camera."""
        spec = load_scene("adroit_door.xml", self.physics)
        dress_adroit(spec, self.background)
        add_top_camera(spec, CAMERA_HEIGHT)
        return spec

    def draw(self, generator: np.random.Generator) -> Start:
        """The door frame's position (3,) in metres."""
        return Start(generator.uniform(FRAME_LOW, FRAME_HIGH))

    def bind_readings(self) -> None:
        """Sites of palm and handle."""
        self._qpos, self._qvel = self.batch.bind("qpos"), self.batch.bind("qvel")
        self._sites = self.batch.bind("site_xpos")
        self._palm, self._handle = self._site("S_grasp"), self._site("S_handle")

    def read(self, slots: npt.NDArray[np.integer] | slice) -> Reading:
        """Observation (n, 39): joints without the first, latch, hinge, palm, handle, palm - handle, open or not."""
        qpos = self._qpos[slots]
        palm, handle = self._sites[slots, self._palm], self._sites[slots, self._handle]
        hinge, latch = qpos[:, 28], qpos[:, 29]
        observation = np.concatenate(
            [
                qpos[:, 1:28],
                latch[:, None],
                hinge[:, None],
                palm,
                handle,
                palm - handle,
                np.where(hinge > HALF_OPEN_ANGLE, 1.0, -1.0)[:, None],
            ],
            axis=1,
        )
        reward = sparse_reward(hinge)
        if self.reward_mode == "dense":
            reward += -0.1 * norm(palm - handle) - 1e-5 * np.sum(self._qvel[slots] ** 2, axis=1)
        never = np.zeros(len(hinge), bool)
        return Reading(observation, qpos[:, 4:28].copy(), reward, hinge.copy(), hinge > GOAL_ANGLE, never, never)


def sparse_reward(hinge: FloatArray) -> FloatArray:
    """(n,) reward from the hinge's angle in radians."""
    reward = -0.1 * (hinge - OPEN_ANGLE) ** 2
    for angle, bonus in BONUSES:
        reward = reward + bonus * (hinge > angle)
    return reward
