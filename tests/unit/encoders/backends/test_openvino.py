"""OpenVINO computes what PyTorch does, whole or after the stem; its networks are kept without their numbers."""

import logging
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from encoders import BackendRefused, PrecisionRefused, check_precision, choose_precision, names
from encoders.backend import backends_to_try
from encoders.backends import graphs, openvino
from encoders.base import Encoder
from encoders.ema_batchnorm import attach
from encoders.factory import build
from encoders.precision_check import set_precision

pytest.importorskip("openvino", reason="no OpenVINO for this system")

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HINDEX_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "openvino"


@pytest.fixture(scope="module")
def frames():
    rows, columns = np.mgrid[0:224, 0:224]
    waves = [127 + 100 * np.sin(rows / (9 + 6 * n)) * np.cos(columns / (31 - 7 * n)) for n in range(3)]
    first = np.stack(waves, -1)
    return np.stack([first, 255 - first, first / 4, first.transpose(1, 0, 2), first[::-1], first / 2]).astype(np.uint8)


class Small(Encoder):
    """A convolution, a BatchNorm that ends the stem, another convolution with its own BatchNorm, and a linear map."""

    feature_dim = 16

    def __init__(self, weights=None):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 7, stride=4, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(4))
        self.mix = nn.Linear(128, 16)

    def forward(self, images):
        return self.mix(self.body(self.stem(images)).flatten(1))


class ByLength(Small):
    """The number of images is a constant to torch.export."""

    def forward(self, images):
        return super().forward(images) + torch.zeros(len(images), 16)


class Branches(Small):
    """What is computed depends on the images."""

    def forward(self, images):
        return super().forward(images) if images.mean() > 0.5 else super().forward(1 - images)


class UnknownOperator(Small):
    """A function that OpenVINO lacks."""

    def forward(self, images):
        return torch.special.bessel_j1(super().forward(images))


class Bypasses(Small):
    """The images reach the features beside the stem, too."""

    def forward(self, images):
        return super().forward(images) + images.mean((1, 2, 3))[:, None]


class Recurrent(Small):
    """The first BatchNorm is called twice."""

    def forward(self, images):
        maps = self.stem[1](self.stem(images))
        return self.mix(self.body(maps).flatten(1))


class Rounded(Small):
    """Numbers in a format that stays in the network that is kept."""

    def __init__(self, weights=None):
        super().__init__()
        self.offset = nn.Parameter(torch.randn(16).bfloat16())

    def forward(self, images):
        return super().forward(images) + self.offset.float()


def made(encoder_class, seed=0):
    torch.manual_seed(seed)
    encoder = encoder_class().eval().requires_grad_(False)
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 2.0)
    return encoder


def files(folder):
    return sorted(folder.glob("*.safetensors"))


@pytest.mark.parametrize("encoder_class", [Small, ByLength])
def test_features_are_those_of_pytorch_for_any_number_of_images(encoder_class, frames):
    encoder = made(encoder_class)
    exact = [encoder.encode(frames[:count]) for count in range(7)]
    set_precision(encoder, "float32", backend="openvino")
    for count, expected in enumerate(exact):
        torch.testing.assert_close(encoder.encode(frames[:count]), expected, rtol=1e-4, atol=1e-5)
    alone = torch.cat([encoder.encode(frames[n : n + 1]) for n in range(6)])
    assert torch.equal(encoder.encode(frames), alone)
    assert encoder.backend == "openvino"
    assert not encoder.compiled
    set_precision(encoder, "float32")
    assert torch.equal(encoder.encode(frames), exact[6])


def test_the_backend_is_in_the_identity_unless_it_is_pytorch():
    encoder = made(Small)
    assert "backend" not in encoder.describe()
    set_precision(encoder, "float32", backend="openvino")
    assert encoder.describe()["backend"] == "openvino"


def test_after_a_stem_whose_statistics_move_features_and_statistics_are_those_of_pytorch(frames):
    pair = []
    for backend in ("torch", "openvino"):
        encoder = made(Small)
        set_precision(encoder, "float32", backend=backend, moving="stem")
        pair.append((encoder, attach(encoder, momentum=0.3, scope="stem", streams=2)))
    for moment in range(3):
        seen = frames[moment : moment + 2]
        for _, statistics in pair:
            statistics.select([0, 1])
        exact, fast = (encoder.encode(seen) for encoder, _ in pair)
        torch.testing.assert_close(fast, exact, rtol=1e-4, atol=1e-5)
    states = [statistics.state() for _, statistics in pair]
    assert states[0].keys() == {"stem.1.mean", "stem.1.variance"}
    torch.testing.assert_close(states[1], states[0])
    assert not torch.allclose(states[1]["stem.1.mean"][0], states[1]["stem.1.mean"][1])


def test_where_all_statistics_move_pytorch_computes(frames):
    assert backends_to_try("auto", CPU, "all") == ("torch",)
    with pytest.raises(BackendRefused, match=r"cannot move the statistics of all BatchNorm layers .*--backend auto"):
        choose_precision(made(Small), "auto", lambda: frames, backend="openvino", moving="all")


def test_auto_is_pytorch_on_gpus_and_where_openvino_is_not_installed(monkeypatch):
    assert backends_to_try("auto", torch.device("cuda", 0)) == ("torch",)
    with pytest.raises(BackendRefused, match="computes on CPUs alone, and the encoder is on cuda:0"):
        backends_to_try("openvino", torch.device("cuda", 0))
    monkeypatch.setattr("encoders.backend.installed", lambda: False)
    assert backends_to_try("auto", CPU) == ("torch",)
    with pytest.raises(BackendRefused, match="is not installed"):
        backends_to_try("openvino", CPU)
    with pytest.raises(BackendRefused, match="unknown backend 'onnx'; expected auto, torch, openvino"):
        backends_to_try("onnx", CPU)


@pytest.mark.parametrize(
    ("encoder_class", "moving", "why"),
    [
        (Branches, None, r"torch\.export cannot export it \("),
        (UnknownOperator, None, r"OpenVINO cannot convert its network \(.*bessel_j1"),
        (Bypasses, "stem", r"cannot be split after its first BatchNorm 'stem\.1'"),
        (Recurrent, "stem", r"cannot be split after its first BatchNorm 'stem\.1'"),
    ],
)
def test_what_cannot_be_exported_stays_in_pytorch_and_says_so_once(encoder_class, moving, why, frames):
    encoder = made(encoder_class)
    choice = choose_precision(encoder, "float32", lambda: frames, backend="auto", moving=moving)
    assert encoder.backend == "torch"
    assert choice.report is None
    (line,) = choice.refused
    assert encoder.encode(frames).shape == (6, 16)
    with pytest.raises(BackendRefused, match=why + ".*; use --backend torch$") as refused:
        choose_precision(encoder, "float32", lambda: frames, backend="openvino", moving=moving)
    assert str(refused.value).startswith(line)


def test_features_that_are_off_are_not_taken(frames, monkeypatch):
    monkeypatch.setattr("encoders.precision_check.LEAST_COSINE", 2.0)
    encoder = made(Small)
    choice = choose_precision(encoder, "float32", lambda: frames, backend="auto")
    assert encoder.backend == "torch"
    (line,) = choice.refused
    assert line.startswith("features in float32 by OpenVINO have a lowest cosine similarity of")
    with pytest.raises(PrecisionRefused, match="use --backend torch"):
        choose_precision(encoder, "float32", lambda: frames, backend="openvino")


def test_features_are_compared_with_those_of_pytorch(frames):
    encoder = made(Small)
    exact = encoder.encode(frames).double()
    report = check_precision(encoder, frames, "float32", backend="openvino")
    assert report.passed
    assert report.way == "float32 by OpenVINO"
    assert (encoder.backend, encoder.compiled_forward) == ("torch", None)
    set_precision(encoder, "float32", backend="openvino")
    spread = (exact - exact.mean(0)).square().mean().sqrt()
    largest = (encoder.encode(frames).double() - exact).abs().max() / spread
    assert report.largest == pytest.approx(float(largest))
    assert report.largest < 1e-4


def test_compiling_by_torch_is_not_for_openvino(frames):
    with pytest.raises(BackendRefused, match="compiled=true"):
        choose_precision(made(Small), "float32", lambda: frames, backend="openvino", compiled=True)


def test_it_computes_with_as_many_threads_as_torch(monkeypatch):
    seen = {}

    class Compiled:
        def get_property(self, name):
            raise StopIteration

    class Core(openvino._openvino().Core):
        def compile_model(self, model, device, settings):
            seen.update(settings)
            return Compiled()

    monkeypatch.setattr(openvino._openvino(), "Core", Core)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    with pytest.raises(StopIteration):
        set_precision(made(Small), "float32", backend="openvino")
    assert seen["INFERENCE_NUM_THREADS"] == 3


def test_a_second_start_converts_nothing_and_gives_the_same_bits(frames, cache, monkeypatch):
    encoder = made(Small)
    set_precision(encoder, "float32", backend="openvino")
    first = encoder.encode(frames)
    monkeypatch.setattr(openvino, "export", None)
    other = made(Small)
    set_precision(other, "float32", backend="openvino")
    assert torch.equal(other.encode(frames), first)
    assert len(files(cache)) == 1


def test_one_file_serves_all_weights_of_a_network(frames, cache, monkeypatch):
    set_precision(made(Small), "float32", backend="openvino")
    monkeypatch.setattr(openvino, "export", None)
    encoder = made(Small, seed=1)
    exact = encoder.encode(frames)
    set_precision(encoder, "float32", backend="openvino")
    torch.testing.assert_close(encoder.encode(frames), exact, rtol=1e-4, atol=1e-5)
    assert files(cache)[0].stat().st_size < 60_000


def test_numbers_that_the_kept_network_holds_are_checked(frames, cache):
    for seed in range(2):
        encoder = made(Rounded, seed=seed)
        exact = encoder.encode(frames)
        set_precision(encoder, "float32", backend="openvino")
        torch.testing.assert_close(encoder.encode(frames), exact, rtol=1e-4, atol=1e-5)
        assert list(graphs.load(files(cache)[0]).fixed) == ["offset"]


def test_settings_shapes_and_stem_are_part_of_the_name():
    encoder = made(Small)
    usual = graphs.graph_path(encoder, None)
    assert graphs.graph_path(made(Small, seed=1), None) == usual
    assert graphs.graph_path(encoder, "stem.1") != usual
    assert graphs.graph_path(made(ByLength), None) != usual
    encoder.stem[1].eps = 1e-3
    changed = graphs.graph_path(encoder, None)
    encoder.stem[0].scale = torch.ones(3)
    assert len({usual, changed, graphs.graph_path(encoder, None)}) == 3


def test_a_plugin_that_changed_is_converted_anew(tmp_path):
    path = tmp_path / "plug.py"
    path.write_text(PLUGIN)
    before = graphs.graph_path(build(f"{path}:Plug")[0], None)
    assert before == graphs.graph_path(build(f"{path}:Plug")[0], None)
    path.write_text(PLUGIN + "# changed\n")
    assert graphs.graph_path(build(f"{path}:Plug")[0], None) != before


def test_a_class_without_a_file_is_not_kept(monkeypatch):
    monkeypatch.setattr(Small, "__module__", "__main__")
    assert graphs.graph_path(made(Small), None) is None


@pytest.mark.parametrize(
    "damage", [lambda whole: b"", lambda whole: whole[:-40], lambda whole: whole[:-8] + b"01234567"]
)
def test_a_damaged_file_is_made_anew_and_said(damage, frames, cache, caplog):
    encoder = made(Small)
    set_precision(encoder, "float32", backend="openvino")
    first, (path,) = encoder.encode(frames), files(cache)
    path.write_bytes(damage(path.read_bytes()))
    with caplog.at_level(logging.WARNING):
        set_precision(encoder, "float32", backend="openvino")
    assert f"{path} is damaged (" in caplog.text
    assert torch.equal(encoder.encode(frames), first)
    caplog.clear()
    set_precision(encoder, "float32", backend="openvino")
    assert not caplog.records


def test_a_cache_that_cannot_be_written_costs_only_time(frames, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HINDEX_BENCH_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr("encoders.weights.files._warned", set())
    encoder = made(Small)
    for _ in range(2):
        set_precision(encoder, "float32", backend="openvino")
    assert encoder.encode(frames).shape == (6, 16)
    (record,) = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert "set HINDEX_BENCH_CACHE to a folder that can be written" in record.message


OFFLINE = """
import sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "os.fork"):
        print("REFUSED", event, arguments, flush=True)
        raise PermissionError(event)

sys.addaudithook(refuse)
import encoders
from encoders.precision_check import set_precision

encoder, _ = encoders.build(sys.argv[1])
set_precision(encoder, "float32", backend="openvino")
assert "openvino" in sys.modules
print(sorted(name for name in sys.modules if "telemetry" in name))
"""
PLUGIN = """
from encoders import Encoder
from torch import nn

class Plug(Encoder, name="plug"):
    feature_dim = 3
    def __init__(self, weights=None):
        super().__init__()
        self.mix = nn.Conv2d(3, 3, 8)
    def forward(self, images):
        return self.mix(images).mean((2, 3))
"""


def test_nothing_is_sent(tmp_path):
    """OpenVINO's telemetry would send at the import and at every conversion, and write into the home folder."""
    (tmp_path / "plug.py").write_text(PLUGIN)
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home)}
    for variable in ("CI", "TF_BUILD", "JENKINS_URL", "GITHUB_ACTIONS"):  # where its telemetry is silent anyway
        environment.pop(variable, None)
    command = [sys.executable, "-c", OFFLINE, str(tmp_path / "plug.py:Plug")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()[-1]
    assert "REFUSED" not in done.stdout
    assert "openvino_telemetry" not in said
    assert not (home / "intel").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in names() if name != "state"])
def test_every_listed_encoder_has_the_features_of_pytorch(name, frames):
    encoder, _ = build(name, weights="random", allow_random=True)
    report = check_precision(encoder, frames[:2], "float32", backend="openvino")
    assert report.passed
    assert report.cosine > 0.999999
    assert report.largest < 1e-3
