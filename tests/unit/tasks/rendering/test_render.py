"""Frames: what they show, that they repeat, and what is refused."""

import os
from pathlib import Path

import mujoco
import numpy as np
import pytest

import tasks
from tasks.errors import RenderError
from tasks.rendering.drawing_model import drawing_model
from tasks.rendering.qualities import DRAWINGS
from tasks.rendering.render import CROP, RENDERED, Renderer, check_distinct, crop_angle

NAMES = ["hammer", "door", "pen", "pour", "relocate-mug"]
SHAPE = (CROP, CROP, 3)


@pytest.fixture(scope="module")
def made():
    """Each task with three slots and a renderer of its own, of fast quality."""
    pairs = {name: (tasks.make(name, slots=3), renderer_of(tasks.make(name))) for name in NAMES}
    yield pairs
    for _, renderer in pairs.values():
        renderer.close()


def renderer_of(task, quality="fast"):
    return Renderer(task.model, task.card.camera, quality)


def frames_of(task, renderer):
    data, frames = mujoco.MjData(task.model), []
    for slot in range(task.slots):
        task.load_data(slot, data)
        frames.append(renderer.render(data))
    return np.stack(frames)


def moved(task, steps=6, seed=0):
    for actions in np.random.default_rng(seed).uniform(-1, 1, (steps, task.slots, task.card.action_dim)):
        task.step(actions)


def differing(left, right, levels=0):
    """The share of pixels in which a colour differs by more than so many levels."""
    return (np.abs(left.astype(int) - right.astype(int)) > levels).any(axis=-1).mean()


# What is shown.


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("quality", list(DRAWINGS))
def test_shape_and_type(name, quality):
    task = tasks.make(name)
    with renderer_of(task, quality) as renderer:
        (frame,) = frames_of(task, renderer)
        assert renderer.device.name
    assert (frame.shape, frame.dtype) == (SHAPE, np.uint8)
    assert frame.std() > 10


@pytest.mark.parametrize("name", NAMES)
def test_different_seeds_show_different_frames(made, name):
    task, renderer = made[name]
    task.reset([1, 2, 1])
    first, second, third = frames_of(task, renderer)
    assert differing(first, second) > 0.001
    np.testing.assert_array_equal(first, third)
    check_distinct(np.stack([first, second]))
    with pytest.raises(RenderError, match="environments 0 and 2 "):
        check_distinct(np.stack([first, second, third]))


@pytest.mark.parametrize("name", NAMES)
def test_motion_is_seen(made, name):
    task, renderer = made[name]
    task.reset([1, 2, 3])
    before = frames_of(task, renderer)
    moved(task)
    after = frames_of(task, renderer)
    for left, right in zip(before, after, strict=True):
        assert differing(left, right) > 0.001


def test_frames_are_upright(made):
    """The door scene from above, up along -y: the hand reaches in from the upper edge, the door stands below."""
    task, renderer = made["door"]
    task.reset([1, 2, 3])
    hand_colour = np.array([0.9, 0.7, 0.5])
    frame = frames_of(task, renderer)[0] / 255
    skin = np.abs(frame / frame.max(axis=-1, keepdims=True).clip(0.05) - hand_colour / 0.9).max(axis=-1) < 0.12
    rows = np.flatnonzero(skin.any(axis=1))
    assert skin[: CROP // 2].sum() > 4 * skin[CROP // 2 :].sum()
    assert len(rows) > 20


def test_qualities_differ_by_the_shadows(made):
    task, renderer = made["door"]
    with renderer_of(task, "paper") as paper:
        assert differing(frames_of(task, renderer), frames_of(task, paper), levels=10) > 0.01


@pytest.mark.parametrize("name", NAMES)
def test_the_narrow_frustum_shows_the_centre_of_the_whole_image(made, name):
    """Fast quality draws the centre alone: as if 256 x 256 were drawn of the same meshes, and cut."""
    task, renderer = made[name]
    task.reset([3, 4, 5])
    moved(task)
    same = drawing_model(task.model, DRAWINGS["fast"])
    with Renderer(same, task.card.camera, "paper") as whole:
        assert differing(frames_of(task, renderer), frames_of(task, whole), levels=2) <= 0.001


def test_crop_angle_is_that_of_the_central_rows():
    assert crop_angle(90) == pytest.approx(np.degrees(2 * np.arctan(CROP / RENDERED)))


# Repetition.


@pytest.mark.parametrize("quality", list(DRAWINGS))
@pytest.mark.parametrize("name", NAMES)
def test_a_state_returned_to_shows_the_same_frame_bit_for_bit(name, quality):
    task = tasks.make(name, slots=3)
    with renderer_of(task, quality) as renderer:
        for steps in (0, 5):
            task.reset([1, 2, 3])
            moved(task, steps)
            expected, state = frames_of(task, renderer), task.get_state()
            task.reset([7, 8, 9])
            moved(task, 4, seed=1)
            assert not np.array_equal(frames_of(task, renderer), expected)
            task.set_state(state)
            np.testing.assert_array_equal(frames_of(task, renderer), expected)


def test_a_state_shows_the_same_frame_in_another_slot_and_task(made):
    task, renderer = made["pen"]
    task.reset([1, 2, 3])
    moved(task)
    expected, state = frames_of(task, renderer)[:2], task.get_state([0, 1])
    task.set_state(state, [1, 2])
    np.testing.assert_array_equal(frames_of(task, renderer)[1:], expected)
    other = tasks.make("pen", slots=2)
    other.set_state(state)
    with renderer_of(other) as fresh:
        np.testing.assert_array_equal(frames_of(other, fresh), expected)


def test_renderers_alive_at_once_do_not_mix(made):
    alone = {name: frames_of(task, renderer) for name, (task, renderer) in made.items()}
    data = {name: mujoco.MjData(task.model) for name, (task, _) in made.items()}
    for slot in range(3):
        for name, (task, renderer) in made.items():
            task.load_data(slot, data[name])
            np.testing.assert_array_equal(renderer.render(data[name]), alone[name][slot])


def test_frames_are_written_where_asked(made):
    task, renderer = made["door"]
    data = mujoco.MjData(task.model)
    task.load_data(0, data)
    frames = np.zeros((2, *SHAPE), np.uint8)
    assert renderer.render(data, frames[1]) is not None
    np.testing.assert_array_equal(frames[1], renderer.render(data))
    assert not frames[0].any()


def test_returned_frames_are_not_written_again(made):
    task, renderer = made["door"]
    task.reset([1, 2, 3])
    first, second, _ = frames = frames_of(task, renderer)
    data = mujoco.MjData(task.model)
    task.load_data(0, data)
    kept = renderer.render(data)
    task.load_data(1, data)
    renderer.render(data)
    np.testing.assert_array_equal(kept, first)
    assert not np.array_equal(frames[0], second)


def test_contexts_are_released_and_made_many_times(made):
    """One that stays takes about 100 MB with a software driver."""
    task, renderer = made["pen"]
    task.reset([1, 2, 3])
    expected, used = frames_of(task, renderer), []
    data = mujoco.MjData(task.model)
    task.load_data(0, data)
    for _ in range(5):
        with renderer_of(task, "paper") as another:
            another.render(data)
        used.append(memory())
    assert used[-1] - used[1] < 150e6
    np.testing.assert_array_equal(frames_of(task, renderer), expected)


def memory():
    """Bytes that the process holds; 0 where that is not to be had."""
    file = Path("/proc/self/statm")
    return int(file.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if file.exists() else 0


# What is refused.


def test_unknown_quality():
    task = tasks.make("door")
    with pytest.raises(RenderError, match="quality is 'paper', 'shadows' or 'fast', got 'best'") as refusal:
        Renderer(task.model, task.card.camera, "best")
    assert "\n" not in str(refusal.value)


def test_black_frames_are_refused():
    """Nothing stands before this camera."""
    camera = "<mujoco><worldbody><camera name='void' pos='0 0 1'/><geom size='.1' pos='0 0 2'/></worldbody></mujoco>"
    model = mujoco.MjModel.from_xml_string(camera)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    with Renderer(model, "void") as renderer, pytest.raises(RenderError, match="black frame"):
        renderer.render(data)


def test_a_single_frame_is_distinct():
    check_distinct(np.zeros((1, *SHAPE), np.uint8))
    check_distinct(np.zeros((0, *SHAPE), np.uint8))


def test_a_renderer_leaves_the_model_as_it_was():
    task = tasks.make("door")
    data = mujoco.MjData(task.model)
    task.load_data(0, data)
    frames = []
    for _ in range(2):
        with Renderer(task.model, "top", "fast") as renderer:
            frames.append(renderer.render(data))
    np.testing.assert_array_equal(*frames)


def test_an_unknown_camera_is_one_line():
    with pytest.raises(RenderError, match="unknown camera 'tip'; available: fixed, vil_camera, top"):
        Renderer(tasks.make("hammer").model, "tip")
