"""DINOv3, SigLIP 2 and CLIP from files in their authors' names, against forward passes written from the layers.

Here the file is made under the official names and the reference reads it under them; only the encoder renames.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from encoders import WeightsInvalid, build
from encoders.cards import CARDS


@pytest.fixture(scope="module")
def frames():
    noise = np.random.default_rng(0).integers(0, 120, (1, 224, 224, 3))
    return (noise + np.array([0, 60, 130])).astype(np.uint8)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "official.pth"
    yield path
    path.unlink(missing_ok=True)


def prepared(frames, name):
    how = CARDS[name].normalisation
    pixels = torch.tensor(frames.astype(np.float32) / 255.0).permute(0, 3, 1, 2)
    return (pixels - torch.tensor(how.mean).view(3, 1, 1)) / torch.tensor(how.std).view(3, 1, 1)


def close(features, expected):
    assert float((features - expected).abs().max() / expected.abs().max()) < 1e-4


class Drawn:
    """Tensors by name, every one of them drawn at its first mention: no layer is left as an untrained one is."""

    def __init__(self):
        self.tensors = {}
        self.generator = torch.Generator().manual_seed(5)

    def uniform(self, name, shape, bound, centre=0.0):
        self.tensors[name] = (torch.rand(shape, generator=self.generator) * 2 - 1) * bound + centre

    def linear(self, name, out, into, *, bias=True, parts=(".weight", ".bias")):
        self.uniform(name + parts[0], (out, into), 2.0 / into**0.5)
        if bias:
            self.uniform(name + parts[1], (out,), 0.1)

    def convolution(self, name, shape, *, bias=True):
        self.uniform(f"{name}.weight", shape, (3 / math.prod(shape[1:])) ** 0.5)
        if bias:
            self.uniform(f"{name}.bias", shape[:1], 0.1)

    def norm(self, name, size):
        self.uniform(f"{name}.weight", (size,), 0.3, 1.0)
        self.uniform(f"{name}.bias", (size,), 0.2)


def linear(tensors, name, values):
    return values @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]


def norm(tensors, name, values, epsilon):
    centred = values - values.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + epsilon).sqrt()
    return scaled * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]


def exact_gelu(values):
    return 0.5 * values * (1 + torch.erf(values / 2**0.5))


def tanh_gelu(values):
    return 0.5 * values * (1 + torch.tanh((2 / math.pi) ** 0.5 * (values + 0.044715 * values**3)))


def fast_gelu(values):
    return values * torch.sigmoid(1.702 * values)


def attention(query, key, value, heads):
    query, key, value = (each.unflatten(-1, (heads, -1)).transpose(1, 2) for each in (query, key, value))
    weights = (query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5).softmax(-1)
    return (weights @ value).transpose(1, 2).flatten(2)


# DINOv3.

WIDTH, HEADS = 384, 6


def dinov3_file(swiglu):
    drawn = Drawn()
    drawn.uniform("cls_token", (1, 1, WIDTH), 0.5)
    drawn.uniform("storage_tokens", (1, 4, WIDTH), 0.5)
    drawn.uniform("mask_token", (1, WIDTH), 0.5)
    drawn.convolution("patch_embed.proj", (WIDTH, 3, 16, 16))
    drawn.tensors["rope_embed.periods"] = (100.0 ** (torch.arange(16) / 16)).bfloat16()
    for block in (f"blocks.{number}" for number in range(12)):
        drawn.norm(f"{block}.norm1", WIDTH)
        drawn.norm(f"{block}.norm2", WIDTH)
        drawn.linear(f"{block}.attn.qkv", 3 * WIDTH, WIDTH, bias=False)
        bias = torch.zeros(3 * WIDTH)
        bias[WIDTH : 2 * WIDTH] = 7.0  # of the keys: masked out, so that it may be anything
        drawn.tensors[f"{block}.attn.qkv.bias"] = bias
        drawn.tensors[f"{block}.attn.qkv.bias_mask"] = (torch.arange(3 * WIDTH) // WIDTH != 1).float()
        drawn.linear(f"{block}.attn.proj", WIDTH, WIDTH)
        drawn.uniform(f"{block}.ls1.gamma", (WIDTH,), 0.3, 0.5)
        drawn.uniform(f"{block}.ls2.gamma", (WIDTH,), 0.3, 0.5)
        layers = {"w1": (4, 1), "w2": (4, 1), "w3": (1, 4)} if swiglu else {"fc1": (4, 1), "fc2": (1, 4)}
        for layer, (out, into) in layers.items():
            drawn.linear(f"{block}.mlp.{layer}", out * WIDTH, into * WIDTH)
    drawn.norm("norm", WIDTH)
    return drawn.tensors


def rotated(values, sine, cosine):
    """Rotary positions of the patches, (B, N, heads, 64); the five tokens before them have none."""
    first, second = values[:, 5:].chunk(2, -1)
    turned = values[:, 5:] * cosine[:, None] + torch.cat([-second, first], -1) * sine[:, None]
    return torch.cat([values[:, :5], turned], 1)


def dinov3(tensors, pixels, swiglu):
    patches = F.conv2d(pixels, tensors["patch_embed.proj.weight"], tensors["patch_embed.proj.bias"], stride=16)
    tokens = torch.cat([tensors["cls_token"], tensors["storage_tokens"], patches.flatten(2).transpose(1, 2)], 1)
    side = torch.arange(14) * 2 / 14 + 1 / 14 - 1
    places = torch.stack(torch.meshgrid(side, side, indexing="ij"), -1).reshape(196, 2)
    periods = 100.0 ** (torch.arange(16) / 16)
    angles = (2 * math.pi * places[:, :, None] / periods).flatten(1).tile(2)
    sine, cosine = angles.sin(), angles.cos()
    for block in (f"blocks.{number}" for number in range(12)):
        inner = norm(tensors, f"{block}.norm1", tokens, 1e-5)
        query, key, value = (inner @ tensors[f"{block}.attn.qkv.weight"].T).chunk(3, -1)
        query, key = (rotated(each.unflatten(-1, (HEADS, -1)), sine, cosine).flatten(2) for each in (query, key))
        attended = linear(tensors, f"{block}.attn.proj", attention(query, key, value, HEADS))
        tokens = tokens + tensors[f"{block}.ls1.gamma"] * attended
        inner = norm(tensors, f"{block}.norm2", tokens, 1e-5)
        if swiglu:
            gate = linear(tensors, f"{block}.mlp.w1", inner)
            hidden = gate * torch.sigmoid(gate) * linear(tensors, f"{block}.mlp.w2", inner)
        else:
            hidden = exact_gelu(linear(tensors, f"{block}.mlp.fc1", inner))
        tokens = tokens + tensors[f"{block}.ls2.gamma"] * linear(
            tensors, f"{block}.mlp.{'w3' if swiglu else 'fc2'}", hidden
        )
    return norm(tensors, "norm", tokens, 1e-5)[:, 0]


@pytest.mark.parametrize("name", ["dinov3_small", "dinov3_small_plus"])
def test_dinov3_from_metas_own_names(name, file, frames):
    swiglu = name.endswith("plus")
    tensors = dinov3_file(swiglu)
    torch.save(tensors, file)
    encoder, _ = build(name, weights=file)
    assert encoder.left_out == ("mask_token",)
    features = encoder.encode(frames)
    close(features, dinov3(tensors, prepared(frames, name), swiglu))
    torch.save(encoder.trunk.state_dict(), file)  # timm's names
    assert torch.equal(build(name, weights=file)[0].encode(frames), features)


def test_a_dinov3_file_with_other_fixed_numbers_is_refused(file):
    """timm's network has no bias of queries, keys and values, and rotary periods of its own."""
    for name, place, wrong in (("blocks.3.attn.qkv.bias", -1, 0.1), ("rope_embed.periods", 4, 9.0)):
        tensors = dinov3_file(False)
        tensors[name][place] = wrong
        torch.save(tensors, file)
        with pytest.raises(WeightsInvalid, match=rf"not expected: {name}"):
            build("dinov3_small", weights=file)


def convnext_file():
    drawn, widths = Drawn(), (96, 192, 384, 768)
    drawn.convolution("downsample_layers.0.0", (96, 3, 4, 4))
    drawn.norm("downsample_layers.0.1", 96)
    for stage, (width, depth) in enumerate(zip(widths, (3, 3, 9, 3), strict=True)):
        if stage:
            drawn.norm(f"downsample_layers.{stage}.0", widths[stage - 1])
            drawn.convolution(f"downsample_layers.{stage}.1", (width, widths[stage - 1], 2, 2))
        for block in (f"stages.{stage}.{number}" for number in range(depth)):
            drawn.convolution(f"{block}.dwconv", (width, 1, 7, 7))
            drawn.norm(f"{block}.norm", width)
            drawn.linear(f"{block}.pwconv1", 4 * width, width)
            drawn.linear(f"{block}.pwconv2", width, 4 * width)
            drawn.uniform(f"{block}.gamma", (width,), 0.3, 0.5)
    drawn.norm("norm", 768)
    once_more = {f"norms.3.{part}": drawn.tensors[f"norm.{part}"] for part in ("weight", "bias")}
    return drawn.tensors | once_more


def convnext(tensors, pixels):
    def convolved(name, maps, **options):
        return F.conv2d(maps, tensors[f"{name}.weight"], tensors[f"{name}.bias"], **options)

    def normed(name, maps):
        return norm(tensors, name, maps.permute(0, 2, 3, 1), 1e-6).permute(0, 3, 1, 2)

    maps = normed("downsample_layers.0.1", convolved("downsample_layers.0.0", pixels, stride=4))
    for stage, depth in enumerate((3, 3, 9, 3)):
        if stage:
            maps = normed(f"downsample_layers.{stage}.0", maps)
            maps = convolved(f"downsample_layers.{stage}.1", maps, stride=2)
        for block in (f"stages.{stage}.{number}" for number in range(depth)):
            inner = convolved(f"{block}.dwconv", maps, padding=3, groups=maps.shape[1]).permute(0, 2, 3, 1)
            inner = linear(tensors, f"{block}.pwconv1", norm(tensors, f"{block}.norm", inner, 1e-6))
            inner = tensors[f"{block}.gamma"] * linear(tensors, f"{block}.pwconv2", exact_gelu(inner))
            maps = maps + inner.permute(0, 3, 1, 2)
    return norm(tensors, "norm", maps.mean((2, 3)), 1e-6)


def test_dinov3s_convnext_from_metas_own_names(file, frames):
    tensors = convnext_file()
    torch.save(tensors, file)
    encoder, _ = build("dinov3_convnext_tiny", weights=file)
    assert set(encoder.left_out) == {"norms.3.weight", "norms.3.bias"}
    features = encoder.encode(frames)
    close(features, convnext(tensors, prepared(frames, "dinov3_convnext_tiny")))
    torch.save(encoder.trunk.state_dict(), file)
    assert torch.equal(build("dinov3_convnext_tiny", weights=file)[0].encode(frames), features)


# SigLIP 2 and CLIP, in transformers' names and in OpenAI's.


def transformers_file(*, clip):
    drawn, width, root = Drawn(), 768, "vision_model."
    positions = 197 if clip else 196
    drawn.convolution(f"{root}embeddings.patch_embedding", (width, 3, 16, 16), bias=not clip)
    drawn.uniform(f"{root}embeddings.position_embedding.weight", (positions, width), 0.5)
    drawn.tensors[f"{root}embeddings.position_ids"] = torch.arange(positions)[None]
    for block in (f"{root}encoder.layers.{number}" for number in range(12)):
        drawn.norm(f"{block}.layer_norm1", width)
        drawn.norm(f"{block}.layer_norm2", width)
        for layer in ("q_proj", "k_proj", "v_proj", "out_proj"):
            drawn.linear(f"{block}.self_attn.{layer}", width, width)
        drawn.linear(f"{block}.mlp.fc1", 4 * width, width)
        drawn.linear(f"{block}.mlp.fc2", width, 4 * width)
    drawn.norm(f"{root}post_layernorm", width)
    if clip:
        drawn.uniform(f"{root}embeddings.class_embedding", (width,), 0.5)
        drawn.norm(f"{root}pre_layrnorm", width)
        drawn.linear("visual_projection", 512, width, bias=False)
    else:
        drawn.uniform(f"{root}head.probe", (1, 1, width), 0.5)
        drawn.linear(f"{root}head.attention.in_proj", 3 * width, width, parts=("_weight", "_bias"))
        drawn.linear(f"{root}head.attention.out_proj", width, width)
        drawn.norm(f"{root}head.layernorm", width)
        drawn.linear(f"{root}head.mlp.fc1", 4 * width, width)
        drawn.linear(f"{root}head.mlp.fc2", width, 4 * width)
        drawn.tensors["logit_bias"] = torch.zeros(1)
    drawn.uniform("text_model.embeddings.token_embedding.weight", (5, 4), 1.0)
    drawn.tensors["logit_scale"] = torch.tensor(2.0)
    return drawn.tensors


def transformers_tokens(tensors, pixels, *, epsilon, activation, clip):
    """All tokens after the last norm."""
    root = "vision_model."
    tensors = {name.removeprefix(root): tensor for name, tensor in tensors.items() if name.startswith(root)}
    weight, bias = (tensors.get(f"embeddings.patch_embedding.{part}") for part in ("weight", "bias"))
    tokens = F.conv2d(pixels, weight, bias, stride=16).flatten(2).transpose(1, 2)
    if clip:
        tokens = torch.cat([tensors["embeddings.class_embedding"].view(1, 1, -1), tokens], 1)
    tokens = tokens + tensors["embeddings.position_embedding.weight"]
    if clip:
        tokens = norm(tensors, "pre_layrnorm", tokens, epsilon)
    for block in (f"encoder.layers.{number}" for number in range(12)):
        inner = norm(tensors, f"{block}.layer_norm1", tokens, epsilon)
        parts = (linear(tensors, f"{block}.self_attn.{one}_proj", inner) for one in "qkv")
        tokens = tokens + linear(tensors, f"{block}.self_attn.out_proj", attention(*parts, 12))
        inner = linear(tensors, f"{block}.mlp.fc1", norm(tensors, f"{block}.layer_norm2", tokens, epsilon))
        tokens = tokens + linear(tensors, f"{block}.mlp.fc2", activation(inner))
    return norm(tensors, "post_layernorm", tokens, epsilon)


def siglip_pooled(tensors, tokens, activation):
    head = "vision_model.head"
    weights, biases = tensors[f"{head}.attention.in_proj_weight"], tensors[f"{head}.attention.in_proj_bias"]
    places = (tensors[f"{head}.probe"], tokens, tokens)
    parts = (x @ w.T + b for x, w, b in zip(places, weights.chunk(3), biases.chunk(3), strict=True))
    pooled = linear(tensors, f"{head}.attention.out_proj", attention(*parts, 12))
    inner = linear(tensors, f"{head}.mlp.fc1", norm(tensors, f"{head}.layernorm", pooled, 1e-6))
    return (pooled + linear(tensors, f"{head}.mlp.fc2", activation(inner)))[:, 0]


def test_siglip2_from_transformers_names(file, frames):
    """With the approximate GELU of its training; the exact one, which timm has, is told apart."""
    tensors = transformers_file(clip=False)
    torch.save(tensors, file)
    encoder, _ = build("siglip2_base", weights=file)
    assert set(encoder.left_out) == {
        "vision_model.embeddings.position_ids",
        "text_model.embeddings.token_embedding.weight",
        "logit_scale",
        "logit_bias",
    }
    features, pixels = encoder.encode(frames), prepared(frames, "siglip2_base")
    found = {}
    for activation in (tanh_gelu, exact_gelu):
        tokens = transformers_tokens(tensors, pixels, epsilon=1e-6, activation=activation, clip=False)
        expected = siglip_pooled(tensors, tokens, activation)
        found[activation] = float((features - expected).abs().max() / expected.abs().max())
    assert found[tanh_gelu] < 1e-4
    assert found[exact_gelu] > 5 * found[tanh_gelu]
    del tensors["vision_model.head.attention.in_proj_bias"]
    torch.save(tensors, file)
    with pytest.raises(WeightsInvalid, match=r"2 missing: attn_pool\.q\.bias, attn_pool\.kv\.bias;"):
        build("siglip2_base", weights=file)


def as_openai_names_it(tensors):
    """The same network under OpenAI's names, in half precision as OpenAI has it, with the text network's beside it."""
    root, named = "vision_model.", {}
    single = {
        "embeddings.class_embedding": "class_embedding",
        "embeddings.patch_embedding.weight": "conv1.weight",
        "embeddings.position_embedding.weight": "positional_embedding",
        **{f"pre_layrnorm.{part}": f"ln_pre.{part}" for part in ("weight", "bias")},
        **{f"post_layernorm.{part}": f"ln_post.{part}" for part in ("weight", "bias")},
    }
    layers = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "self_attn.out_proj": "attn.out_proj"}
    layers |= {"mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    for theirs, ours in single.items():
        named[f"visual.{ours}"] = tensors[root + theirs]
    for number in range(12):
        block, theirs = f"{root}encoder.layers.{number}", f"visual.transformer.resblocks.{number}"
        for part in ("weight", "bias"):
            joined = torch.cat([tensors[f"{block}.self_attn.{one}_proj.{part}"] for one in "qkv"])
            named[f"{theirs}.attn.in_proj_{part}"] = joined
            named |= {f"{theirs}.{b}.{part}": tensors[f"{block}.{a}.{part}"] for a, b in layers.items()}
    named["visual.proj"] = tensors["visual_projection.weight"].T.contiguous()
    text = ("transformer.resblocks.0.ln_1.weight", "token_embedding.weight", "positional_embedding", "ln_final.bias")
    return named | {name: torch.ones(2) for name in (*text, "text_projection", "logit_scale", "vocab_size")}


def test_clip_from_transformers_names_and_from_openais(file, frames):
    tensors = transformers_file(clip=True)
    torch.save(tensors, file)
    encoder, _ = build("clip_base", weights=file)
    assert "visual_projection.weight" in encoder.left_out
    features, pixels = encoder.encode(frames), prepared(frames, "clip_base")
    close(features, transformers_tokens(tensors, pixels, epsilon=1e-5, activation=fast_gelu, clip=True)[:, 0])
    openai = as_openai_names_it(tensors)
    torch.save(openai, file)
    again, _ = build("clip_base", weights=file)
    assert torch.equal(again.encode(frames), features)
    assert set(again.left_out) == set(list(openai)[-8:])
    torch.save({name: tensor.half() for name, tensor in openai.items()}, file)
    halved = build("clip_base", weights=file)[0].encode(frames)
    assert 0 < float((halved - features).abs().max() / features.abs().max()) < 0.05


def test_of_files_that_hold_the_same_numbers_any_will_do():
    """Weights of one file or another: the first that is in the cache counts, and the first is the one to fetch."""
    for name in ("dinov3_small", "dinov3_convnext_tiny", "siglip2_base", "clip_base"):
        card = CARDS[name]
        assert len(card.sources) == 2
        assert card.files_needed == 1
        assert card.sources[0].direct
    assert CARDS["hindex"].files_needed == 12
    assert CARDS["random"].files_needed == 0
