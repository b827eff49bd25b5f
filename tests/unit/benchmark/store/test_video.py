"""The film of an episode: readable, as long as the episode, and what its pictures show."""

import imageio.v3 as imageio
import numpy as np
import pytest

from benchmark.errors import OutputError
from benchmark.store.video import film_strip, save_film, save_video


def episode(steps):
    """Frames that grow brighter."""
    return [np.full((224, 224, 3), 20 + 10 * step, np.uint8) for step in range(steps)]


def brightness(path):
    return round(float(imageio.imread(path).mean()))


def test_a_film_has_a_frame_a_step_and_can_be_read_again(tmp_path):
    save_film(tmp_path, episode(9), np.zeros(9, bool))
    film = imageio.imread(tmp_path / "video.mp4", plugin="FFMPEG")
    assert film.shape == (9, 224, 224, 3)
    np.testing.assert_allclose(film.mean((1, 2, 3)), [frame.mean() for frame in episode(9)], atol=3)


def test_pictures_show_the_start_and_the_strip(tmp_path):
    save_film(tmp_path, episode(9), np.zeros(9, bool))
    assert sorted(path.name for path in (tmp_path / "frames").iterdir()) == ["start.png", "strip.png"]
    assert brightness(tmp_path / "frames" / "start.png") == 20
    assert imageio.imread(tmp_path / "frames" / "strip.png").shape == (224, 6 * 224, 3)


@pytest.mark.parametrize(("reached", "shown"), [(0, 1), (3, 4), (8, 8)])
def test_the_goal_picture_is_the_frame_after_the_step_that_reached_it(tmp_path, reached, shown):
    goals = np.zeros(9, bool)
    goals[reached:] = True
    save_film(tmp_path, episode(9), goals)
    assert brightness(tmp_path / "frames" / "goal.png") == 20 + 10 * shown


def test_a_film_replaces_an_earlier_one(tmp_path):
    save_film(tmp_path, episode(9), np.ones(9, bool))
    save_film(tmp_path, episode(4), np.ones(4, bool))
    assert len(imageio.imread(tmp_path / "video.mp4", plugin="FFMPEG")) == 4


def test_an_episode_of_one_step_makes_a_film(tmp_path):
    save_film(tmp_path, episode(1), np.ones(1, bool))
    assert (tmp_path / "video.mp4").stat().st_size > 0
    assert brightness(tmp_path / "frames" / "goal.png") == 20


def test_a_strip_goes_from_the_first_frame_to_the_last():
    strip = film_strip(episode(11), count=3)
    assert strip[0, ::224, 0].tolist() == [20, 70, 120]


def test_a_film_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(OutputError, match=r"^cannot write .*video\.mp4: No such file or directory"):
        save_video(tmp_path / "nowhere" / "video.mp4", episode(2))
