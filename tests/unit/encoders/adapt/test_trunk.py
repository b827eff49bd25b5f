"""Which encoders Stage 2 adapts, and where it looks for their maps."""

import pytest
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from encoders import Encoder
from encoders.adapt import trunk as trunks
from encoders.adapt.model import KeypointModel


def own_encoder(*layers):
    class Own(Encoder):
        feature_dim = 8

        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(*layers)

        def forward(self, images):
            return self.body(images).mean((2, 3))

    return Own().eval()


def halving(wide, narrow):
    return [nn.Conv2d(wide, narrow, 3, stride=2, padding=1), nn.BatchNorm2d(narrow), nn.ReLU(inplace=True)]


def test_a_resnets_maps_are_those_of_its_stages():
    torch.manual_seed(0)
    network = ResNet(BasicBlock, [1, 1, 1, 1]).eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        found = trunks.maps(network, images)
        pooled = network.avgpool(found[-1]).flatten(1)
        network.fc = nn.Identity()
        assert torch.equal(pooled, network(images))
    assert [tuple(one.shape[1:]) for one in found] == [
        (64, 32, 32),
        (64, 16, 16),
        (128, 8, 8),
        (256, 4, 4),
        (512, 2, 2),
    ]
    assert trunks.map_channels(network) == [64, 64, 128, 256, 512]


def test_any_network_with_batchnorm_is_watched():
    encoder = own_encoder(*halving(3, 4), *halving(4, 5), *halving(5, 6), *halving(6, 7), *halving(7, 8))
    network = trunks.adaptable(encoder)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        found = trunks.maps(network, images)
        assert torch.equal(found[-1].mean((2, 3)), encoder(images))
        assert torch.equal(found[1], encoder.body[:6](images))
    assert trunks.map_channels(network) == [4, 5, 6, 7, 8]
    with torch.no_grad():
        assert KeypointModel(network).eval()(images, images).heat.shape == (2, 30, 16, 16)


def test_gradients_reach_a_watched_networks_first_batchnorm():
    encoder = own_encoder(*halving(3, 4), *halving(4, 5), *halving(5, 6), *halving(6, 7), *halving(7, 8))
    model = KeypointModel(trunks.adaptable(encoder)).eval()
    drawn = model(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64))
    drawn.keypoints.sum().backward()
    assert encoder.body[1].weight.grad is not None


def test_another_stride_is_refused():
    encoder = own_encoder(*halving(3, 4), *halving(4, 8))
    with pytest.raises(trunks.NotAdaptable, match="stride 4"):
        trunks.adaptable(encoder)


def test_what_an_encoder_from_outside_calls_its_stride_plays_no_part():
    encoder = own_encoder(*halving(3, 4), *halving(4, 5), *halving(5, 6), *halving(6, 7), *halving(7, 8))
    encoder.stride = 2
    assert trunks.map_channels(trunks.adaptable(encoder)) == [4, 5, 6, 7, 8]


def test_an_encoder_without_batchnorm_is_refused_and_told_who_has_some():
    encoder = own_encoder(nn.Conv2d(3, 8, 3))
    with pytest.raises(trunks.NotAdaptable, match=r"no BatchNorm layer to adapt.*frankmocap_hand.*r3m") as error:
        trunks.adaptable(encoder)
    assert "\n" not in str(error.value)


def test_a_vision_transformer_is_refused():
    from encoders.factory import construct

    with pytest.raises(trunks.NotAdaptable, match="encoder 'mvp': has no BatchNorm"):
        trunks.adaptable(construct("mvp", None))
