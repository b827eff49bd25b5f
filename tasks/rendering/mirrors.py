"""What reflects in a scene, and what hides it: for a mirror that nobody sees MuJoCo still draws the scene twice."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ..engine import mujoco

Chosen = npt.NDArray[np.bool_]

LARGE = 0.5
"""Radius in metres from which a thing that stands still counts as a screen: a table, not a mug that resets move."""


def mirrors(model: mujoco.MjModel, options: mujoco.MjvOption) -> Chosen:
    """Return which geoms reflect, (ngeom,): only planes and boxes do.

    Args:
        model: the scene.
        options: which groups of geoms are shown.
    """
    flat = np.isin(model.geom_type, (mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_BOX))
    reflecting = flat & (options.geomgroup[model.geom_group] > 0) & (model.geom_matid >= 0)
    reflecting[reflecting] = model.mat_reflectance[model.geom_matid[reflecting]] > 0.0
    chosen: Chosen = reflecting
    return chosen


def moves(model: mujoco.MjModel, geoms: Chosen) -> bool:
    """Return whether one of these geoms is on another body than the world."""
    return bool(model.geom_bodyid[geoms].any())


def screens(model: mujoco.MjModel) -> Chosen:
    """Return which geoms stand still, are large and cannot be looked through, (ngeom,)."""
    material = model.geom_matid
    alpha = np.where(material < 0, model.geom_rgba[:, 3], 0.0)
    alpha[material >= 0] = model.mat_rgba[material[material >= 0], 3]
    fixed = model.body_weldid[model.geom_bodyid] == 0
    chosen: Chosen = fixed & (model.geom_rbound > LARGE) & (alpha == 1.0)
    return chosen
