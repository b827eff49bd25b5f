"""Today's transformers: their authors' files and timm's, and what MAPLE's feature is."""

import pytest
import timm
import torch

import encoders
from encoders import WeightsInvalid, build
from encoders.weights.random_weights import random_state
from encoders.zoo.timm_encoder import resize_positions
from encoders.zoo.vit_today import by_timm

SMALL = {"embed_dim": 24, "num_heads": 12}


@pytest.fixture
def shrink(monkeypatch):
    """Make an encoder's network narrow, so that its file is small."""

    def change(name, **options):
        kind = encoders.get(name)
        monkeypatch.setattr(kind, "options", {**kind.options, **options})
        return kind

    return change


def state_of(model, **options):
    state = random_state(timm.create_model(model, num_classes=0, **options).state_dict(), fan="in")
    return {name: torch.rand_like(tensor) if tensor.is_floating_point() else tensor for name, tensor in state.items()}


def saved(folder, content):
    torch.save(content, folder / "file.pth")
    return folder / "file.pth"


def test_dinov2_with_registers_takes_its_authors_file_and_timms(tmp_path, shrink):
    kind = shrink("dinov2_small_reg", **SMALL)
    state = state_of("vit_small_patch14_reg4_dinov2", img_size=518, **SMALL)
    place = torch.rand(1, 1, 24)
    official = {name: tensor for name, tensor in state.items() if name not in ("reg_token", "cls_token", "pos_embed")}
    official |= {"register_tokens": state["reg_token"], "mask_token": torch.zeros(1, 24)}
    official |= {"cls_token": state["cls_token"] - place, "pos_embed": torch.cat([place, state["pos_embed"]], 1)}
    for content in (official, state):
        trunk = kind(saved(tmp_path, content)).trunk
        expected = resize_positions(state, trunk.state_dict())
        assert trunk.state_dict()["pos_embed"].shape == (1, 256, 24)
        for name, tensor in trunk.state_dict().items():
            torch.testing.assert_close(tensor, expected[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "model", "size", "options"),
    [
        ("pe_spatial_small", "vit_pe_spatial_small_patch16_512", 512, {"embed_dim": 24, "num_heads": 2}),
        ("tipsv2_base", "vit_base_patch14_reg1_tipsv2", 448, SMALL),
        ("c_radio_v3_base", "vit_base_patch16_radio_v3", 512, SMALL),
    ],
)
def test_positions_of_a_larger_size_are_resized(tmp_path, shrink, name, model, size, options):
    kind = shrink(name, **options)
    state = state_of(model, img_size=size, **options)
    encoder = kind(saved(tmp_path, state | {"head.weight": torch.zeros(2, 24)}))
    assert encoder.left_out == ("head.weight",)
    own = encoder.trunk.state_dict()
    expected = resize_positions(state, own)
    assert expected["pos_embed"].shape != state["pos_embed"].shape
    for key, tensor in own.items():
        torch.testing.assert_close(tensor, expected[key], rtol=1e-6, atol=1e-6)
    assert encoder(torch.rand(1, 3, 224, 224)).shape == (1, 24)


def test_c_radio_is_read_under_its_authors_names():
    def make():
        return timm.create_model("vit_base_patch16_radio_v3", num_classes=0, img_size=224, depth=1, **SMALL)

    expected = make().state_dict()
    official = {f"radio_model.model.{name.replace('gamma', 'grandma')}": torch.rand_like(tensor)
                for name, tensor in expected.items() if name.startswith("blocks.")}  # fmt: skip
    before = "radio_model.model.patch_generator"
    official |= {f"{before}.embedder.weight": torch.rand(24, 768), f"{before}.pos_embed": torch.rand(1, 128 * 128, 24)}
    official |= {
        f"{before}.cls_token.token": torch.rand(8, 24),
        "radio_model.input_conditioner.norm_mean": torch.ones(3),
    }
    converted = by_timm(make, official, expected)
    assert {name: tensor.shape for name, tensor in converted.items()} == {
        name: tensor.shape for name, tensor in expected.items()
    }
    assert torch.equal(converted["cls_token"][0], official[f"{before}.cls_token.token"][:1])


@pytest.mark.parametrize("container", ["", "state_dict"])
def test_spa_is_taken_out_of_its_pretraining(tmp_path, shrink, container):
    kind = shrink("spa_base", depth=1, **SMALL)
    state = state_of("vit_base_patch16_224", depth=1, **SMALL)
    content = {f"model.img_backbone.{name}": tensor for name, tensor in state.items()}
    for name in ("decoder_embed.weight", "mask_token", "readout_project.0.bias", "upsample.0.conv.weight"):
        content[f"model.img_backbone.{name}"] = torch.zeros(1)
    content["model.render_head.field.weight"] = torch.zeros(1)
    encoder = kind(saved(tmp_path, {container: content, "epoch": 7} if container else content))
    assert all(torch.equal(tensor, state[name]) for name, tensor in encoder.trunk.state_dict().items())
    assert "model.render_head.field.weight" in encoder.left_out


def test_stp_is_read_without_its_two_decoders(tmp_path, shrink):
    kind = shrink("stp_base", depth=1, **SMALL)
    state = state_of("vit_base_patch16_224", depth=1, **SMALL)
    content = state | {
        name: torch.zeros(1) for name in ("decoder_blocks.0.norm1.weight", "decoder_norm.bias", "mask_token")
    }
    encoder = kind(saved(tmp_path, {"model": content, "optimizer": {}, "epoch": 49}))
    assert all(torch.equal(tensor, state[name]) for name, tensor in encoder.trunk.state_dict().items())


@pytest.mark.parametrize("before", ["extractor.", "model.extractor."])
def test_maple_gives_the_keys_of_the_class_token(tmp_path, shrink, before):
    kind = shrink("maple", **SMALL)
    whole = timm.create_model("vit_base_patch16_224", num_classes=0, global_pool="token", **SMALL).eval()
    whole.load_state_dict(random_state(whole.state_dict(), fan="in"))
    content = {f"encoder.{before}{name}": tensor for name, tensor in whole.state_dict().items()}
    encoder = kind(saved(tmp_path, {"model": content | {"decoder.weight": torch.zeros(1)}})).eval()
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    seen = []
    whole.blocks[11].attn.register_forward_hook(lambda layer, inputs, _: seen.append(layer.qkv(inputs[0])))
    with torch.no_grad():
        whole(encoder.normalise(images))
        features = encoder(images)
    qkv = seen[0].reshape(2, 197, 3, 12, 2).permute(2, 0, 3, 1, 4)  # as in the authors' maple.py
    torch.testing.assert_close(features, qkv[1].permute(0, 2, 3, 1)[:, 0].flatten(1), rtol=1e-4, atol=1e-5)


def test_a_file_of_another_network_is_refused(tmp_path):
    path = saved(tmp_path, state_of("vit_base_patch16_224", depth=1, **SMALL))
    for name in ("pe_spatial_small", "dinov2_small_reg", "spa_base", "maple"):
        with pytest.raises(WeightsInvalid) as caught:
            build(name, weights=path)
        assert "\n" not in str(caught.value)
