"""The paper's encoders from checkpoints in their authors' layout, against forward passes written from the layers."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from encoders import WeightsInvalid, build, cards
from encoders.cards import CARDS

ROOT = Path(__file__).resolve().parents[4]
WIDTHS, BLOCKS = (64, 128, 256, 512), (3, 4, 6, 3)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def uniform(generator, shape, bound, centre=0.0):
    return (torch.rand(shape, generator=generator) * 2 - 1) * bound + centre


def resnet_tensors(se=False):
    """A ResNet-50's tensors by its definition: every number differs from what an untrained layer has."""
    generator = torch.Generator().manual_seed(11)
    tensors = {}

    def convolution(name, out, into, kernel):
        bound = (6 / (into * kernel * kernel)) ** 0.5 * 0.7
        tensors[f"{name}.weight"] = uniform(generator, (out, into, kernel, kernel), bound)

    def batchnorm(name, channels):
        for part, centre in (("weight", 0.6), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 0.8)):
            tensors[f"{name}.{part}"] = uniform(generator, (channels,), 0.15, centre)
        tensors[f"{name}.num_batches_tracked"] = torch.tensor(7)

    convolution("conv1", 64, 3, 7)
    batchnorm("bn1", 64)
    into = 64
    for stage, (width, blocks) in enumerate(zip(WIDTHS, BLOCKS, strict=True), 1):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            for number, (out, channels, kernel) in enumerate(
                ((width, into, 1), (width, width, 3), (4 * width, width, 1)), 1
            ):
                convolution(f"{name}.conv{number}", out, channels, kernel)
                batchnorm(f"{name}.bn{number}", out)
            if block == 0:
                convolution(f"{name}.downsample.0", 4 * width, into, 1)
                batchnorm(f"{name}.downsample.1", 4 * width)
                if se:
                    for layer in (0, 2):
                        shape = (4 * width, 4 * width)
                        tensors[f"{name}.se.fc.{layer}.weight"] = uniform(generator, shape, (6 / shape[0]) ** 0.5)
                        tensors[f"{name}.se.fc.{layer}.bias"] = uniform(generator, shape[:1], 0.5)
            into = 4 * width
    return tensors


def resnet(tensors, pixels):
    """The pooled features, from the definition of the layers."""

    def norm(name, maps):
        mean, variance, weight, bias = (
            tensors[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (maps - mean) / (variance + 1e-5).sqrt() * weight + bias

    maps = F.relu(norm("bn1", F.conv2d(pixels, tensors["conv1.weight"], stride=2, padding=3)))
    maps = F.max_pool2d(maps, 3, stride=2, padding=1)
    for stage, blocks in enumerate(BLOCKS, 1):
        for block in range(blocks):
            name, stride = f"layer{stage}.{block}", 2 if block == 0 and stage > 1 else 1
            inner = F.relu(norm(f"{name}.bn1", F.conv2d(maps, tensors[f"{name}.conv1.weight"])))
            inner = F.conv2d(inner, tensors[f"{name}.conv2.weight"], stride=stride, padding=1)
            inner = norm(f"{name}.bn3", F.conv2d(F.relu(norm(f"{name}.bn2", inner)), tensors[f"{name}.conv3.weight"]))
            if f"{name}.se.fc.0.weight" in tensors:
                first, second = (
                    (tensors[f"{name}.se.fc.{n}.weight"], tensors[f"{name}.se.fc.{n}.bias"]) for n in (0, 2)
                )
                channels = torch.sigmoid(F.linear(F.relu(F.linear(inner.mean((2, 3)), *first)), *second))
                inner = inner * channels[:, :, None, None]
            if block == 0:
                shortcut = F.conv2d(maps, tensors[f"{name}.downsample.0.weight"], stride=stride)
                maps = norm(f"{name}.downsample.1", shortcut)
            maps = F.relu(inner + maps)
    return maps.mean((2, 3))


def vit_tensors(width, depth=12):
    """A ViT/16's tensors by its definition, in the names that MAE, MVP and VC-1 store them under."""
    generator = torch.Generator().manual_seed(12)
    tensors = {
        "cls_token": uniform(generator, (1, 1, width), 0.5),
        "pos_embed": uniform(generator, (1, 197, width), 0.5),
        "patch_embed.proj.weight": uniform(generator, (width, 3, 16, 16), 0.06),
        "patch_embed.proj.bias": uniform(generator, (width,), 0.1),
    }

    def norm(name):
        tensors[f"{name}.weight"] = uniform(generator, (width,), 0.3, 1.0)
        tensors[f"{name}.bias"] = uniform(generator, (width,), 0.2)

    for block in range(depth):
        name = f"blocks.{block}"
        norm(f"{name}.norm1")
        norm(f"{name}.norm2")
        for layer, out, into in (
            ("attn.qkv", 3 * width, width),
            ("attn.proj", width, width),
            ("mlp.fc1", 4 * width, width),
            ("mlp.fc2", width, 4 * width),
        ):
            tensors[f"{name}.{layer}.weight"] = uniform(generator, (out, into), 2.5 / into**0.5)
            tensors[f"{name}.{layer}.bias"] = uniform(generator, (out,), 0.1)
    norm("norm")
    return tensors


def vit(tensors, pixels, heads):
    """All tokens after the final norm, from the definition of the layers; the class token stands first."""
    width = tensors["cls_token"].shape[-1]

    def linear(name, tokens):
        return tokens @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    def norm(name, tokens):
        centred = tokens - tokens.mean(-1, keepdim=True)
        scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        return scaled * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]

    patches = F.conv2d(pixels, tensors["patch_embed.proj.weight"], tensors["patch_embed.proj.bias"], stride=16)
    patches = patches.flatten(2).transpose(1, 2)
    tokens = torch.cat([tensors["cls_token"].expand(len(pixels), -1, -1), patches], 1) + tensors["pos_embed"]
    for block in range(12):
        name = f"blocks.{block}"
        qkv = linear(f"{name}.attn.qkv", norm(f"{name}.norm1", tokens))
        query, key, value = qkv.unflatten(-1, (3, heads, width // heads)).permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-2, -1) * (width // heads) ** -0.5).softmax(-1)
        tokens = tokens + linear(f"{name}.attn.proj", (weights @ value).transpose(1, 2).flatten(2))
        hidden = linear(f"{name}.mlp.fc1", norm(f"{name}.norm2", tokens))
        hidden = 0.5 * hidden * (1 + torch.erf(hidden / 2**0.5))
        tokens = tokens + linear(f"{name}.mlp.fc2", hidden)
    return norm("norm", tokens)


def prefixed(prefix, tensors):
    return {prefix + name: tensor for name, tensor in tensors.items()}


def surplus(*names):
    return {name: torch.full((2,), 9.0) for name in names}


def without_counters(tensors):
    return {name: tensor for name, tensor in tensors.items() if not name.endswith("num_batches_tracked")}


def official(name, tensors):
    """A checkpoint as the authors of an encoder lay it out, with all that they store beside its network."""
    if name == "hindex":
        heads = surplus(*(f"{head}.x" for head in ("deconv_layers", "sup_query", "mh_attn", "sup_weight")))
        heads |= surplus("final_layer_unsup.weight")
        parts = surplus("module.image_encoder.0.weight", "module.pose_encoder.0.weight", "module.image_renderer.0.bias")
        return prefixed("module.pose_net.", tensors | heads) | parts
    if name == "frankmocap_hand":
        return prefixed("main_encoder.", tensors | surplus("fc1.weight", "fc1.bias")) | surplus(
            "feat_encoder.1.weight", "feat_encoder.1.bias", "regressor.0.weight", "regressor.0.bias"
        )
    if name == "frankmocap_body":
        layers = [f"{layer}.{part}" for layer in ("fc1", "fc2", "decpose", "decshape", "deccam") for part in "wb"]
        model = tensors | surplus(*layers, "init_pose", "init_shape", "init_cam")
        return {"model": model, "optimizer": {"state": {0: {"step": 5}}}, "epoch": 3, "indices": [1, 2]}
    if name.startswith("alphapose"):
        return prefixed("preact.", tensors) | surplus("duc1.conv.weight", "duc2.bn.bias", "conv_out.weight")
    if name == "r3m":
        language = surplus("module.lang_rew.pred.0.weight", "module.lang_enc.model.embeddings.weight")
        return {"r3m": prefixed("module.convnet.", tensors) | language, "global_step": 1_500_000}
    if name == "mvp":
        return {"model": dict(tensors)}
    if name == "vc1":
        return {"model": tensors | surplus("mask_token", "decoder_pos_embed", "decoder_blocks.0.norm1.weight")}
    assert name == "rrl"
    return without_counters(tensors) | surplus("fc.weight", "fc.bias")  # as files of before 0.4.1 have it


RESNETS = ("hindex", "frankmocap_hand", "frankmocap_body", "alphapose", "alphapose_se", "r3m", "rrl")
VITS = {"mvp": (384, 12), "vc1": (768, 12)}


@pytest.fixture(scope="module")
def frames():
    noise = np.random.default_rng(0).integers(0, 120, (2, 224, 224, 3))
    return (noise + np.array([0, 60, 130])).astype(np.uint8)


@pytest.fixture(scope="module")
def unit(frames):
    return torch.tensor(frames.astype(np.float32) / 255.0).permute(0, 3, 1, 2)


@pytest.fixture(scope="module")
def imagenet(unit):
    return (unit - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


@pytest.fixture(scope="module")
def se_tensors():
    return resnet_tensors(se=True)


@pytest.fixture(scope="module")
def trunk_tensors(se_tensors):
    """The same network without its squeeze-excitation layers."""
    return {name: tensor for name, tensor in se_tensors.items() if ".se." not in name}


@pytest.fixture(scope="module")
def references(se_tensors, trunk_tensors, unit, imagenet):
    return {
        "unit": resnet(trunk_tensors, unit),
        "imagenet": resnet(trunk_tensors, imagenet),
        "imagenet, squeeze-excitation": resnet(se_tensors, imagenet),
        "imagenet, divided twice": resnet(trunk_tensors, imagenet / 255.0),
    }


@pytest.fixture
def file(tmp_path):
    """For files of a whole network, removed at once: pytest keeps its own folders."""
    path = tmp_path / "official.pth"
    yield path
    path.unlink(missing_ok=True)


def distance(features, expected):
    return float((features - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", RESNETS)
def test_a_resnets_official_checkpoint_gives_its_features(name, file, frames, se_tensors, trunk_tensors, references):
    """Also the traps: [0, 1] only for hindex, normalised once, squeeze-excitation as the name says."""
    torch.save(official(name, se_tensors if name.startswith("alphapose") else trunk_tensors), file)
    encoder, origin = build(name, weights=file)
    right = {"hindex": "unit", "alphapose_se": "imagenet, squeeze-excitation"}.get(name, "imagenet")
    features = encoder.encode(frames)
    assert origin.kind == "file"
    assert distance(features, references[right]) < 1e-4
    for way, other in references.items():
        assert way == right or distance(features, other) > 1e-2, way


@pytest.fixture(scope="module", params=list(VITS))
def transformer(request, tmp_path_factory, frames, imagenet):
    """A ViT's name, tensors, encoder loaded from its official layout, features, and the reference's tokens."""
    width, heads = VITS[request.param]
    tensors = vit_tensors(width)
    path = tmp_path_factory.mktemp("vit") / "official.pth"
    torch.save(official(request.param, tensors), path)
    encoder, _ = build(request.param, weights=path)
    path.unlink()
    return request.param, tensors, encoder, encoder.encode(frames), vit(tensors, imagenet, heads)


def test_a_vits_official_checkpoint_gives_its_class_token(transformer):
    _, _, _, features, tokens = transformer
    assert distance(features, tokens[:, 0]) < 1e-4
    assert distance(features, tokens[:, 1:].mean(1)) > 1e-2


def test_the_number_of_heads_shows_in_the_features_and_nowhere_else(transformer, imagenet):
    name, tensors, encoder, features, _ = transformer
    wrong = vit(tensors, imagenet, {"mvp": 6, "vc1": 6}[name])
    assert distance(features, wrong[:, 0]) > 1e-2
    assert {block.attn.num_heads for block in encoder.trunk.blocks} == {12}


def test_a_vit_keeps_the_final_norm_and_has_no_norm_after_pooling(transformer):
    _, tensors, encoder, _, _ = transformer
    names = set(encoder.trunk.state_dict())
    assert names == set(tensors)
    assert not any(name.startswith("fc_norm") for name in names)


def test_a_checkpoint_whose_norm_stands_after_pooling_is_refused(file):
    tensors = vit_tensors(384)
    tensors["fc_norm.weight"] = tensors.pop("norm.weight")
    torch.save({"model": tensors}, file)
    with pytest.raises(WeightsInvalid, match=r"1 missing: norm\.weight; 1 not expected: fc_norm\.weight"):
        build("mvp", weights=file)


def mae_decoder():
    """What MAE stores beside a ViT-B's encoder: 8 blocks of width 512."""
    names = [f"decoder_blocks.{block}.{part}" for block in range(8) for part in ("norm1", "attn.qkv", "mlp.fc1")]
    names = [f"{name}.weight" for name in ("decoder_embed", *names, "decoder_norm", "decoder_pred")]
    return surplus("mask_token", "decoder_pos_embed", *names)


@pytest.mark.parametrize("with_decoder", [True, False])
@pytest.mark.parametrize("container", [True, False])
def test_vc1_is_taken_with_its_decoder_and_without(with_decoder, container, file, frames, transformer):
    """Whether the official file has 448 MB or 343 MB nobody says; the features are the same."""
    name, tensors, _, features, _ = transformer
    if name != "vc1":
        pytest.skip("of the tensors of vc1")
    others = mae_decoder() if with_decoder else {}
    torch.save({"model": tensors | others, "epoch": 182} if container else tensors | others, file)
    encoder, _ = build("vc1", weights=file)
    assert set(encoder.left_out) == {*others, *(["epoch"] if container else [])}
    assert torch.equal(encoder.encode(frames), features)


def test_vc1_refuses_half_an_encoder_and_another_size(file):
    """A decoder in the file does not excuse what is missing of the encoder, nor a tensor that nobody expects."""
    tensors = vit_tensors(768)
    gone = tensors.pop("blocks.11.mlp.fc2.bias")
    torch.save({"model": tensors | mae_decoder()}, file)
    with pytest.raises(
        WeightsInvalid, match=r"1 missing: blocks\.11\.mlp\.fc2\.bias; expected timm's vit_base_patch16"
    ):
        build("vc1", weights=file)
    torch.save({"model": tensors | {"blocks.11.mlp.fc2.bias": gone, "adapter.weight": torch.zeros(1)}}, file)
    with pytest.raises(WeightsInvalid, match=r"1 not expected: adapter\.weight;"):
        build("vc1", weights=file)
    torch.save({"model": vit_tensors(384)}, file)
    with pytest.raises(WeightsInvalid, match=r"of wrong shape: cls_token \(1, 1, 384\) instead of \(1, 1, 768\)"):
        build("vc1", weights=file)


@pytest.mark.parametrize("name", [*RESNETS, "mvp"])
def test_missing_extra_and_misshaped_tensors_are_named(name, file, se_tensors, trunk_tensors):
    tensors = vit_tensors(384) if name == "mvp" else se_tensors if name.startswith("alphapose") else trunk_tensors
    checkpoint = official(name, tensors)
    inner = next((value for value in checkpoint.values() if isinstance(value, dict)), checkpoint)
    weights = [key for key, value in inner.items() if value.ndim == (2 if name == "mvp" else 4)]
    prefix = weights[0].removesuffix("conv1.weight").removesuffix("blocks.0.attn.qkv.weight")
    gone, changed = weights[3], weights[5]
    del inner[gone]
    inner[changed] = torch.zeros(3)
    inner[f"{prefix}layer5.0.weight"] = torch.zeros(1)
    torch.save(checkpoint, file)
    with pytest.raises(WeightsInvalid) as caught:
        build(name, weights=file)
    message = str(caught.value)
    assert f"1 missing: {gone.removeprefix(prefix)};" in message
    assert f"1 not expected: {prefix}layer5.0.weight;" in message
    assert f"1 of wrong shape: {changed.removeprefix(prefix)} (3,) instead of " in message
    assert str(file) in message


@pytest.mark.parametrize("name", ["frankmocap_body", "r3m", "alphapose"])
def test_what_is_left_out_is_named(name, file, se_tensors, trunk_tensors):
    tensors = se_tensors if name == "alphapose" else trunk_tensors
    checkpoint = official(name, tensors)
    torch.save(checkpoint, file)
    left_out = set(build(name, weights=file)[0].left_out)
    expected = {
        "frankmocap_body": {"fc1.w", "decpose.b", "init_cam", "optimizer", "epoch", "indices"},
        "r3m": {"module.lang_rew.pred.0.weight", "module.lang_enc.model.embeddings.weight", "global_step"},
        "alphapose": {"preact.layer1.0.se.fc.0.weight", "preact.layer4.0.se.fc.2.bias", "conv_out.weight"},
    }[name]
    assert expected <= left_out
    assert not any("conv1" in one for one in left_out)
    assert CARDS[name].unused


def test_squeeze_excitation_may_not_vanish_where_it_is_not_said(file, se_tensors):
    """In H-InDex these layers vanish silently; here only the card that says so drops them."""
    torch.save(official("alphapose", se_tensors), file)
    with pytest.raises(WeightsInvalid, match=r"preact"):
        build("r3m", weights=file)
    assert "squeeze-excitation layers left out" in CARDS["alphapose"].architecture
    assert sum(tensor.numel() for name, tensor in se_tensors.items() if ".se." in name) == 11_148_800


def test_rrl_is_the_first_version_of_torchvisions_weights():
    """V2, today's default, has the same names and shapes; only its hash tells."""
    (source,) = CARDS["rrl"].sources
    assert source.filename == "resnet50-0676ba61.pth"
    assert source.sha256.startswith("0676ba61b6795bbe")


def test_only_hindex_sees_plain_colours():
    paper = ["hindex", "frankmocap_hand", "frankmocap_body", "alphapose", "r3m", "mvp", "vc1", "rrl"]
    assert {name for name in paper if CARDS[name].normalisation == cards.UNIT} == {"hindex"}
    assert {CARDS[name].normalisation for name in paper[1:]} == {cards.IMAGENET}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*(one for one in RESNETS if one != "alphapose_se"), *VITS])
def test_the_paper_preset_runs_from_official_files_to_a_result(name, file, tmp_path, se_tensors, trunk_tensors):
    """Weights and demonstrations in the authors' formats, imported by the commands, through one iteration of DAPG."""
    networks = {"alphapose": lambda: se_tensors, **{vit: lambda vit=vit: vit_tensors(VITS[vit][0]) for vit in VITS}}
    torch.save(official(name, networks.get(name, lambda: trunk_tensors)()), file)
    generator = np.random.default_rng(0)
    state = {"qpos": np.zeros(30), "qvel": np.zeros(30), "door_body_pos": np.array([-0.25, 0.3, 0.3])}
    episode = {"actions": generator.uniform(-1, 1, (4, 28)), "observations": np.zeros((4, 39)), "rewards": np.zeros(4)}
    recorded = tmp_path / "door-v0_demos.pickle"
    recorded.write_bytes(pickle.dumps([{**episode, "init_state_dict": state}], 2))

    def bench(*arguments):
        code = "from benchmark.cli.app import main; main()"
        environment = {**os.environ, "HINDEX_BENCH_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        return done.returncode, done.stdout + done.stderr

    settings = ["learner.iterations=1", "learner.trajectories_per_iteration=2", "demonstrations.episodes=1"]
    settings += ["rollout.horizon=3", "rollout.slots=2", "evaluation.episodes=1"]
    run = ["run", "--encoder", name, "--task", "door", "--preset", "paper", "--out", "runs"]
    run += [word for setting in settings for word in ("--set", setting)]
    code, said = bench(*run)
    assert code == 2
    assert "bench demos import FILE --task door" in said
    assert "bench weights" in said  # both are named at once, before any work
    # Where a hash is published, a file of other numbers is no official one.
    published = any(source.sha256 or source.md5 for source in CARDS[name].sources)
    weights = ["--weights", str(file)] if published else []
    if not published:
        named = file.with_name("door-v0.pth") if name == "hindex" else file
        file.rename(named)
        code, said = bench("weights", "import", name, str(named), "--task", "door", "--accept-licence")
        named.rename(file)
        assert code == 0, said
    code, said = bench("demos", "import", str(recorded), "--task", "door", "--episodes", "1")
    assert code == 0, said
    code, said = bench(*run, *weights)
    assert code == 0, said
    assert name in said
    assert "(random)" not in said
