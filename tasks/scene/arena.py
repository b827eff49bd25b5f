"""The table arena of the DexMV tasks, and how things are added to it.

Elements added to a specification that holds the hand would inherit the hand's class defaults, so every value that
matters is set explicitly here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..engine import mujoco
from .backgrounds import dress_table_arena
from .hand import DEFAULT_FRICTION, DexMVHand, Physics, dexmv_hand, use_paper_collisions

Vector = Sequence[float] | npt.NDArray[np.float64]
Geom = mujoco.mjtGeom

TABLE_HALF = (0.6, 0.6, 0.025)
LEG_RADIUS, LEG_HALF, LEG_OFFSET = 0.025, 0.4875, 0.5
FLOOR_HEIGHT, FLOOR_HALF = -1.0, (1.5, 1.5, 0.125)
LIGHTS = ((1.0, 1.0, 4.0), (-3.0, -3.0, 4.0))
LIGHT_DIRECTION = (0.0, -0.15, -1.0)
LIGHT_DIFFUSE, LIGHT_SPECULAR = 0.8, 0.3
# frontview: the released file writes commas between the numbers, and MuJoCo 2 stopped reading at the first.
CAMERAS = {
    "frontview": ((0.0, -1.0, 0.9), (0.65, 0.2705981, 0.0, 0.0)),
    "backview": ((0.0, 0.6, 0.9), (0.0, 0.0, 0.2815165396, 0.9595563756)),
    "sideview": ((-1.3, -0.5, 0.5), (0.6781120884, 0.5164696911, -0.3290274944, -0.4064036930)),
}
ITERATIONS = 20
GREY = (0.5, 0.5, 0.5, 1.0)
PALM_SITE = "S_grasp"
CONTACT_SENSOR = "hand_object_contact"
IDENTITY = (1.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Contact:
    """How a geom collides; the defaults are MuJoCo's.

    Attributes:
        friction: tangential, torsional (metres) and rolling (metres).
        condim: dimension of the contact's friction space.
        margin: distance at which it begins to act, metres; margins of a pair add up.
        gap: further distance at which it is seen, metres.
        solref: reference of the constraint.
        priority: the pair's larger one sets the parameters.
        collides: False for what is only seen.
    """

    friction: tuple[float, float, float] = DEFAULT_FRICTION
    condim: int = 3
    margin: float = 0.0
    gap: float = 0.0
    solref: tuple[float, float] = (0.02, 1.0)
    priority: int = 0
    collides: bool = True


SEEN_ONLY = Contact(collides=False)
SOLIMP = (0.9, 0.95, 0.001, 0.5, 2.0)
TABLE_CONTACT = Contact(friction=(1.0, 0.5, 0.01))

VISUAL_GROUP, COLLISION_GROUP = 1, 2


def add_geom(
    body: mujoco.MjsBody,
    kind: mujoco.mjtGeom,
    contact: Contact,
    *,
    name: str = "",
    size: Vector = (),
    position: Vector = (0.0, 0.0, 0.0),
    quaternion: Vector = IDENTITY,
    rgba: Vector = GREY,
    material: str = "",
    mesh: str = "",
    group: int = COLLISION_GROUP,
) -> mujoco.MjsGeom:
    """Add a geom with every inheritable value set."""
    collides = int(contact.collides)
    return body.add_geom(
        type=kind,
        name=name,
        size=[*size, *(0.0,) * (3 - len(size))],
        pos=position,
        quat=quaternion,
        rgba=rgba,
        material=material,
        meshname=mesh,
        group=group,
        contype=collides,
        conaffinity=collides,
        condim=contact.condim,
        priority=contact.priority,
        friction=contact.friction,
        margin=contact.margin,
        gap=contact.gap,
        solref=contact.solref,
        solimp=SOLIMP,
        density=1000.0,
    )


def add_joint(
    body: mujoco.MjsBody,
    kind: mujoco.mjtJoint,
    *,
    axis: Vector = (0.0, 0.0, 1.0),
    damping: float = 0.0,
    armature: float = 0.0,
    frictionloss: float = 0.0,
    name: str = "",
) -> None:
    """Add an unlimited joint with every inheritable value set."""
    body.add_joint(
        type=kind,
        name=name,
        axis=axis,
        damping=[damping, 0.0, 0.0],
        armature=armature,
        frictionloss=frictionloss,
        limited=mujoco.mjtLimited.mjLIMITED_FALSE,
        margin=0.0,
    )


def table_arena(hand: DexMVHand, physics: Physics, background: int, margin: float = 0.0) -> mujoco.MjSpec:
    """Table, floor, lights, cameras and the hand; the hand's joints come first.

    Args:
        hand: the task's variant of it.
        physics: ``paper`` or ``native``; margins and masses are the paper's under both.
        background: look of the table and its legs, see `tasks.scene.backgrounds`.
        margin: contact margin of table and floor, metres.
    """
    spec = dexmv_hand(hand)
    _forget_adroit_settings(spec)
    spec.option.solver = mujoco.mjtSolver.mjSOL_PGS
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.iterations = spec.option.noslip_iterations = ITERATIONS
    if physics == "paper":
        use_paper_collisions(spec)
    world = spec.worldbody
    dress_table_arena(spec, background)
    table_contact = replace(TABLE_CONTACT, margin=margin)
    add_geom(
        world,
        Geom.mjGEOM_PLANE,
        Contact(margin=margin),
        name="floor",
        size=FLOOR_HALF,
        position=(0.0, 0.0, FLOOR_HEIGHT),
        material="floor",
        group=0,
    )
    table = world.add_body(name="table", pos=[0.0, 0.0, -TABLE_HALF[2]])
    add_geom(table, Geom.mjGEOM_BOX, table_contact, name="table", size=TABLE_HALF, material="table_top")
    for x, y in ((1, 1), (-1, 1), (-1, -1), (1, -1)):
        add_geom(
            table,
            Geom.mjGEOM_CYLINDER,
            SEEN_ONLY,
            size=(LEG_RADIUS, LEG_HALF),
            position=(x * LEG_OFFSET, y * LEG_OFFSET, -LEG_HALF),
            material="table_legs",
            group=VISUAL_GROUP,
        )
    for position in LIGHTS:
        world.add_light(
            type=mujoco.mjtLightType.mjLIGHT_SPOT,
            pos=position,
            dir=LIGHT_DIRECTION,
            diffuse=[LIGHT_DIFFUSE] * 3,
            specular=[LIGHT_SPECULAR] * 3,
            castshadow=False,
        )
    for camera, (position, quaternion) in CAMERAS.items():
        world.add_camera(name=camera, pos=position, quat=np.array(quaternion) / np.linalg.norm(quaternion))
    return spec


def _forget_adroit_settings(spec: mujoco.MjSpec) -> None:
    """Reset visual and memory settings to MuJoCo's defaults, as in the DexMV scenes."""
    usual = mujoco.MjSpec()
    spec.visual.global_.offwidth = usual.visual.global_.offwidth
    spec.visual.global_.offheight = usual.visual.global_.offheight
    spec.visual.quality.offsamples = usual.visual.quality.offsamples
    spec.visual.map.fogend = usual.visual.map.fogend
    spec.modelname = "DexMV table arena"
    spec.njmax = spec.nconmax = spec.nstack = -1


def sense_contact(spec: mujoco.MjSpec, thing: str) -> None:
    """Add the sensor that counts contacts between the hand and a body, those within the gap included."""
    spec.add_sensor(
        name=CONTACT_SENSOR,
        type=mujoco.mjtSensor.mjSENS_CONTACT,
        objtype=mujoco.mjtObj.mjOBJ_XBODY,
        objname="forearm",
        reftype=mujoco.mjtObj.mjOBJ_XBODY,
        refname=thing,
        intprm=[1 << int(mujoco.mjtConDataField.mjCONDATA_FOUND), 0, 1],
    )
