"""Relocate: pick up a ball from the table and hold it at a point in the air.

Source: DAPG's ``relocate-v0`` as the H-InDex release has it; the paper does not use it (``../shared/spec/protocols.md``
gives the numbers).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .base import FloatArray, Placed, Reading, Start, Task, norm
from .cards import RELOCATE
from .engine import mujoco
from .scene.backgrounds import dress_adroit
from .scene.hand import load_scene
from .subject import Subject

BALL_LOW, BALL_HIGH = (-0.15, -0.15), (0.15, 0.30)
BALL_HEIGHT = 0.035
TARGET_LOW, TARGET_HIGH = (-0.2, -0.2), (0.2, 0.2)
TARGET_HEIGHT = 0.25
GOAL_DISTANCE = 0.1
NEAR_DISTANCE = 0.05
LIFTED_HEIGHT = 0.04


class Relocate(Task):
    """The relocate task with a ball; see `tasks.base.Task` for the interface."""

    card = RELOCATE
    subject = Subject("Object", "target", turns=False, translucent=("target",))
    rewards = ("paper", "dense", "sparse")

    @classmethod
    def placed(cls) -> tuple[Placed, ...]:
        """The ball and the target, named as in DAPG's demonstrations."""
        return Placed("obj_pos", "body_pos", "Object"), Placed("target_pos", "site_pos", "target")

    def build(self) -> mujoco.MjSpec:
        """The released scene."""
        spec = load_scene("adroit_relocate.xml", self.physics)
        dress_adroit(spec, self.background)
        return spec

    def draw(self, generator: np.random.Generator) -> Start:
        """The positions (6,) of ball and target in metres; both heights are fixed, and the ball lies on the table."""
        ball, target = generator.uniform(BALL_LOW, BALL_HIGH), generator.uniform(TARGET_LOW, TARGET_HIGH)
        return Start(np.array([*ball, BALL_HEIGHT, *target, TARGET_HEIGHT]))

    def bind_readings(self) -> None:
        """The sites of palm and target, and the ball."""
        self._qpos = self.batch.bind("qpos")
        self._sites, self._bodies = self.batch.bind("site_xpos"), self.batch.bind("xpos")
        self._palm, self._target = self._site("S_grasp"), self._site("target")
        self._ball = self.model.body("Object").id

    def read(self, slots: npt.NDArray[np.integer] | slice) -> Reading:
        """Observation (n, 39): joints, palm to ball, palm to target, ball to target."""
        robot = self._qpos[slots][:, :30].copy()
        palm, target = self._sites[slots, self._palm], self._sites[slots, self._target]
        ball = self._bodies[slots, self._ball]
        distance = norm(ball - target)
        reward = sparse_reward(distance)
        if self.reward_mode != "sparse":
            reward += dense_terms(palm, ball, target)
        observation = np.concatenate([robot, palm - ball, palm - target, ball - target], axis=1)
        never = np.zeros(len(distance), bool)
        return Reading(observation, robot, reward, distance, distance < GOAL_DISTANCE, never, never)


def sparse_reward(distance: FloatArray) -> FloatArray:
    """(n,) bonuses for the ball's distance to its target in metres."""
    return np.where(distance < GOAL_DISTANCE, 10.0, 0.0) + np.where(distance < NEAR_DISTANCE, 20.0, 0.0)


def dense_terms(palm: FloatArray, ball: FloatArray, target: FloatArray) -> FloatArray:
    """(n,) what the dense reward adds: reach the ball, lift it, bring it to the target; positions (n, 3) in metres."""
    lifted = ball[:, 2] > LIFTED_HEIGHT
    terms: FloatArray = -0.1 * norm(palm - ball)
    terms += lifted * (1.0 - 0.5 * norm(palm - target) - 0.5 * norm(ball - target))
    return terms
