"""Fusion of neighbouring frames, recomputed here step by step."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from benchmark.demonstrations.features import FusedPairs, Pairs
from benchmark.rollout.fusion import Fusion, Window

LENGTHS = [5, 1, 3]


@pytest.fixture
def features():
    return np.random.default_rng(0).standard_normal((sum(LENGTHS), 4)).astype(np.float32)


def flare(episode):
    """What CortexBench does with three frames: two differences, then the newest; the first frame stands for earlier."""
    rows = []
    for step, newest in enumerate(episode):
        before, earlier = episode[max(step - 1, 0)], episode[max(step - 2, 0)]
        rows.append([*(before - earlier), *(newest - before), *newest])
    return np.array(rows, np.float32)


def episodes(features):
    return np.split(features, np.cumsum(LENGTHS)[:-1])


def test_flare_is_two_differences_and_the_newest_frame(features):
    fusion = Fusion("flare", 3)
    found = fusion.fuse(features[fusion.windows(LENGTHS)])
    assert_array_equal(found, np.concatenate([flare(episode) for episode in episodes(features)]))
    assert found.shape[1] == fusion.length(4)


def test_concatenation_goes_from_the_oldest_frame_to_the_newest(features):
    found = Fusion("concat", 2).fuse(features[Fusion("concat", 2).windows(LENGTHS)])
    first = episodes(features)[0]
    assert_array_equal(found[0], [*first[0], *first[0]])
    assert_array_equal(found[3], [*first[2], *first[3]])
    assert_array_equal(found[LENGTHS[0]], np.tile(episodes(features)[1][0], 2))


def test_one_frame_stays_as_it_is(features):
    assert_array_equal(Fusion().fuse(features[Fusion().windows(LENGTHS)]), features)


@pytest.mark.parametrize("name", ["concat", "flare"])
def test_a_window_that_moves_sees_what_the_demonstrations_show(features, name):
    fusion, moving = Fusion(name, 3), []
    for episode in episodes(features):
        window = Window(3)
        moving += [fusion.fuse(np.stack([window.push(row)]))[0] for row in episode]
    assert_array_equal(moving, fusion.fuse(features[fusion.windows(LENGTHS)]))


def test_pairs_join_features_and_leave_the_proprioception_alone(features):
    body = np.arange(len(features) * 2, dtype=np.float32).reshape(-1, 2)
    single = Pairs(np.concatenate([features, body], axis=1), body, np.array(LENGTHS))
    pairs = FusedPairs(single, 4, Fusion("flare", 3))
    expected = np.concatenate([flare(episode) for episode in episodes(features)])
    assert pairs.observation_dim == 14
    assert_array_equal(pairs.all_observations(), np.concatenate([expected, body], axis=1))
    assert_array_equal(pairs.observations(np.array([6, 2])), pairs.all_observations()[[6, 2]])


def test_pairs_of_a_state_have_no_frames_to_join(features):
    pairs = FusedPairs(Pairs(features, features, np.array(LENGTHS)), 0, Fusion("flare", 3))
    assert pairs.observation_dim == 4
    assert_array_equal(pairs.all_observations(), features)
