"""Stage 3 in a run: whose statistics move when, and that they survive a kill."""

import copy
import shutil

import numpy as np
import pytest
import safetensors.numpy
import torch
from small_runs import HORIZON, SLOTS, Interruption, Recorder, final, interrupted, tiny_config

from benchmark.config import EMASettings
from benchmark.rollout.simulators import Simulators
from benchmark.runner import learning
from benchmark.runner.backgrounds import evaluate_backgrounds
from benchmark.runner.context import RunContext
from benchmark.runner.moving_statistics import MovingStatistics, Role, attach_statistics
from benchmark.runner.runner import run
from benchmark.store.run_folder import RunFolder
from encoders import EncoderError, build
from encoders.ema_batchnorm import EMABatchNorm2d, attach

MOVING = ("ema.momentum=0.2", "ema.scope=all")

PLUGIN = """
from torch import nn

from encoders import Encoder


class Normed(Encoder, name="normed"):
    feature_dim = 6

    def __init__(self, weights=None):
        super().__init__()
        first = [nn.Conv2d(3, 4, 8, stride=8, bias=False), nn.BatchNorm2d(4), nn.ReLU()]
        second = [nn.Conv2d(4, 6, 4, stride=4, bias=False), nn.BatchNorm2d(6), nn.ReLU()]
        self.network = nn.Sequential(*first, *second, nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, images):
        return self.network(images)
"""


@pytest.fixture(scope="module")
def normed(tmp_path_factory):
    """An encoder with two BatchNorms, as ``file.py:Class``."""
    path = tmp_path_factory.mktemp("plugin") / "normed.py"
    path.write_text(PLUGIN)
    return f"{path}:Normed"


@pytest.fixture(scope="module")
def configured(demonstration_file, normed):
    """Configurations of small runs: (*overrides, **fields) -> RunConfig."""

    def make(*overrides, **values):
        settings = ("evaluation.every=1", "evaluation.video=false", *overrides)
        options = {"encoder": normed, "precision": "float32"} | values
        return tiny_config(demonstration_file("pen"), *settings, **options)

    return make


def test_an_encoder_without_batchnorm_refuses_before_any_work(configured, tiny_encoder, tmp_path):
    for encoder, name in ((tiny_encoder, "tiny"), ("state", "state")):
        with pytest.raises(EncoderError, match=f"encoder '{name}': has no BatchNorm"):
            run(configured("ema.momentum=0.01", encoder=encoder), tmp_path)
    assert not any(tmp_path.iterdir())


# Whose statistics move when.


class Watched:
    """What a run encoded, call by call of the sampling: (role, [(slots, frames, features)])."""

    def __init__(self, monkeypatch):
        self.calls = []
        begin, encode = MovingStatistics.begin, RunContext.encode

        def watched_begin(streams, role):
            self.calls.append((role, []))
            return begin(streams, role)

        def watched_encode(session, policy=None):
            original = encode(session, policy)

            def watched(frames, slots):
                features = original(frames, slots)
                self.calls[-1][1].append((list(slots), frames.copy(), features))
                return features

            return watched

        monkeypatch.setattr(MovingStatistics, "begin", watched_begin)
        monkeypatch.setattr(RunContext, "encode", watched_encode)


class Process:
    """An encoder object of its own, which sees one image at a time, as in a process of the released code."""

    def __init__(self, encoder, momentum, scope):
        self.encoder = copy.deepcopy(encoder)
        attach(self.encoder, momentum=momentum, scope=scope, streams=1).select([0])

    def __call__(self, frame):
        return self.encoder.encode(frame[None]).numpy()[0]


@pytest.mark.parametrize("reset", ["iteration", "never"])
@pytest.mark.parametrize("scope", ["stem", "all"])
def test_every_slot_sees_like_a_process_of_its_own(scope, reset, configured, normed, tmp_path, monkeypatch):
    watched = Watched(monkeypatch)
    run(configured("ema.momentum=0.2", f"ema.scope={scope}", f"ema.reset={reset}"), tmp_path)
    expected_calls = [Role.DEMONSTRATIONS, Role.EVALUATION] + 2 * [Role.TRAINING, Role.EVALUATION]
    assert [role for role, _ in watched.calls] == expected_calls
    fresh, _ = build(normed)
    processes = {}
    for number, (role, seen) in enumerate(watched.calls[1:]):
        lifetime = role if reset == "never" else number
        for slots, frames, features in seen:
            for slot, frame, feature in zip(slots, frames, features, strict=True):
                process = processes.setdefault((lifetime, slot), Process(fresh, 0.2, scope))
                np.testing.assert_allclose(feature, process(frame), rtol=1e-5, atol=1e-6)
    # Slot 1 runs two of the three trajectories: its statistics drift across the boundary.
    training = next(seen for role, seen in watched.calls if role is Role.TRAINING)
    assert sum(1 in slots for slots, _, _ in training) == 2 * HORIZON


@pytest.mark.parametrize("reset", ["iteration", "never"])
@pytest.mark.parametrize("slots", [1, 2])
def test_every_demonstration_begins_with_the_checkpoints_statistics(
    slots, reset, configured, normed, tmp_path, monkeypatch
):
    watched = Watched(monkeypatch)
    config = configured(*MOVING, f"ema.reset={reset}", f"rollout.slots={slots}", "learner.iterations=0")
    run(config, tmp_path)
    role, seen = watched.calls[0]
    assert role is Role.DEMONSTRATIONS
    fresh, _ = build(normed)
    encoded = 0
    for slot in range(slots):
        mine = [(frames[at.index(slot)], features[at.index(slot)]) for at, frames, features in seen if slot in at]
        for step, (frame, feature) in enumerate(mine):
            if step % 8 == 0:  # the demonstrations are 8 steps long
                process = Process(fresh, 0.2, "all")
            np.testing.assert_allclose(feature, process(frame), rtol=1e-5, atol=1e-6)
            encoded += 1
    assert encoded == 2 * 8


def evaluations(path):
    table = RunFolder(path).episodes()
    return table.pivot(index="iteration", columns="seed", values="return").to_numpy()


def test_an_unchanged_policy_is_judged_the_same_only_if_its_evaluation_begins_anew(configured, tmp_path):
    found = {}
    for reset in ("iteration", "never"):
        config = configured(*MOVING, f"ema.reset={reset}", "learner.step_size=1e-30", "learner.iterations=1")
        found[reset] = evaluations(run(config, tmp_path / reset).path)
    np.testing.assert_allclose(found["iteration"][1], found["iteration"][0], rtol=1e-7)
    np.testing.assert_array_equal(found["never"][0], found["iteration"][0])
    assert not np.allclose(found["never"][1], found["never"][0], rtol=1e-7)


def test_momentum_zero_is_the_plain_run(configured, normed, tmp_path, monkeypatch):
    watched = Watched(monkeypatch)
    result = run(configured("ema.momentum=0", "ema.scope=all", "ema.reset=never"), tmp_path)
    plain, _ = build(normed)
    for _, seen in watched.calls:
        for _, frames, features in seen:
            np.testing.assert_array_equal(features, plain.encode(frames).numpy())
    tensors, _ = RunFolder(result.path).load_checkpoint()
    assert not any(name.startswith("ema.") for name in tensors)


# The checkpoint.


def test_statistics_are_part_of_the_checkpoint(configured, normed, tmp_path):
    result = run(configured(*MOVING, "ema.reset=never"), tmp_path)
    tensors = safetensors.numpy.load_file(result.path / "checkpoint.safetensors")
    found = {name: array.shape for name, array in tensors.items() if name.startswith("ema.")}
    shapes = {"network.1": (len(Role) - 1, SLOTS, 4), "network.4": (len(Role) - 1, SLOTS, 6)}
    assert found == {f"ema.{layer}.{kind}": shapes[layer] for layer in shapes for kind in ("mean", "variance")}
    start = build(normed)[0].network[1].running_mean.numpy()
    assert (np.abs(tensors["ema.network.1.mean"] - start).max(axis=2) > 1e-4).all(), "every stream has moved"


# Steps: 6 of the first evaluation, 12 of an iteration and 6 of its evaluation; the demonstrations are found.
MOMENTS = [
    (Simulators, "step", 4),  # first evaluation
    (Simulators, "step", 14),  # first iteration, second trajectory of a slot
    (Simulators, "step", 21),  # its evaluation
    (Simulators, "step", 30),  # second iteration
    (RunFolder, "save_checkpoint", 3),
]


@pytest.fixture(scope="module")
def uninterrupted(configured, tmp_path_factory):
    """The cache of demonstrations, and a whole run by ``ema.reset``."""
    cache, out = tmp_path_factory.mktemp("cache"), tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HINDEX_BENCH_CACHE", str(cache))
        resets = ("never", "iteration")
        return cache, {reset: run(configured(*MOVING, f"ema.reset={reset}"), out) for reset in resets}


@pytest.mark.parametrize(
    ("reset", "moment"), [("never", moment) for moment in MOMENTS] + [("iteration", MOMENTS[3])], ids=str
)
def test_a_run_ends_the_same_wherever_it_was_interrupted(
    reset, moment, configured, uninterrupted, tmp_path, monkeypatch
):
    found, whole = uninterrupted
    monkeypatch.setenv("HINDEX_BENCH_CACHE", str(found))
    config, expected = configured(*MOVING, f"ema.reset={reset}"), whole[reset]
    interrupted(config, tmp_path / "killed", *moment)
    resumed = run(config, tmp_path / "killed")
    assert final(resumed) == final(expected)
    np.testing.assert_array_equal(evaluations(resumed.path), evaluations(expected.path))


def test_cached_demonstrations_change_no_bit(configured, tmp_path, monkeypatch):
    config = configured(*MOVING, "ema.reset=never")
    first = run(config, tmp_path / "first")
    watched = Watched(monkeypatch)
    second = run(config, tmp_path / "second")
    assert watched.calls[0] == (Role.DEMONSTRATIONS, []), "the features were found"
    assert final(second) == final(first)


@pytest.mark.parametrize(
    "workers", [2, pytest.param(1, marks=pytest.mark.slow), pytest.param(4, marks=pytest.mark.slow)]
)
def test_workers_change_no_bit(workers, configured, tmp_path):
    overrides = (*MOVING, "ema.reset=never", "rollout.slots=4")
    alone = run(configured(*overrides), tmp_path / "alone")
    assert final(run(configured(*overrides, workers=workers), tmp_path / "together")) == final(alone)


def test_statistics_are_part_of_the_identity(configured, tmp_path, monkeypatch):
    named = []

    def ask(demonstrations, simulators, encode, **options):
        named.append(str(options["made_by"]))
        raise Interruption

    monkeypatch.setattr(learning, "demonstration_pairs", ask)
    changes = [(), ("ema.momentum=0.1",), ("ema.momentum=0.2",), MOVING]
    for number, change in enumerate([*changes, (*MOVING, "ema.reset=never")]):
        with pytest.raises(Interruption):
            run(configured(*change), tmp_path / str(number))
    assert len(set(named[:-1])) == len(changes)
    assert named[-1] == named[-2], "features of demonstrations do not depend on the reset"
    identities = {path.read_bytes() for path in tmp_path.rglob("identity.json")}
    assert len(identities) == len(changes) + 1


def test_what_moves_is_said(configured, tmp_path):
    progress = Recorder()
    run(configured(*MOVING, "learner.iterations=0"), tmp_path, progress=progress)
    said = "EMA BatchNorm: momentum 0.2, 2 layers, 2 streams that move until the next iteration or evaluation"
    assert said in progress.lines


def test_restarting_is_for_the_present_role_only(normed):
    encoder, _ = build(normed)
    streams = attach_statistics(encoder, EMASettings(momentum=0.2, scope="all", reset="never"), slots=2)
    frames = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)

    def encode():
        streams.select([0, 1])
        return encoder.encode(frames)

    first = encode()
    streams.begin(Role.EVALUATION)
    assert torch.equal(encode(), first)
    streams.restart([0])
    streams.begin(Role.TRAINING)
    assert not torch.equal(encode()[0], first[0])
    assert {type(encoder.network[at]) for at in (1, 4)} == {EMABatchNorm2d}


def test_shifted_backgrounds_do_not_depend_on_those_before_them(configured, tmp_path):
    folder = run(configured(*MOVING, "ema.reset=never", "learner.iterations=1"), tmp_path / "one").path
    other = tmp_path / "other" / folder.relative_to(tmp_path / "one")
    shutil.copytree(folder, other)
    both, alone = evaluate_backgrounds(folder, [3, 7]), evaluate_backgrounds(other, [7])
    assert both[1] == alone[0]
    assert both[0].mean_return != both[1].mean_return


# The real network.


@pytest.mark.slow
def test_hindex_on_hammer_moves_the_stem(demonstration_file, tmp_path):
    fields = {"task": "hammer", "encoder": "hindex", "weights": "random", "adapt": "none"}
    result = run(tiny_config(demonstration_file("hammer"), "learner.iterations=1", **fields), tmp_path)
    found = {name: array.shape for name, array in RunFolder(result.path).load_checkpoint()[0].items()}
    assert {name: shape for name, shape in found.items() if name.startswith("ema.")} == {
        "ema.trunk.bn1.mean": (2, SLOTS, 64),
        "ema.trunk.bn1.variance": (2, SLOTS, 64),
    }
    assert RunFolder(result.path).config["ema"] == {
        "momentum": 0.1,
        "scope": "stem",
        "reset": "iteration",
        "streams": SLOTS,
    }
