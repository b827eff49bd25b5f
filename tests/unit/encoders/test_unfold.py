"""BatchNorm that was folded is put back: features stay, and Stages 2 and 3 find their layers."""

import pytest
import torch
from torch import nn

import encoders
from encoders import EncoderError, build
from encoders.adapt import affine
from encoders.adapt.trainer import AdaptationTrainer, TrainerSettings
from encoders.adapt.trunk import NotAdaptable, adaptable, maps
from encoders.cards import CARDS
from encoders.ema_batchnorm import attach
from encoders.unfold import folded, measure, unfold

FOLDED = [name for name in CARDS if encoders.get(name).batchnorm_folded]
LAYERS = {"mediapipe_hand": 47, "mediapipe_body": 71, "mediapipe_body_mean": 71, "mediapipe_face": 35}


def frames(count, seed=0):
    """Frames with large shapes as well as noise."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 7, 7, generator=generator)
    shapes = nn.functional.interpolate(coarse, size=(224, 224), mode="bicubic").clamp(0, 1)
    noise = 0.1 * torch.rand(count, 3, 224, 224, generator=generator)
    return (255 * (0.9 * shapes + noise)).round().byte().permute(0, 2, 3, 1).contiguous().numpy()


def encoder_of(name, biased=True):
    """A packaged encoder with random weights, the biases drawn too, as folding leaves them."""
    encoder, _ = build(name, weights="random")
    if biased:
        generator = torch.Generator().manual_seed(1)
        for key, parameter in encoder.named_parameters():
            if key.endswith("conv.bias"):
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return encoder


@pytest.mark.parametrize("name", FOLDED)
def test_features_stay_the_same(name):
    encoder, seen = encoder_of(name), frames(4, seed=2)
    before = encoder.encode(seen)
    unfold(encoder, measure(encoder, [frames(2), frames(1, seed=1)]))
    after = encoder.encode(seen)
    assert not folded(encoder)
    assert float(before.std(0).mean()) > 1e-3
    assert float((after - before).abs().max() / before.abs().max()) < 1e-5


@pytest.mark.parametrize("name", FOLDED)
def test_every_convolution_gets_its_layer(name):
    encoder = encoder_of(name)
    convolutions = sum(isinstance(layer, nn.Conv2d) for layer in encoder.modules())
    names = set(encoder.state_dict())
    unfold(encoder)
    layers = affine.batchnorm_layers(encoder)
    assert len(layers) == convolutions == LAYERS.get(name, LAYERS["mediapipe_hand"])
    assert names < set(encoder.state_dict())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not any(module.training for module in encoder.modules())


def test_statistics_are_those_of_all_frames_together():
    encoder, batches = encoder_of("mediapipe_face"), [frames(3), frames(2, seed=1)]
    found = measure(encoder, batches)
    layer, seen = encoder.trunk[0][3].pointwise.conv, []
    with torch.no_grad():
        layer.register_forward_hook(lambda _, inputs, maps: seen.append(maps))
        for batch in batches:
            encoder.encode(batch)
    all_maps = torch.cat(seen).double()
    mean, variance = all_maps.mean((0, 2, 3)), all_maps.var((0, 2, 3), unbiased=False)
    name = "trunk.0.3.pointwise.norm"
    torch.testing.assert_close(found[f"{name}.running_mean"].double(), mean, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(found[f"{name}.running_var"].double(), variance, rtol=3e-3, atol=1e-6)
    assert all(torch.equal(value, value.half().float()) for value in found.values())


def test_statistics_of_constant_channels_change_nothing():
    encoder, seen = encoder_of("mediapipe_face"), frames(2)
    encoder.trunk[0][1].pointwise.conv.weight.zero_()
    before = encoder.encode(seen)
    statistics = measure(encoder, [seen])
    assert float(statistics["trunk.0.1.pointwise.norm.running_var"].max()) < 1e-6
    unfold(encoder, statistics)
    torch.testing.assert_close(encoder.encode(seen), before, rtol=1e-5, atol=1e-6)


def test_a_network_with_batchnorm_stays_as_it_is():
    encoder, _ = build("random")
    names = list(encoder.state_dict())
    assert not folded(encoder)
    unfold(encoder)
    assert list(encoder.state_dict()) == names
    face = encoder_of("mediapipe_face")
    unfold(face)
    layers = affine.batchnorm_layers(face)
    unfold(face)
    assert affine.batchnorm_layers(face) == layers


@pytest.mark.parametrize("damage", ["missing", "unknown", "shape", "not finite", "negative"])
def test_statistics_that_do_not_fit_are_refused_in_one_line(damage):
    encoder = encoder_of("mediapipe_face")
    statistics = measure(encoder, [frames(1)])
    name = "trunk.0.0.norm.running_var"
    if damage == "missing":
        del statistics[name]
    elif damage == "unknown":
        statistics["trunk.bn1.running_var"] = torch.ones(3)
    else:
        bad = {"shape": torch.ones(3), "not finite": torch.full((16,), torch.nan), "negative": -torch.ones(16)}
        statistics[name] = bad[damage]
    with pytest.raises(EncoderError, match="'mediapipe_face': 1 statistics of folded BatchNorm") as caught:
        unfold(encoder, statistics)
    assert "\n" not in str(caught.value)
    assert folded(encoder)


# Stage 2.


def test_stage_2_trains_scales_and_offsets_alone():
    encoder = encoder_of("mediapipe_hand")
    numbers = sum(parameter.numel() for parameter in encoder.parameters())
    unfold(encoder, measure(encoder, [frames(2)]))
    network = adaptable(encoder)
    settings = TrainerSettings(mode="affine", size=64, batch=2, perceptual="none")
    trainer = AdaptationTrainer(network, settings, torch.device("cpu"))
    own = {name for name in trainer.trained if name.startswith("pose_net.trunk.")}
    assert {name.rpartition(".")[0].rpartition(".")[2] for name in own} == {"norm"}
    assert sum(trainer.trained[name].numel() for name in own) == affine.count(network) == 38_656
    assert affine.share(network, whole=numbers) == pytest.approx(1.505, abs=1e-3)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    pair = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        trainer.step(pair, pair.flip(0))
    changed = {name for name, tensor in encoder.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed
    assert {name.partition(".norm.")[2] for name in changed} == {"weight", "bias"}


def test_the_hand_networks_maps_have_five_scales_and_its_mean_is_the_feature():
    encoder = encoder_of("mediapipe_hand")
    unfold(encoder)
    images = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        seen = maps(adaptable(encoder), images)
        torch.testing.assert_close(seen[-1].mean((2, 3)), encoder(images))
    assert [one.shape[2] for one in seen] == [112, 56, 28, 14, 7]


@pytest.mark.parametrize(
    ("name", "stride"), [("mediapipe_body", 128), ("mediapipe_body_mean", 128), ("mediapipe_face", 64)]
)
def test_networks_of_another_stride_are_refused_in_one_line(name, stride):
    encoder = encoder_of(name)
    unfold(encoder)
    expected = f"encoder '{name}': its last map has stride {stride}; Stage 2 draws from maps of stride 32"
    with pytest.raises(NotAdaptable, match=f"^{expected}$"):
        adaptable(encoder)


# Stage 3.


@pytest.mark.parametrize("name", FOLDED)
@pytest.mark.parametrize("scope", ["stem", "all"])
def test_stage_3_moves_statistics_only_with_a_momentum(name, scope):
    encoder, seen = encoder_of(name), frames(2)
    unfold(encoder, measure(encoder, [frames(2, seed=5)]))
    before = encoder.encode(seen)
    assert not attach(encoder, momentum=0.0, scope=scope).layers
    assert torch.equal(encoder.encode(seen), before)
    moving = attach(encoder, momentum=0.1, scope=scope)
    assert len(moving.layers) == (1 if scope == "stem" else LAYERS.get(name, LAYERS["mediapipe_hand"]))
    first = next(iter(moving.layers.values()))
    start = first.stream_mean.clone()
    moving.select([0, 0])
    after = encoder.encode(seen)
    assert not torch.equal(first.stream_mean, start)
    assert not torch.allclose(after, before)
