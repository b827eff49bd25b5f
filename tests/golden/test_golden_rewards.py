"""Rewards, counts and goals computed from the recorded poses alone: under random actions, and in contact."""

import numpy as np
import pytest
import records
from records import ADROIT, IN_CONTACT, OPTIONS, RELOCATE, ROBOT_JOINTS, rotations

from tasks import door, hammer, pen, place_inside, pour, relocate
from tasks.base import norm
from tasks.scene import objects


@pytest.fixture(scope="module")
def rows(folder, name):
    """Recorded steps, those under random actions and those in contact below each other."""
    kinds = ["", "__contact"] if name in IN_CONTACT else [""]
    files = [records.load(folder / f"{name}{kind}.npz") for kind in kinds]
    keys = [key for key in files[-1] if not key.startswith("reset_") and key in files[0]]
    per_step = [key for key in keys if np.ndim(files[0][key]) and len(files[0][key]) == len(files[0]["t"])]
    return {key: np.concatenate([file[key] for file in files]) for key in per_step}


@pytest.mark.parametrize("name", ADROIT, indirect=True)
def test_adroit_rewards_and_goals_from_the_recorded_poses(name, rows):
    sites = rows["x_site_xpos"].transpose(1, 0, 2)
    if name == "hammer":
        _, _, target, goal = sites
        distance = norm(target - goal)
        reward, on = hammer.sparse_reward(distance), distance < hammer.GOAL_DISTANCE
    elif name == "door":
        hinge = rows["next_qpos"][:, 28]
        reward, on = door.sparse_reward(hinge), hinge > door.GOAL_ANGLE
    else:
        _, wanted, top, bottom, target_top, target_bottom = sites
        offset = rows["x_body_xpos"][:, 0] - wanted
        cosine = np.sum((top - bottom) * (target_top - target_bottom), axis=1) / pen.PEN_LENGTH**2
        reward, on = pen.sparse_reward(norm(offset), cosine), cosine > pen.GOAL_COSINE
    np.testing.assert_allclose(reward, rows["reward"], rtol=0, atol=1e-9)
    np.testing.assert_array_equal(on, rows["goal_achieved"] > 0)


@pytest.mark.parametrize("name", RELOCATE, indirect=True)
def test_relocate_reward_from_the_recorded_poses(name, rows):
    palm, (thing, goal) = rows["x_site_xpos"][:, 0], rows["x_body_xpos"].transpose(1, 0, 2)
    height = getattr(objects, name.removeprefix("relocate-").upper()).height
    reward = relocate.relocate_reward(palm, thing, goal, rows["x_is_contact"], height)
    np.testing.assert_allclose(reward, rows["reward"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(norm(thing - goal), rows["goal_measurement"], rtol=0, atol=1e-9)
    np.testing.assert_array_equal(norm(thing - goal) <= relocate.GOAL_DISTANCE, rows["goal_achieved"] > 0)


@pytest.mark.parametrize("name", ["pour", "pour__sampler"], indirect=True)
def test_pour_counts_and_reward_from_the_recorded_poses(name, rows):
    (palm, sites), mug = rows["x_site_xpos"].transpose(1, 0, 2), rows["x_body_xpos"][:, 0]
    rotation, particles = rotations(rows["x_body_xquat"][:, 0]), rows["x_particle_xpos"]
    in_tank = pour.inside_tank(particles, OPTIONS[name]["tank_height"])
    in_mug, above = pour.inside_mug(particles, mug, rotation), pour.above_tank(particles)
    for ours, key in ((in_tank, "x_n_in_tank"), (in_mug, "x_n_in_mug"), (above, "x_n_above_tank")):
        np.testing.assert_array_equal(ours.sum(axis=1), rows[key])
    fraction, spilled = in_tank.mean(axis=1), 1.0 - (in_mug | above).mean(axis=1)
    contact = rows["x_is_contact"]
    reward = pour.pour_reward(palm, mug, rotation[:, 2, 2], sites[0], contact, fraction, spilled)
    np.testing.assert_allclose(reward, rows["reward"], rtol=0, atol=1e-9)
    np.testing.assert_array_equal(fraction, rows["goal_measurement"])


@pytest.mark.parametrize("name", ["place_inside", "place_inside__sampler"], indirect=True)
def test_place_reward_from_the_recorded_poses(name, rows):
    palm, (banana, mug) = rows["x_site_xpos"][:, 0], rows["x_body_xpos"].transpose(1, 0, 2)
    lengthwise = rotations(rows["x_body_xquat"][:, 0])[:, 2, 1]
    robot, scale = rows["next_qpos"][:, :ROBOT_JOINTS], OPTIONS[name]["mug_scale"]
    reward = place_inside.place_reward(palm, banana, mug[0], lengthwise, rows["x_is_contact"], robot, scale)
    np.testing.assert_allclose(reward, rows["reward"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(norm((banana - mug)[:, :2]), rows["goal_measurement"], rtol=0, atol=1e-9)
