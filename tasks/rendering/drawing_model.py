"""The model that frames are drawn from: a copy of the simulated one, which stays as it is.

A software driver spends most of a frame on triangles, and 28,000 of them are the hand's. With three tenths of its faces
the hand looks the same at 224 pixels. Nothing that collides is changed: the copy, simulated, would take the same steps.
"""

from __future__ import annotations

import copy

import fast_simplification
import numpy as np
import numpy.typing as npt

from ..engine import mujoco
from .qualities import Drawing

Floats = npt.NDArray[np.floating]
Faces = npt.NDArray[np.integer]

KEPT_FACES = 0.3
FEWEST_FACES = 300
"""Meshes with fewer faces cost little, and would lose their shape."""

STACKS = 8
"""Rings along a cylinder, capsule or sphere; MuJoCo draws 16."""


def drawing_model(model: mujoco.MjModel, drawing: Drawing) -> mujoco.MjModel:
    """Return a copy of a model with the buffers and meshes of a quality; it takes the states of the original.

    Args:
        model: stays as it is.
        drawing: how the quality draws.
    """
    drawn = copy.copy(model)
    quality = drawn.vis.quality
    if drawing.shadow_map is not None:
        quality.shadowsize = min(quality.shadowsize, drawing.shadow_map)
    if not drawing.multisampling:
        quality.offsamples = 0
    if drawing.simplified:
        quality.numstacks = min(quality.numstacks, STACKS)
        for mesh in simplified_meshes(model):
            _simplify(drawn, mesh)
    return drawn


def simplified_meshes(model: mujoco.MjModel) -> list[int]:
    """Return the meshes to draw with fewer faces: large ones that nothing collides with and no picture covers."""
    uses_mesh = model.geom_type == mujoco.mjtGeom.mjGEOM_MESH
    collides = uses_mesh & ((model.geom_contype != 0) | (model.geom_conaffinity != 0))
    spared = np.zeros(model.nmesh, bool)
    spared[model.geom_dataid[collides]] = True
    spared |= (model.mesh_texcoordnum > 0) | (model.mesh_facenum < FEWEST_FACES)
    return [int(mesh) for mesh in np.flatnonzero(~spared)]


def _simplify(model: mujoco.MjModel, mesh: int) -> None:
    """Put a mesh of fewer faces in the place of one, into the first rows of its arrays."""
    vertices = _rows(model.mesh_vertadr[mesh], model.mesh_vertnum[mesh])
    faces = _rows(model.mesh_faceadr[mesh], model.mesh_facenum[mesh])
    normals = _rows(model.mesh_normaladr[mesh], model.mesh_normalnum[mesh])
    points, triangles = fast_simplification.simplify(
        model.mesh_vert[vertices], model.mesh_face[faces], target_reduction=1.0 - KEPT_FACES
    )
    if len(triangles) >= model.mesh_facenum[mesh] or len(points) > model.mesh_normalnum[mesh]:
        return
    model.mesh_vert[vertices][: len(points)] = points
    model.mesh_normal[normals][: len(points)] = vertex_normals(points, triangles)
    for corners in (model.mesh_face, model.mesh_facenormal):
        corners[faces][: len(triangles)] = triangles
    model.mesh_vertnum[mesh] = model.mesh_normalnum[mesh] = len(points)
    model.mesh_facenum[mesh] = len(triangles)
    model.mesh_graphadr[mesh] = -1  # its convex hull has the vertices of before


def vertex_normals(points: Floats, triangles: Faces) -> Floats:
    """Return unit normals, each the mean over the triangles around a point, weighted by their area.

    Args:
        points: (N, 3).
        triangles: (F, 3) indices of points, counter-clockwise from outside.

    Returns:
        (N, 3); zero for a point of no triangle.
    """
    first, second, third = np.asarray(points, float)[triangles].swapaxes(0, 1)
    twice_area = np.cross(second - first, third - first)
    sums = np.zeros((len(points), 3))
    np.add.at(sums, triangles.ravel(), np.repeat(twice_area, 3, axis=0))
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    normals: Floats = np.divide(sums, lengths, out=np.zeros_like(sums), where=lengths > 0)
    return normals


def _rows(first: int, count: int) -> slice:
    return slice(int(first), int(first + count))
