"""Which geoms belong to bodies and to all that hangs on them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..engine import mujoco


def geoms_of(model: mujoco.MjModel, *bodies: str) -> NDArray[np.bool_]:
    """Return (ngeom,) whether a geom belongs to one of the bodies or to their subtrees."""
    inside = np.zeros(model.nbody, bool)
    inside[[model.body(name).id for name in bodies]] = True
    for body in range(1, model.nbody):  # parents come before children
        inside[body] |= inside[model.body_parentid[body]]
    chosen: NDArray[np.bool_] = inside[model.geom_bodyid]
    return chosen
