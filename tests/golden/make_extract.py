"""Write the extract of the full records that ships with the tests: `python tests/golden/make_extract.py`.

It takes rows as they are, in files of the same names and keys; nothing is computed or rounded. Left out are the
authors' policies and their scores, demonstrations, pictures, and whatever a test could use only with official meshes.
"""

import io
import json
import zipfile

import numpy as np
import records

RANDOM_ROWS = {True: 6, False: 4}
CONTACT_ROWS = {True: 10, False: 8}
"""Of an Adroit scene, and of another one."""

NOT_READ = ("next_obs", "next_qvel", "init_qacc", "init_time", "init_x", "reset_", "episode_kind", "episode_seed")
"""How keys begin that are left out of all files."""

NEEDS_MESHES = ("m317_next_qvel", "m317_next_obs", "m317_reward", "m317_done", "m317_goal")
"""How keys begin that are left out of DexMV's files."""

IN_CONTACT = ("x_", "next_qpos", "reward", "goal", "episode", "t")
"""How keys begin that stay in DexMV's files of steps in contact: what rewards are made of, and the rewards."""

METADATA = (
    *("joints", "actuators", "bodies", "joint_type", "joint_qposadr", "joint_range", "ctrlrange", "gainprm", "biasprm"),
    *("dof_damping", "dof_armature", "dof_frictionloss", "body_mass", "body_inertia", "body_ipos", "geoms", "m317"),
    *("timestep", "solver", "cameras", "paper_camera"),
)
"""What the tests of models read; of geoms that do not collide, only that they do not."""

WITH_VALUES = ("baseline_params",)
"""What only the value network's own test needs."""

EPOCH = (1980, 1, 1, 0, 0, 0)


def rows_of(arrays, count, wanted):
    """As many row numbers, evenly among the wanted ones, in order."""
    candidates = np.flatnonzero(wanted)
    return np.unique(candidates[np.linspace(0, len(candidates) - 1, min(count, len(candidates))).astype(int)])


def transitions(name, adroit):
    """Some steps under random actions, in which a DexMV hand touches nothing, with all resets and the metadata."""
    arrays = load(f"{name}.npz")
    free = np.ones(len(arrays["t"]), bool) if adroit else arrays["x_is_contact"] == 0
    keep = {key: array for key, array in arrays.items() if not key.startswith(NOT_READ)}
    keep = {key: array for key, array in keep.items() if adroit or not key.startswith(NEEDS_MESHES)}
    keep["metadata"] = np.array(json.dumps(described(json.loads(str(keep["metadata"]))), separators=(",", ":")))
    return chosen(keep, rows_of(arrays, RANDOM_ROWS[adroit], free))


def contacts(name, adroit):
    """Some steps of the authors' policy."""
    arrays = load(f"{name}__contact.npz")
    keep = {key: array for key, array in arrays.items() if key != "metadata" and not key.startswith(NOT_READ)}
    keep = {key: array for key, array in keep.items() if adroit or key.startswith(IN_CONTACT)}
    return chosen(keep, rows_of(arrays, CONTACT_ROWS[adroit], np.ones(len(arrays["t"]), bool)))


def described(metadata):
    """The metadata that the tests read."""
    keep = {key: metadata[key] for key in METADATA}
    collides = [geom["contype"] or geom["conaffinity"] for geom in keep["geoms"]]
    quiet = {"contype": 0, "conaffinity": 0}
    return keep | {"geoms": [geom if on else quiet for geom, on in zip(keep["geoms"], collides, strict=True)]}


def chosen(arrays, rows):
    """The same with these rows alone of whatever has a row per step."""
    steps = len(arrays["t"])
    per_step = {key for key, array in arrays.items() if array.ndim and len(array) == steps}
    return {key: array[rows] if key in per_step else array for key, array in arrays.items()}


def load(file):
    """All arrays of a file of the full records."""
    with np.load(records.FULL / file, allow_pickle=False) as content:
        return dict(content)


def save(file, arrays):
    """Write arrays as `numpy.savez_compressed` does, with fixed times, so that the same arrays give the same bytes."""
    with zipfile.ZipFile(records.EXTRACT / file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for key, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{key}.npy", EPOCH), buffer.getvalue(), zipfile.ZIP_DEFLATED)


def extract():
    """All files of the extract by their names."""
    files = {f"{name}.npz": transitions(name, name in records.ADROIT) for name in records.SCENES}
    files |= {f"{name}__contact.npz": contacts(name, name in records.ADROIT) for name in records.IN_CONTACT}
    update = load("dapg_update.npz")
    return files | {"dapg_update.npz": {key: array for key, array in update.items() if key not in WITH_VALUES}}


if __name__ == "__main__":
    records.EXTRACT.mkdir(exist_ok=True)
    for file, arrays in extract().items():
        save(file, arrays)
