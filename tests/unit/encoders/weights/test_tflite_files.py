"""Files of TensorFlow Lite: what is read of them, and what a damaged one says."""

import numpy as np
import pytest
import tflite
import torch
from tflite_writer import KINDS, OPERATORS, OPTIONS, Graph, written
from torch import nn

from encoders import WeightsInvalid
from encoders.weights import checkpoint, convert
from encoders.weights.random_weights import random_state
from encoders.weights.tflite_files import read
from encoders.zoo.mediapipe import Bottleneck, SeparableResidual, convolution, inverted_residuals
from encoders.zoo.packaged import in_order

SIDE = 32
NETWORKS = {
    "inverted residuals": lambda: inverted_residuals(
        (Bottleneck(24, 3, 1, 8), Bottleneck(32, 5, 2, 12), Bottleneck(48, 3, 1, 12), Bottleneck(48, 3, 2, 0)),
        even=False,
    ),
    "inverted residuals with even borders": lambda: inverted_residuals(
        (Bottleneck(24, 5, 2, 8), Bottleneck(32, 3, 2, 0)), even=True
    ),
    "separable residuals with ReLU6": lambda: nn.Sequential(
        convolution(3, 6, 3, 2, activation=nn.ReLU6()),
        SeparableResidual(6, 6, 1, between=nn.ReLU6(), after=nn.ReLU6()),
        SeparableResidual(6, 6, 2, between=nn.ReLU6(), after=nn.ReLU6()),
    ),
    "separable residuals with parametric rectifiers": lambda: nn.Sequential(
        convolution(3, 6, 3, 2, activation=nn.PReLU(6)),
        SeparableResidual(6, 10, 2, between=None, after=nn.PReLU(10)),
        SeparableResidual(10, 10, 1, between=None, after=nn.PReLU(10)),
    ),
}


def made(name):
    """Make a network whose numbers float16 can store."""
    network = NETWORKS[name]().eval().requires_grad_(False)
    state = random_state(network.state_dict(), fan="in")
    generator = torch.Generator().manual_seed(1)
    biases = {
        key: 0.2 * torch.randn(tensor.shape, generator=generator) for key, tensor in state.items() if "bias" in key
    }
    network.load_state_dict({key: tensor.half().float() for key, tensor in (state | biases).items()})
    return network


@pytest.mark.parametrize("name", NETWORKS)
def test_the_weights_come_back_in_the_order_of_the_network(tmp_path, name):
    network = made(name)
    path = tmp_path / "network.tflite"
    path.write_bytes(written(network, SIDE))
    weights = read(path)
    assert list(weights)[:2] == ["000.weight", "000.bias"]
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    state = in_order(weights, network.state_dict())
    assert all(torch.equal(state[key].float(), tensor) for key, tensor in network.state_dict().items())


@pytest.mark.parametrize("name", NETWORKS)
def test_the_networks_compute_what_a_tflite_runtime_computes(tmp_path, name):
    openvino = pytest.importorskip("openvino")
    network = made(name)
    path = tmp_path / "network.tflite"
    path.write_bytes(written(network, SIDE))
    images = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    runtime = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    expected = torch.from_numpy(runtime(images.permute(0, 2, 3, 1).numpy())[0]).permute(0, 3, 1, 2)
    torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-5)
    assert float(expected.std()) > 0.05


def test_only_what_the_first_output_depends_on_is_read(tmp_path):
    network = made("separable residuals with ReLU6")
    graph = Graph(SIDE)
    aside = graph.convolve(graph.input, network[0])
    end = graph.network(graph.input, network)
    graph.convolve(aside, network[1].pointwise)
    linear = nn.Linear(6, 2).requires_grad_(False)
    mean = graph.operator(OPERATORS.MEAN, [end, graph.tensor((2,), KINDS.INT32, np.array([1, 2], np.int32))], (1, 6))
    inputs = [mean, *graph.weights(linear, 0, 1)]
    head = graph.operator(OPERATORS.FULLY_CONNECTED, inputs, (1, 2), OPTIONS.FullyConnectedOptions)
    path = tmp_path / "network.tflite"
    path.write_bytes(graph.file(head))
    weights = read(path)
    assert [name for name in weights if name.startswith("005")] == ["005.weight", "005.bias"]
    assert "006.weight" not in weights
    torch.testing.assert_close(weights["005.weight"].float(), linear.weight, rtol=0, atol=1e-3)


def test_a_file_in_the_cache_is_converted_once_and_needs_its_schema_no_more(tmp_path, monkeypatch):
    monkeypatch.setenv("HINDEX_BENCH_CACHE", str(tmp_path))
    path = tmp_path / "weights" / "mine" / "network.tflite"
    path.parent.mkdir(parents=True)
    path.write_bytes(written(made("inverted residuals"), SIDE))
    first = checkpoint.read(path)
    assert convert.converted_path(path).is_file()
    monkeypatch.setattr(tflite, "Model", None)
    assert all(torch.equal(tensor, first[name]) for name, tensor in checkpoint.read(path).items())


def test_other_bytes_are_refused(tmp_path):
    path = tmp_path / "network.tflite"
    for content in (b"", b"TFL3", bytes(100), b"PK\3\4" + bytes(100)):
        path.write_bytes(content)
        with pytest.raises(WeightsInvalid, match="is not a file of TensorFlow Lite; fetch it again"):
            read(path)


def test_damage_gives_the_weights_or_one_line(tmp_path):
    content = written(made("separable residuals with parametric rectifiers"), SIDE)
    path = tmp_path / "network.tflite"
    generator = np.random.default_rng(0)
    lines = []
    for attempt in range(300):
        damaged = bytearray(content[: generator.integers(8, len(content))] if attempt % 3 == 0 else content)
        for place in generator.integers(8, len(damaged), attempt % 5):
            damaged[place] = generator.integers(256)
        path.write_bytes(damaged)
        try:
            read(path)
        except WeightsInvalid as error:
            lines.append(str(error))
    assert len(lines) > 90
    assert all("is damaged" in line and "\n" not in line for line in lines)


def test_quantised_weights_are_refused(tmp_path):
    network = made("inverted residuals")
    graph = Graph(SIDE)
    end = graph.network(graph.input, network)
    graph.tensors = [
        (shape, KINDS.INT8 if kind == KINDS.FLOAT16 else kind, buffer) for shape, kind, buffer in graph.tensors
    ]
    path = tmp_path / "network.tflite"
    path.write_bytes(graph.file(end))
    with pytest.raises(WeightsInvalid, match="neither float32 nor float16"):
        read(path)
