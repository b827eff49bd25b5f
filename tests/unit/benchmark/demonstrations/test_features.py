"""Features of demonstrations: made once, found again by all that they depend on, and made anew when damaged."""

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmark.demonstrations.features import cache_path, demonstration_pairs
from benchmark.rollout.episodes import Clock, EpisodeRule
from tasks.demonstrations.dataset import Demonstrations

RULE = EpisodeRule(goal_steps=21, time_limit_is_terminal=True)
MADE_BY = {"encoder": {"name": "colours"}, "quality": "fast", "slots": 3}
EPISODES, STEPS = 4, 3


class Colours:
    """An encoder of three features that counts how many frames it saw."""

    def __init__(self):
        self.frames = 0

    def __call__(self, frames, slots):
        self.frames += len(frames)
        return frames.mean((1, 2), dtype=np.float64).astype(np.float32)


@pytest.fixture(scope="module")
def demonstrations(demonstration_file):
    return Demonstrations.load(demonstration_file("pen", EPISODES, STEPS))


def pairs(demonstrations, simulators, encode, made_by=MADE_BY, told=None):
    options = {"rule": RULE, "made_by": made_by, "clock": Clock()}
    return demonstration_pairs(
        demonstrations, simulators, encode, on_steps=(lambda _: None) if told is None else told.append, **options
    )


def test_pairs_are_what_the_policy_will_see_beside_what_was_done(demonstrations, pen_with_images):
    made = pairs(demonstrations, pen_with_images, Colours())
    assert made.observations.shape == (EPISODES * STEPS, 3 + 24)
    assert made.observations.dtype == made.actions.dtype == np.float32
    for number, episode in enumerate(demonstrations.episodes):
        rows = slice(number * STEPS, (number + 1) * STEPS)
        np.testing.assert_array_equal(made.actions[rows], episode.actions)
        np.testing.assert_array_equal(made.observations[rows, 3:], episode.observations[:, :24])


def test_the_encoder_works_only_once(demonstrations, pen_with_images):
    encode, told = Colours(), []
    first = pairs(demonstrations, pen_with_images, encode)
    assert encode.frames == EPISODES * STEPS
    again = pairs(demonstrations, pen_with_images, encode, told=told)
    assert encode.frames == EPISODES * STEPS
    assert told == [EPISODES * STEPS]
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other, strict=True)


@pytest.mark.parametrize("change", [{"encoder": {"name": "other"}}, {"quality": "paper"}, {"slots": 2}, {"new": 1}])
def test_what_they_depend_on_names_the_file(change, demonstrations):
    assert cache_path(demonstrations, MADE_BY | change) != cache_path(demonstrations, MADE_BY)


def test_other_demonstrations_are_another_file(demonstrations):
    assert cache_path(demonstrations.first(EPISODES - 1), MADE_BY) != cache_path(demonstrations, MADE_BY)


def test_metadata_and_the_order_of_keys_do_not_matter(demonstrations):
    relabelled = Demonstrations(demonstrations.task, demonstrations.episodes, {"source": "elsewhere"})
    reordered = dict(reversed(MADE_BY.items()))
    assert cache_path(relabelled, reordered) == cache_path(demonstrations, MADE_BY)


def test_another_configuration_is_encoded_anew(demonstrations, pen_with_images):
    encode = Colours()
    pairs(demonstrations, pen_with_images, encode)
    pairs(demonstrations, pen_with_images, encode, MADE_BY | {"quality": "paper"})
    assert encode.frames == 2 * EPISODES * STEPS


@pytest.mark.parametrize("damage", ["empty", "truncated", "garbage", "another kind"])
def test_a_damaged_file_is_made_anew(damage, demonstrations, pen_with_images):
    encode = Colours()
    expected = pairs(demonstrations, pen_with_images, encode)
    path = cache_path(demonstrations, MADE_BY)
    whole = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "truncated": whole[:-5],
            "garbage": b"\x07" * len(whole),
            "another kind": whole.replace(b"observations", b"observatories"[:12]),
        }[damage]
    )
    found = pairs(demonstrations, pen_with_images, encode)
    assert encode.frames == 2 * EPISODES * STEPS
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)
    assert path.read_bytes() == whole


def test_state_observations_are_not_cached(demonstrations, pen_without_images, cache):
    made = pairs(demonstrations, pen_without_images, None)
    expected = np.concatenate([episode.observations for episode in demonstrations.episodes])
    np.testing.assert_array_equal(made.observations, expected)
    assert not cache.exists()


def test_nothing_but_the_file_is_left_in_the_cache(demonstrations, pen_with_images, cache):
    pairs(demonstrations, pen_with_images, Colours())
    assert [path.suffix for path in (cache / "features").iterdir()] == [".safetensors"]


def test_a_cache_that_cannot_be_written_ends_nothing_and_is_said_once(demonstrations, pen_with_images, cache, caplog):
    cache.write_text("a file where a folder should be")
    encode = Colours()
    expected = pairs(demonstrations, pen_with_images, encode)
    found = pairs(demonstrations, pen_with_images, encode)
    assert encode.frames == 2 * EPISODES * STEPS
    np.testing.assert_array_equal(expected.observations, found.observations)
    (line,) = caplog.messages
    assert line.startswith("nothing is cached, which costs only time: cannot write ")
    assert "set HINDEX_BENCH_CACHE" in line


@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_changes_no_feature(place, bit, demonstrations, pen_with_images, cache):
    expected = pairs(demonstrations, pen_with_images, Colours())
    path = cache_path(demonstrations, MADE_BY)
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    path.write_bytes(content)
    found = pairs(demonstrations, pen_with_images, Colours())
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other, strict=True)


def test_a_damaged_file_is_said_in_one_line(demonstrations, pen_with_images, caplog):
    pairs(demonstrations, pen_with_images, Colours())
    path = cache_path(demonstrations, MADE_BY)
    path.write_bytes(path.read_bytes()[:-5])
    pairs(demonstrations, pen_with_images, Colours())
    assert caplog.messages == [f"{path} is damaged (its content is not what was written); it is made anew"]


def test_a_file_of_before_digests_is_found_and_gets_one(demonstrations, pen_with_images, caplog):
    made = pairs(demonstrations, pen_with_images, Colours())
    path = cache_path(demonstrations, MADE_BY)
    sealed = path.read_bytes()
    path.write_bytes(safetensors.numpy.save(made._asdict()))
    encode = Colours()
    found = pairs(demonstrations, pen_with_images, encode)
    assert encode.frames == 0
    np.testing.assert_array_equal(found.observations, made.observations)
    assert path.read_bytes() == sealed
    assert caplog.messages == []


@pytest.mark.parametrize("damage", ["other actions", "not finite", "too many rows", "another type"])
def test_a_file_of_before_digests_that_cannot_be_right_is_made_anew(damage, demonstrations, pen_with_images):
    made = pairs(demonstrations, pen_with_images, Colours())
    observations, actions = made.observations.copy(), made.actions.copy()
    if damage == "other actions":
        actions[2, 3] += 1e-3
    elif damage == "not finite":
        observations[0, 0] = np.nan
    elif damage == "too many rows":
        observations, actions = np.concatenate([observations] * 2), np.concatenate([actions] * 2)
    else:
        observations = observations.astype(np.float64)
    path = cache_path(demonstrations, MADE_BY)
    path.write_bytes(safetensors.numpy.save({"observations": observations, "actions": actions}))
    found = pairs(demonstrations, pen_with_images, Colours())
    np.testing.assert_array_equal(found.observations, made.observations, strict=True)
    np.testing.assert_array_equal(found.actions, made.actions, strict=True)
