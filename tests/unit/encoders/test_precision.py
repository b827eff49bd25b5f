"""Faster formats: held to the features of float32 frame by frame, refused by name, and part of the identity."""

import numpy as np
import pytest
import torch
from torch import nn

from encoders import PrecisionRefused, build, check_precision, choose_precision, precision, precision_check
from encoders.base import Encoder
from encoders.precision import computing, resolve_precision
from encoders.precision_check import lowest_cosine, set_precision

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def frames():
    rows, columns = np.mgrid[0:224, 0:224]
    waves = [127 + 100 * np.sin(rows / (9 + 6 * n)) * np.cos(columns / (31 - 7 * n)) for n in range(3)]
    first = np.stack(waves, -1)
    return np.stack([first, 255 - first, first / 4]).astype(np.uint8)


@pytest.fixture(params=[True, False], ids=["instructions", "none"])
def processor(request, monkeypatch):
    """A CPU with or without instructions for bfloat16."""
    monkeypatch.setattr(precision, "_cpu_flags", lambda: frozenset({"sse2", "avx512_bf16"} if request.param else ()))
    return request.param


@pytest.fixture
def fast_processor(monkeypatch):
    monkeypatch.setattr(precision, "_cpu_flags", lambda: frozenset({"amx_bf16"}))


class Sturdy(Encoder):
    """A linear map of the colours of 8 x 8 squares."""

    feature_dim = 16

    def __init__(self, weights=None):
        super().__init__()
        self.mix = nn.Linear(3 * 64, 16)

    def forward(self, images):
        return self.mix(nn.functional.adaptive_avg_pool2d(images, 8).flatten(1))


class Fragile(Sturdy):
    """What is left when most of a sum is taken away again: bfloat16 has no digits for it."""

    offset = 500

    def forward(self, images):
        common = torch.full((len(images), 192), float(self.offset))
        return self.mix(nn.functional.adaptive_avg_pool2d(images, 8).flatten(1) + common) - self.mix(common)


class FragileInTheDark(Fragile):
    """Features that bear bfloat16 on all frames but dark ones, and there almost."""

    offset = 4

    def forward(self, images):
        dark = images.mean((1, 2, 3), keepdim=True).flatten(1) < 0.2
        return torch.where(dark, super().forward(images), Sturdy.forward(self, images))


class Overflows(Sturdy):
    """Features beyond what float16 can hold."""

    def forward(self, images):
        return self.mix(nn.functional.adaptive_avg_pool2d(images, 8).flatten(1) * 1e6)


class Restless(Sturdy):
    """Other bits every time, but only outside float32."""

    def forward(self, images):
        features = super().forward(images)
        return features if features.dtype == torch.float32 else features + 1e-3 * torch.rand_like(features)


def made(encoder_class):
    torch.manual_seed(0)
    return encoder_class().eval().requires_grad_(False)


def never():
    raise AssertionError("no frame was needed")


def test_the_lowest_cosine_is_that_of_the_worst_row():
    generator = np.random.default_rng(0)
    fast, exact = generator.standard_normal((2, 5, 7))
    fast[0] = exact[0]
    fast[3] = -exact[3]
    cosines = (fast * exact).sum(1) / np.linalg.norm(fast, axis=1) / np.linalg.norm(exact, axis=1)
    assert lowest_cosine(torch.tensor(fast), torch.tensor(exact)) == pytest.approx(cosines.min()) == -1.0
    zero = torch.zeros(2, 3)
    assert lowest_cosine(zero, zero) == 1.0
    assert lowest_cosine(zero, zero + 1) == 0.0


def test_a_resnet_bears_bfloat16_and_is_left_as_it_was(frames):
    encoder, _ = build("random")
    before = encoder.encode(frames)
    report = check_precision(encoder, frames, "bfloat16")
    assert report.passed
    assert (report.encoder, report.precision, report.frames, report.compiled) == ("random", "bfloat16", 3, False)
    assert 0.999 < report.cosine < 1.0
    assert 0.0 < report.error < 0.2
    assert encoder.precision == "float32"
    assert torch.equal(encoder.encode(frames), before)
    set_precision(encoder, "bfloat16")
    fast = encoder.encode(frames)
    assert fast.dtype == torch.float32
    assert not torch.equal(fast, before)
    assert torch.equal(fast, encoder.encode(frames))
    expected = (fast - before).double().square().mean().sqrt() / (
        before - before.mean(0)
    ).double().square().mean().sqrt()
    assert report.error == pytest.approx(float(expected), rel=1e-3)
    assert float(nn.functional.cosine_similarity(fast.double(), before.double()).min()) == pytest.approx(report.cosine)
    set_precision(encoder, "float32")
    assert torch.equal(encoder.encode(frames), before)


def test_features_that_do_not_bear_it_are_refused_by_name(frames):
    encoder = made(Fragile)
    encoder.name = "fragile"
    report = check_precision(encoder, frames, "bfloat16")
    assert not report.passed
    with pytest.raises(PrecisionRefused) as caught:
        choose_precision(encoder, "bfloat16", lambda: frames)
    message = str(caught.value)
    assert "encoder 'fragile': features in bfloat16 have a lowest cosine similarity of " in message
    assert f"{report.cosine:.6f}" in message
    assert message.endswith("on 3 frames (it has to exceed 0.999); use --precision float32")
    assert encoder.precision == "float32"


def test_one_frame_is_enough_to_refuse(frames):
    """The lowest similarity counts, not the mean."""
    encoder = made(FragileInTheDark)
    assert check_precision(encoder, frames[:2], "bfloat16").passed
    dark = check_precision(encoder, frames[2:], "bfloat16")
    many = np.concatenate([np.repeat(frames[:1], 120, 0), frames[2:]])
    report = check_precision(encoder, many, "bfloat16")
    assert not report.passed
    assert report.cosine == pytest.approx(dark.cosine, abs=1e-3)
    assert (120 + dark.cosine) / 121 > 0.999


def test_numbers_that_overflow_are_refused(frames):
    encoder = made(Overflows)
    assert check_precision(encoder, frames, "bfloat16").passed
    report = check_precision(encoder, frames, "float16")
    assert not report.finite
    with pytest.raises(
        PrecisionRefused, match="features in float16 are not finite on 3 frames; use --precision float32"
    ):
        choose_precision(encoder, "float16", lambda: frames)


def test_other_bits_the_second_time_are_refused(frames):
    with pytest.raises(PrecisionRefused, match="features in bfloat16 differ between two passes over the same frames"):
        choose_precision(made(Restless), "bfloat16", lambda: frames)


def test_auto_takes_bfloat16_where_the_processor_has_instructions_for_it(frames, processor):
    encoder = made(Sturdy)
    report = choose_precision(encoder, "auto", (lambda: frames) if processor else never).report
    assert encoder.precision == ("bfloat16" if processor else "float32")
    assert (report is not None) is processor
    assert encoder.describe()["precision"] == encoder.precision
    assert encoder.describe()["compiled"] is False


def test_auto_falls_back_to_float32_and_reports_why(frames, fast_processor):
    encoder = made(Fragile)
    before = encoder.encode(frames)
    report = choose_precision(encoder, "auto", lambda: frames).report
    assert not report.passed
    assert encoder.precision == encoder.describe()["precision"] == "float32"
    assert torch.equal(encoder.encode(frames), before)


def test_float32_needs_no_frame(fast_processor):
    encoder = made(Fragile)
    assert choose_precision(encoder, "float32", never).report is None
    assert choose_precision(build("state")[0], "bfloat16", never).report is None


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("tf32", "precision 'tf32' is not supported on cpu; use --precision auto"),
        ("int8", "unknown precision 'int8'; expected auto, float32, tf32, bfloat16, float16"),
    ],
)
def test_what_the_device_cannot_do_is_refused(asked, message):
    with pytest.raises(PrecisionRefused, match=message):
        resolve_precision(asked, CPU)
    with pytest.raises(PrecisionRefused, match=message):
        set_precision(made(Sturdy), asked)


@pytest.mark.parametrize(
    ("capability", "auto", "refused"),
    [
        ((9, 0), "bfloat16", set()),
        ((7, 5), "float32", {"tf32", "bfloat16"}),
        ((6, 1), "float32", {"tf32", "bfloat16", "float16"}),
    ],
)
def test_an_nvidia_gpu_is_judged_by_its_generation(capability, auto, refused, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    gpu = torch.device("cuda", 0)
    assert resolve_precision("auto", gpu) == auto
    for asked in refused:
        with pytest.raises(PrecisionRefused, match=f"'{asked}' is not supported on cuda:0"):
            resolve_precision(asked, gpu)
    for asked in {"float32", "tf32", "float16", "bfloat16"} - refused:
        assert resolve_precision(asked, gpu) == asked


def test_the_processors_flags_are_read_where_linux_lists_them(tmp_path, monkeypatch):
    precision._cpu_flags.cache_clear()
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu sse2 amx_bf16 amx_tile\n\nprocessor\t: 1\nflags\t\t: fpu\n")
    monkeypatch.setattr(precision, "_CPUINFO", cpuinfo)
    try:
        assert precision._cpu_flags() == {"fpu", "sse2", "amx_bf16", "amx_tile"}
        assert resolve_precision("auto", CPU) == "bfloat16"
        precision._cpu_flags.cache_clear()
        monkeypatch.setattr(precision, "_CPUINFO", tmp_path / "none")
        assert resolve_precision("auto", CPU) == "float32"
    finally:
        precision._cpu_flags.cache_clear()


def test_a_format_ends_with_the_call_and_float32_ignores_one_around_it(frames):
    encoder = made(Sturdy)
    exact = encoder.encode(frames)
    set_precision(encoder, "bfloat16")
    fast = encoder.encode(frames)
    assert not torch.is_autocast_enabled("cpu")
    set_precision(encoder, "float32")
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(encoder.encode(frames), exact)
        assert torch.is_autocast_enabled("cpu")
    assert not torch.equal(fast, exact)


def test_only_tf32_lets_go_of_float32s_digits():
    before = torch.get_float32_matmul_precision()
    seen = {}
    for name in ("float32", "bfloat16", "tf32"):
        with computing(name, CPU):
            cudnn = torch.backends.cudnn
            seen[name] = torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark
    assert seen["float32"] == seen["bfloat16"] == ("highest", False, True, False)
    assert seen["tf32"] == ("high", True, True, False)
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.parametrize("name", ["random", "theia_tiny"])
def test_a_batch_gives_the_same_bits_whoever_encodes_it(name, frames):
    """What lets any number of workers, and a resumed run, end with the same numbers."""
    first, second = build(name, weights="auto" if name == "random" else "random")[0], None
    set_precision(first, "bfloat16")
    features = first.encode(frames)
    first.encode(frames[:1])  # other batches between
    second = build(name, weights="auto" if name == "random" else "random")[0]
    set_precision(second, "bfloat16")
    assert torch.equal(second.encode(frames), features)
    assert torch.equal(first.encode(frames), features)


def test_compiling_without_a_compiler_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(PrecisionRefused, match=r"compiling needs one of the compilers g\+\+, clang\+\+, c\+\+; run"):
        set_precision(made(Sturdy), "float32", compiled=True)


def test_a_compiler_that_fails_is_told_in_one_line(frames, monkeypatch):
    def broken(forward, **options):
        def fails(images):
            raise RuntimeError("\nCppCompileError: Python.h: No such file\nand much more")

        return fails

    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setattr(precision_check, "_require_compiler", lambda device: None)
    encoder = made(Sturdy)
    with pytest.raises(PrecisionRefused, match=r"cannot compile it here \(CppCompileError: Python\.h: No such file\)"):
        choose_precision(encoder, "float32", lambda: frames, compiled=True)
    assert not encoder.compiled


def test_compiling_is_held_to_the_gate_and_described(frames, monkeypatch):
    compiled = []

    def compile_(forward, **options):
        compiled.append(options)
        return lambda images: forward(images) + 0.5 * (len(compiled) > 3)

    monkeypatch.setattr(torch, "compile", compile_)
    monkeypatch.setattr(precision_check, "_require_compiler", lambda device: None)
    encoder = made(Sturdy)
    report = choose_precision(encoder, "float32", lambda: frames, compiled=True).report
    assert report.passed
    assert report.way == "float32, compiled"
    assert encoder.describe()["compiled"] is True
    assert all(options == {"dynamic": True} for options in compiled)
    set_precision(encoder, "float32")
    compiled.extend([{}] * 3)
    with pytest.raises(PrecisionRefused, match=r"bfloat16, compiled have a lowest cosine .* run without compiling"):
        choose_precision(encoder, "bfloat16", lambda: frames, compiled=True)


@pytest.mark.slow
def test_a_compiled_encoder_keeps_its_features(frames):
    if not any(map(precision.shutil.which, ("g++", "clang++", "c++"))):
        pytest.skip("no C++ compiler")
    encoder = made(Sturdy)
    exact = encoder.encode(frames)
    report = choose_precision(encoder, "float32", lambda: frames, compiled=True).report
    assert report.passed
    assert encoder.compiled
    for batch in (frames, frames[:1], frames[:2]):
        torch.testing.assert_close(encoder.encode(batch), exact[: len(batch)], rtol=1e-4, atol=1e-5)
