import numpy as np
import pytest
import torch
import torchvision
from torchvision.models.feature_extraction import create_feature_extractor

from encoders import EncoderError, build, check_encoder
from encoders.weights.checkpoint import state_sha256
from encoders.zoo.resnet import ResNet50, random_state

RANDOM_SHA256 = "6c28a3ffa2b2dc01d0a4a423d53791f8bdd9ac36b515374718aee571c8549976"


@pytest.fixture(scope="module")
def frames():
    """Two frames with colours that differ between channels, so that a swap or a wrong mean shows."""
    noise = np.random.default_rng(0).integers(0, 120, (2, 224, 224, 3))
    return (noise + np.array([0, 60, 130])).astype(np.uint8)


def unit(frames):
    return torch.tensor(np.moveaxis(frames, -1, 1) / 255.0, dtype=torch.float32)


def imagenet(frames):
    return torchvision.transforms.functional.normalize(unit(frames), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def frankmocap(frames):
    return unit(frames[..., ::-1]) * 2.0 - 1.0


@pytest.fixture(scope="module")
def reference(frames):
    """Features of torchvision's own network, classifier and all, with the seeded weights, for each preparation."""
    network = torchvision.models.resnet50(weights=None).eval()
    state = random_state({name: value for name, value in network.state_dict().items() if not name.startswith("fc.")})
    network.load_state_dict(state, strict=False)
    layer4 = create_feature_extractor(network, {"layer4.2.relu_2": "map"})
    with torch.no_grad():
        return {way: layer4(way(frames))["map"].mean((2, 3)) for way in (unit, imagenet, frankmocap)}


@pytest.mark.parametrize(
    ("name", "normalise", "prepared"),
    [
        ("hindex", "auto", unit),
        ("rrl", "auto", imagenet),
        ("frankmocap_hand", "auto", imagenet),
        ("random", "auto", imagenet),
        ("frankmocap_hand", "native", frankmocap),
        ("rrl", "unit", unit),
        ("hindex", "imagenet", imagenet),
    ],
)
def test_features_equal_an_independent_computation(name, normalise, prepared, frames, reference):
    encoder, _ = build(name, weights="random" if name != "random" else "auto", normalise=normalise)
    expected = reference[prepared]
    torch.testing.assert_close(encoder.encode(frames), expected, rtol=1e-3, atol=1e-4)
    assert all((other - expected).abs().max() > 0.05 for way, other in reference.items() if way is not prepared)


def test_every_resnet_keeps_the_contract():
    encoder, _ = build("hindex", weights="builtin")
    check_encoder(encoder)


def test_random_weights_are_the_same_on_every_machine_and_leave_the_global_generator():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, second = ResNet50(), ResNet50()
    assert torch.equal(torch.get_rng_state(), before)
    assert state_sha256(first.state_dict()) == state_sha256(second.state_dict()) == RANDOM_SHA256


def test_random_weights_follow_the_seed():
    shapes = {"conv1.weight": torch.empty(64, 3, 7, 7, device="meta")}
    one, two = (random_state(shapes, seed)["conv1.weight"] for seed in (0, 1))
    assert not torch.equal(one, two)
    assert float(one.std()) == pytest.approx((2 / (64 * 49)) ** 0.5, rel=0.02)


@pytest.mark.parametrize("name", ["hindex", "random"])
def test_random_features_have_a_trained_networks_scale(name, frames):
    """Neither vanishing nor beyond 10, where the learner's value function clips."""
    encoder, _ = build(name, weights="random" if name != "random" else "auto")
    features = encoder.encode(frames)
    assert 0.05 < float(features.mean()) < 2.0
    assert float(features.max()) < 10.0
    assert float((features.amax(0) == 0).float().mean()) < 0.1


def test_random_is_random_by_definition_and_not_labelled_twice():
    encoder, origin = build("random")
    assert (origin.kind, origin.title("random"), origin.sha256) == ("random", "random", RANDOM_SHA256)
    assert encoder.describe()["weights_sha256"] == RANDOM_SHA256


@pytest.mark.parametrize("name", ["random", "state"])
@pytest.mark.parametrize("weights", ["official", "builtin", "some.pth"])
def test_controls_take_no_weights(name, weights):
    with pytest.raises(EncoderError, match="does not take --weights"):
        build(name, weights=weights)


def test_description_names_what_makes_the_numbers():
    encoder, _ = build("hindex", weights="random")
    assert encoder.describe() == {
        "name": "hindex",
        "class": "encoders.resnet.HInDex",
        "results_version": 1,
        "feature_dim": 2048,
        "uses_images": True,
        "normalisation": "unit",
        "weights": "random",
        "weights_sha256": RANDOM_SHA256,
        "adaptation_sha256": None,
        "plugin_sha256": None,
        "precision": "float32",
        "compiled": False,
    }


def test_an_unknown_normalisation_is_refused():
    with pytest.raises(EncoderError, match="unknown --normalise 'clip'; expected auto, imagenet, unit, native"):
        build("random", normalise="clip")
