"""The encoders of the package index: their layouts, and what their cards say that no other test looks at."""

from typing import NamedTuple

import pytest
import tflite
import timm
import torch
import torch.nn.functional as F
from tflite_writer import written
from torch import nn

import encoders
from benchmark.speed import encoders as speed
from encoders import WeightsInvalid, build
from encoders.cards import CARDS
from encoders.weights.random_weights import random_state
from encoders.zoo.mediapipe import SeparableResidual, convolution

COUNTED = [name for name, card in CARDS.items() if card.gmacs]
LAYERS_OF_HEADS = {
    "mediapipe_hand": (47, 48),
    "mediapipe_body": (71, 72),
    "mediapipe_body_mean": (71, 72),
    "mediapipe_face": (53, 59),
}
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


HEADS = {
    "mediapipe_hand": lambda: [convolution(1152, 63)],
    "mediapipe_body": lambda: [convolution(288, 195)],
    "mediapipe_body_mean": lambda: [convolution(288, 195)],
    "mediapipe_face": lambda: [
        convolution(128, 32, activation=nn.PReLU(32)),
        SeparableResidual(32, 32, 1, between=None, after=nn.PReLU(32)),
        convolution(32, 1404),
    ],
}


@pytest.mark.parametrize("name", HEADS)
def test_a_file_of_mediapipes_layout_is_read_without_its_heads(name, tmp_path):
    encoder, _ = build(name, weights="random")
    state = {key: tensor.half().float() for key, tensor in encoder.trunk.state_dict().items()}
    encoder.trunk.load_state_dict(state)
    path = tmp_path / "landmarks.tflite"
    path.write_bytes(written(nn.Sequential(encoder.trunk[0], *HEADS[name]()).requires_grad_(False), encoder.size))
    loaded, origin = build(name, weights=path)
    assert origin.kind == "file"
    assert all(torch.equal(tensor, state[key]) for key, tensor in loaded.trunk.state_dict().items())
    assert {key[:3] for key in loaded.left_out} == {f"{layer:03}" for layer in range(*LAYERS_OF_HEADS[name])}


def test_a_file_of_another_landmark_model_is_refused_in_one_line(tmp_path):
    trunk = build("mediapipe_hand", weights="random")[0].trunk
    path = tmp_path / "landmarks.tflite"
    path.write_bytes(written(trunk[0], 224))
    with pytest.raises(WeightsInvalid, match="expected MediaPipe's body network in one of the layouts") as caught:
        build("mediapipe_body", weights=path)
    assert "\n" not in str(caught.value)


class OfficialFile(NamedTuple):
    """A file of MediaPipe, and where in its own graph the encoder's feature stands."""

    tensor: int
    size: int


@pytest.mark.network
@pytest.mark.parametrize(
    ("name", "official"),
    [
        ("mediapipe_hand", OfficialFile(tensor=160, size=224)),
        ("mediapipe_body", OfficialFile(tensor=335, size=256)),
        ("mediapipe_body_mean", OfficialFile(tensor=335, size=256)),
        ("mediapipe_face", OfficialFile(tensor=179, size=192)),
    ],
)
def test_features_of_four_tasks_are_those_of_a_tflite_runtime(name, official, tmp_path, monkeypatch):
    openvino = pytest.importorskip("openvino")
    monkeypatch.setenv("HINDEX_BENCH_CACHE", str(tmp_path))
    content = bytearray(encoders.fetch(name).read_bytes())
    tflite.Model.GetRootAsModel(content, 0).Subgraphs(0).OutputsAsNumpy()[0] = official.tensor  # in place
    path = tmp_path / "feature.tflite"
    path.write_bytes(content)
    runtime = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    encoder, origin = build(name, weights="official")
    assert origin.title(name) == name
    monkeypatch.setattr(speed, "TASKS", ("door", "pen", "hammer", "relocate-mug"))
    frames = speed.task_frames(24)
    images = torch.from_numpy(frames).permute(0, 3, 1, 2) / 255
    images = F.interpolate(images, size=(official.size, official.size), mode="bilinear", align_corners=False)
    one_by_one = [torch.from_numpy(runtime(image.permute(1, 2, 0)[None].numpy())[0]) for image in images]
    maps = torch.cat(one_by_one)
    if maps.ndim == 4:
        maps = maps.permute(0, 3, 1, 2)
        maps = maps.mean((2, 3)) if encoder.feature_dim == maps.shape[1] else maps.flatten(1)
    features = encoder.encode(frames)
    assert float((features - maps).norm(dim=1).div(maps.norm(dim=1)).max()) < 1e-3
    assert float((features - maps).abs().max() / maps.abs().max()) < 1e-3
    assert float(maps.std(0).mean()) > 1e-3
