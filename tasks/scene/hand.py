"""The Adroit hand: the MJCF files of the installed gymnasium-robotics package, found, checked and loaded.

Nothing is copied: the scenes are edited in memory with ``mujoco.MjSpec``.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from ..engine import mujoco
from ..errors import AssetError

Physics = Literal["paper", "native"]

# sha256 over the names and bytes of every file of gymnasium-robotics 1.4.2's Adroit folder, in sorted order.
FILES_SHA256 = "71ae00bc6633c48d3ae19a519c7b091dc6da08d92b78301dfffdd7afd497ee42"

# MuJoCo 2 took the larger of two geoms' margins, today's takes their sum: half of the released 0.0005 m each.
PAPER_MARGIN = 0.00025
PAPER_CCD_ITERATIONS = 50


@cache
def folder() -> Path:
    """Return the folder of the hand's files; the package that holds it is found but never imported (it prints).

    Raises:
        AssetError: the package is missing, or its files are not the ones that the tasks were checked against.
    """
    package = importlib.util.find_spec("gymnasium_robotics")
    if package is None or not package.submodule_search_locations:
        raise AssetError("the Adroit hand's files are missing: pip install 'gymnasium-robotics==1.4.2'")
    found = Path(package.submodule_search_locations[0]) / "envs" / "assets" / "adroit_hand"
    digest = files_sha256(found)
    if digest != FILES_SHA256:
        raise AssetError(
            f"the Adroit hand's files in {found} differ from the known ones (sha256 {digest[:12]}, expected "
            f"{FILES_SHA256[:12]}): pip install --force-reinstall 'gymnasium-robotics==1.4.2'"
        )
    return found


def files_sha256(root: Path) -> str:
    """Return a digest of the names and contents of all files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(root).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def load_scene(file: str, physics: Physics) -> mujoco.MjSpec:
    """Return an Adroit scene as an editable specification.

    Args:
        file: name of the MJCF file, for example ``adroit_door.xml``.
        physics: ``paper`` for contacts as MuJoCo 2.1 made them, ``native`` for the engine's own.
    """
    spec = mujoco.MjSpec.from_file(str(folder() / file))
    if physics == "paper":
        for geom in spec.geoms:
            geom.margin = PAPER_MARGIN
        use_paper_collisions(spec)
    return spec


def use_paper_collisions(spec: mujoco.MjSpec) -> None:
    """Find convex contacts as MuJoCo 2.1 did: one point a pair, by the older algorithm."""
    spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_MULTICCD | mujoco.mjtDisableBit.mjDSBL_NATIVECCD
    spec.option.ccd_iterations = PAPER_CCD_ITERATIONS


@dataclass(frozen=True)
class DexMVHand:
    """Parameters that differ between the DexMV tasks' hands.

    Attributes:
        forearm: radius and half length of the forearm's collision capsule, metres.
        wrist: the same of the wrist's.
        palm_edge: whether the capsule at the palm's edge collides.
        margin: contact margin of the collision geoms, metres.
        gap: distance beyond the margin in which contacts are seen but make no force, metres.
        box_margin: contact margin of the two small boxes at the thumb's base.
        soft: whether the hand's own soft contact parameters win in each of its contacts.
    """

    forearm: tuple[float, float]
    wrist: tuple[float, float] = (0.015, 0.01)
    palm_edge: bool = False
    margin: float = 0.0
    gap: float = 0.0
    box_margin: float = 0.0
    soft: bool = False


PALM_SIZE = (0.052, 0.015, 0.06)
PALM_POSITION = (-0.008, 0.0, 0.038)
WRIST_JOINT = "WRJ0"
WRIST_ARMATURE, WRIST_DAMPING = 0.001, 0.05
BASE_BOXES = ("V_thbase", "V_thhub")
DEFAULT_FRICTION = (1.0, 0.005, 0.0001)
SOFT_PRIORITY = 10
SOFT_SOLREF = (0.02, 20.0)
SOFT_SOLIMP = (0.9, 0.95, 0.001, 0.1, 2.0)


def dexmv_hand(variant: DexMVHand) -> mujoco.MjSpec:
    """Return the hand of the DexMV tasks on its arm of six joints, without a scene, sensors or lights.

    Source: the released ``adroit_{relocate,pour,placement}.xml`` as differences to Adroit's relocate scene.
    """
    spec = mujoco.MjSpec.from_file(str(folder() / "adroit_relocate.xml"))
    for name in ("table", "vive_tracker", "Object"):
        spec.delete(spec.body(name))
    world = spec.worldbody
    for element in (*world.sites, *world.geoms, *world.cameras, *world.lights, *spec.sensors):
        spec.delete(element)
    used = {geom.material for geom in spec.geoms}
    for material in list(spec.materials):
        if material.name not in used:
            spec.delete(material)
    for texture in list(spec.textures):
        spec.delete(texture)
    spec.delete(spec.geom("C_lfmetacarpal"))
    if not variant.palm_edge:
        spec.delete(spec.geom("C_palm1"))
    wrist = spec.joint(WRIST_JOINT)
    wrist.armature, wrist.damping = WRIST_ARMATURE, [WRIST_DAMPING, 0.0, 0.0]
    palm = spec.geom("C_palm0")
    palm.size, palm.pos = PALM_SIZE, PALM_POSITION
    spec.geom("C_forearm1").size[:2] = variant.forearm
    spec.geom("C_wrist").size[:2] = variant.wrist
    for name in BASE_BOXES:
        box = spec.geom(name)
        box.friction, box.margin, box.gap = DEFAULT_FRICTION, variant.box_margin, 0.0
    for geom in spec.geoms:
        if geom.name.startswith("C_"):
            geom.margin, geom.gap = variant.margin, variant.gap
            if variant.soft:
                geom.priority, geom.solref, geom.solimp = SOFT_PRIORITY, SOFT_SOLREF, SOFT_SOLIMP
    return spec
