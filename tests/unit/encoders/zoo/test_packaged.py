"""The encoders of the package index: their layouts, and what their cards say that no other test looks at."""

import pytest
import timm
import torch
from torch import nn

import encoders
from encoders import WeightsInvalid, build
from encoders.cards import CARDS
from encoders.weights.random_weights import random_state

COUNTED = [name for name, card in CARDS.items() if card.gmacs]
LITE0 = "tf_efficientnet_lite0"


@pytest.mark.parametrize("name", COUNTED)
def test_a_card_counts_the_multiplications_of_one_image(name):
    encoder, _ = build(name, weights="random")
    counts = []
    for layer in encoder.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda layer, _, maps: counts.append(maps.numel() * layer.weight[0].numel()))
    encoder(torch.zeros(1, 3, 224, 224))
    assert sum(counts) / 1e9 == pytest.approx(CARDS[name].gmacs, rel=0.005)


@pytest.mark.parametrize("name", [name for name, card in CARDS.items() if card.packaged])
def test_what_the_package_index_has_is_free_and_pinned(name):
    card = CARDS[name]
    assert card.commercial_use
    for source in card.sources:
        assert len(source.wheel.sha256) == len(source.sha256) == 64
        assert source.url == source.wheel.url
        assert source.wheel.filename.startswith(source.wheel.project.replace("-", "_"))
        assert source.wheel.version in source.wheel.filename


def _published(folder, change=lambda state: state):
    """Write a file as the wheel has it: other names in the same order, and the classifier."""
    state = random_state(timm.create_model(LITE0).state_dict(), fan="in")
    published = {}
    for number, (name, tensor) in enumerate(state.items()):
        layer, _, kind = name.rpartition(".")
        published[f"_fc.{kind}" if layer == "classifier" else f"_layer{number}.{kind}"] = tensor
    path = folder / "efficientnet-lite0.pth"
    torch.save(change(published), path)
    return path, state


def test_efficientnet_lite0_is_read_in_the_order_of_its_file(tmp_path):
    path, state = _published(tmp_path)
    encoder, _ = build("efficientnet_lite0", weights=path)
    assert encoder.left_out == ("_fc.weight", "_fc.bias")
    for name, tensor in encoder.trunk.state_dict().items():
        assert torch.equal(tensor, state[name])
    whole = timm.create_model(LITE0).eval()
    whole.load_state_dict(state)
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        maps = whole.forward_features((255 * images - 127) / 128)
    torch.testing.assert_close(encoder(images), maps.mean((2, 3)), rtol=1e-4, atol=1e-5)


def test_a_file_of_timm_serves_too(tmp_path):
    state = random_state(timm.create_model(LITE0).state_dict(), fan="in")
    torch.save(state, tmp_path / "timm.pth")
    encoder, _ = build("efficientnet_lite0", weights=tmp_path / "timm.pth")
    assert torch.equal(encoder.trunk.conv_stem.weight, state["conv_stem.weight"])


@pytest.mark.parametrize(
    "change",
    [
        lambda state: dict(list(state.items())[1:]),
        lambda state: dict(reversed(state.items())),
        lambda state: state | {"_another.weight": torch.zeros(1)},
    ],
)
def test_a_file_of_another_network_is_refused_in_one_line(tmp_path, change):
    path, _ = _published(tmp_path, change)
    with pytest.raises(WeightsInvalid, match="expected timm's tf_efficientnet_lite0 in one of the layouts") as caught:
        build("efficientnet_lite0", weights=path)
    assert "\n" not in str(caught.value)


def test_its_batchnorm_can_be_moved_and_adapted():
    from encoders.adapt.trunk import adaptable, maps
    from encoders.ema_batchnorm import attach

    encoder = encoders.get("efficientnet_lite0")()
    seen = maps(adaptable(encoder), torch.rand(1, 3, 224, 224))
    assert [tuple(one.shape[2:]) for one in seen] == [(112, 112), (56, 56), (28, 28), (14, 14), (7, 7)]
    assert len(attach(encoder, momentum=0.1, scope="all").layers) == 49
