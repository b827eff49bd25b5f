"""Hammer: grasp a hammer from the table and drive a nail into a board.

Source: DAPG's ``hammer-v0`` as the H-InDex release runs it (``../shared/spec/tasks.md`` 4.1 gives the numbers).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .base import FloatArray, Reading, Start, Task, norm
from .cards import HAMMER
from .engine import mujoco
from .scene.backgrounds import dress_adroit
from .scene.edits import add_top_camera
from .scene.hand import load_scene
from .subject import Subject

CAMERA_HEIGHT = 1.1
BOARD_POSITION = (0.05, 0.0)
BOARD_HEIGHT = (0.10, 0.25)
GOAL_DISTANCE = 0.01
NEAR_DISTANCE = 0.02
LIFTED_HEIGHT = 0.04
SINGULAR_COSINE = 4.0 * np.finfo(float).eps


class Hammer(Task):
    """The hammer task; see `tasks.base.Task` for the interface."""

    card = HAMMER
    subject = Subject("Object", "nail_goal", joints=("nail_dir",))
    field_name = "body_pos"
    field_body = "nail_board"

    def build(self) -> mujoco.MjSpec:
        """The released scene with the paper's camera."""
        spec = load_scene("adroit_hammer.xml", self.physics)
        dress_adroit(spec, self.background)
        add_top_camera(spec, CAMERA_HEIGHT)
        return spec

    def draw(self, generator: np.random.Generator) -> Start:
        """The board's position (3,) in metres: its height varies."""
        return Start(np.array([*BOARD_POSITION, generator.uniform(*BOARD_HEIGHT)]))

    def bind_readings(self) -> None:
        """Sites of palm, tool, nail and goal; the hammer's pose; the nail's touch sensor."""
        self._qpos, self._qvel = self.batch.bind("qpos"), self.batch.bind("qvel")
        self._sites, self._bodies = self.batch.bind("site_xpos"), self.batch.bind("xpos")
        self._rotations, self._sensors = self.batch.bind("xmat"), self.batch.bind("sensordata")
        self._palm, self._tool = self._site("S_grasp"), self._site("tool")
        self._target, self._goal = self._site("S_target"), self._site("nail_goal")
        self._hammer = self.model.body("Object").id
        self._touch = self.model.sensor("S_nail").adr[0]

    def read(self, slots: npt.NDArray[np.integer] | slice) -> Reading:
        """Observation (n, 46): joints, hammer velocity, palm, hammer position and angles, nail, touch."""
        qpos, qvel = self._qpos[slots], self._qvel[slots]
        palm, target = self._sites[slots, self._palm], self._sites[slots, self._target]
        hammer = self._bodies[slots, self._hammer]
        distance = norm(target - self._sites[slots, self._goal])
        observation = np.concatenate(
            [
                qpos[:, :27],
                qvel[:, 27:33].clip(-1.0, 1.0),
                palm,
                hammer,
                euler_angles(self._rotations[slots, self._hammer].reshape(-1, 3, 3)),
                target,
                self._sensors[slots, self._touch].clip(-1.0, 1.0)[:, None],
            ],
            axis=1,
        )
        reward = sparse_reward(distance)
        if self.reward_mode == "dense":
            tool = self._sites[slots, self._tool]
            reward += dense_terms(palm, hammer, tool, target, qvel)
        never = np.zeros(len(distance), bool)
        return Reading(observation, qpos[:, 2:26].copy(), reward, distance, distance < GOAL_DISTANCE, never, never)


def sparse_reward(distance: FloatArray) -> FloatArray:
    """(n,) reward from the nail's distance to its goal in metres."""
    bonuses = np.where(distance < NEAR_DISTANCE, 25.0, 0.0) + np.where(distance < GOAL_DISTANCE, 75.0, 0.0)
    return bonuses - 10.0 * distance


def dense_terms(
    palm: FloatArray, hammer: FloatArray, tool: FloatArray, target: FloatArray, qvel: FloatArray
) -> FloatArray:
    """(n,) what the dense reward adds: reach the hammer, bring the tool to the nail, lift, move little."""
    lifted = (hammer[:, 2] > LIFTED_HEIGHT) & (tool[:, 2] > LIFTED_HEIGHT)
    terms: FloatArray = -0.1 * norm(palm - hammer) - norm(tool - target) - 0.01 * norm(qvel) + 2.0 * lifted
    return terms


def euler_angles(rotation: FloatArray) -> FloatArray:
    """Intrinsic x-y-z angles of rotation matrices, R = Rx Ry Rz: (n, 3, 3) -> (n, 3) radians.

    Where the middle angle is +-90 degrees the first is set to zero.
    """
    cosine = np.hypot(rotation[:, 1, 2], rotation[:, 2, 2])
    angles = np.empty((len(rotation), 3))
    angles[:, 0] = np.arctan2(-rotation[:, 1, 2], rotation[:, 2, 2])
    angles[:, 1] = np.arctan2(rotation[:, 0, 2], cosine)
    angles[:, 2] = np.arctan2(-rotation[:, 0, 1], rotation[:, 0, 0])
    singular = cosine <= SINGULAR_COSINE
    if singular.any():
        angles[singular, 0] = 0.0
        angles[singular, 2] = np.arctan2(rotation[singular, 1, 0], rotation[singular, 1, 1])
    return angles
