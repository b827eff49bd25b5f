"""Place inside: put a banana into a large mug.

Source: DexMV's ``MugPlaceObjectEnv`` as the H-InDex release runs it (``../shared/spec/tasks.md`` 6.3).
"""

from __future__ import annotations

from math import pi
from typing import Any

import numpy as np
import numpy.typing as npt

from . import cards
from .base import BoolArray, FloatArray, Reading, Start, norm
from .engine import mujoco
from .errors import TaskError
from .scene import objects
from .scene.arena import Contact, table_arena
from .scene.hand import DexMVHand
from .subject import Subject
from .table_task import TableTask

# The reward's contact is "within 3 cm": the gap shows these contacts and they make no force.
SEEN_WITHIN = 0.03
HAND = DexMVHand(forearm=(0.05, 0.06), gap=SEEN_WITHIN, soft=True)
BANANA_CONTACT = Contact(condim=4)
MUG_CONTACT = Contact(gap=SEEN_WITHIN)

MUG_HEIGHT = 0.0813
BANANA_HEIGHT = 0.01464
BANANA_LENGTH = 0.1784
BANANA_LOW, BANANA_HIGH = (-0.15, 0.1), (0.15, 0.2)
RESTING = 0.0183

NEAR, CENTRED = 0.05, 0.03
STEEP = pi / 4


class PlaceInside(TableTask):
    """The place_inside task; see `tasks.base.Task` for the interface.

    Args:
        mug_scale: 1.7 in the released rollouts and evaluations, 1.5 in the released demonstrations.
        goal_distance: of banana and mug axis that counts, metres; 0.1 in the released sampler, 0.4 in the released
            environment's own flag.
        **options: of every task.
    """

    card = cards.PLACE_INSIDE
    subject = Subject("banana", "mug")

    def __init__(
        self,
        *,
        mug_scale: float = cards.PLACE_INSIDE.scene["mug_scale"],
        goal_distance: float = cards.PLACE_INSIDE.scene["goal_distance"],
        **options: Any,
    ) -> None:
        if not 1.0 <= mug_scale <= 3.0:
            raise TaskError(f"place_inside: mug_scale is between 1 and 3, got {mug_scale}")
        if not goal_distance > 0:
            raise TaskError(f"place_inside: goal_distance is above 0 m, got {goal_distance}")
        self.mug_scale, self.goal_distance = mug_scale, goal_distance
        super().__init__(**options)

    def build(self) -> mujoco.MjSpec:
        """The arena, the banana on a free joint and the mug, which stands fast."""
        spec = table_arena(HAND, self.physics, self.background)
        self.add_handled(spec, objects.BANANA, (0.0, BANANA_LOW[1], BANANA_HEIGHT), BANANA_CONTACT)
        mug = spec.worldbody.add_body(name="mug", pos=[0.0, 0.0, MUG_HEIGHT / 2 * self.mug_scale])
        objects.add_box_mug(spec, mug, self.objects, self.mug_scale, MUG_CONTACT)
        return spec

    def draw(self, generator: np.random.Generator) -> Start:
        """The banana's place."""
        qpos = self.model.qpos0.copy()
        qpos[self._place] = generator.uniform(BANANA_LOW, BANANA_HIGH)
        return Start(np.empty(0), qpos)

    def bind_readings(self) -> None:
        """The banana's orientation and the mug, besides what every table task reads."""
        super().bind_readings()
        self._quaternions, self._rotations = self.batch.bind("xquat"), self.batch.bind("xmat")
        self._mug = self.model.body("mug").pos.copy()

    def read(self, slots: npt.NDArray[np.integer] | slice) -> Reading:
        """Observation (n, 43): joints, palm to banana, palm to mug, banana to mug, the banana's quaternion."""
        robot, palm, banana, contact = self.look(slots)
        lengthwise = self._rotations[slots, self._thing].reshape(-1, 3, 3)[:, 2, 1]
        observation = np.concatenate(
            [robot, palm - banana, palm - self._mug, banana - self._mug, self._quaternions[slots, self._thing]], axis=1
        )
        distance = norm(banana[:, :2] - self._mug[:2])
        reward = place_reward(palm, banana, self._mug, lengthwise, contact, robot, self.mug_scale)
        never = np.zeros(len(reward), bool)
        return Reading(observation, robot, reward, distance, distance <= self.goal_distance, never, never)


def place_reward(
    palm: FloatArray,
    banana: FloatArray,
    mug: FloatArray,
    lengthwise: FloatArray,
    contact: BoolArray,
    robot: FloatArray,
    mug_scale: float,
) -> FloatArray:
    """(n,) reward.

    Args:
        palm: (n, 3) metres.
        banana: (n, 3) metres.
        mug: (3,) its centre, metres.
        lengthwise: (n,) z component of the banana's own y axis.
        contact: (n,) whether the hand is within 3 cm of the banana.
        robot: (n, 30) joint positions.
        mug_scale: of the mug.
    """
    top = MUG_HEIGHT * mug_scale
    highest = top + BANANA_LENGTH * objects.BANANA.scale / 3
    distance = norm(banana[:, :2] - mug[:2])
    tilt = np.arccos(np.clip(lengthwise, -1.0, 1.0))
    lift = np.maximum(np.minimum(banana[:, 2], highest) - RESTING, 0.0)
    over = contact & (lift > top)
    near = over & (distance < NEAR)
    reward: FloatArray = -0.1 * norm(palm - banana) + contact * (0.2 + 2.0 * lift)
    reward += over * (0.2 - 0.5 * norm(palm[:, :2] - mug[:2]) - distance)
    reward += near * (0.5 + 0.5 * (pi / 2 - tilt)) + 0.3 * (near & (distance < CENTRED))
    entering = (distance < CENTRED) & (tilt < STEEP)
    reward += entering * 12.0 * (highest - lift)
    opened = pi / 2 - np.abs(robot[:, 6:30]).mean(axis=1)
    reward += (entering & (lift < (top + highest) / 2)) * (0.5 + 2.0 * opened)
    reward += (entering & (~contact | (lift <= top))) * (1.5 - distance + 0.5 * (pi / 2 - tilt))
    reward += (entering & ~contact) * (1.2 + 2.0 * lift)
    return reward
