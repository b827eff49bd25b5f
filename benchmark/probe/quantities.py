"""The physical quantities that the probe looks for in a frame, read from the simulation that was drawn.

Positions are in metres in the world's axes, angles in radians, orientations the first two columns of the rotation
matrix (6 numbers; Source: Zhou et al. 2019) or, for the pen, whose roll does not show, the unit vector of its axis.
All but the joints use the poses that were drawn; joint positions are a substep (2 ms) further, as in the observation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.base import Task
from tasks.engine import mujoco
from tasks.scene.subtrees import geoms_of
from tasks.subject import Hand, Subject

Values = npt.NDArray[np.float64]
Reader = Callable[[mujoco.MjData], Values]

TOUCHING = 0.001
AXES = ("x", "y", "z")
COLUMNS = tuple(f"{column}{axis}" for column in ("first ", "second ") for axis in AXES)

CONTACT = "contact"
QUANTITIES = (
    "hand joints",
    "arm joints",
    "palm position",
    "fingertips",
    "object position",
    "object orientation",
    "object joints",
    "target position",
    "target orientation",
    CONTACT,
)
"""All quantities in the order of tables; a task has those that its scene has."""


@dataclass(frozen=True)
class Quantity:
    """One thing to predict.

    Attributes:
        name: one of `QUANTITIES`.
        dimensions: a name for each number.
        read: the numbers, from the simulation that was drawn.
    """

    name: str
    dimensions: tuple[str, ...]
    read: Reader


def quantities(task: Task) -> list[Quantity]:
    """The quantities of a task, in the order of `QUANTITIES`."""
    model, subject, hand = task.model, task.subject, task.subject.hand
    candidates = [
        _joints(model, "hand joints", hand.joints),
        _joints(model, "arm joints", hand.arm),
        Quantity("palm position", AXES, _place(model, hand.palm)),
        _fingertips(model, hand),
        Quantity("object position", AXES, _place(model, subject.site or subject.handled)),
        *_orientation(model, subject),
        _joints(model, "object joints", subject.joints),
        Quantity("target position", AXES, _place(model, subject.target)),
        *([Quantity("target orientation", AXES, _axis(model, subject.target_axis))] if subject.target_axis else []),
        Quantity(CONTACT, ("touches",), _contact(model, hand.root, subject.handled)),
    ]
    return [quantity for quantity in candidates if quantity.dimensions]


def _joints(model: mujoco.MjModel, name: str, starts: tuple[str, ...]) -> Quantity:
    joints = [model.joint(index) for index in range(model.njnt)]
    joints = [joint for joint in joints if starts and joint.name.startswith(starts)]
    addresses = [int(joint.qposadr[0]) for joint in joints]
    return Quantity(name, tuple(joint.name for joint in joints), lambda data: data.qpos[addresses])


def _place(model: mujoco.MjModel, name: str) -> Reader:
    """The position of a site or body."""
    site = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SITE, name)
    if site >= 0:
        return lambda data: data.site_xpos[site].copy()
    body = model.body(name).id
    return lambda data: data.xpos[body].copy()


def _fingertips(model: mujoco.MjModel, hand: Hand) -> Quantity:
    """From the palm, so that the place of the whole hand does not count again."""
    tips, palm = [model.site(site).id for site in hand.fingertips.values()], model.site(hand.palm).id
    names = tuple(f"{finger} {axis}" for finger in hand.fingertips for axis in AXES)
    return Quantity("fingertips", names, lambda data: (data.site_xpos[tips] - data.site_xpos[palm]).ravel())


def _orientation(model: mujoco.MjModel, subject: Subject) -> list[Quantity]:
    name = "object orientation"
    if subject.axis:
        return [Quantity(name, AXES, _axis(model, subject.axis))]
    if not subject.turns:
        return []
    body = model.body(subject.handled).id
    return [Quantity(name, COLUMNS, lambda data: data.xmat[body].reshape(3, 3)[:, :2].T.ravel())]


def _axis(model: mujoco.MjModel, ends: tuple[str, str]) -> Reader:
    top, bottom = (model.site(end).id for end in ends)

    def read(data: mujoco.MjData) -> Values:
        along = data.site_xpos[top] - data.site_xpos[bottom]
        unit: Values = along / np.linalg.norm(along)
        return unit

    return read


def _contact(model: mujoco.MjModel, hand_root: str, thing: str) -> Reader:
    """1 where the engine has a contact of at most 1 mm between a geom of the hand and one of the thing, else 0."""
    hand, things = (geoms_of(model, name) for name in (hand_root, thing))

    def read(data: mujoco.MjData) -> Values:
        first, second = data.contact.geom1, data.contact.geom2
        between = (hand[first] & things[second]) | (things[first] & hand[second])
        return np.array([float((between & (data.contact.dist < TOUCHING)).any())])

    return read
