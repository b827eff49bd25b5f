"""The keypoint model: its parts are the authors', its keypoints what the equations say, their files load."""

import math

import pytest
import torch
from torch import nn
from torchvision.models import resnet50

from encoders.adapt import files, keypoints
from encoders.adapt.model import KeypointModel
from encoders.adapt.start import calibrate, draw_heads
from encoders.errors import WeightsInvalid


@pytest.fixture(scope="module")
def model():
    return keypoint_model()


def keypoint_model():
    torch.manual_seed(0)
    trunk = resnet50(weights=None)
    trunk.fc = nn.Identity()
    return KeypointModel(trunk).eval()


def numbers(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_every_part_has_the_authors_number_of_parameters(model):
    pose = model.pose_net
    assert numbers(pose.trunk) == 23_508_032
    assert numbers(pose.deconv_layers) == 10_487_296
    assert numbers(pose.final_layer_unsup) == 7_710
    assert numbers(pose.sup_query) == 3_328
    assert numbers(pose.mh_attn) == 1_053_952
    assert numbers(pose.sup_weight) == 7_710
    assert numbers(model.image_encoder) == 1_177_056
    assert numbers(model.pose_encoder) == 1_219_392
    assert numbers(model.image_renderer) == 2_352_867
    assert numbers(model) == 39_817_343


def test_its_state_has_as_many_tensors_as_the_authors_files(model):
    parts = {"pose_net": 361, "image_encoder": 48, "pose_encoder": 48, "image_renderer": 50}
    for part, count in parts.items():
        assert sum(name.startswith(f"{part}.") for name in model.state_dict()) == count
    assert len(model.state_dict()) == 507
    batchnorms = [name for name, layer in model.named_modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(batchnorms) == 80
    assert sum(name.startswith("pose_net.") for name in batchnorms) == 56


@pytest.mark.parametrize("size", [64, 96])
def test_it_draws_images_of_the_size_that_it_sees(model, size):
    with torch.no_grad():
        drawn = model(torch.rand(1, 3, size, size), torch.rand(1, 3, size, size))
    assert drawn.images.shape == (1, 3, size, size)
    assert drawn.heat.shape == (1, 30, size // 4, size // 4)
    assert drawn.keypoints.shape == (1, 30, 2)
    assert drawn.keypoints.min() >= 0
    assert drawn.keypoints.max() <= size // 4 - 1


def test_keypoints_are_expected_rows_and_columns_of_sums():
    heat = torch.randn(2, 3, 5, 7, generator=torch.Generator().manual_seed(1))
    found = keypoints.soft_keypoints(heat)
    for n in range(2):
        for k in range(3):
            rows = [math.exp(float(heat[n, k, y].sum())) for y in range(5)]
            columns = [math.exp(float(heat[n, k, :, x].sum())) for x in range(7)]
            row = sum(y * weight for y, weight in enumerate(rows)) / sum(rows)
            column = sum(x * weight for x, weight in enumerate(columns)) / sum(columns)
            assert found[n, k].tolist() == pytest.approx([row, column], rel=1e-5)


def test_a_keypoint_is_a_bump_of_height_one_and_sigma_two():
    bumps = keypoints.gaussians(torch.tensor([[[3.0, 5.5]]]), 8, 10)
    assert bumps.shape == (1, 1, 8, 10)
    for y in range(8):
        for x in range(10):
            wanted = math.exp(-((y - 3.0) ** 2 + (x - 5.5) ** 2) / (2 * 2.0**2))
            assert float(bumps[0, 0, y, x]) == pytest.approx(wanted, rel=1e-5)


def test_positions_in_pixels_are_those_of_the_upsampled_bump():
    middle = torch.tensor([[[6.0, 9.0]]])
    bump = keypoints.upsample(keypoints.gaussians(middle, 16, 16))[0, 0]
    row, column = keypoints.pixel_positions(middle)[0, 0].tolist()
    grid = torch.arange(64.0)
    assert float((bump.sum(1) * grid).sum() / bump.sum()) == pytest.approx(row, abs=0.05)
    assert float((bump.sum(0) * grid).sum() / bump.sum()) == pytest.approx(column, abs=0.05)


def official(state, prefix):
    return {f"{prefix}{name.replace('pose_net.trunk.', 'pose_net.')}": tensor for name, tensor in state.items()}


def shifted(model):
    return {name: tensor + 1.0 if tensor.is_floating_point() else tensor for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("prefix", ["module.", ""])
@pytest.mark.parametrize("counters", [True, False])
def test_the_authors_files_load_whole(model, tmp_path, prefix, counters):
    wanted = shifted(model)
    content = official(wanted, prefix)
    if not counters:
        content = {name: value for name, value in content.items() if not name.endswith("num_batches_tracked")}
    assert len(content) == (507 if counters else 427)
    torch.save(content, tmp_path / "adapted.pth")
    files.load_model(model, tmp_path / "adapted.pth")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, wanted[name] if counters or tensor.ndim else torch.zeros_like(tensor)), name


def test_the_heads_alone_leave_the_trunk_as_it_is(model, tmp_path):
    wanted, before = shifted(model), {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.save(official(wanted, ""), tmp_path / "penn_joint.pth")
    files.load_heads(model, tmp_path / "penn_joint.pth")
    for name, tensor in model.state_dict().items():
        right = before if name.startswith("pose_net.trunk.") else wanted
        assert torch.equal(tensor, right[name]), name


def test_the_supervised_head_has_the_authors_names_and_our_earlier_ones_are_read(model, tmp_path):
    wanted = official(shifted(model), "")
    head = {name for name in wanted if name.startswith("pose_net.mh_attn.")}
    assert len(head) == 20
    assert {"pose_net.mh_attn.decoder.layers.0.norm1.weight", "pose_net.mh_attn.decoder.norm.bias"} <= head
    earlier = {name.replace(".decoder.", "."): tensor for name, tensor in wanted.items()}
    for content in (wanted, earlier):
        draw_heads(model, 1)
        torch.save(content, tmp_path / "penn_joint.pth")
        files.load_heads(model, tmp_path / "penn_joint.pth")
        found = official(model.state_dict(), "")
        assert all(torch.equal(found[name], wanted[name]) for name in head)


@pytest.mark.parametrize(
    "lost", ["image_renderer.layer4.6.weight", "pose_net.mh_attn.decoder.norm.bias", "pose_net.bn1.weight"]
)
def test_a_file_without_one_tensor_is_refused(model, tmp_path, lost):
    content = official(model.state_dict(), "module.")
    del content[f"module.{lost}"]
    torch.save(content, tmp_path / "adapted.pth")
    with pytest.raises(WeightsInvalid, match="1 missing"):
        files.load_model(model, tmp_path / "adapted.pth")


def test_heads_are_the_same_every_time_and_leave_the_trunk(model):
    trunk = {name: tensor.clone() for name, tensor in model.pose_net.trunk.state_dict().items()}
    draw_heads(model, 3)
    first = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    draw_heads(model, 4)
    assert not torch.equal(first["image_encoder.layer1.0.weight"], model.image_encoder.layer1[0].weight)
    draw_heads(model, 3)
    for name, parameter in model.named_parameters():
        assert torch.equal(first[name], parameter), name
    for name, tensor in model.pose_net.trunk.state_dict().items():
        assert torch.equal(trunk[name], tensor)


def test_calibrated_heads_normalise_the_batch_they_saw():
    model = keypoint_model()
    generator = torch.Generator().manual_seed(2)
    source, target = torch.rand(4, 3, 64, 64, generator=generator), torch.rand(4, 3, 64, 64, generator=generator)
    draw_heads(model, 0)
    calibrate(model, source, target)
    maps = []
    layer = model.image_renderer.layer2[1]
    hook = layer.register_forward_hook(lambda module, inputs, output: maps.append(output.clone()))
    with torch.no_grad():
        drawn = model(source, target)
    hook.remove()
    assert maps[0].mean(dim=(0, 2, 3)).abs().max() < 1e-4
    assert (maps[0].std(dim=(0, 2, 3)) - 1).abs().max() < 1e-2
    assert (drawn.images.mean(dim=(0, 2, 3)) - target.mean(dim=(0, 2, 3))).abs().max() < 1e-4
    spread = torch.stack([drawn.heat.sum(dim=dim).std(dim=-1).mean() for dim in (2, 3)]).mean()
    assert float(spread) == pytest.approx(2.0, rel=1e-3)
