"""Frames for Stage 2: the expert's videos, and the pairs drawn from them."""

from collections import Counter

import numpy as np
import pytest
import torch

import tasks
from benchmark.adapt.frames import AdaptFrames, FrameSettings, render_videos, shrink
from benchmark.errors import ConfigError


def numbered(lengths, size=4):
    """Videos whose pixels say which frame of which video they are."""
    videos = torch.zeros(len(lengths), max(lengths), size, size, 3, dtype=torch.uint8)
    for video, length in enumerate(lengths):
        for frame in range(length):
            videos[video, frame] = 10 * video + frame
    return AdaptFrames(
        videos, torch.tensor(lengths), np.zeros((len(lengths), 1, 1), np.float32), list(range(len(lengths)))
    )


def test_a_pair_is_two_different_frames_of_one_video_within_its_length():
    frames = numbered([2, 5, 9])
    generator = torch.Generator().manual_seed(0)
    seen = Counter()
    for _ in range(600):
        source, target = frames.pairs(generator, 3)
        source, target = source[:, 0, 0, 0].tolist(), target[:, 0, 0, 0].tolist()
        assert sorted(value // 10 for value in source) == [0, 1, 2]
        for one, other in zip(source, target, strict=True):
            assert one // 10 == other // 10
            assert one != other
            assert other % 10 < [2, 5, 9][one // 10]
            seen[one, other] += 1
    assert len(seen) == 2 + 5 * 4 + 9 * 8
    of_the_second = [count for (one, _), count in seen.items() if one // 10 == 1]
    assert max(of_the_second) < 2 * min(of_the_second)


def test_more_pairs_than_videos_use_each_about_equally():
    places = numbered([3, 3]).draw(torch.Generator().manual_seed(0), 5)
    assert sorted(Counter(places[:, 0].tolist()).values()) == [2, 3]


def test_the_same_generator_gives_the_same_pairs():
    frames = numbered([4, 4, 4])
    first, second = (frames.draw(torch.Generator().manual_seed(7), 2) for _ in range(2))
    assert torch.equal(first, second)


def test_the_last_videos_are_held_out():
    frames = numbered([3, 4, 5])
    train, held_out = frames.split(1)
    assert train.lengths.tolist() == [3, 4]
    assert held_out.lengths.tolist() == [5]
    assert held_out.seeds == [2]
    assert train.frames == 7
    with pytest.raises(ConfigError, match="cannot be split"):
        frames.split(3)


def test_frame_limits_are_the_released_ones_within_our_horizon():
    limits = {name: FrameSettings(name).limit for name in tasks.names()}
    assert limits.pop("hammer") == 150
    assert limits.pop("door") == limits.pop("relocate") == 150
    assert limits.pop("pen") == 100
    assert limits.pop("pour") == limits.pop("place_inside") == 101
    assert set(limits.values()) == {100}
    assert len(limits) == 7


def test_cameras_are_the_tasks_or_the_released_ones():
    assert FrameSettings("relocate-sugar_box").camera_name == "sideview"
    assert FrameSettings("relocate-sugar_box", camera="released").camera_name == "backview"
    assert FrameSettings("pen", camera="released").camera_name == "vil_camera"


def test_shrunk_frames_are_means_over_pixels():
    generator = np.random.default_rng(0)
    frames = generator.integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    assert torch.equal(shrink(frames, 224), torch.from_numpy(frames))
    flat = np.full((1, 224, 224, 3), 77, np.uint8)
    assert (shrink(flat, 96) == 77).all()
    steps = np.zeros((1, 224, 224, 3), np.uint8)
    steps[:, :, 112:] = 200
    small = shrink(steps, 64)[0, 32, :, 0].tolist()
    assert small[:30] == [0] * 30
    assert small[34:] == [200] * 30


@pytest.fixture(scope="module")
def pen():
    return render_videos(FrameSettings("pen", size=64, videos=3))


def test_videos_move_and_differ(pen):
    assert pen.videos.shape == (3, 100, 64, 64, 3)
    assert pen.lengths.min() >= 2
    assert len(np.unique(pen.videos[:, 0].reshape(3, -1).numpy(), axis=0)) == 3
    first, last = pen.videos[0, 0].float(), pen.videos[0, int(pen.lengths[0]) - 1].float()
    assert (first - last).abs().mean() > 1.0
    for video, length in zip(pen.videos, pen.lengths.tolist(), strict=True):
        assert not video[length:].any()


def test_workers_render_the_same_videos(pen):
    again = render_videos(FrameSettings("pen", size=64, videos=3), workers=2)
    assert torch.equal(pen.videos, again.videos)
    assert torch.equal(pen.lengths, again.lengths)
    assert np.array_equal(pen.actions, again.actions)


def test_the_expert_explores(pen):
    from tasks import experts

    task = tasks.make("pen")
    mean = experts.shipped("pen").mean(task.reset([pen.seeds[0]]).observation)[0]
    assert np.abs(pen.actions[0, 0] - mean).max() > 1e-3


def test_every_step_is_told():
    told = []
    render_videos(FrameSettings("pen", size=64, videos=1), on_step=lambda: told.append(1))
    assert len(told) == 100
