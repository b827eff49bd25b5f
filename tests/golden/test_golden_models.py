"""The compiled scenes against what the records say of the reference's.

On the extract the DexMV scenes have the built-in objects: there, the pieces of the handled object are left out.
"""

import mujoco
import numpy as np
import pytest
from records import DEXMV, ROBOT_JOINTS, rotations


def ellipsoid(size, quaternion):
    """Half axes along the columns of a rotation, as one symmetric matrix in square metres."""
    (rotation,) = rotations(np.atleast_2d(quaternion))
    return rotation @ np.diag(np.square(size)) @ rotation.T


@pytest.fixture(scope="module")
def colliding(name, source, make, metadata):
    """The model, the numbers of its geoms that collide, and the numbers of the recorded ones, in order."""
    task, geoms = make(), metadata["geoms"]
    model = task.model
    ours = np.flatnonzero(model.geom_contype | model.geom_conaffinity)
    theirs = [number for number, geom in enumerate(geoms) if geom["contype"] or geom["conaffinity"]]
    if source == "extract" and name in DEXMV:
        body = model.body(task.subject.handled).id
        ours = [geom for geom in ours if model.geom_bodyid[geom] != body]
        theirs = [number for number in theirs if number_of_body(metadata, geoms[number]["body"]) != body]
    assert len(ours) == len(theirs) > 20
    return model, ours, theirs


def number_of_body(metadata, name):
    return metadata["bodies"].index(name) if name else None


def test_model_has_the_recorded_names_and_ranges(name, make, metadata):
    model = make().model
    named = ROBOT_JOINTS if name in DEXMV else model.njnt
    assert [model.joint(i).name for i in range(named)] == metadata["joints"][:named]
    assert [model.actuator(i).name for i in range(model.nu)] == metadata["actuators"]
    assert model.jnt_type.tolist() == metadata["joint_type"]
    assert model.jnt_qposadr.tolist() == metadata["joint_qposadr"]
    np.testing.assert_allclose(model.actuator_ctrlrange, metadata["ctrlrange"], atol=1e-12)
    np.testing.assert_allclose(model.jnt_range, metadata["joint_range"], atol=1e-12)
    for field in ("damping", "armature", "frictionloss"):
        np.testing.assert_allclose(getattr(model, f"dof_{field}"), metadata[f"dof_{field}"], atol=1e-12, err_msg=field)
    np.testing.assert_allclose(model.actuator_gainprm[:, :3], metadata["gainprm"], atol=1e-12)
    np.testing.assert_allclose(model.actuator_biasprm[:, :3], metadata["biasprm"], atol=1e-12)


def test_whatever_moves_has_the_recorded_mass(make, metadata):
    """The built-in objects have the meshes' masses and inertias."""
    model = make().model
    moves = model.body_weldid != 0
    assert len(metadata["body_mass"]) == model.nbody
    np.testing.assert_allclose(model.body_mass[moves], np.array(metadata["m317"]["body_mass"])[moves], rtol=1e-8)
    for field in ("mass", "inertia", "ipos"):
        theirs = np.array(metadata[f"body_{field}"])[moves]
        np.testing.assert_allclose(getattr(model, f"body_{field}")[moves], theirs, rtol=1e-6, atol=1e-9, err_msg=field)


def test_things_that_collide_are_the_recorded_ones(colliding, metadata):
    """In the recorded order, for it decides the order of contacts."""
    model, ours, theirs = colliding
    margins, gaps = metadata["m317"]["geom_margin"], metadata["m317"]["geom_gap"]
    for mine, number in zip(ours, theirs, strict=True):
        geom, known = model.geom(mine), metadata["geoms"][number]
        what = str(known["name"])
        assert (geom.type[0], geom.condim[0], geom.priority[0]) == tuple(
            known[key] for key in ("type", "condim", "priority")
        ), what
        assert (geom.contype[0], geom.conaffinity[0]) == (known["contype"], known["conaffinity"]), what
        for key in ("friction", "solref", "solimp"):
            np.testing.assert_allclose(getattr(geom, key), known[key], rtol=1e-9, err_msg=f"{what} {key}")
        np.testing.assert_allclose((geom.margin[0], geom.gap[0]), (margins[number], gaps[number]), atol=1e-12)
        # A mesh has the size and place of its inertia box, which the two engines compute alike but for rounding.
        mesh = geom.type[0] == mujoco.mjtGeom.mjGEOM_MESH
        np.testing.assert_allclose(geom.size, known["size"], atol=2e-6 if mesh else 1e-9, err_msg=what)
        np.testing.assert_allclose(geom.pos, known["pos"], atol=1e-8 if mesh else 1e-9, err_msg=what)
        if mesh:  # Equal edges of a box make its axes arbitrary: the ellipsoid that they span is not.
            ours_now, theirs_then = (ellipsoid(known["size"], each) for each in (geom.quat, known["quat"]))
            np.testing.assert_allclose(ours_now, theirs_then, rtol=0, atol=1e-7, err_msg=what)
        else:
            assert abs(geom.quat @ known["quat"]) == pytest.approx(1, abs=1e-9), what


def test_things_that_collide_stand_on_the_recorded_bodies(colliding, metadata):
    """Bodies have other names; their numbers are the same."""
    model, ours, theirs = colliding
    nameless = len(metadata["bodies"]) - metadata["bodies"].count(None)
    for geom, number in zip(ours, theirs, strict=True):
        known = number_of_body(metadata, metadata["geoms"][number]["body"])
        assert model.geom_bodyid[geom] == known if known is not None else model.geom_bodyid[geom] >= nameless


def test_solver_is_the_recorded_one(make, metadata):
    option = make().model.opt
    assert option.timestep == metadata["timestep"]
    for key, value in metadata["solver"].items():
        # Whether matrices are kept dense or sparse changes the speed only.
        assert getattr(option, key) == value or key == "jacobian", key


def test_policy_camera_is_the_recorded_one(make, metadata):
    task = make()
    assert task.card.camera == metadata["paper_camera"]
    (camera,) = (each for each in metadata["cameras"] if each["name"] == task.card.camera)
    ours = task.model.camera(task.card.camera)
    np.testing.assert_allclose(ours.pos, camera["pos"], atol=1e-9)
    np.testing.assert_allclose(ours.quat, camera["quat"], atol=1e-9)
    assert ours.fovy == camera["fovy"]
