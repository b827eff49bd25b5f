"""CortexBench's pickles, which hold images: what is imported, and how frames of another scene are told."""

import pickle

import numpy as np
import pytest

import tasks
from benchmark.demonstrations.first_frames import LARGEST, distance
from benchmark.demonstrations.imports import import_to_cache
from benchmark.demonstrations.sources import imported_path
from benchmark.rollout.simulators import Simulators
from benchmark.rollout.slots import SceneSettings
from tasks import experts
from tasks.demonstrations.dataset import Demonstrations
from tasks.demonstrations.rollout import collect

STEPS, EPISODES = 4, 2


@pytest.fixture(scope="module")
def pen():
    task = tasks.make("pen", slots=EPISODES)
    return collect(task, experts.shipped("pen"), episodes=EPISODES, first_seed=0, horizon=STEPS, successful_only=False)


@pytest.fixture(scope="module")
def images(pen):
    """Every step of every episode, (EPISODES, STEPS, 256, 256, 3): the crop that we see, with a border."""
    with Simulators(SceneSettings("pen", slots=EPISODES, quality="paper")) as simulators:
        simulators.begin(range(EPISODES), [episode.initial_state for episode in pen.episodes])
        frames = [simulators.frames.copy()]
        for step in range(STEPS - 1):
            actions = np.stack([episode.actions[step] for episode in pen.episodes])
            simulators.step(range(EPISODES), actions, range(EPISODES))
            frames.append(simulators.frames.copy())
    return np.pad(np.stack(frames, 1), [(0, 0), (0, 0), (16, 16), (16, 16), (0, 0)])


@pytest.fixture
def written(tmp_path, pen, images):
    """Write a file in CortexBench's layout: (the paths' images) -> path."""

    def write(shown=images):
        paths = [
            {
                "images": shown[number],
                "actions": episode.actions.astype(np.float64),
                "rewards": np.array(episode.rewards),
                "env_infos": {"proprio": episode.observations[:, :24].astype(np.float64)},
                "init_state_dict": dict(episode.initial_state),
            }
            for number, episode in enumerate(pen.episodes)
        ]
        path = tmp_path / "pen-v0.pickle"
        path.write_bytes(pickle.dumps(paths))
        return path

    return write


def test_a_file_with_images_is_imported_and_replayed(written, pen, cache):
    line = import_to_cache(written(), "pen", EPISODES)
    assert line == f"{imported_path('pen')}: 2 episodes of pen, 0% successful when replayed here"
    stored = Demonstrations.load(imported_path("pen"))
    assert stored.metadata["source"] == "CortexBench file"
    for one, other in zip(stored.episodes, pen.episodes, strict=True):
        np.testing.assert_array_equal(one.actions, other.actions)
        np.testing.assert_allclose(one.observations, other.observations, atol=1e-6)


def test_a_path_whose_first_frame_is_of_another_scene_is_told(written, images, cache):
    shown = images.copy()
    shown[1] = images[1, :, ::-1]  # upside down
    line = import_to_cache(written(shown), "pen", EPISODES)
    assert "; the first frames of 1 of 2 are unlike a render of their initial states here (mean difference 0." in line
    assert "in demonstration 1" in line
    assert line.endswith("another camera or scene?")
    assert "\n" not in line


def test_what_is_no_image_is_told(written, images, cache):
    assert "the first frames of 2 of 2 are unlike" in import_to_cache(written(images[..., :1]), "pen", EPISODES)


def test_a_distance_is_that_of_blocks_of_the_centre():
    own = np.full((224, 224, 3), 100, np.uint8)
    whole = np.zeros((256, 256, 3), np.uint8)
    whole[16:-16, 16:-16] = 100
    assert distance(whole, own) == 0
    assert distance(whole + np.uint8(51), own) == pytest.approx(0.2)
    assert distance(np.full((128, 128, 3), 100, np.uint8), own) == 0
    chequered = whole.copy()
    chequered[::2, ::2] += 8
    chequered[1::2, 1::2] -= np.where(whole[1::2, 1::2] > 8, 8, 0).astype(np.uint8)
    assert distance(chequered, own) < 0.01


@pytest.mark.parametrize("quality", ["fast", "shadows"])
def test_ways_of_drawing_one_scene_are_nearer_than_the_limit(images, pen, quality):
    with Simulators(SceneSettings("pen", slots=EPISODES, quality=quality)) as simulators:
        simulators.begin(range(EPISODES), [episode.initial_state for episode in pen.episodes])
        for frame, shown in zip(simulators.frames, images[:, 0], strict=True):
            assert distance(shown, frame) < LARGEST
