"""What the fidelity tests share: the recorded scenes, where the records are, and how a task is set to a recorded state.

The full records lie in `shared/golden` beside the checkout. `extract/` holds some rows of them, in files of the same
names and keys, so that a clone without that folder can still check what needs no official mesh.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import mujoco
import numpy as np
import pytest

import tasks
from tasks.base import TaskState

FULL = Path(__file__).parents[3] / "shared" / "golden"
EXTRACT = Path(__file__).with_name("extract")
HAVE_FULL = (FULL / "policies.npz").exists()
SOURCES = ["full", "extract"] if HAVE_FULL else ["extract"]
full_only = pytest.mark.parametrize(
    "source",
    [pytest.param("full", marks=pytest.mark.skipif(not HAVE_FULL, reason="no shared/golden beside the checkout"))],
    indirect=True,
)
"""For tests that need what the extract leaves out."""

ADROIT = ["hammer", "door", "pen"]
RELOCATE = [name for name in tasks.names() if name.startswith("relocate-")]
OPTIONS = {
    "pour": {"tank_height": 0.08},
    "pour__sampler": {"tank_height": 0.12},
    "place_inside": {"mug_scale": 1.5},
    "place_inside__sampler": {"mug_scale": 1.7},
}
DEXMV = [*RELOCATE, *OPTIONS]
SCENES = [*ADROIT, *DEXMV]
IN_CONTACT = [name for name in SCENES if not name.endswith("__sampler")]
FIELDS = {
    "hammer": "nail_board_body_pos",
    "door": "door_frame_body_pos",
    "pen": "target_body_quat",
    **dict.fromkeys(RELOCATE, "target_body_pos"),
}
ROBOT_JOINTS = 30
INTEGRATION = mujoco.mjtState.mjSTATE_INTEGRATION


def task_name(name):
    """The task of a recorded scene."""
    return name.removesuffix("__sampler")


def load(path):
    """All arrays of a file; ``metadata`` as the object that it holds."""
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    if "metadata" in arrays:
        arrays["metadata"] = json.loads(str(arrays["metadata"]))
    return arrays


def field_of(recorded, prefix, name):
    """The randomised model field of the rows with this prefix, (n, k); k is 0 where there is none."""
    rows = len(recorded[f"{prefix}qpos"])
    return recorded[prefix + FIELDS[name]] if name in FIELDS else np.empty((rows, 0))


def simulations(recorded, prefix):
    """The recorded parts of the integration state."""
    keys = ("time", "qpos", "qvel", "qacc_warmstart")
    return {key: recorded[prefix + key] for key in keys if prefix + key in recorded}


def set_simulations(task, field, **columns):
    """Set a slot to each recorded row."""
    rows = np.empty((task.slots, mujoco.mj_stateSize(task.model, INTEGRATION)))
    data = mujoco.MjData(task.model)
    for index, row in enumerate(rows):
        for key, column in columns.items():
            setattr(data, key, column[index])
        mujoco.mj_getState(task.model, data, row, INTEGRATION)
    return task.set_state(TaskState(rows, np.zeros(task.slots, bool), field))


def step_recorded(name, make, recorded):
    """A task with one recorded transition per slot, after the step, and what the step gave."""
    task = make(slots=len(recorded["t"]))
    set_simulations(task, field_of(recorded, "state_", name), **simulations(recorded, "state_"))
    return task, task.step(recorded["action"])


def reference_stream(seed):
    """The random numbers of a reference environment after ``set_seed(seed)``: gym 0.13's RandomState of a hash."""
    return np.random.RandomState(np.frombuffer(hashlib.sha512(str(seed).encode()).digest()[:8], "<u4"))


def reference_draw(task, stream):
    """What the reference's next reset draws; its relocate draws the object's constant x too."""
    if task.card.name in RELOCATE:
        stream.uniform()
    return task.draw(stream)


def rotations(quaternions):
    """Rotation matrices (n, 3, 3) of quaternions (n, 4)."""
    matrices = np.empty((len(quaternions), 9))
    for matrix, quaternion in zip(matrices, quaternions, strict=True):
        mujoco.mju_quat2Mat(matrix, quaternion)
    return matrices.reshape(-1, 3, 3)


def within_single_precision(ours, theirs):
    """Assert that numbers agree as far as their record in float32 can tell."""
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)


def largest_differences(ours, theirs):
    """The largest absolute difference in each row, (n,)."""
    return np.abs(ours - theirs).reshape(len(ours), -1).max(axis=1)


def agreeing(ours, theirs, tolerance=1e-6):
    """The share of rows in which no number differs by more."""
    return (largest_differences(ours, theirs) <= tolerance).mean()
