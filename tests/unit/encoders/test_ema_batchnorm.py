"""Stage 3, held to a transcription of its formulas that sees one observation at a time."""

import copy

import numpy as np
import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

import encoders
from encoders import EncoderError, build, check_encoder
from encoders.cards import CARDS
from encoders.ema_batchnorm import EMABatchNorm2d, attach

STREAMS = 16


class OneStream(nn.Module):
    """encoders.md, section 4, word for word: one stream, whose images are the cameras of one step."""

    def __init__(self, layer, momentum):
        super().__init__()
        self.gamma, self.beta = layer.weight, layer.bias
        self.mu, self.sigma2 = layer.running_mean, layer.running_var
        self.m = momentum

    def forward(self, x):
        count = x.shape[0] * x.shape[2] * x.shape[3]
        mean = x.sum((0, 2, 3)) / count
        variance = ((x - mean.view(1, -1, 1, 1)) ** 2).sum((0, 2, 3)) / count
        self.mu = (1 - self.m) * self.mu + self.m * mean
        self.sigma2 = (1 - self.m) * self.sigma2 + self.m * variance
        gamma, beta, mu, sigma2 = (each.view(1, -1, 1, 1) for each in (self.gamma, self.beta, self.mu, self.sigma2))
        return gamma * (x - mu) / torch.sqrt(sigma2 + 1e-5) + beta


def one_stream(network, momentum, scope):
    """A copy of a network with `OneStream` in the place of its BatchNorm."""
    network = copy.deepcopy(network)
    paths = [path for path, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)]
    for path in paths if scope == "all" else paths[:1]:
        parent, _, name = path.rpartition(".")
        setattr(network.get_submodule(parent), name, OneStream(network.get_submodule(path), momentum))
    return network


def shaken(network, seed=0):
    """The network, frozen, with BatchNorm numbers that are not those it starts with."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                for numbers in (layer.weight, layer.running_var):
                    numbers.copy_(0.5 + torch.rand(numbers.shape, generator=generator))
                for numbers in (layer.bias, layer.running_mean):
                    numbers.copy_(torch.randn(numbers.shape, generator=generator))
    return network.eval().requires_grad_(False)


def small_resnet():
    """A stem, a basic block with a shortcut layer and a bottleneck: eight BatchNorms in all."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shortcut = nn.Sequential(nn.Conv2d(6, 8, 1, stride=2, bias=False), nn.BatchNorm2d(8))
        stem = [nn.Conv2d(3, 6, 7, stride=4, padding=3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)]
        blocks = [BasicBlock(6, 8, 2, shortcut), Bottleneck(8, 2), nn.Conv2d(8, 8, 3, bias=False), nn.BatchNorm2d(8)]
        return shaken(nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten()))


def images(count, generator, side=64):
    """Images that differ in brightness and contrast, so that statistics have somewhere to go."""
    contrast, level = torch.rand(2, count, 3, 1, 1, generator=generator)
    return level + contrast * torch.rand(count, 3, side, side, generator=generator)


def single(weight=1.0, bias=0.0, **options):
    """A network that is one BatchNorm of one channel, which starts with mean 0 and variance 1."""
    network = nn.Sequential(nn.BatchNorm2d(1)).double()
    network.eval().requires_grad_(False)
    network[0].weight.fill_(weight)
    network[0].bias.fill_(bias)
    return network, attach(network, **options)


# The formulas.


def test_a_layer_follows_the_formulas():
    generator = torch.Generator().manual_seed(1)
    network = shaken(nn.Sequential(nn.BatchNorm2d(5)).double())
    plain = one_stream(network, 0.03, "all")
    statistics = attach(network, momentum=0.03)
    statistics.select([0])
    for _ in range(50):
        x = 3 + 2 * torch.randn(1, 5, 7, 4, generator=generator, dtype=torch.float64)
        torch.testing.assert_close(network(x), plain(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(network[0].stream_mean[0], plain[0].mu, rtol=1e-12, atol=0)
    torch.testing.assert_close(network[0].stream_var[0], plain[0].sigma2, rtol=1e-12, atol=0)


def test_statistics_move_before_they_normalise():
    network, statistics = single(weight=3.0, bias=7.0, momentum=0.5)
    statistics.select([0])
    y = network(torch.full((1, 1, 2, 2), 4.0, dtype=torch.float64))
    # mean (0 + 4) / 2, variance (1 + 0) / 2
    np.testing.assert_allclose(y, 3 * (4 - 2) / np.sqrt(0.5 + 1e-5) + 7, rtol=1e-12)


def test_the_variance_is_biased():
    network, statistics = single(momentum=1.0)
    statistics.select([0])
    network(torch.tensor([0.0, 2.0], dtype=torch.float64).reshape(1, 1, 1, 2))
    assert network[0].stream_mean.item() == 1.0
    assert network[0].stream_var.item() == 1.0  # the unbiased one is 2


def test_momentum_is_the_weight_of_the_newest_observation():
    network, statistics = single(momentum=0.1)
    statistics.select([0])
    network(torch.full((1, 1, 3, 3), 10.0, dtype=torch.float64))
    assert network[0].stream_mean.item() == pytest.approx(1.0)
    assert network[0].stream_var.item() == pytest.approx(0.9)


def test_images_of_one_stream_are_cameras_of_one_observation():
    generator = torch.Generator().manual_seed(2)
    network = shaken(nn.Sequential(nn.BatchNorm2d(4)).double())
    plains = [one_stream(network, 0.2, "all") for _ in range(3)]
    statistics = attach(network, momentum=0.2, streams=3)
    order = [2, 0, 2, 1, 1, 2]
    statistics.select(order)
    for _ in range(5):
        x = torch.randn(6, 4, 5, 5, generator=generator, dtype=torch.float64) * torch.arange(1, 7).view(-1, 1, 1, 1)
        found = network(x)
        for stream, plain in enumerate(plains):
            mine = [image for image, owner in enumerate(order) if owner == stream]
            torch.testing.assert_close(found[mine], plain(x[mine]), rtol=1e-11, atol=1e-11)
            torch.testing.assert_close(network[0].stream_mean[stream], plain[0].mu, rtol=1e-11, atol=1e-11)
            torch.testing.assert_close(network[0].stream_var[stream], plain[0].sigma2, rtol=1e-11, atol=1e-11)


def test_deeper_layers_see_what_the_moved_ones_below_give():
    network = shaken(nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3)).double())
    statistics = attach(network, momentum=1.0, scope="all")
    statistics.select([0])
    x = 5 + 4 * torch.randn(1, 3, 9, 9, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    network(x)
    # With momentum 1 the first layer whitens the image itself, so its output has its scale and offset.
    torch.testing.assert_close(network[1].stream_mean[0], network[0].bias, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(network[1].stream_var[0], network[0].weight ** 2, rtol=1e-5, atol=0)


# Streams.


def batched_against_loops(network, scope, *, steps, momentum, generator, side):
    """The greatest difference, relative to the features' size, over steps in which not always all streams take part."""
    loops = [one_stream(network, momentum, scope) for _ in range(STREAMS)]
    statistics = attach(network, momentum=momentum, scope=scope, streams=STREAMS)
    worst = 0.0
    with torch.inference_mode():
        for step in range(steps):
            here = STREAMS if step < steps // 2 else 11
            streams = torch.randperm(STREAMS, generator=generator)[:here].tolist()
            batch = images(len(streams), generator, side)
            statistics.select(streams)
            found = network(batch)
            expected = torch.cat([loops[stream](batch[[k]]) for k, stream in enumerate(streams)])
            worst = max(worst, float((found - expected).abs().max() / expected.abs().max()))
    return worst


@pytest.mark.parametrize("momentum", [0.1, 0.001])
@pytest.mark.parametrize("scope", ["stem", "all"])
def test_a_batch_of_streams_is_as_many_loops_over_single_images(scope, momentum):
    generator = torch.Generator().manual_seed(4)
    worst = batched_against_loops(small_resnet(), scope, steps=100, momentum=momentum, generator=generator, side=64)
    assert worst < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("scope", ["stem", "all"])
def test_a_batch_of_streams_is_as_many_loops_through_resnet50(scope):
    encoder, _ = build("random")
    generator = torch.Generator().manual_seed(5)
    assert batched_against_loops(encoder, scope, steps=100, momentum=0.01, generator=generator, side=64) < 1e-5


def test_the_two_scopes_differ():
    x = images(4, torch.Generator().manual_seed(6))
    features = []
    for scope in ("stem", "all"):
        network = small_resnet()
        attach(network, momentum=0.1, scope=scope, streams=4).select(range(4))
        features.append(network(x))
    assert (features[0] - features[1]).abs().max() > 1e-2


def test_a_stream_does_not_feel_the_others():
    generator = torch.Generator().manual_seed(7)
    network = nn.Sequential(nn.BatchNorm2d(3)).eval().requires_grad_(False)
    statistics = attach(network, momentum=0.1, streams=3)
    x = images(3, generator)
    statistics.select([0, 1, 2])
    together = network(x)
    moved = statistics.state()
    statistics.reset()
    statistics.select([1])
    assert torch.equal(network(x[[1]]), together[[1]])
    only = statistics.state()["0.mean"]
    assert torch.equal(only[1], moved["0.mean"][1])
    assert torch.equal(only[[0, 2]], network[0].running_mean.expand(2, -1))
    assert not torch.equal(moved["0.mean"][0], network[0].running_mean)


# What is replaced.


@pytest.fixture(scope="module")
def resnet50():
    return build("random")[0]


@pytest.mark.parametrize(("scope", "count"), [("stem", 1), ("all", 53)])
def test_layers_are_replaced_really(scope, count, resnet50):
    encoder = copy.deepcopy(resnet50)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    parameters = dict(encoder.named_parameters())
    statistics = attach(encoder, momentum=0.1, scope=scope, streams=2)
    kinds = [type(module) for module in encoder.modules()]
    assert (kinds.count(EMABatchNorm2d), kinds.count(nn.BatchNorm2d)) == (count, 53 - count)
    assert len(statistics.layers) == count
    assert next(iter(statistics.layers)) == "trunk.bn1"
    called = []
    for module in statistics.layers.values():
        module.register_forward_hook(lambda module, *_: called.append(module))
    statistics.select([0, 1])
    encoder.encode(np.full((2, 224, 224, 3), 90, np.uint8))
    assert len(called) == count, "every new layer takes part in the forward pass: there are no orphans"
    after = encoder.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert all(parameter is parameters[name] for name, parameter in encoder.named_parameters())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not any(module.training for module in encoder.modules())


def test_momentum_zero_leaves_the_network_as_it_is(resnet50):
    encoder = copy.deepcopy(resnet50)
    frames = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    expected = encoder.encode(frames)
    statistics = attach(encoder, momentum=0.0, scope="all", streams=2)
    statistics.select([0, 1])
    statistics.reset()
    assert torch.equal(encoder.encode(frames), expected)
    assert not any(isinstance(module, EMABatchNorm2d) for module in encoder.modules())
    assert statistics.state() == {}
    check_encoder(encoder)


def test_momentum_zero_asks_for_no_batchnorm():
    assert attach(nn.Linear(2, 2), momentum=0.0).layers == {}


def test_one_layer_under_two_names_stays_one_layer():
    layer = nn.BatchNorm2d(3)
    network = nn.Sequential(layer, nn.Sequential(nn.ReLU(), layer)).eval()
    network.add_module("again", layer)
    attach(network, momentum=0.1, scope="all").select([0])
    assert network[0] is network[1][1] is network.again
    assert isinstance(network[0], EMABatchNorm2d)


def test_timms_batchnorm_keeps_its_activation():
    network = shaken(nn.Sequential(BatchNormAct2d(4, act_layer=nn.SiLU)))
    x = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(8))
    expected = nn.functional.silu(one_stream(network, 0.3, "all")(x[:1]))
    attach(network, momentum=0.3, streams=2).select([0, 1])
    torch.testing.assert_close(network(x)[:1], expected)


def test_maps_keep_their_layout_and_precision():
    network = nn.Sequential(nn.BatchNorm2d(8)).eval()
    attach(network, momentum=0.1, streams=2).select([0, 1])
    maps = torch.randn(2, 8, 6, 6).contiguous(memory_format=torch.channels_last)
    assert network(maps).is_contiguous(memory_format=torch.channels_last)
    assert network(maps.bfloat16()).dtype == torch.bfloat16
    assert network[0].stream_mean.dtype == torch.float32


class Counting(nn.BatchNorm2d):
    def forward(self, maps):
        return super().forward(maps) + 1


REFUSED = {
    "no BatchNorm": (nn.Conv2d(3, 3, 1), {}, r"'Sequential': has no BatchNorm .* leave ema\.momentum at 0"),
    "another layer": (Counting(3), {}, r"layer '0' \(Counting\) does more than BatchNorm"),
    "no statistics": (nn.BatchNorm2d(3, track_running_stats=False), {}, r"layer '0' .* keeps no statistics"),
    "momentum": (nn.BatchNorm2d(3), {"momentum": 1.5}, r"momentum of the moving statistics is 1\.5; expected 0 to 1"),
    "streams": (nn.BatchNorm2d(3), {"streams": 0}, r"0 streams"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_move_is_refused_and_left_alone(case):
    layer, options, expected = REFUSED[case]
    network = nn.Sequential(layer)
    with pytest.raises(EncoderError, match=expected):
        attach(network, **{"momentum": 0.1, "scope": "all"} | options)
    assert network[0] is layer


def test_a_lone_batchnorm_is_refused():
    with pytest.raises(EncoderError, match="is itself a BatchNorm"):
        attach(nn.BatchNorm2d(3), momentum=0.1)


@pytest.mark.parametrize("name", ["mvp", "state"])
def test_encoders_without_batchnorm_refuse_a_momentum(name):
    encoder, _ = build(name, allow_random=True)
    with pytest.raises(EncoderError, match=f"encoder '{name}': has no BatchNorm"):
        attach(encoder, momentum=0.01)


def test_hindex_and_its_small_sister_alone_ask_for_it():
    assert [name for name in CARDS if encoders.card(name).moving_average] == ["hindex", "hindex_mini"]


# Beginning anew, keeping and going on.


def test_an_encoder_drifts_and_comes_back_to_the_bit(resnet50):
    encoder = copy.deepcopy(resnet50)
    statistics = attach(encoder, momentum=0.1, scope="all", streams=2)
    frames = np.random.default_rng(1).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    statistics.select([0, 1])
    first, second = encoder.encode(frames), encoder.encode(frames)
    assert not torch.equal(first, second)
    statistics.reset([1])
    third = encoder.encode(frames)
    assert torch.equal(third[1], first[1])
    assert not torch.equal(third[0], first[0])
    statistics.reset()
    assert torch.equal(encoder.encode(frames), first)


def test_kept_statistics_go_on_to_the_bit():
    generator = torch.Generator().manual_seed(9)
    network, other = small_resnet(), small_resnet()
    statistics = attach(network, momentum=0.1, scope="all", streams=3)
    statistics.select([0, 1, 2])
    network(images(3, generator))
    kept = statistics.state()
    assert {len(tensor) for tensor in kept.values()} == {3}
    assert len(kept) == 2 * 8
    x = images(3, generator)
    expected = network(x)
    assert not torch.equal(kept["1.mean"], statistics.state()["1.mean"]), "what is kept is a copy"
    theirs = attach(other, momentum=0.1, scope="all", streams=3)
    theirs.load(kept)
    theirs.select([0, 1, 2])
    assert torch.equal(other(x), expected)
    theirs.reset()
    theirs.load({name: tensor[:1] for name, tensor in kept.items()}, [2])
    assert torch.equal(theirs.state([2])["4.bn1.variance"], kept["4.bn1.variance"][:1])
    assert torch.equal(theirs.state([0])["4.bn1.variance"][0], other[4].bn1.running_var)


def test_statistics_of_something_else_are_refused():
    def attached(scope, streams):
        return attach(small_resnet(), momentum=0.1, scope=scope, streams=streams)

    mine = attached("all", 2)
    for other in (attached("stem", 2), attached("all", 3)):
        with pytest.raises(EncoderError, match="belong to another network, scope or number of streams"):
            mine.load(other.state())


def test_a_batch_needs_its_streams():
    network = small_resnet()
    statistics = attach(network, momentum=0.1, streams=2)
    with pytest.raises(EncoderError, match="1 images came and streams of 0 were selected"):
        network(images(1, torch.Generator()))
    statistics.select([0, 1])
    with pytest.raises(EncoderError, match="3 images came and streams of 2 were selected"):
        network(images(3, torch.Generator()))
    for stream in (2, -1):
        with pytest.raises(EncoderError, match=f"unknown stream {stream} .*available: 0 to 1"):
            statistics.select([0, stream])


def test_half_precision_leaves_the_statistics_whole():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval().requires_grad_(False)
    other = copy.deepcopy(network)
    x = images(4, torch.Generator().manual_seed(10), side=16)
    found = []
    for each in (network, other):
        statistics = attach(each, momentum=0.5, streams=2)
        statistics.select([0, 1, 1, 1])
        found.append(statistics)
    with torch.autocast("cpu", torch.bfloat16):
        maps = network[0](x)
        network[1](maps)
    other[1](maps.float())
    assert maps.dtype == torch.bfloat16
    for name, tensor in found[0].state().items():
        torch.testing.assert_close(tensor, found[1].state()[name], rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_a_compiled_network_is_not_compiled_again_for_other_streams():
    network, plain = small_resnet(), small_resnet()
    graphs = []
    compiled = torch.compile(
        network.forward, dynamic=True, backend=lambda graph, inputs: graphs.append(graph) or graph.forward
    )
    both = [(compiled, attach(network, momentum=0.1, scope="all", streams=6))]
    both.append((plain, attach(plain, momentum=0.1, scope="all", streams=6)))
    generator = torch.Generator().manual_seed(11)
    with torch.inference_mode():
        for streams in ([0, 1, 2, 3], [1, 2], [5, 4, 3], [0, 1, 2, 3, 4, 5], [0, 5], [2, 1, 0]):
            x = images(len(streams), generator)
            for _, statistics in both:
                statistics.select(streams)
            torch.testing.assert_close(compiled(x), plain(x))
    assert len(graphs) == 1


@pytest.mark.gpu
@pytest.mark.parametrize("scope", ["stem", "all"])
def test_a_gpu_agrees_with_the_cpu_and_with_itself(scope):
    frames = np.random.default_rng(2).integers(0, 256, (20, STREAMS, 224, 224, 3), dtype=np.uint8)
    found = []
    for device in ("cpu", "cuda", "cuda"):
        encoder, _ = build("random", device=device)
        statistics = attach(encoder, momentum=0.1, scope=scope, streams=STREAMS)
        statistics.select(range(STREAMS))
        found.append(torch.stack([encoder.encode(batch).cpu() for batch in frames[: 3 if device == "cpu" else 20]]))
    cpu, once, twice = found
    assert torch.equal(once, twice)
    torch.testing.assert_close(once[:3], cpu, rtol=1e-3, atol=1e-3 * float(cpu.abs().max()))
