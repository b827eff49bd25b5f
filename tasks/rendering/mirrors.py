"""What reflects in a scene, and what hides it: for a mirror that nobody sees MuJoCo still draws the scene twice."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..engine import mujoco

Chosen = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float32]

LARGE = 0.5
"""Radius in metres from which a thing that stands still counts as a screen: a table, not a mug that resets move."""


def mirrors(model: mujoco.MjModel, options: mujoco.MjvOption) -> Chosen:
    """Return which geoms reflect, (ngeom,): only planes and boxes do.

    Args:
        model: the scene.
        options: which groups of geoms are shown.
    """
    flat = np.isin(model.geom_type, (mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_BOX))
    shown = options.geomgroup[model.geom_group] > 0
    chosen: Chosen = flat & shown & (_of_material(model, model.mat_reflectance, 0.0) > 0.0)
    return chosen


def moves(model: mujoco.MjModel, geoms: Chosen) -> bool:
    """Return whether one of these geoms is on another body than the world."""
    return bool(model.geom_bodyid[geoms].any())


def screens(model: mujoco.MjModel) -> Chosen:
    """Return which geoms stand still, are large and cannot be looked through, (ngeom,)."""
    fixed = model.body_weldid[model.geom_bodyid] == 0
    opaque = (model.geom_rgba[:, 3] == 1.0) & (_of_material(model, model.mat_rgba[:, 3], 1.0) == 1.0)
    chosen: Chosen = fixed & (model.geom_rbound > LARGE) & opaque
    return chosen


def _of_material(model: mujoco.MjModel, values: Values, otherwise: float) -> Values:
    """Return each geom's value of its material, (ngeom,), or the other one where it has none, number -1."""
    found: Values = np.append(values, np.float32(otherwise))[model.geom_matid]
    return found
