"""The Adroit hand: the MJCF files of the installed gymnasium-robotics package, found, checked and loaded.

Nothing is copied: the scenes are edited in memory with ``mujoco.MjSpec``.
"""

from __future__ import annotations

import hashlib
import importlib.util
from functools import cache
from pathlib import Path
from typing import Literal

import mujoco

from .errors import AssetError

Physics = Literal["paper", "native"]

# sha256 over the names and bytes of every file of gymnasium-robotics 1.4.2's Adroit folder, in sorted order.
FILES_SHA256 = "71ae00bc6633c48d3ae19a519c7b091dc6da08d92b78301dfffdd7afd497ee42"

# MuJoCo 2 took the larger of two geoms' margins, today's takes their sum: half of the released 0.0005 m each.
PAPER_MARGIN = 0.00025
PAPER_CCD_ITERATIONS = 50


@cache
def folder() -> Path:
    """The folder of the hand's files; the package that holds it is found but never imported (it prints).

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
    """One digest over the names and contents of all files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(root).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def load_scene(file: str, physics: Physics) -> mujoco.MjSpec:
    """An Adroit scene as an editable specification.

    Args:
        file: name of the MJCF file, for example ``adroit_door.xml``.
        physics: ``paper`` for contacts as MuJoCo 2.1 made them, ``native`` for the engine's own.
    """
    spec = mujoco.MjSpec.from_file(str(folder() / file))
    if physics == "paper":
        for geom in spec.geoms:
            geom.margin = PAPER_MARGIN
        spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_MULTICCD | mujoco.mjtDisableBit.mjDSBL_NATIVECCD
        spec.option.ccd_iterations = PAPER_CCD_ITERATIONS
    return spec
