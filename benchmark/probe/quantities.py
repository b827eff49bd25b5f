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

from tasks.engine import mujoco

Values = npt.NDArray[np.float64]
Reader = Callable[[mujoco.MjData], Values]

HAND, ARM = ("WRJ", "FFJ", "MFJ", "RFJ", "LFJ", "THJ"), ("ART", "ARR")
PALM = "S_grasp"
FINGERS = {"first": "S_fftip", "middle": "S_mftip", "ring": "S_rftip", "little": "S_lftip", "thumb": "S_thtip"}
HAND_ROOT = "forearm"
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


@dataclass(frozen=True)
class Subject:
    """What a task's scene is about, by the names in its model.

    Attributes:
        body: what is handled; the hand's contact with it, and with all that hangs on it, is the contact.
        site: its place where that is not the body's origin.
        axis: sites of its two ends where only the axis shows; else its whole orientation counts.
        turns: whether it has an orientation of its own.
        joints: joints of the scene that the task moves.
        target: body or site that the task moves something to, or that its reset places.
        target_axis: sites of the target's two ends.
    """

    body: str
    target: str
    site: str | None = None
    axis: tuple[str, str] | None = None
    turns: bool = True
    joints: tuple[str, ...] = ()
    target_axis: tuple[str, str] | None = None


SUBJECTS = {
    "hammer": Subject("Object", "nail_goal", joints=("nail_dir",)),
    "door": Subject("door", "frame", site="S_handle", turns=False, joints=("door_hinge", "latch")),
    "pen": Subject(
        "Object", "eps_ball", axis=("object_top", "object_bottom"), target_axis=("target_top", "target_bottom")
    ),
    "pour": Subject("mug", "tank"),
    "place_inside": Subject("banana", "mug"),
    "relocate": Subject("object", "target"),
}


def quantities(task: str, model: mujoco.MjModel) -> list[Quantity]:
    """The quantities of a task, in the order of `QUANTITIES`."""
    subject = SUBJECTS[task.partition("-")[0]]
    found = [
        _joints(model, "hand joints", HAND),
        _joints(model, "arm joints", ARM),
        Quantity("palm position", AXES, _place(model, PALM)),
        _fingertips(model),
        Quantity("object position", AXES, _place(model, subject.site or subject.body)),
        *_orientation(model, subject),
        _joints(model, "object joints", subject.joints),
        Quantity("target position", AXES, _place(model, subject.target)),
        *([Quantity("target orientation", AXES, _axis(model, subject.target_axis))] if subject.target_axis else []),
        Quantity(CONTACT, ("touches",), _contact(model, subject.body)),
    ]
    return [quantity for quantity in found if quantity.dimensions]


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


def _fingertips(model: mujoco.MjModel) -> Quantity:
    """From the palm, so that the place of the whole hand does not count again."""
    tips, palm = [model.site(site).id for site in FINGERS.values()], model.site(PALM).id
    names = tuple(f"{finger} {axis}" for finger in FINGERS for axis in AXES)
    return Quantity("fingertips", names, lambda data: (data.site_xpos[tips] - data.site_xpos[palm]).ravel())


def _orientation(model: mujoco.MjModel, subject: Subject) -> list[Quantity]:
    name = "object orientation"
    if subject.axis:
        return [Quantity(name, AXES, _axis(model, subject.axis))]
    if not subject.turns:
        return []
    body = model.body(subject.body).id
    return [Quantity(name, COLUMNS, lambda data: data.xmat[body].reshape(3, 3)[:, :2].T.ravel())]


def _axis(model: mujoco.MjModel, ends: tuple[str, str]) -> Reader:
    top, bottom = (model.site(end).id for end in ends)

    def read(data: mujoco.MjData) -> Values:
        along = data.site_xpos[top] - data.site_xpos[bottom]
        unit: Values = along / np.linalg.norm(along)
        return unit

    return read


def _contact(model: mujoco.MjModel, thing: str) -> Reader:
    """1 where the engine has a contact of at most 1 mm between a geom of the hand and one of the thing, else 0."""
    hand, things = (_geoms_below(model, model.body(name).id) for name in (HAND_ROOT, thing))

    def read(data: mujoco.MjData) -> Values:
        first, second = data.contact.geom1, data.contact.geom2
        between = (hand[first] & things[second]) | (things[first] & hand[second])
        return np.array([float((between & (data.contact.dist < TOUCHING)).any())])

    return read


def _geoms_below(model: mujoco.MjModel, root: int) -> npt.NDArray[np.bool_]:
    """(ngeom,) whether a geom belongs to a body or to one that hangs on it."""
    below = np.zeros(model.nbody, bool)
    below[root] = True
    for body in range(root + 1, model.nbody):  # parents come before children
        below[body] = below[model.body_parentid[body]]
    found: npt.NDArray[np.bool_] = below[model.geom_bodyid]
    return found
