"""Evaluation of Stage 2: pairs, baselines, intervals; keypoints on hand and object."""

import mujoco
import numpy as np
import pytest
import torch

import tasks
from benchmark.adapt import evaluation, segments
from benchmark.adapt.frames import AdaptFrames, FrameSettings, render_videos
from benchmark.intervals import interval
from tasks.rendering.render import Renderer


def videos(lengths, size=8):
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(256, (len(lengths), max(lengths), size, size, 3), generator=generator, dtype=torch.uint8)
    return AdaptFrames(
        frames, torch.tensor(lengths), np.zeros((len(lengths), 1, 1), np.float32), list(range(len(lengths)))
    )


class Halfway:
    """A trainer that draws the mean of source and target."""

    def pixels(self, frames):
        return frames.permute(0, 3, 1, 2).float() / 255.0

    def reconstruct(self, source, target):
        images = (self.pixels(source) + self.pixels(target)) / 2.0
        return type("Reconstruction", (), {"images": images})


def test_every_held_out_video_gives_the_same_pairs_every_time():
    frames = videos([4, 6, 9])
    places = evaluation.held_out_places(frames, 5)
    assert places.shape == (3, 5, 3)
    assert places[:, :, 0].tolist() == [[0] * 5, [1] * 5, [2] * 5]
    assert (places[:, :, 1] != places[:, :, 2]).all()
    assert torch.equal(places, evaluation.held_out_places(frames, 5))


def test_psnr_of_drawing_copying_and_the_mean_image():
    frames = videos([4, 6, 9])
    blind = evaluation.mean_image(frames)
    found = evaluation.evaluate(Halfway(), frames, blind, pairs=5)
    places = evaluation.held_out_places(frames, 5)
    for video in range(3):
        for pair in range(5):
            _, one, other = places[video, pair].tolist()
            source, target = (frames.videos[video, frame].double() / 255.0 for frame in (one, other))
            wanted = [
                -10.0 * float(torch.log10(((image - target) ** 2).mean()))
                for image in ((source + target) / 2.0, source, blind.double())
            ]
            got = [row[video, pair] for row in (found.reconstruction, found.copy, found.mean)]
            assert got == pytest.approx(wanted, abs=1e-3)


def test_the_mean_image_leaves_out_what_follows_a_videos_end():
    frames = videos([2, 5])
    inside = torch.cat([frames.videos[0, :2], frames.videos[1, :5]]).double().mean(0) / 255.0
    assert torch.allclose(evaluation.mean_image(frames).double(), inside, atol=1e-6)


def test_an_interval_covers_the_mean_and_is_as_wide_as_the_textbook_says():
    values = np.random.default_rng(0).normal(3.0, 2.0, 100)
    found = interval(values)
    error = values.std() / 10.0
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


def test_differences_are_paired():
    rows = np.arange(12.0).reshape(4, 3)
    summary = evaluation.Drawings(rows + 1.0, rows, rows - 2.0).summary()
    assert summary["reconstruction_minus_copy"] == pytest.approx({"mean": 1.0, "low": 1.0, "high": 1.0})
    assert summary["reconstruction_minus_mean_image"] == pytest.approx({"mean": 3.0, "low": 3.0, "high": 3.0})


def test_hits_count_keypoints_whose_pixel_is_masked():
    masks = np.zeros((1, 8, 8), bool)
    masks[0, 2, 6] = True
    # Frames of 4 pixels over masks of 8: the middle of pixel (1, 3) lies at the corner of cells (2..3, 6..7).
    keypoints = np.array([[[0.8, 2.8], [1.0, 3.0], [2.8, 0.8]]])
    assert segments.hits(keypoints, masks, 4).tolist() == [[True, False, False]]
    outside = np.array([[[-5.0, 9.0]]])
    assert segments.hits(outside, masks, 4).tolist() == [[False]]


def test_uniform_points_hit_as_often_as_the_mask_is_large():
    generator = np.random.default_rng(0)
    masks = generator.random((2, 3, 32, 32)) < 0.3
    points = generator.uniform(-0.5, 31.5, (6, 4000, 2))
    on = segments.hits(points, masks.reshape(6, 32, 32), 32).reshape(2, 3, 4000)
    found = segments.Hits(on, masks).summary()
    assert found["uniform_points"]["mean"] == pytest.approx(masks.mean())
    assert abs(found["difference"]["mean"]) < 0.01


@pytest.mark.parametrize(
    ("name", "handled"),
    [
        ("hammer", "Object"),
        ("door", "latch"),
        ("pen", "Object"),
        ("pour", "mug"),
        ("place_inside", "banana"),
        ("relocate", "Object"),
    ],
)
def test_hand_and_handled_object_are_chosen(name, handled):
    task = tasks.make(name)
    bodies = {task.model.body(body).name for body in task.model.geom_bodyid[segments.hand_and_object(task)]}
    assert {"forearm", "palm", "thdistal", "ffdistal", handled} <= bodies
    assert not bodies & {"world", "table", "nail_board", "frame", "target", "tank", "vive_tracker"}


def test_masks_are_where_the_geoms_are_drawn():
    """Hiding hand and object changes the picture inside of the mask, and outside only by reflections."""
    task = tasks.make("relocate-foam_brick")
    task.reset([3])
    chosen = segments.hand_and_object(task)
    data = mujoco.MjData(task.model)
    task.load_data(0, data)
    with segments.Segmenter(task.model, "frontview", chosen) as segmenter:
        mask = segmenter.mask(data)
    with Renderer(task.model, "frontview") as renderer:
        whole = renderer.render(data).astype(int)
        renderer.model.geom_rgba[chosen, 3] = 0.0
        renderer.model.geom_matid[chosen] = -1
        without = renderer.render(data).astype(int)
    changed = np.abs(whole - without).max(axis=-1) > 8
    assert 0.01 < mask.mean() < 0.5
    assert changed[mask].mean() > 0.95
    assert changed[~mask].mean() < 0.02


def test_the_ball_is_found_in_its_translucent_target():
    task, model = tasks.make("relocate"), tasks.make("relocate").model
    task.reset([0])
    state = task.initial_state(0)
    task.restore([state | {"obj_pos": state["target_pos"]}])
    data, ball = mujoco.MjData(model), model.geom_bodyid == model.body("Object").id
    task.load_data(0, data)
    found = {}
    for sites in ((), task.subject.translucent):
        with segments.Segmenter(model, "vil_camera", ball, translucent=sites) as segmenter:
            found[sites] = segmenter.mask(data).sum()
    assert found[()] == 0
    assert found["target",] > 50
    assert model.site("target").rgba[3] > 0


def test_acting_again_leads_to_the_frames_of_the_video():
    settings = FrameSettings("pen", size=224, videos=2)
    frames = render_videos(settings)
    steps = segments.even_steps(frames, 3)
    assert steps[:, -1].tolist() == (frames.lengths - 1).tolist()
    found = segments.masks(settings, frames, steps)
    assert found.shape == (2, 3, 224, 224)
    assert 0.02 < found.mean() < 0.5
    # The hand is skin-coloured, the table it lies over grey and white.
    for video in range(2):
        for place, step in enumerate(steps[video]):
            image = frames.videos[video, step].numpy().astype(int)
            skin = image[..., 0] - image[..., 2] > 60
            assert skin[found[video, place]].mean() > 0.4
            assert skin[~found[video, place]].mean() < 0.02
