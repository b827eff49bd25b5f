"""Figures cut from pictures and weights: strips, keypoints, backgrounds, BatchNorm's parameters."""

import numpy as np
import pandas
import pytest
import safetensors.numpy
from matplotlib.text import Text
from PIL import Image

from reports.data.batchnorm import affine_values, read_affine_values
from reports.figures import pictures
from reports.figures.adaptation import SIGMA, affine_distributions, keypoint_grid
from reports.figures.backgrounds import background_grid, background_returns
from reports.figures.tasks import task_strips


@pytest.fixture
def picture(tmp_path):
    """Write a picture of squares in a row: (name, count) -> path."""

    def write(name, count=1):
        path = tmp_path / f"{name}.png"
        shades = np.concatenate([np.full((224, 224, 3), 40 * k, np.uint8) for k in range(count)], axis=1)
        Image.fromarray(shades).save(path)
        return path

    return write


def words(figure):
    return [text.get_text() for text in figure.findobj(Text) if text.get_text().strip()]


def images(figure):
    return [image for axes in figure.axes for image in axes.images]


def test_a_strip_is_cut_into_its_frames(picture):
    found = pictures.read_picture(picture("strip", 6), 100)
    frames = pictures.strip_frames(found)
    assert [frame.shape for frame in frames] == [(100, 100, 3)] * 6
    assert [int(frame[50, 50, 0]) for frame in frames] == [0, 40, 80, 120, 160, 200]


def test_a_damaged_picture_is_none(tmp_path):
    path = tmp_path / "no.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n no picture")
    assert pictures.read_picture(path, 100) is None
    assert pictures.read_picture(tmp_path / "absent.png", 100) is None


def test_a_task_without_a_goal_says_so_and_shows_the_rest(picture):
    table = pandas.DataFrame(
        [
            {"task": "pen", "start": picture("start"), "goal": None, "strip": picture("strip", 6)},
            {"task": "door", "start": picture("start"), "goal": picture("goal"), "strip": picture("strip", 6)},
        ]
    )
    figure = task_strips(table)
    assert len(images(figure)) == 7 + 8
    assert "no\ngoal\nreached" in words(figure)
    assert [text for text in words(figure) if text in ("pen", "door")] == ["door", "pen"]


def test_keypoints_are_shared_out_among_the_tasks(picture):
    paths = tuple(picture(str(k)) for k in range(5))
    table = pandas.DataFrame([{"task": task, "title": "hindex", "keypoints": paths} for task in ("pen", "door")])
    assert len(images(keypoint_grid(table, most=6))) == 6


def test_backgrounds_have_their_names(picture):
    table = pandas.DataFrame([{"background": name, "picture": picture(name)} for name in ("1 red wood", "2 steel")])
    figure = background_grid(table)
    assert {"1 red wood", "2 steel"} <= set(words(figure))
    assert len(images(figure)) == 2


def test_returns_under_backgrounds_are_dots_at_the_numbers():
    table = pandas.DataFrame(
        [("door", "hindex", "1 red wood", 80.0), ("door", "hindex", "2 steel", 60.0), ("door", "vc1", "2 steel", 30.0)],
        columns=["task", "row", "background", "value"],
    )
    (axes,) = background_returns(table).axes
    dots = {line.get_label(): list(line.get_xdata()) for line in axes.lines if line.get_label()[0] != "_"}
    assert dots == {"hindex": [80.0, 60.0], "vc1": [30.0]}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1 red wood", "2 steel"]


def test_batchnorm_parameters_are_sorted_by_depth_and_other_tensors_left_out():
    before = {
        "trunk.bn1.weight": np.full(4, 0.3, np.float32),
        "layer1.0.bn1.weight": np.full(2, 0.2, np.float32),
        "layer4.2.downsample.1.bias": np.full(3, -0.1, np.float32),
        "layer1.0.conv1.weight": np.zeros((2, 2, 3, 3), np.float32),
        "layer1.0.bn1.running_mean": np.zeros(2, np.float32),
        "only.before.bn1.weight": np.zeros(2, np.float32),
    }
    after = {name: tensor + 1 for name, tensor in before.items() if not name.startswith("only")}
    table = affine_values(before, after)
    sizes = table.groupby(["layer", "depth", "parameter"]).size().to_dict()
    assert sizes == {
        ("bn1", "stem", "scale"): 8,
        ("layer1.0.bn1", "layer 1", "scale"): 4,
        ("layer4.2.downsample.1", "layer 4", "offset"): 6,
    }
    assert table.groupby("state")["value"].max().to_dict() == pytest.approx({"adapted": 1.3, "pretrained": 0.3})


def test_distributions_print_the_mean_and_deviation_of_the_fit(tmp_path):
    generator = np.random.default_rng(0)
    before = {"layer2.0.bn1.weight": generator.normal(0.5, 0.1, 4000), "layer2.0.bn1.bias": np.zeros(4000)}
    after = {"layer2.0.bn1.weight": generator.normal(0.7, 0.2, 4000), "layer2.0.bn1.bias": np.ones(4000)}
    for name, tensors in (("before", before), ("after", after)):
        content = safetensors.numpy.save({key: value.astype(np.float32) for key, value in tensors.items()})
        (tmp_path / f"{name}.safetensors").write_bytes(content)
    values = read_affine_values(tmp_path / "before.safetensors", tmp_path / "after.safetensors")
    figure = affine_distributions(values, note="hindex on pen")
    mean, deviation = before["layer2.0.bn1.weight"].mean(), before["layer2.0.bn1.weight"].std()
    assert f"μ {mean:.3f}\n{SIGMA} {deviation:.3f}" in words(figure)
    assert "hindex on pen" in words(figure)
    assert [axes.get_ylabel() for axes in figure.axes] == ["layer 2", ""]
