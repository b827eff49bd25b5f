"""Runs whose policy is trained on tokens: what they keep, how they act, resume and are evaluated again."""

import numpy as np
import pytest
from small_runs import interrupted

from benchmark.config import configure
from benchmark.demonstrations import features, frames
from benchmark.errors import ConfigError
from benchmark.runner import learning
from benchmark.runner.backgrounds import evaluate_backgrounds
from benchmark.runner.evaluation import Evaluator
from benchmark.runner.runner import run
from benchmark.runner.suite import suite_name
from benchmark.store.identity import file_hash
from benchmark.store.run_folder import RunFolder
from encoders import EncoderError

BC = (
    *("learner.algorithm=bc", "learner.iterations=null", "learner.bc_epochs=6", "learner.bc_minibatches=shuffled"),
    *("policy.head=batchnorm_mlp", "evaluation.every=3", "evaluation.held_out_episodes=2"),
)
FLARE = ("observation.history=3", "observation.fusion=flare")
TOKENS, WIDTH, SEEN = 16, 48, 24

WITH_TOKENS = """
from torch.nn.functional import adaptive_avg_pool2d, pixel_unshuffle

from encoders import Encoder


class Map(Encoder, name="map"):
    feature_dim = 48
    feature_is_mean = True

    def __init__(self, weights=None):
        super().__init__()

    def forward(self, images):
        return self.tokens(images).mean(1)

    def tokens(self, images):
        return pixel_unshuffle(adaptive_avg_pool2d(images, 16), 4).flatten(2).transpose(1, 2)


class Odd(Map, name="odd"):
    feature_dim = 12

    def tokens(self, images):
        return pixel_unshuffle(adaptive_avg_pool2d(images, (6, 8)), 2).flatten(2).transpose(1, 2)
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "with_tokens.py"
    path.write_text(WITH_TOKENS)
    return path


@pytest.fixture
def cloning(configured, file):
    def make(pooling, *overrides, encoder="Map", **values):
        return configured(*BC, f"policy.pooling={pooling}", *overrides, encoder=f"{file}:{encoder}", **values)

    return make


def policy_of(result):
    return RunFolder(result.path).load_checkpoint()[0]


@pytest.mark.parametrize(
    ("pooling", "seen"), [("pooled", WIDTH), ("mean", WIDTH), ("spatial_softmax", 2 * WIDTH), ("attentive", WIDTH)]
)
@pytest.mark.parametrize("fused", [(), FLARE], ids=["one frame", "flare"])
def test_a_head_sees_what_its_pooling_makes_of_every_frame(cloning, tmp_path, pooling, seen, fused):
    result = run(cloning(pooling, *fused), tmp_path)
    prefix = "policy.head." if pooling == "attentive" else "policy."
    assert policy_of(result)[f"{prefix}input_norm.weight"].shape == ((3 if fused else 1) * seen + SEEN,)
    losses = [row["bc_loss"][0] for row in RunFolder(result.path).metrics()]
    assert losses[-1] < losses[0]


def test_the_mean_of_tokens_is_the_feature_where_it_is(cloning, tmp_path):
    one, other = (policy_of(run(cloning(pooling), tmp_path)) for pooling in ("pooled", "mean"))
    for name, array in one.items():
        if name.startswith("policy."):
            np.testing.assert_allclose(array, other[name], atol=1e-5)


@pytest.mark.parametrize("at", [1, 2], ids=["first evaluation", "second evaluation"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_killed_run_goes_on_to_the_same_bits(cloning, tmp_path, at, after):
    config = cloning("attentive", *FLARE)
    whole = run(config, tmp_path / "whole")
    interrupted(config, tmp_path / "killed", Evaluator, "evaluate", at, after)
    result = run(config, tmp_path / "killed")
    for name in ("checkpoint.safetensors", "episodes.parquet"):
        assert file_hash(result.path / name) == file_hash(whole.path / name)
    assert run(config, tmp_path / "killed").found


def test_tokens_are_kept_as_float16_and_found_again(cloning, tmp_path, cache, monkeypatch):
    run(cloning("attentive"), tmp_path)
    (path,) = (cache / "features").glob("*.rows")
    assert path.stat().st_size == 2 * 8 * TOKENS * WIDTH * 2  # episodes, steps, tokens, bytes
    monkeypatch.setattr(features, "rollout", None)
    monkeypatch.setattr(frames, "replayed_pairs", None)
    run(cloning("attentive", *FLARE), tmp_path)


def test_a_run_acts_on_the_tokens_that_it_was_trained_on(cloning, tmp_path, monkeypatch):
    seen = []
    imitate = learning.imitate
    monkeypatch.setattr(learning, "imitate", lambda *given: seen.append(given[:4]) or imitate(*given))
    run(cloning("attentive"), tmp_path)
    ((work, _, _, pairs),) = seen
    raw = pairs.observations(np.arange(3))
    assert raw.dtype == np.float32
    stored = raw[:, : TOKENS * WIDTH]
    assert np.array_equal(stored.astype(np.float16).astype(np.float32), stored)
    assert work.context.encoder.raw_shape == (TOKENS, WIDTH)


@pytest.mark.parametrize("pooling", ["attentive", "spatial_softmax"])
def test_a_finished_policy_is_evaluated_under_another_background(cloning, tmp_path, pooling):
    result = run(cloning(pooling, *FLARE), tmp_path)
    own, other = evaluate_backgrounds(result.path, [0, 3])
    assert own.found
    assert not other.found
    assert other.episodes == 2


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (["policy.pooling=mean"], r"policy\.pooling=mean can only be cloned: set learner\.algorithm=bc with it"),
        (["policy.pooling=attentive", "learner.algorithm=bc"], r"set policy\.head=batchnorm_mlp with it"),
    ],
)
def test_settings_that_contradict_each_other_are_one_line(settings, line):
    with pytest.raises(ConfigError, match=line):
        configure("quickstart", settings, task="pen", encoder="random")


@pytest.mark.parametrize(
    ("pooling", "encoder", "line"),
    [
        (
            "attentive",
            "Odd",
            r"its tokens have 12 numbers, which the 8 heads of policy\.pooling=attentive do not divide",
        ),
        ("spatial_softmax", "Odd", r"its 12 tokens are no square map, which spatial_softmax needs"),
    ],
)
def test_tokens_that_do_not_fit_the_pooling_are_one_line(cloning, tmp_path, pooling, encoder, line):
    with pytest.raises((ConfigError, EncoderError), match=line):
        run(cloning(pooling, encoder=encoder), tmp_path)


def test_an_encoder_without_tokens_is_one_line(cloning, tmp_path):
    with pytest.raises(EncoderError, match=r"encoder 'state': has no tokens; leave policy\.pooling at pooled"):
        run(cloning("mean").model_copy(update={"encoder": "state"}), tmp_path)


def test_the_default_pooling_makes_no_other_suite():
    configs = [
        configure("cortexbench", settings, task="pen", encoder="random") for settings in ([], ["policy.pooling=pooled"])
    ]
    assert suite_name(configs[0]) == suite_name(configs[1])
    assert suite_name(configure("cortexbench", ["policy.pooling=mean"], task="pen", encoder="random")) != suite_name(
        configs[0]
    )
