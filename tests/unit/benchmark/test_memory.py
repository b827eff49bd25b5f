"""Settings that would take too much: refused before the work, and named where memory runs out all the same."""

import platform
import resource
from pathlib import Path

import numpy as np
import pytest
import torch

import tasks
from benchmark import memory
from benchmark.adapt.config import configure as configure_adaptation
from benchmark.config import RunConfig, configure
from benchmark.errors import ConfigError, OutOfMemory
from benchmark.overrides import parse
from benchmark.pretrain.config import PretrainConfig
from benchmark.probe.probe import ProbeSettings, probe
from benchmark.runner import sweep
from benchmark.runner.runner import run
from encoders import check_encoder
from encoders.factory import construct
from encoders.memory import is_out_of_memory

GIGABYTE = 10**9


def resident():
    """Return the bytes of memory that this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to return memory")
def test_memory_between_buffers_in_use_is_given_back():
    before = resident()
    buffers = [np.ones(100_000, np.uint8) for _ in range(2000)]
    kept = buffers[::100]
    del buffers
    memory.give_back()
    assert resident() - before < 50e6
    assert all(each[0] for each in kept)


def door(*overrides):
    return configure("quickstart", overrides, task="door", encoder="state")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("rollout.horizon", 10**13),
        ("rollout.slots", 10**8),
        ("ema.streams", 10**8),
        ("learner.policy_hidden", "[1000000000]"),
        ("learner.policy_hidden", str([1] * 1000)),
        ("learner.value_hidden", "[1000000000]"),
        ("learner.iterations", 10**12),
        ("learner.trajectories_per_iteration", 10**12),
        ("learner.bc_batch_size", 10**12),
        ("learner.value_batch_size", 10**12),
        ("learner.conjugate_gradient_iterations", 10**12),
        ("demonstrations.episodes", 10**12),
        ("demonstrations.first_seed", 10**30),
        ("evaluation.episodes", 10**12),
        ("evaluation.every", 10**12),
        ("adaptation.batch", 10**12),
        ("adaptation.videos", 10**12),
        ("adaptation.steps", 10**12),
        ("torch_threads", 10**9),
        ("egl_device", 10**9),
        ("rollout.slots", "1" * 5000),
    ],
)
def test_absurd_settings_are_refused_by_name(setting, value):
    with pytest.raises(ConfigError, match=rf"setting '{setting}(\.0)?': ") as refusal:
        door(f"{setting}={value}")
    assert len(str(refusal.value)) < 300


def test_every_whole_number_of_a_run_has_a_largest_value():
    """A setting that is added without a bound shows here."""

    def unbounded(schema, name=""):
        if schema.get("type") == "integer" and not {"maximum", "exclusiveMaximum"} & set(schema):
            yield name
        for key, value in schema.items():
            if isinstance(value, dict):
                yield from unbounded(value, f"{name}.{key}")
            elif isinstance(value, list):
                for each in value:
                    if isinstance(each, dict):
                        yield from unbounded(each, name)

    assert list(unbounded(RunConfig.model_json_schema())) == []


def test_a_setting_nested_without_end_is_one_line():
    with pytest.raises(ConfigError, match="nested too deep"):
        door("rollout.slots=" + "[" * 100_000)


@pytest.mark.parametrize(
    ("overrides", "setting"),
    [
        (["learner.policy_hidden=[65536, 65536]"], "learner.policy_hidden"),
        (["learner.value_hidden=[65536, 65536]"], "learner.value_hidden"),
        (["rollout.horizon=100000", "learner.trajectories_per_iteration=100000"], "learner.trajectories_per_iteration"),
        (["rollout.horizon=100000", "evaluation.episodes=100000"], "evaluation.episodes"),
    ],
)
def test_a_run_that_cannot_fit_is_refused_before_the_work(overrides, setting, monkeypatch):
    monkeypatch.setattr(memory, "limit", lambda: 64 * GIGABYTE)
    with pytest.raises(
        ConfigError, match=rf"^{setting} takes at least [\d,.]+ GB of memory.*64\.0 GB are available; lower"
    ):
        sweep.check_ready([door(*overrides)])


def test_long_films_and_many_frames_count_where_there_are_images(monkeypatch):
    monkeypatch.setattr(memory, "limit", lambda: 8 * GIGABYTE)
    card = tasks.card("door")
    long = door("rollout.horizon=100000").resolve(card)
    memory.require_run(long, card)
    with pytest.raises(ConfigError, match=r"^rollout\.horizon takes at least 15\.1 GB"):
        memory.require_run(long, card, feature_dim=512)
    memory.require_run(door("rollout.horizon=100000", "evaluation.video=false").resolve(card), card, feature_dim=512)


@pytest.mark.parametrize("task", tasks.names())
def test_the_papers_own_runs_fit_into_a_small_machine(task, monkeypatch):
    monkeypatch.setattr(memory, "limit", lambda: 4 * GIGABYTE)
    card = tasks.card(task)
    memory.require_run(configure("paper", task=task, encoder="hindex").resolve(card), card, feature_dim=2048)


def test_the_limit_is_the_smallest_of_machine_container_and_process(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_physical", lambda: 16 * GIGABYTE)
    monkeypatch.setattr(memory, "_GROUPS", (tmp_path / "v2", tmp_path / "v1"))
    (tmp_path / "v2").write_text("max\n")
    assert memory.limit() == 16 * GIGABYTE
    (tmp_path / "v1").write_text(f"{4 * GIGABYTE}\n")
    assert memory.limit() == 4 * GIGABYTE


def test_other_commands_refuse_what_cannot_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "limit", lambda: 64 * GIGABYTE)
    with pytest.raises(ConfigError, match=r"^batch takes at least"):
        memory.require(memory.adaptation_needs(224, 1_000_000, [5000]))
    with pytest.raises(ConfigError, match=r"^--episodes takes at least"):
        probe(["random"], ["pen"], tmp_path, settings=ProbeSettings(episodes=100_000, frames=1000))
    with pytest.raises(ConfigError, match=r"--frames 1000000000000: expected 100,000 at most"):
        probe(["random"], ["pen"], tmp_path, settings=ProbeSettings(frames=10**12))
    for option in ("batch", "steps", "videos", "held_out", "workers", "seed"):
        with pytest.raises(ConfigError, match=rf"^setting '{option}': "):
            configure_adaptation(**{option: 10**20})
    for option in ("batch", "steps", "size", "held_out", "workers", "seed"):
        with pytest.raises(ConfigError, match=rf"^setting '{option}': "):
            parse(PretrainConfig, {"steps": 1, option: 10**20})


# Memory that runs out.


def exhausted():
    """What the libraries raise, the real thing where that is quick."""
    yield MemoryError()
    yield torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    yield RuntimeError("CUDA error: out of memory")
    yield RuntimeError("std::bad_alloc")
    yield ValueError("Could not allocate memory")  # mujoco.batch
    for allocate in (lambda: torch.zeros(10**15), lambda: np.zeros(10**15)):
        try:
            allocate()
        except (RuntimeError, MemoryError) as error:
            yield error


@pytest.mark.parametrize("error", list(exhausted()), ids=lambda error: f"{type(error).__name__} {error}"[:40])
def test_exhausted_memory_is_recognised_and_explained(error):
    assert is_out_of_memory(error)
    with (
        pytest.raises(OutOfMemory, match=r"^out of memory.*: lower rollout\.slots$") as said,
        memory.explained("lower rollout.slots"),
    ):
        raise error
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), ValueError("no"), KeyError("out of memory")])
def test_other_errors_are_left_alone(error):
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)), memory.explained("lower something"):
        raise error


def test_the_amount_is_told():
    with pytest.raises(OutOfMemory, match=r"asked for 4,000,000\.0 GB"), memory.explained("ask for less"):
        torch.zeros(10**15)
    with (
        pytest.raises(OutOfMemory, match=r"asked for 7\.11 PiB|asked for [\d.]+ PiB"),
        memory.explained("ask for less"),
    ):
        np.zeros(10**15)


GREEDY = """
import torch
from encoders import Encoder


class Greedy(Encoder, name="greedy"):
    feature_dim = 3

    def __init__(self, weights=None):
        super().__init__()

    def forward(self, images):
        return torch.zeros(10**15)[:3].expand(len(images), 3)
"""


@pytest.fixture
def greedy(tmp_path):
    (tmp_path / "greedy.py").write_text(GREEDY)
    return f"{tmp_path / 'greedy.py'}:Greedy"


def test_the_input_is_not_blamed(greedy):
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        check_encoder(construct(greedy, None))


def test_a_run_says_what_to_lower(greedy, demonstration_file, tmp_path):
    config = configure(
        "quickstart",
        [f"demonstrations.source={demonstration_file('pen')}", "demonstrations.episodes=2"],
        task="pen",
        encoder=greedy,
        workers=0,
    )
    with pytest.raises(
        OutOfMemory, match=r"out of memory \(asked for .*\): lower rollout\.group \(the encoder's batch\)"
    ):
        run(config, tmp_path / "runs")
    (outcome,) = sweep.sweep([config], tmp_path / "runs")
    assert outcome.failure.startswith("out of memory")
