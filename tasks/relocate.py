"""Relocate: pick up an object from the table and hold it at a point in the air; seven objects.

Source: DexMV's ``YCBRelocate`` as the H-InDex release runs it (``../shared/spec/tasks.md`` 6.1).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from . import cards
from .base import BoolArray, FloatArray, Reading, Start, norm
from .engine import mujoco
from .scene import objects
from .scene.arena import Contact, table_arena
from .scene.hand import DexMVHand
from .subject import Subject
from .table_task import TableTask

HAND = DexMVHand(forearm=(0.06, 0.043), margin=0.00025, box_margin=0.00025)
TABLE_MARGIN = 0.00025
# MuJoCo 2 took the larger of two margins, 0.003 m; today's adds the other geom's 0.00025.
OBJECT_CONTACT = Contact(friction=(1.0, 0.5, 0.01), condim=4, margin=0.00275, solref=(-6000.0, -300.0))

OBJECT_X = -0.0625
OBJECT_Y = 0.0375
GOAL_LOW, GOAL_HIGH = (-0.30, -0.15, 0.15), (0.10, 0.15, 0.25)
GOAL_DISTANCE = 0.1
LIFTED = 0.015


class RelocateObject(TableTask):
    """A relocate task; see `tasks.base.Task` for the interface."""

    thing: ClassVar[objects.Thing]
    subject = Subject("object", "target")
    field_name = "body_pos"
    field_body = "target"

    def build(self) -> mujoco.MjSpec:
        """The arena, the object on a free joint, and its ghost at the goal."""
        spec = table_arena(HAND, self.physics, self.background, TABLE_MARGIN)
        thing = self.thing
        self.add_handled(spec, thing, (0.0, 0.0, thing.height / 2), OBJECT_CONTACT)
        ghost = spec.worldbody.add_body(name="target", pos=[0.0, 0.0, GOAL_LOW[2]], quat=thing.quaternion)
        objects.add_ghost(spec, ghost, thing, self.objects)
        return spec

    def draw(self, generator: np.random.Generator) -> Start:
        """The object's y and the goal's position."""
        qpos = self.model.qpos0.copy()
        qpos[self._place] = OBJECT_X, generator.uniform(-OBJECT_Y, OBJECT_Y)
        return Start(generator.uniform(GOAL_LOW, GOAL_HIGH), qpos)

    def bind_readings(self) -> None:
        """The goal, besides what every table task reads."""
        super().bind_readings()
        self._target = self.model.body("target").id

    def read(self, slots: npt.NDArray[np.integer] | slice) -> Reading:
        """Observation (n, 39): joints, palm to object, palm to goal, object to goal."""
        robot, palm, thing, contact = self.look(slots)
        goal = self._bodies[slots, self._target]
        observation = np.concatenate([robot, palm - thing, palm - goal, thing - goal], axis=1)
        distance = norm(thing - goal)
        never = np.zeros(len(distance), bool)
        reward = relocate_reward(palm, thing, goal, contact, self.thing.height)
        return Reading(observation, robot, reward, distance, distance <= GOAL_DISTANCE, never, never)


def relocate_reward(
    palm: FloatArray, thing: FloatArray, goal: FloatArray, contact: BoolArray, height: float
) -> FloatArray:
    """(n,) reward from positions (n, 3) in metres, the hand's contact (n,) and the object's full height."""
    reach, carry = norm(palm - thing), norm(thing - goal)
    lift = np.maximum(np.minimum(thing[:, 2], goal[:, 2]) - height / 2, 0.0)
    lifted = contact & (lift > LIFTED)
    reward: FloatArray = -0.1 * reach + contact * (0.1 + 50.0 * lift)
    reward += lifted * (2.0 - 0.5 * norm(palm - goal) - 1.5 * carry)
    reward += (lifted & (carry < GOAL_DISTANCE)) / (carry + 0.01)
    return reward


class RelocateMug(RelocateObject):
    """Relocate a mug."""

    card, thing = cards.RELOCATE_MUG, objects.MUG


class RelocateFoamBrick(RelocateObject):
    """Relocate a foam brick."""

    card, thing = cards.RELOCATE_FOAM_BRICK, objects.FOAM_BRICK


class RelocateLargeClamp(RelocateObject):
    """Relocate a clamp."""

    card, thing = cards.RELOCATE_LARGE_CLAMP, objects.LARGE_CLAMP


class RelocateMustardBottle(RelocateObject):
    """Relocate a mustard bottle."""

    card, thing = cards.RELOCATE_MUSTARD_BOTTLE, objects.MUSTARD_BOTTLE


class RelocatePottedMeatCan(RelocateObject):
    """Relocate a can of meat."""

    card, thing = cards.RELOCATE_POTTED_MEAT_CAN, objects.POTTED_MEAT_CAN


class RelocateSugarBox(RelocateObject):
    """Relocate a box of sugar."""

    card, thing = cards.RELOCATE_SUGAR_BOX, objects.SUGAR_BOX


class RelocateTomatoSoupCan(RelocateObject):
    """Relocate a can of soup."""

    card, thing = cards.RELOCATE_TOMATO_SOUP_CAN, objects.TOMATO_SOUP_CAN
