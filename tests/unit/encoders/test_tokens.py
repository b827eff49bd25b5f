"""Tokens beside the feature: what encoders give, and what the contract holds them to."""

import pytest
import torch
from torch import nn

from encoders import EncoderContract, EncoderError, build, check_tokens
from encoders.base import Encoder
from encoders.zoo.hand_vit import HandViT

SHAPES = {
    "theia_tiny": (196, 192),
    "mvp": (196, 384),
    "dinov2_small_reg": (256, 384),
    "dinov3_small": (196, 384),
    "random": (49, 2048),
    "vip": (49, 2048),
    "efficientnet_lite0": (49, 1280),
    "mediapipe_hand": (49, 1152),
    "mediapipe_body": (4, 288),
    "mediapipe_body_mean": (4, 288),
    "mediapipe_face": (9, 128),
    "timm:test_convnext": (49, 64),
    "timm:test_vit": (196, 64),
}
IMAGES = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("name", "shape"), SHAPES.items(), ids=SHAPES)
def test_tokens_are_patches_or_positions(name, shape):
    encoder, _ = build(name, weights="auto" if name == "random" else "random")
    check_tokens(encoder)
    with torch.inference_mode():
        assert encoder.tokens(IMAGES).shape == (2, *shape)


@pytest.mark.slow
def test_every_network_gives_the_tokens_that_its_contract_asks_for():
    import encoders

    for name in encoders.names("*"):
        if encoders.get(name).uses_images:
            check_tokens(build(name, weights="auto" if name == "random" else "random")[0])


def test_tokens_of_a_map_lie_row_by_row():
    encoder, _ = build("random")
    right = torch.zeros(1, 3, 224, 224)
    right[..., 150:] = 1
    with torch.inference_mode():
        moved = (encoder.tokens(right) - encoder.tokens(0 * right)).abs().sum(2).reshape(7, 7)
    assert moved[:, -1].min() > moved[:, 0].max()


def test_the_mean_of_a_hand_networks_tokens_is_its_feature():
    network = HandViT(24, 2, 3, queries=True).eval()
    images = torch.rand(2, 3, 256, 192, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        tokens = network.image_tokens(images)
        assert tokens.shape == (2, 192, 24)
        torch.testing.assert_close(tokens.mean(1), network(images))


class Map(Encoder):
    """Colours at 4 x 4 positions; the feature is their mean."""

    feature_dim = 3
    feature_is_mean = True

    def __init__(self, weights=None):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(4)

    def forward(self, images):
        return images.mean((2, 3))

    def tokens(self, images):
        return self.pool(images).flatten(2).transpose(1, 2)


class Flat(Map):
    def tokens(self, images):
        return self.pool(images).flatten(1)


class WithAnother(Map):
    def tokens(self, images):
        tokens = super().tokens(images)
        return torch.cat([torch.zeros_like(tokens[:, :1]), tokens], 1)


class OfTheBatch(Map):
    def tokens(self, images):
        tokens = super().tokens(images)
        return tokens - tokens.mean(0)


class Whole(Map):
    def tokens(self, images):
        return super().tokens(images).long()


class Infinite(Map):
    def tokens(self, images):
        return super().tokens(images) / 0


class WithoutTokens(Map):
    tokens = Encoder.tokens


def test_good_tokens_pass():
    check_tokens(Map().eval())


@pytest.mark.parametrize(
    ("encoder_class", "message"),
    [
        (Flat, r"tokens returned shape \(3, 48\) for 3 images; expected \(3, T, D\)"),
        (WithAnother, r"the feature is not the mean of its tokens .*; leave out tokens that stand for no place"),
        (OfTheBatch, r"an image's token depends on the other images"),
        (Whole, r"tokens returned torch\.int64; return floating point tokens"),
        (Infinite, r"144 of 144 token values are NaN or infinite"),
    ],
)
def test_a_breach_is_named(encoder_class, message):
    with pytest.raises(EncoderContract, match=message):
        check_tokens(encoder_class().eval())


@pytest.mark.parametrize("make", [lambda: WithoutTokens().eval(), lambda: build("state")[0]])
def test_an_encoder_without_tokens_says_so(make):
    with pytest.raises(EncoderError, match=r"has no tokens; leave policy\.pooling at pooled, or define"):
        check_tokens(make())
