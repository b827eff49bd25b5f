"""Every encoder of the list runs on frames with drawn weights and is what its card says."""

import numpy as np
import pytest
import timm
import torch

import encoders
from benchmark.speed.encoders import task_frames
from encoders import UnknownEncoder, WeightsInvalid, build, check_encoder
from encoders.cards import CARDS
from encoders.weights import licences
from encoders.weights.random_weights import random_state
from encoders.zoo import timm_encoder
from encoders.zoo.timm_encoder import TimmEncoder, resize_positions

IMAGES = [name for name in CARDS if name not in ("blind", "scratch", "state")]
QUICK = {name for name in IMAGES if CARDS[name].parameters < 40_000_000} | {"vc1", "siglip2_base"}
NAMES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in IMAGES]


@pytest.fixture(scope="module")
def frames():
    """Two frames unlike each other, with areas and edges as a camera sees them."""
    rows, columns = np.mgrid[0:224, 0:224]
    waves = [127 + 100 * np.sin(rows / (9 + 6 * n)) * np.cos(columns / (31 - 7 * n)) for n in range(3)]
    first = np.stack(waves, -1)
    second = np.where((rows // 40 + columns // 56)[..., None] % 2, 255 - first, first / 3)
    return np.stack([first, second]).astype(np.uint8)


@pytest.fixture(scope="module")
def rendered():
    """One frame of each of three tasks, as an expert's episode begins."""
    return task_frames(3)


@pytest.mark.parametrize("name", NAMES)
def test_every_encoder_runs_on_frames_of_three_tasks_and_is_what_its_card_says(name, rendered):
    encoder, origin = build(name, weights="random")
    card = CARDS[name]
    assert origin.kind == "random"
    assert sum(parameter.numel() for parameter in encoder.parameters()) == card.parameters
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    features = encoder.encode(rendered)
    assert features.shape == (3, card.feature_dim)
    assert encoder.normalisation == card.normalisation
    assert 0.05 < float(features.abs().mean()) < 2.0
    assert float(features.abs().max()) < 8.0, "the usual size of random features; without a final norm a few are large"
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert float((features[one] - features[other]).abs().max()) > 0.002


@pytest.mark.parametrize("name", IMAGES)
def test_every_network_has_as_many_numbers_as_its_card_says(name):
    """On shapes alone, so that it is quick for the largest too."""
    kind = encoders.get(name)
    with torch.device("meta"):
        network = kind.empty_trunk()
    assert sum(parameter.numel() for parameter in network.parameters()) == CARDS[name].parameters
    assert kind.feature_dim == CARDS[name].feature_dim


@pytest.mark.parametrize("name", ["theia_tiny", "dinov2_small", "dinov3_convnext_tiny", "liv"])
def test_a_network_of_timm_keeps_the_contract(name):
    check_encoder(build(name, allow_random=True)[0])


@pytest.mark.parametrize("name", CARDS)
def test_a_card_says_what_a_user_must_know(name):
    card = CARDS[name]
    assert card.architecture
    assert card.feature
    assert card.licence
    assert card.citation
    assert card.sources or name in ("blind", "random", "scratch", "state")
    assert "NC" not in card.licence or card.commercial_use is False
    for source in card.sources:
        scheme = "https://" if source.wheel is None else "pkg:pypi/"
        assert all(address.startswith(scheme) for address in (source.url, *source.mirrors))
        assert source.sha256 is None or len(source.sha256) == 64
        assert source.md5 is None or len(source.md5) in (6, 8, 32)


@pytest.mark.parametrize("name", [name for name, card in CARDS.items() if card.adapts])
def test_what_stage_2_adapts_has_seen_frames_of_the_task_and_says_so(name):
    assert CARDS[name].saw_benchmark
    assert "frames of the task" in CARDS[name].trained_on


def test_drawn_weights_do_not_depend_on_the_global_generator():
    first = build("dinov3_convnext_tiny", weights="random")[1]
    torch.manual_seed(5)
    before = torch.get_rng_state()
    encoder = encoders.get("dinov3_convnext_tiny")()
    assert torch.equal(torch.get_rng_state(), before)
    assert encoders.resolve("dinov3_convnext_tiny", "random") == first
    assert encoder.random_weights


def test_buffers_that_no_file_holds_are_there():
    """DINOv3's rotary frequencies are made by the network itself."""
    encoder = encoders.get("dinov3_small")()
    assert all(not buffer.is_meta for buffer in encoder.buffers())
    assert float(dict(encoder.named_buffers())["trunk.rope.periods"].max()) > 1.0


def test_dinov3_gives_its_class_token_where_timm_pools_patches(frames):
    encoder, _ = build("dinov3_small", weights="random")
    pooled = timm.create_model("vit_small_patch16_dinov3.lvd1689m", num_classes=0).eval()
    assert pooled.global_pool == "avg"
    pooled.load_state_dict(encoder.trunk.state_dict())
    pixels = encoder.normalise(torch.tensor(frames).permute(0, 3, 1, 2) / 255.0)
    with torch.no_grad():
        tokens = pooled.forward_features(pixels)
        other = pooled(pixels)
    features = encoder.encode(frames)
    torch.testing.assert_close(features, tokens[:, 0], rtol=1e-4, atol=1e-4)
    assert float((features - other).abs().max()) > 0.05


def test_clip_has_the_fast_gelu_of_its_training():
    """timm's plain variant takes the same tensors and computes something else."""
    encoder = encoders.get("clip_base")()
    assert type(encoder.trunk.blocks[0].mlp.act).__name__ == "QuickGELU"
    assert "fast GELU" in CARDS["clip_base"].architecture


@pytest.mark.parametrize("name", ["mvp", "mocov3_small"])
def test_small_transformers_with_twelve_heads(name):
    assert {block.attn.num_heads for block in encoders.get(name)().trunk.blocks} == {12}


@pytest.mark.parametrize(
    ("model", "feature_dim", "pooling"),
    [
        ("resnet18.a1_in1k", 512, "avg"),
        ("vit_tiny_patch16_224", 192, "token"),
        ("vit_small_patch14_dinov2.lvd142m", 384, "token"),
        ("mobilenetv3_small_050.lamb_in1k", 1024, "avg"),
        ("regnetx_002", 368, "avg"),
    ],
)
def test_any_model_of_timm_is_an_encoder(model, feature_dim, pooling, frames):
    name = f"timm:{model}"
    encoder, origin = build(name, weights="random")
    card = encoders.card(name)
    configuration = timm.get_pretrained_cfg(model)
    assert origin.title(encoder.name) == f"timm-{model} (random)"
    assert encoder.card is card is encoders.card(name)
    assert card.feature_dim == feature_dim
    assert f"({pooling})" in card.feature
    assert (card.normalisation.mean, card.normalisation.std) == (configuration.mean, configuration.std)
    assert encoder.encode(frames).shape == (2, feature_dim)
    assert card.parameters == sum(parameter.numel() for parameter in encoder.parameters())
    assert card.sources[0].url.startswith(f"https://huggingface.co/timm/{model.split('.')[0]}")
    assert encoders.get(name) is encoders.get(name)
    assert name not in encoders.names()


def test_a_model_that_nobody_trained_is_not_passed_off_as_trained():
    name = "convnext_atto_rms"
    assert not timm.get_pretrained_cfg(name).has_weights
    assert build(f"timm:{name}", weights="random")[1].label == "(random)"
    assert not encoders.card(f"timm:{name}").sources[0].direct


@pytest.mark.parametrize(
    ("licence", "use"),
    [
        ("apache-2.0", True),
        ("mit", True),
        ("bsd-3-clause", True),
        ("cc-by-4.0", True),
        ("cc-by-nc-4.0", False),
        ("cc-by-nc-sa-4.0", False),
        ("fair-noncommercial-research-license", False),
        ("gemma", None),
        ("unknown", None),
        (None, None),
    ],
)
def test_a_licence_of_timm_says_whether_it_has_to_be_accepted(licence, use, monkeypatch):
    configuration = timm.get_pretrained_cfg("resnet18.a1_in1k")
    configuration.license = licence
    monkeypatch.setattr(timm_encoder, "_configuration", lambda name, model: configuration)
    timm_encoder.named.cache_clear()
    card = encoders.card("timm:resnet18.a1_in1k")
    timm_encoder.named.cache_clear()
    assert card.commercial_use is use
    assert licences.restricted(card) is (use is not True)
    assert card.licence == (licence or "not stated by timm")


def test_a_file_of_timm_loads_and_its_classifier_is_left_out(tmp_path, frames):
    whole = timm.create_model("resnet18.a1_in1k").eval()
    path = tmp_path / "model.pth"
    torch.save(whole.state_dict(), path)
    encoder, origin = build("timm:resnet18.a1_in1k", weights=path)
    assert origin.kind == "file"
    assert encoder.left_out == ("fc.weight", "fc.bias")
    pixels = encoder.normalise(torch.tensor(frames).permute(0, 3, 1, 2) / 255.0)
    with torch.no_grad():
        expected = whole.forward_head(whole.forward_features(pixels), pre_logits=True)
    torch.testing.assert_close(encoder.encode(frames), expected, rtol=1e-4, atol=1e-4)
    broken = {name: tensor for name, tensor in whole.state_dict().items() if name != "layer1.0.conv1.weight"}
    torch.save(broken | {"stranger": torch.zeros(1)}, path)
    with pytest.raises(WeightsInvalid, match=r"1 missing: layer1\.0\.conv1\.weight; 1 not expected: stranger"):
        build("timm:resnet18.a1_in1k", weights=path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("timm:resnet18.a1_in1", "did you mean 'timm:resnet18.a1_in1k'"),
        ("timm:resnet81", "did you mean 'timm:resnet"),
        ("timm:", "timm.list_models"),
    ],
)
def test_an_unknown_model_of_timm_is_refused(wrong, message):
    with pytest.raises(UnknownEncoder, match=message) as caught:
        encoders.get(wrong)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("firsts", [0, 1, 5])
def test_positions_are_resized_as_timm_resizes_them(firsts):
    positions = torch.rand(1, 37 * 37 + firsts, 8)
    expected = {"pos_embed": torch.empty(1, 16 * 16 + firsts, 8)}
    resized = resize_positions({"pos_embed": positions, "x": positions}, expected)
    theirs = timm.layers.resample_abs_pos_embed(positions, [16, 16], num_prefix_tokens=firsts)
    torch.testing.assert_close(resized["pos_embed"], theirs)
    assert resized["x"] is positions


@pytest.mark.parametrize("shape", [(1, 1000, 8), (1, 1370, 9), (1370, 8)])
def test_positions_that_are_no_square_grid_are_left_for_the_loader_to_refuse(shape):
    positions = torch.rand(shape)
    unchanged = resize_positions({"pos_embed": positions}, {"pos_embed": torch.empty(1, 257, 8)})
    assert unchanged["pos_embed"] is positions


def test_drawn_numbers_have_the_spread_of_their_layer():
    shapes = {
        "conv.weight": torch.empty(64, 16, 3, 3, device="meta"),
        "linear.weight": torch.empty(300, 100, device="meta"),
        "pos_embed": torch.empty(1, 50, 40, device="meta"),
        "ls1.gamma": torch.empty(7, device="meta"),
        "norm.bias": torch.empty(7, device="meta"),
        "layer1.0.bn2.weight": torch.empty(7, device="meta"),
        "bn.num_batches_tracked": torch.empty((), dtype=torch.int64, device="meta"),
    }
    state = random_state(shapes, fan="in")
    assert float(state["conv.weight"].std()) == pytest.approx((16 * 9) ** -0.5, rel=0.05)
    assert float(state["linear.weight"].std()) == pytest.approx(0.1, rel=0.05)
    assert float(state["pos_embed"].std()) == pytest.approx(0.02, rel=0.1)
    assert torch.equal(state["ls1.gamma"], torch.ones(7))
    assert torch.equal(state["norm.bias"], torch.zeros(7))
    assert torch.equal(state["layer1.0.bn2.weight"], torch.full((7,), 0.5))
    assert state["bn.num_batches_tracked"].dtype == torch.int64


def test_a_timm_encoder_of_ones_own_takes_two_lines(frames):
    class Mine(TimmEncoder):
        model = "resnet18"
        options = {}  # noqa: RUF012
        feature_dim = 512
        normalisation = CARDS["rrl"].normalisation

    assert Mine().eval().encode(frames).shape == (2, 512)
