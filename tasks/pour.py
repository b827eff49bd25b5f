"""Pour: take a mug and pour its twelve particles into a tank.

Source: DexMV's ``WaterPouringEnv`` as the H-InDex release runs it (``../shared/spec/tasks.md`` 6.2).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from . import cards
from .base import BoolArray, FloatArray, Reading, Start, norm
from .engine import mujoco
from .errors import TaskError
from .scene import objects
from .scene.arena import Contact, Geom, add_geom, add_joint, table_arena
from .scene.hand import DexMVHand
from .subject import Subject
from .table_task import TableTask

HAND = DexMVHand(forearm=(0.08, 0.053), wrist=(0.025, 0.02), palm_edge=True, margin=0.0005)
MUG_CONTACT = Contact(condim=4, margin=0.003)
# MuJoCo 2 took the larger of two margins; the pairs keep that between the hand and the mug.
HAND_MUG_MARGIN = 0.003

TANK = (-0.08, -0.1)
TANK_HALF, WALL_HALF, WALL_OFFSET = 0.075, 0.012, 0.072
TANK_FLOOR = 0.003
MUG_XY, MUG_HEIGHT = (0.14, -0.1), 0.04065
PARTICLE_RADIUS, PARTICLE_DAMPING = 0.01, 0.01
PARTICLE_RGBA = (0.3216, 0.3569, 0.9804, 0.6)
PARTICLE_GRID, PARTICLE_SPACING = (2, 2, 3), 0.012
PARTICLE_BASE = (-0.012, -0.012, 0.08265)
PARTICLES = 12
OFFSET_LOW, OFFSET_HIGH = (-0.06, 0.0), (0.04, 0.1)

GOAL_XY, GOAL_ABOVE_TANK = (-0.03, -0.1), 0.12
GOAL_FRACTION = 0.3
GOAL_DISTANCE = 0.05
LIFTED = 0.06
ABOVE_TANK_SLACK = 0.01
INSIDE_MUG = (0.05845, 0.0465, -0.04065, 0.09065)


class Pour(TableTask):
    """The pour task; see `tasks.base.Task` for the interface.

    Args:
        tank_height: metres; 0.12 in the released rollouts and evaluations, 0.08 in the released demonstrations.
        **options: of every task.
    """

    card = cards.POUR
    subject = Subject("mug", "tank")

    def __init__(self, *, tank_height: float = cards.POUR.scene["tank_height"], **options: Any) -> None:
        if not 0.02 <= tank_height <= 0.3:
            raise TaskError(f"pour: tank_height is between 0.02 and 0.3 m, got {tank_height}")
        self.tank_height = tank_height
        super().__init__(**options)

    def build(self) -> mujoco.MjSpec:
        """The arena, the mug on a free joint, the tank and the particles."""
        spec = table_arena(HAND, self.physics, self.background)
        # For 72 degrees of freedom MuJoCo would choose sparse matrices, which are slower here to the same end.
        spec.option.jacobian = mujoco.mjtJacobian.mjJAC_DENSE
        mug = self.add_handled(spec, objects.POURING_MUG, (*MUG_XY, MUG_HEIGHT), MUG_CONTACT)
        self._add_tank(spec)
        self._add_particles(spec)
        self._pair_hand_and_mug(spec, mug)
        return spec

    def _add_tank(self, spec: mujoco.MjSpec) -> None:
        tank = spec.worldbody.add_body(name="tank", pos=[*TANK, 0.0])
        half = self.tank_height / 2
        walls = [((TANK_HALF, TANK_HALF, WALL_HALF), (0.0, 0.0, TANK_FLOOR))]
        for side in (1, -1):
            walls.append(((WALL_HALF, TANK_HALF, half), (side * WALL_OFFSET, 0.0, half)))
            walls.append(((TANK_HALF, WALL_HALF, half), (0.0, side * WALL_OFFSET, half)))
        for size, position in walls:
            add_geom(tank, Geom.mjGEOM_BOX, Contact(), size=size, position=position)

    def _add_particles(self, spec: mujoco.MjSpec) -> None:
        contact = Contact(condim=1, priority=1)
        for x, y, z in np.ndindex(*PARTICLE_GRID):
            offset = np.array(PARTICLE_BASE) + PARTICLE_SPACING * np.array((x, y, z))
            body = spec.worldbody.add_body(pos=np.add(offset, (*MUG_XY, 0.0)))
            for axis in np.eye(3):
                add_joint(body, mujoco.mjtJoint.mjJNT_SLIDE, axis=axis, damping=PARTICLE_DAMPING)
            add_geom(body, Geom.mjGEOM_SPHERE, contact, size=(PARTICLE_RADIUS,), rgba=PARTICLE_RGBA, group=0)

    def _pair_hand_and_mug(self, spec: mujoco.MjSpec, mug: mujoco.MjsBody) -> None:
        pieces = [geom for geom in mug.geoms if geom.contype]
        for hand in [geom for geom in spec.body("forearm").find_all("geom") if geom.contype]:
            for piece in pieces:
                friction = np.maximum(hand.friction, piece.friction)[[0, 0, 1, 2, 2]]
                pair = spec.add_pair(
                    geomname1=hand.name,
                    geomname2=piece.name,
                    condim=max(hand.condim, piece.condim),
                    friction=friction,
                    margin=HAND_MUG_MARGIN,
                    gap=0.0,
                )
                pair.solref, pair.solimp = piece.solref, piece.solimp

    def draw(self, generator: np.random.Generator) -> Start:
        """The place of the mug and its particles."""
        offset = generator.uniform(OFFSET_LOW, OFFSET_HIGH)
        qpos = self.model.qpos0.copy()
        qpos[self._place] += offset
        qpos[self._first_particle :].reshape(PARTICLES, 3)[:, :2] = offset
        return Start(np.empty(0), qpos)

    def bind_readings(self) -> None:
        """The mug's orientation and the particles, besides what every table task reads."""
        super().bind_readings()
        self._quaternions, self._rotations = self.batch.bind("xquat"), self.batch.bind("xmat")
        self._first_particle = self.model.nq - 3 * PARTICLES
        self._particles = slice(self.model.nbody - PARTICLES, self.model.nbody)
        self.goal = np.array([*GOAL_XY, self.tank_height + GOAL_ABOVE_TANK])

    def read(self, slots: npt.NDArray[np.integer] | slice) -> Reading:
        """Observation (n, 43): joints, palm to mug, palm to goal, mug to goal, the mug's quaternion."""
        robot, palm, mug, contact = self.look(slots)
        rotation = self._rotations[slots, self._thing].reshape(-1, 3, 3)
        particles = self._bodies[slots, self._particles]
        observation = np.concatenate(
            [robot, palm - mug, palm - self.goal, mug - self.goal, self._quaternions[slots, self._thing]], axis=1
        )
        in_tank = inside_tank(particles, self.tank_height).mean(axis=1)
        kept = (inside_mug(particles, mug, rotation) | above_tank(particles)).mean(axis=1)
        reward = pour_reward(palm, mug, rotation[:, 2, 2], self.goal, contact, in_tank, 1.0 - kept)
        never = np.zeros(len(reward), bool)
        return Reading(observation, robot, reward, in_tank, in_tank >= GOAL_FRACTION, never, never)


def pour_reward(
    palm: FloatArray,
    mug: FloatArray,
    upright: FloatArray,
    goal: FloatArray,
    contact: BoolArray,
    in_tank: FloatArray,
    spilled: FloatArray,
) -> FloatArray:
    """(n,) reward.

    Args:
        palm: (n, 3) metres.
        mug: (n, 3) metres.
        upright: (n,) z component of the mug's own z axis.
        goal: (3,) metres.
        contact: (n,) whether hand and mug touch.
        in_tank: (n,) fraction of the particles in the tank.
        spilled: (n,) fraction of them neither in the mug nor above the tank.
    """
    carry = norm(mug - goal)
    lift = np.maximum(np.minimum(mug[:, 2], goal[2]) - MUG_HEIGHT, 0.0)
    lifted = contact & (lift > LIFTED)
    there = lifted & (carry < GOAL_DISTANCE)
    reward: FloatArray = -0.1 * norm(palm - mug) + contact * (0.1 + 50.0 * lift) - 0.1 * spilled
    reward += lifted * (2.0 - 0.5 * norm(palm - goal) - 1.5 * carry)
    tilt = np.arccos(np.clip(upright, -1.0, 1.0))
    reward += there * (1.0 / np.maximum(carry, 0.03) + 100.0 * tilt + 100.0 * in_tank)
    return reward


def inside_tank(particles: FloatArray, tank_height: float) -> BoolArray:
    """(n, 12) whether particles (n, 12, 3) lie in the lower half of the tank."""
    height = particles[..., 2]
    return _over_tank(particles, TANK_HALF) & (height > 0) & (height < tank_height / 2)


def above_tank(particles: FloatArray) -> BoolArray:
    """(n, 12) whether particles (n, 12, 3) are over the tank, at any height."""
    return _over_tank(particles, TANK_HALF + ABOVE_TANK_SLACK) & (particles[..., 2] > 0)


def inside_mug(particles: FloatArray, mug: FloatArray, rotation: FloatArray) -> BoolArray:
    """(n, 12) whether particles (n, 12, 3) are in the box around a mug at (n, 3) with axes (n, 3, 3)."""
    x, y, z = np.moveaxis(np.einsum("nij,nki->nkj", rotation, particles - mug[:, None]), -1, 0)
    half_x, half_y, bottom, top = INSIDE_MUG
    inside: BoolArray = (np.abs(x) < half_x) & (np.abs(y) < half_y) & (bottom < z) & (z < top)
    return inside


def _over_tank(particles: FloatArray, half: float) -> BoolArray:
    offset = np.abs(particles[..., :2] - TANK)
    over: BoolArray = (offset[..., 0] < half) & (offset[..., 1] < half)
    return over
