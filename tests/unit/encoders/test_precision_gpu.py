"""Formats on an NVIDIA GPU: what is off by default, what is on when asked for, and the gate there."""

import time

import numpy as np
import pytest
import torch

from encoders import build, check_precision, choose_precision
from encoders.precision import resolve_precision
from encoders.precision_check import set_precision

pytestmark = pytest.mark.gpu
GPU = "cuda"


@pytest.fixture(scope="module")
def frames():
    rows, columns = np.mgrid[0:224, 0:224]
    waves = [127 + 100 * np.sin(rows / (9 + 6 * n)) * np.cos(columns / (31 - 7 * n)) for n in range(3)]
    first = np.stack(waves, -1)
    return np.stack([first, 255 - first, first / 3, first[::-1]]).astype(np.uint8)


@pytest.fixture(scope="module")
def resnet():
    return build("random", device=GPU)[0]


def distance(features, expected):
    return float((features - expected).abs().max() / expected.abs().max())


def test_float32_is_true_float32_and_tf32_costs_digits(resnet, frames):
    """PyTorch's default on a GPU is TF32 in convolutions; here it has to be asked for."""
    exact = build("random")[0].double().trunk
    with torch.no_grad():
        pixels = resnet.normalise(torch.tensor(frames).permute(0, 3, 1, 2).double() / 255)
        expected = exact(pixels).float()
    features = resnet.encode(frames).cpu()
    assert resnet.precision == resnet.describe()["precision"] == "float32"
    assert distance(features, expected) < 1e-5
    try:
        set_precision(resnet, "tf32")
        assert 2e-5 < distance(resnet.encode(frames).cpu(), expected) < 1e-2
    finally:
        set_precision(resnet, "float32")
    assert torch.equal(resnet.encode(frames).cpu(), features)


@pytest.mark.parametrize("name", ["random", "theia_small", "dinov3_convnext_tiny", "liv"])
@pytest.mark.parametrize("precision", ["bfloat16", "float16", "tf32"])
def test_networks_bear_the_faster_formats(name, precision, frames):
    encoder, _ = build(name, weights="auto" if name == "random" else "random", device=GPU)
    report = check_precision(encoder, frames, precision)
    assert report.passed, report.verdict()
    assert report.cosine < 1.0
    assert encoder.precision == "float32"


def test_auto_is_bfloat16_and_described(frames):
    encoder, _ = build("random", device=GPU)
    assert resolve_precision("auto", encoder.device) == "bfloat16"
    report = choose_precision(encoder, "auto", lambda: frames).report
    assert report.passed
    assert (encoder.describe()["precision"], encoder.describe()["compiled"]) == ("bfloat16", False)
    first = encoder.encode(frames)
    assert first.dtype == torch.float32
    assert torch.equal(first, encoder.encode(frames))


def test_a_compiled_network_keeps_its_features(frames):
    encoder, _ = build("theia_tiny", weights="random", device=GPU)
    exact = encoder.encode(frames)
    report = choose_precision(encoder, "bfloat16", lambda: frames, compiled=True).report
    assert report.passed
    assert encoder.describe()["compiled"] is True
    for count in (1, 2, 4):
        fast = encoder.encode(frames[:count])
        assert float(torch.nn.functional.cosine_similarity(fast, exact[:count]).min()) > 0.999


@pytest.mark.slow
def test_bfloat16_is_faster(frames):
    encoder, _ = build("vc1", weights="random", device=GPU)
    batch = np.resize(frames, (64, 224, 224, 3))
    seconds = {}
    for precision in ("float32", "bfloat16"):
        set_precision(encoder, precision)
        encoder.encode(batch).cpu()
        began = time.perf_counter()
        for _ in range(5):
            encoder.encode(batch).cpu()
        seconds[precision] = time.perf_counter() - began
    assert seconds["bfloat16"] < 0.7 * seconds["float32"]
