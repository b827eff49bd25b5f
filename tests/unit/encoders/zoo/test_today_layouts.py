"""Today's encoders from checkpoints in their authors' layout, against forward passes written from the layers."""

import argparse
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import encoders
from encoders import WeightsInvalid, build
from encoders.cards import CARDS
from encoders.zoo.hand_vit import HaMeR, WiLoR


@pytest.fixture(scope="module")
def frames():
    noise = np.random.default_rng(0).integers(0, 120, (1, 224, 224, 3))
    return (noise + np.array([0, 60, 130])).astype(np.uint8)


def prepared(frames, name):
    how = CARDS[name].normalisation
    pixels = torch.tensor(frames.astype(np.float32) / 255.0).permute(0, 3, 1, 2)
    return (pixels - torch.tensor(how.mean).view(3, 1, 1)) / torch.tensor(how.std).view(3, 1, 1)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "official.pth"
    yield path
    path.unlink(missing_ok=True)


def filled(name_or_network):
    """The tensors of a network, every one of them drawn; variances stay positive."""
    network = encoders.get(name_or_network)().trunk if isinstance(name_or_network, str) else name_or_network
    generator = torch.Generator().manual_seed(3)
    tensors = {}
    for name, tensor in network.state_dict().items():
        if not tensor.is_floating_point():
            tensors[name] = torch.tensor(5)
            continue
        drawn = torch.rand(tensor.shape, generator=generator) - 0.5
        if tensor.ndim > 1 and name.endswith("weight"):
            tensors[name] = drawn * (12 / tensor[0].numel()) ** 0.5
        else:
            tensors[name] = drawn * 0.4 + (0.8 if name.endswith(("weight", "var")) else 0.0)
    return tensors


def linear(tensors, name, tokens):
    return tokens @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]


def norm(tensors, name, tokens, epsilon):
    centred = tokens - tokens.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + epsilon).sqrt()
    return scaled * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]


def exact_gelu(hidden):
    return 0.5 * hidden * (1 + torch.erf(hidden / 2**0.5))


def blocks(tensors, tokens, *, depth, heads, epsilon, activation=exact_gelu):
    """The blocks of a transformer, from the definition of the layers."""
    width = tokens.shape[-1]
    for block in range(depth):
        name = f"blocks.{block}"
        qkv = linear(tensors, f"{name}.attn.qkv", norm(tensors, f"{name}.norm1", tokens, epsilon))
        query, key, value = qkv.unflatten(-1, (3, heads, width // heads)).permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-2, -1) * (width // heads) ** -0.5).softmax(-1)
        tokens = tokens + linear(tensors, f"{name}.attn.proj", (weights @ value).transpose(1, 2).flatten(2))
        hidden = linear(tensors, f"{name}.mlp.fc1", norm(tensors, f"{name}.norm2", tokens, epsilon))
        tokens = tokens + linear(tensors, f"{name}.mlp.fc2", activation(hidden))
    return tokens


def embedded(tensors, pixels, **options):
    weight, bias = tensors["patch_embed.proj.weight"], tensors.get("patch_embed.proj.bias")
    stride = weight.shape[-1]
    return F.conv2d(pixels, weight, bias, stride=stride, **options).flatten(2).transpose(1, 2)


def close(features, expected):
    assert float((features - expected).abs().max() / expected.abs().max()) < 1e-4


def test_theia_keeps_its_patch_tokens_mean_under_transformers_names(file, frames):
    tensors = filled("theia_tiny")
    checkpoint = {"translator.stem.weight": torch.zeros(2)}
    for name, tensor in tensors.items():
        inner = re.sub(r"^blocks\.", "encoder.layer.", name)
        inner = re.sub(r"^cls_token", "embeddings.cls_token", inner)
        inner = re.sub(r"^pos_embed", "embeddings.position_embeddings", inner)
        inner = re.sub(r"^patch_embed\.proj", "embeddings.patch_embeddings.projection", inner)
        inner = inner.replace("attn.proj", "attention.output.dense").replace("mlp.fc1", "intermediate.dense")
        inner = inner.replace("mlp.fc2", "output.dense").replace("norm1", "layernorm_before")
        inner = inner.replace("norm2", "layernorm_after")
        inner = re.sub(r"^norm\.", "layernorm.", inner)
        parts = dict(zip(("query", "key", "value"), tensor.chunk(3), strict=True)) if ".qkv." in name else {"": tensor}
        for part, values in parts.items():
            checkpoint["backbone.model." + inner.replace("attn.qkv", f"attention.attention.{part}")] = values.clone()
    torch.save(checkpoint, file)
    encoder, _ = build("theia_tiny", weights=file)
    assert encoder.left_out == ("translator.stem.weight",)
    tokens = torch.cat([tensors["cls_token"], embedded(tensors, prepared(frames, "theia_tiny"))], 1)
    tokens = blocks(tensors, tokens + tensors["pos_embed"], depth=12, heads=3, epsilon=1e-12)
    close(encoder.encode(frames), norm(tensors, "norm", tokens, 1e-12)[:, 1:].mean(1))
    del checkpoint["backbone.model.encoder.layer.3.attention.attention.key.weight"]
    torch.save(checkpoint, file)
    with pytest.raises(WeightsInvalid, match=r"1 missing: blocks\.3\.attn\.qkv\.weight; 2 not expected: backbone"):
        build("theia_tiny", weights=file)


def test_dinov2_is_loaded_at_its_own_resolution(file, frames):
    tensors = filled("dinov2_small")
    generator = torch.Generator().manual_seed(4)
    official = tensors | {"pos_embed": torch.rand(1, 1370, 384, generator=generator) - 0.5}
    torch.save(official | {"mask_token": torch.zeros(1, 384)}, file)
    encoder, _ = build("dinov2_small", weights=file)
    assert encoder.left_out == ("mask_token",)
    grid = official["pos_embed"][:, 1:].reshape(1, 37, 37, 384).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(16, 16), mode="bicubic", antialias=True).flatten(2).transpose(1, 2)
    positions = torch.cat([official["pos_embed"][:, :1], grid], 1)
    scaled = dict(tensors)
    for name in tensors:  # layer scale: the outputs of attention and MLP, channel by channel
        if name.endswith("gamma"):
            layer = name.replace("ls1.gamma", "attn.proj").replace("ls2.gamma", "mlp.fc2")
            scaled[f"{layer}.weight"] = tensors[f"{layer}.weight"] * tensors[name][:, None]
            scaled[f"{layer}.bias"] = tensors[f"{layer}.bias"] * tensors[name]
    tokens = torch.cat([tensors["cls_token"], embedded(tensors, prepared(frames, "dinov2_small"))], 1)
    tokens = blocks(scaled, tokens + positions, depth=12, heads=6, epsilon=1e-6)
    close(encoder.encode(frames), norm(tensors, "norm", tokens, 1e-6)[:, 0])
    torch.save(official | {"pos_embed": torch.zeros(1, 1000, 384)}, file)
    with pytest.raises(WeightsInvalid, match=r"of wrong shape: pos_embed \(1, 1000, 384\) instead of"):
        build("dinov2_small", weights=file)


def test_clip_gives_its_class_token_before_the_projection(file, frames):
    tensors = filled("clip_base")
    torch.save(tensors | {"head.weight": torch.zeros(512, 768), "head.bias": torch.zeros(512)}, file)
    encoder, _ = build("clip_base", weights=file)
    assert encoder.left_out == ("head.weight", "head.bias")
    tokens = torch.cat([tensors["cls_token"], embedded(tensors, prepared(frames, "clip_base"))], 1)
    tokens = norm(tensors, "norm_pre", tokens + tensors["pos_embed"], 1e-5)
    tokens = blocks(
        tensors,
        tokens,
        depth=12,
        heads=12,
        epsilon=1e-5,
        activation=lambda hidden: hidden * torch.sigmoid(1.702 * hidden),
    )
    close(encoder.encode(frames), norm(tensors, "norm", tokens, 1e-5)[:, 0])


def test_moco_v3_keeps_its_base_encoder_only(file, frames):
    tensors = filled("mocov3_small")
    state = {f"module.base_encoder.{name}": tensor for name, tensor in tensors.items()}
    for name in ("base_encoder.head.0.weight", "momentum_encoder.cls_token", "predictor.1.weight"):
        state[f"module.{name}"] = torch.zeros(2)
    torch.save({"state_dict": state, "epoch": 300, "arch": "vit_small", "optimizer": {}}, file)
    encoder, _ = build("mocov3_small", weights=file)
    assert set(encoder.left_out) == {*list(state)[-3:], "epoch", "arch", "optimizer"}
    tokens = torch.cat([tensors["cls_token"], embedded(tensors, prepared(frames, "mocov3_small"))], 1)
    tokens = blocks(tensors, tokens + tensors["pos_embed"], depth=12, heads=12, epsilon=1e-6)
    close(encoder.encode(frames), norm(tensors, "norm", tokens, 1e-6)[:, 0])


RESNETS = {
    "vip": ("vip", "module.convnet.", ()),
    "mocov3_resnet50": (
        "state_dict",
        "module.base_encoder.",
        ("module.base_encoder.fc.0.weight", "module.momentum_encoder.conv1.weight", "module.predictor.0.weight"),
    ),
    "pvr": (
        "state_dict",
        "module.encoder_q.",
        ("module.encoder_q.fc.0.weight", "module.encoder_k.conv1.weight", "module.queue", "module.queue_ptr"),
    ),
    "mcr": ("", "", ()),
}


@pytest.mark.parametrize("name", RESNETS)
def test_todays_resnets_take_their_official_layout(name, file):
    """Their forward pass is that of the paper's ResNets, which is checked there; here it is the tensors' places."""
    container, prefix, others = RESNETS[name]
    tensors = filled(name)
    assert ("fc.weight" in tensors) is (name == "vip")
    state = {prefix + inner: tensor for inner, tensor in tensors.items()}
    state |= {other: torch.zeros(2) for other in others}
    torch.save({container: state, "epoch": 3} if container else state, file)
    encoder, _ = build(name, weights=file)
    loaded = encoder.trunk.state_dict()
    assert all(torch.equal(loaded[inner], tensor) for inner, tensor in tensors.items())
    assert set(encoder.left_out) == {*others, *(["epoch"] if container else [])}


def test_vip_gives_the_output_of_its_linear_layer(frames):
    encoder, _ = build("vip", weights="random")
    features = encoder.encode(frames)
    trunk, encoder.trunk.fc = encoder.trunk.fc, torch.nn.Identity()
    with torch.no_grad():
        pooled = encoder.trunk(prepared(frames, "vip"))
    close(features, pooled @ trunk.weight.T + trunk.bias)


@pytest.mark.parametrize(
    "name", ["vc1_permissive", "vc1_large", "mvp_base", "mvp_large", "mae_base", "soup", "mocov3_base"]
)
def test_todays_vits_take_their_official_layout(name, file, frames):
    """With a small network in the place of theirs: its layouts are the encoder's."""
    small = type("Small", (encoders.get(name),), {"model": "vit_tiny_patch16_224"})
    small.feature_dim, small.normalisation = 192, CARDS[name].normalisation
    tensors = filled(small().trunk)
    if name == "mocov3_base":
        state = {f"module.base_encoder.{inner}": tensor for inner, tensor in tensors.items()}
        surplus = {"module.base_encoder.head.0.weight": torch.zeros(1), "module.predictor.0.weight": torch.zeros(1)}
        content = {"state_dict": state | surplus}
    else:
        surplus = {"mask_token": torch.zeros(1), "decoder_norm.bias": torch.zeros(1)}
        content = {"features" if name == "soup" else "model": tensors | surplus, "args": argparse.Namespace(lr=0.1)}
    torch.save(content, file)
    encoder = small(weights=file)
    loaded = encoder.trunk.state_dict()
    assert all(torch.equal(loaded[inner], tensor) for inner, tensor in tensors.items())
    assert encoder.left_out == (*surplus, *list(content)[1:])
    side = 256 if name == "mvp_large" else 224
    assert loaded["pos_embed"].shape == (1, (side // 16) ** 2 + 1, 192)
    pixels = F.interpolate(prepared(frames, name), size=(side, side), mode="bilinear")
    tokens = torch.cat([tensors["cls_token"], embedded(tensors, pixels)], 1)
    tokens = blocks(tensors, tokens + tensors["pos_embed"], depth=12, heads=3, epsilon=1e-6)
    close(frozen(encoder).encode(frames), norm(tensors, "norm", tokens, 1e-6)[:, 0])


def dropped(pattern):
    """The starts of names that a card's brace pattern stands for."""
    pattern = pattern.split(" ")[0].rstrip("*")
    braces = re.search(r"\{(.*?)\}", pattern)
    if braces is None:
        return [pattern]
    return [pattern.replace(braces[0], one) for one in braces[1].split(",")]


@pytest.mark.parametrize("name", [name for name, card in CARDS.items() if card.sources])
def test_a_card_names_what_its_official_layout_leaves_out(name):
    layout, card = encoders.get(name).layouts[0], CARDS[name]
    said = tuple(start for pattern in card.unused if "all " not in pattern for start in dropped(pattern))
    left_out = [layout.prefix + start for start in layout.unused] + list(layout.others)
    if name.startswith("dinov2"):
        left_out.remove("head.")  # of timm's own file, which has none
    assert [start for start in left_out if not start.startswith(said)] == []
    assert not layout.container or any("beside" in pattern for pattern in card.unused)
    assert not layout.rest or any("outside" in pattern for pattern in card.unused)


def clip_resnet(tensors, pixels):
    """CLIP's ResNet-50 from the definition of its layers: stem of three, average pooling, attention over positions."""

    def convolved(convolution, batchnorm, maps, **options):
        maps = F.conv2d(maps, tensors[f"{convolution}.weight"], **options)
        parts = (tensors[f"{batchnorm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(maps, *parts)

    maps = pixels
    for number, stride in ((1, 2), (2, 1), (3, 1)):
        maps = F.relu(convolved(f"conv{number}", f"bn{number}", maps, stride=stride, padding=1))
    maps = F.avg_pool2d(maps, 2)
    for stage, count in enumerate((3, 4, 6, 3), 1):
        for block in range(count):
            name, stride = f"layer{stage}.{block}", 2 if block == 0 and stage > 1 else 1
            inner = F.relu(convolved(f"{name}.conv1", f"{name}.bn1", maps))
            inner = F.avg_pool2d(F.relu(convolved(f"{name}.conv2", f"{name}.bn2", inner, padding=1)), stride)
            inner = convolved(f"{name}.conv3", f"{name}.bn3", inner)
            if block == 0:
                maps = convolved(f"{name}.downsample.0", f"{name}.downsample.1", F.avg_pool2d(maps, stride))
            maps = F.relu(inner + maps)
    tokens = maps.flatten(2).transpose(1, 2)
    tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], 1) + tensors["attnpool.positional_embedding"]
    query, key, value = (
        linear(tensors, f"attnpool.{one}_proj", tokens).unflatten(-1, (32, 64)).transpose(1, 2) for one in "qkv"
    )
    weights = (query[:, :, :1] @ key.transpose(-2, -1) / 8).softmax(-1)
    return linear(tensors, "attnpool.c_proj", (weights @ value).transpose(1, 2).flatten(1))


def as_clip_names_it(name):
    name = re.sub(r"^stem\.conv(\d)\.(conv|bn)\.", r"\2\1.", name)
    name = re.sub(r"^stages\.(\d)\.", lambda match: f"layer{int(match[1]) + 1}.", name)
    name = re.sub(r"conv(\d)_\dx\d\.conv\.|conv(\d)_kxk\.conv\.", lambda match: f"conv{match[1] or match[2]}.", name)
    name = re.sub(r"conv(\d)_\dx\d\.bn\.|conv(\d)_kxk\.bn\.", lambda match: f"bn{match[1] or match[2]}.", name)
    name = name.replace("shortcut.conv.conv.", "downsample.0.").replace("shortcut.conv.bn.", "downsample.1.")
    name = name.replace("head.pos_embed", "attnpool.positional_embedding").replace("head.proj.", "attnpool.c_proj.")
    return re.sub(r"^head\.([qkv])\.", r"attnpool.\1_proj.", name)


def test_liv_is_clips_resnet_with_attention_pooling(file, frames):
    tensors = {as_clip_names_it(name): tensor for name, tensor in filled("liv").items()}
    state = {f"module.model.visual.{name}": tensor for name, tensor in tensors.items()}
    state |= {"module.model.logit_scale": torch.tensor(1.0), "module.model.token_embedding.weight": torch.zeros(2)}
    torch.save({"liv": state}, file)
    encoder, _ = build("liv", weights=file)
    assert encoder.left_out == ("module.model.logit_scale", "module.model.token_embedding.weight")
    close(encoder.encode(frames), clip_resnet(tensors, prepared(frames, "liv")))


class SmallHaMeR(HaMeR):
    """The same network with another width and depth."""

    feature_dim, depth, heads = 64, 2, 4
    normalisation = CARDS["hamer"].normalisation


class SmallWiLoR(WiLoR):
    """The same network with another width and depth."""

    feature_dim, depth, heads = 64, 2, 4
    normalisation = CARDS["wilor"].normalisation


def frozen(encoder):
    return encoder.eval().requires_grad_(False)


@pytest.mark.parametrize("encoder_class", [SmallHaMeR, SmallWiLoR])
def test_hand_networks_see_the_middle_of_the_frame(encoder_class, file, frames):
    """192 columns of 256, patches padded by 2, no class token, and in WiLoR 18 tokens that attend along."""
    tensors = filled(encoder_class().trunk)
    state = {f"backbone.{name}": tensor for name, tensor in tensors.items()}
    state["mano_head.decpose.weight"] = torch.zeros(2)
    if encoder_class is SmallWiLoR:
        state["backbone.decpose.weight"] = torch.zeros(2)
    torch.save({"state_dict": state, "epoch": 1, "hyper_parameters": {"cfg": argparse.Namespace(x=1)}}, file)
    encoder = frozen(encoder_class(weights=file))
    assert set(encoder.left_out) == {*list(state)[len(tensors) :], "epoch", "hyper_parameters"}
    pixels = F.interpolate(prepared(frames, "hamer"), size=(256, 256), mode="bilinear")[..., 32:224]
    tokens = embedded(tensors, pixels, padding=2)
    assert tokens.shape[1] == 192
    tokens = tokens + tensors["pos_embed"][:, 1:] + tensors["pos_embed"][:, 0]
    if encoder_class is SmallWiLoR:
        shape = linear(tensors, "shape_emb", tensors["init_betas"])
        camera = linear(tensors, "cam_emb", tensors["init_cam"])
        pose = linear(tensors, "pose_emb", tensors["init_hand_pose"].reshape(16, 6))
        tokens = torch.cat([torch.cat([pose, shape, camera])[None], tokens], 1)
        assert tokens.shape[1] == 210
    tokens = norm(tensors, "last_norm", blocks(tensors, tokens, depth=2, heads=4, epsilon=1e-6), 1e-6)
    close(encoder.encode(frames), tokens[:, -192:].mean(1))


def test_a_hand_networks_missing_query_is_named(file):
    state = {f"backbone.{name}": tensor for name, tensor in filled(SmallWiLoR().trunk).items()}
    del state["backbone.pose_emb.weight"]
    torch.save({"state_dict": state}, file)
    with pytest.raises(WeightsInvalid, match=r"1 missing: pose_emb\.weight; expected the ViT of a hand network"):
        SmallWiLoR(weights=file)


@pytest.mark.parametrize(("name", "parameters"), [("hamer", 630_912_000), ("wilor", 630_940_160)])
def test_the_hand_networks_whole_size_without_its_numbers(name, parameters):
    with torch.device("meta"):
        network = encoders.get(name).empty_trunk()
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters == CARDS[name].parameters
