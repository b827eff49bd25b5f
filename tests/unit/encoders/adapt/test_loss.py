"""The perceptual loss: its terms, its running means, and the two networks it may look through."""

import hashlib

import pytest
import torch
from torch import nn
from torchvision.models import vgg16
from torchvision.models.resnet import BasicBlock, ResNet

from encoders.adapt import loss as losses
from encoders.adapt import trunk as trunks
from encoders.errors import WeightsInvalid, WeightsMissing


class Halves(nn.Module):
    """Maps that a reader can compute: the image itself and twice the image."""

    def forward(self, images):
        return [images, 2.0 * images]


def test_terms_are_mean_squared_errors_of_pixels_and_maps():
    images, target = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    error = float((images - target).square().mean())
    terms = losses.PerceptualLoss(Halves(), None, 3).terms(images, target)
    assert terms.tolist() == pytest.approx([error, error, 4.0 * error], rel=1e-5)


def test_without_a_network_the_loss_is_the_pixels():
    loss = losses.perceptual_loss("none", ResNet(BasicBlock, [1, 1, 1, 1]))
    images, target = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    assert loss.terms(images, target).tolist() == pytest.approx([float((images - target).square().mean())])
    assert loss.update(torch.tensor([3.0])).tolist() == pytest.approx([1.0])


def test_running_means_move_by_a_hundredth_before_they_divide():
    loss = losses.PerceptualLoss(Halves(), (2.0, 4.0, 8.0), 3)
    quotients = loss.update(torch.tensor([3.0, 4.0, 0.0]))
    assert loss.means.tolist() == pytest.approx([2.01, 4.0, 7.92])
    assert quotients.tolist() == pytest.approx([3.0 / 2.01, 1.0, 0.0])


def test_without_known_means_they_begin_with_the_first_terms():
    loss = losses.PerceptualLoss(Halves(), None, 3)
    assert loss.update(torch.tensor([3.0, 4.0, 5.0])).tolist() == pytest.approx([1.0, 1.0, 1.0])
    loss.update(torch.tensor([4.0, 4.0, 5.0]))
    assert loss.means.tolist() == pytest.approx([3.01, 4.0, 5.0])


def test_the_gradient_does_not_pass_through_the_running_means():
    terms = torch.tensor([3.0, 4.0, 5.0], requires_grad=True)
    loss = losses.PerceptualLoss(Halves(), (2.0, 4.0, 8.0), 3)
    loss.update(terms).sum().backward()
    assert terms.grad.tolist() == pytest.approx((1.0 / loss.means).tolist())


def test_a_trunk_is_copied_frozen_and_sees_normalised_images():
    torch.manual_seed(0)
    trunk = ResNet(BasicBlock, [1, 1, 1, 1]).eval()
    frozen = losses.FrozenTrunk(trunk)
    images = torch.rand(1, 3, 64, 64)
    mean = torch.tensor((0.485, 0.456, 0.406)).view(1, 3, 1, 1)
    std = torch.tensor((0.229, 0.224, 0.225)).view(1, 3, 1, 1)
    with torch.no_grad():
        wanted = trunks.maps(trunk, (images - mean) / std)
        trunk.bn1.weight.fill_(5.0)
        found = frozen(images)
    assert len(found) == 5
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(found, wanted, strict=True))
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


def plain_vgg():
    """torchvision's convolutional part, its numbers small."""
    with torch.device("meta"):
        features = vgg16(weights=None).features
    features = features.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for parameter in features.parameters():
        torch.nn.init.normal_(parameter, std=0.03, generator=generator)
    return features


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("cache") / "weights" / "vgg16" / losses.VGG16_FILE
    path.parent.mkdir(parents=True)
    torch.save(plain_vgg().state_dict(prefix="features."), path)
    return path


def test_vgg16_is_looked_at_after_its_five_rectified_layers(vgg_file, monkeypatch):
    monkeypatch.setenv("HINDEX_BENCH_CACHE", str(vgg_file.parents[2]))
    monkeypatch.setattr(losses, "VGG16_SHA256", hashlib.sha256(vgg_file.read_bytes()).hexdigest())
    loss = losses.perceptual_loss("vgg16", nn.Identity())
    images = torch.rand(1, 3, 64, 64)
    found = loss.network(images)
    assert [tuple(one.shape[1:]) for one in found] == [
        (64, 64, 64),
        (128, 32, 32),
        (256, 16, 16),
        (512, 8, 8),
        (512, 4, 4),
    ]
    plain = plain_vgg()
    with torch.no_grad():
        for layer, one in zip((3, 8, 13, 20, 27), found, strict=True):
            assert torch.allclose(plain[: layer + 1](images), one, atol=1e-5)
    assert loss.means.tolist() == pytest.approx([0.1966, 0.8725, 3.4260, 7.4396, 4.1430, 1.1304])


def test_another_vgg16_is_refused(vgg_file, monkeypatch):
    monkeypatch.setenv("HINDEX_BENCH_CACHE", str(vgg_file.parents[2]))
    with pytest.raises(WeightsInvalid, match="sha256"):
        losses.perceptual_loss("vgg16", nn.Identity())


def test_a_missing_vgg16_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HINDEX_BENCH_CACHE", str(tmp_path))
    with pytest.raises(WeightsMissing, match=r"vgg16-397923af\.pth there"):
        losses.perceptual_loss("vgg16", nn.Identity())
