"""Tokens and pixels of demonstrations: kept on disk, read by the minibatch, found again, and made anew when damaged."""

import tracemalloc

import numpy as np
import pytest

from benchmark.demonstrations import frames as kept
from benchmark.demonstrations.features import Pairs
from benchmark.demonstrations.frames import FramePairs, bytes_per_frame, demonstration_frames
from benchmark.errors import ConfigError, OutputError
from benchmark.rollout.episodes import Clock, EpisodeRule
from benchmark.rollout.fusion import Fusion
from benchmark.store.rows import RowFile, written_whole
from tasks.demonstrations.dataset import Demonstrations

RULE = EpisodeRule(goal_steps=21, time_limit_is_terminal=True)
MADE_BY = {"encoder": {"name": "rows"}}
EPISODES, STEPS, SEEN = 3, 4, 24
SHAPE = (7, 3)


class Tokens:
    """Mean colours of 7 stripes of a frame; counts the frames that it saw."""

    def __init__(self, factor=1.0):
        self.frames, self.factor = 0, factor

    def __call__(self, frames, slots):
        self.frames += len(frames)
        stripes = frames.reshape(len(frames), 7, 32, 224, 3).mean((2, 3), dtype=np.float64)
        return (stripes.reshape(len(frames), -1) * self.factor / 3).astype(np.float32)


@pytest.fixture(scope="module")
def demonstrations(demonstration_file):
    return Demonstrations.load(demonstration_file("pen", EPISODES, STEPS))


def made(demonstrations, simulators, encode, shape=SHAPE):
    return demonstration_frames(
        demonstrations,
        simulators,
        encode,
        shape,
        rule=RULE,
        made_by=MADE_BY,
        clock=Clock(),
        on_steps=lambda steps: None,
    )


def test_rows_are_those_of_the_pairs_rounded_to_float16(demonstrations, pen_with_images):
    seen = []
    encode = Tokens()

    def watched(frames, slots):
        seen.extend(encode(frames, slots))
        return encode(frames, slots)

    pairs, file = made(demonstrations, pen_with_images, watched)
    assert (len(file), file.dtype, file.shape) == (EPISODES * STEPS, np.float16, SHAPE)
    assert pairs.observations.shape == (EPISODES * STEPS, SEEN)
    rows = file.read(np.arange(len(file))).reshape(EPISODES * STEPS, -1)
    expected = np.stack(seen).reshape(STEPS, EPISODES, -1).swapaxes(0, 1).reshape(EPISODES * STEPS, -1)
    np.testing.assert_array_equal(rows, expected.astype(np.float16))


def test_they_are_found_again(demonstrations, pen_with_images, cache):
    encode = Tokens()
    first, file = made(demonstrations, pen_with_images, encode)
    again, same = made(demonstrations, pen_with_images, encode)
    assert encode.frames == EPISODES * STEPS
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(file.read(np.arange(12)), same.read(np.arange(12)))
    assert sorted(path.suffix for path in (cache / "features").iterdir()) == [".rows", ".safetensors"]


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_file_is_made_anew_and_said(demonstrations, pen_with_images, caplog, damage):
    encode = Tokens()
    _, file = made(demonstrations, pen_with_images, encode)
    whole = file.path.read_bytes()
    if damage == "gone":
        file.path.unlink()
    else:
        file.path.write_bytes(whole[:-3] if damage == "cut" else whole[:9] + bytes([whole[9] ^ 1]) + whole[10:])
    made(demonstrations, pen_with_images, encode)
    assert encode.frames == 2 * EPISODES * STEPS
    assert file.path.read_bytes() == whole
    assert str(file.path) in caplog.messages[0]
    assert caplog.messages[0].endswith("it is made anew")


def test_numbers_too_large_for_float16_are_one_line_and_leave_nothing(demonstrations, pen_with_images, cache):
    with pytest.raises(ConfigError, match=r"a token is not finite in float16; use policy\.pooling=pooled"):
        made(demonstrations, pen_with_images, Tokens(1e6))
    assert list((cache / "features").iterdir()) == []


def test_a_cache_that_cannot_be_written_is_one_line(demonstrations, pen_with_images, cache):
    cache.write_text("a file where a folder should be")
    with pytest.raises(OutputError, match="set HINDEX_BENCH_CACHE to a folder that can be written"):
        made(demonstrations, pen_with_images, Tokens())


def test_rows_of_replays_that_end_early_close_up(tmp_path):
    with written_whole(tmp_path / "rows", (2,), np.float16, 9) as file:
        for row in range(9):
            file.write(row, np.full(2, row))
        kept._close_gaps(file, [2, 3, 1], [3, 3, 3])
    rows = RowFile(tmp_path / "rows", (2,), np.float16)
    assert len(rows) == 6
    assert rows.read(np.arange(6))[:, 0].tolist() == [0, 1, 3, 4, 5, 6]
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


@pytest.mark.parametrize("history", [1, 3])
def test_a_minibatch_is_all_that_is_in_memory(tmp_path, history):
    count, shape, batch = 1000, (49, 256), 8
    rng = np.random.default_rng(0)
    with written_whole(tmp_path / "rows", shape, np.float16, count) as file:
        for row in range(count):
            file.write(row, rng.standard_normal(shape))
    everything = count * bytes_per_frame(shape)
    lengths = np.array([400, 600])
    pairs = Pairs(np.ones((count, SEEN), np.float32), np.zeros((count, 2), np.float32), lengths)
    rows_file = RowFile(tmp_path / "rows", shape, np.float16)
    fused = FramePairs(pairs, rows_file, 256, Fusion("none" if history == 1 else "concat", history))
    expected = rows_file.read(np.array([400, 400, 401]))
    tracemalloc.start()
    try:
        for rows in np.array_split(rng.permutation(count), count // batch):
            seen = fused.observations(rows)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seen.dtype == np.float32
    minibatch = batch * history * 4 * 49 * 256
    assert peak < 4 * minibatch
    assert peak < everything / 2
    begins = fused.observations(np.array([401]))
    assert begins.shape == (1, history * 49 * 256 + SEEN)
    np.testing.assert_array_equal(begins[0, :-SEEN].reshape(history, *shape), expected[-history:])
