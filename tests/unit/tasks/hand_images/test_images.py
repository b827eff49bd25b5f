"""Rendered hands: they repeat, they differ, and their labels are the hand's."""

import numpy as np
import pytest

from tasks.hand_images import draws
from tasks.hand_images.images import HandImages
from tasks.hand_images.scene import HAND_JOINTS, KEYPOINTS

SIZE, N = 48, 70
# Distances in the model, metres: knuckle to middle joint and on to the next, of the first finger and of the thumb.
FIRST_FINGER, THUMB = (0.045, 0.025, 0.026), (0.038, 0.032, 0.0275)


@pytest.fixture(scope="module")
def generator():
    with HandImages(7, SIZE) as made:
        yield made


@pytest.fixture(scope="module")
def batch(generator):
    return generator.batch(N)


def test_shapes_and_types(batch):
    assert batch.images.shape == (N, SIZE, SIZE, 3)
    assert batch.images.dtype == np.uint8
    assert batch.keypoints.shape == (N, len(KEYPOINTS), 3)
    assert batch.angles.shape == (N, HAND_JOINTS)
    assert batch.points.shape == (N, len(KEYPOINTS), 2)
    assert {array.dtype for array in batch[1:]} == {np.dtype(np.float32)}


def test_the_next_images_are_others_and_none_is_empty(generator, batch):
    images = np.concatenate([batch.images, generator.batch(3).images])
    assert len({image.tobytes() for image in images}) == len(images)
    assert (images.std(axis=(1, 2, 3)) > 2).mean() > 0.95


def test_the_same_seed_draws_the_same(batch):
    with HandImages(7, SIZE) as again:
        found = again.batch(N)
    for one, other in zip(batch, found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_keypoints_are_relative_to_the_wrist_and_bones_keep_their_lengths(batch):
    assert not batch.keypoints[:, 0].any()
    for finger, lengths in ((1, FIRST_FINGER), (0, THUMB)):
        joints = batch.keypoints[:, 1 + 4 * finger : 5 + 4 * finger]
        found = np.linalg.norm(np.diff(joints, axis=1), axis=-1)
        np.testing.assert_allclose(found, np.broadcast_to(lengths, found.shape), atol=1e-4)


def test_angles_are_within_the_joints_limits_and_reach_across_them(generator, batch):
    low, high = generator.joint_ranges.T
    assert (batch.angles >= low - 1e-5).all()
    assert (batch.angles <= high + 1e-5).all()
    assert (np.ptp(batch.angles, axis=0) > 0.6 * (high - low)).all()


def test_the_palm_is_in_the_picture(batch):
    middle = batch.points[:, [0, 5, 17]].mean(axis=1)
    assert ((middle > -0.1) & (middle < 1.1)).all()


def test_points_agree_with_keypoints(batch):
    """In a pinhole camera image differences are metric ones over the depth; the nearly equidistant say how deep."""
    for keypoints, points in zip(batch.keypoints, batch.points, strict=True):
        # Solve x + a = u * (z + d) for the wrist's place (a, d), once per axis, with u measured from the middle.
        u = points - 0.5
        rows = [np.stack([np.ones(21), np.zeros(21), -u[:, 0]], 1), np.stack([np.zeros(21), np.ones(21), -u[:, 1]], 1)]
        best = np.inf
        for tangent in np.tan(np.radians(np.linspace(24.0, 61.0, 75)) / 2):
            matrix = np.concatenate(rows) * (1, 1, 2 * tangent)
            target = np.concatenate([2 * tangent * u[:, k] * keypoints[:, 2] - keypoints[:, k] for k in (0, 1)])
            solution = np.linalg.lstsq(matrix, target, rcond=None)[0]
            best = min(best, np.abs(matrix @ solution - target).max())
        assert best < 2e-3


def test_no_camera_stands_in_the_forearm():
    rng = np.random.default_rng(0)
    hand = draws.draw_orientations(rng, 500)
    np.testing.assert_allclose(np.linalg.det(hand), 1.0)
    view = draws.draw_views(rng, 500, hand)
    np.testing.assert_allclose(np.linalg.det(view.rotation), 1.0)
    along = np.einsum("ni,ni->n", view.position, -hand[..., 2]).clip(0.05, 0.5)
    assert np.linalg.norm(view.position + hand[..., 2] * along[:, None], axis=1).min() > 0.08


def test_a_picture_may_be_drawn_into_given_memory(generator):
    memory = np.zeros((2, SIZE, SIZE, 3), np.uint8)
    assert generator.batch(2, memory).images is memory
    assert memory.any()
