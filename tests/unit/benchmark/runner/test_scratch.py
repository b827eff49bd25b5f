"""The control that learns from pixels: what is kept of frames, that it resumes, and who refuses it."""

import numpy as np
import pytest
import torch
from small_runs import interrupted

from benchmark.errors import ConfigError
from benchmark.runner import learning
from benchmark.runner.backgrounds import evaluate_backgrounds
from benchmark.runner.evaluation import Evaluator
from benchmark.runner.runner import run
from benchmark.store.identity import file_hash
from benchmark.store.run_folder import RunFolder
from encoders import build, check_encoder

CLONED = (
    *("learner.algorithm=bc", "learner.iterations=null", "learner.bc_epochs=2", "learner.bc_minibatches=shuffled"),
    *("policy.head=batchnorm_mlp", "observation.history=3", "observation.fusion=flare"),
)
PIXELS = 3 * 84 * 84


@pytest.fixture
def scratch(configured):
    return configured(*CLONED, encoder="scratch")


def test_the_feature_is_the_frame_in_whole_numbers():
    encoder, origin = build("scratch")
    check_encoder(encoder)
    assert origin.title("scratch") == "scratch"
    frames = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    frames[1] = 77
    features = encoder.encode(frames)
    assert features.shape == (2, PIXELS)
    assert torch.equal(features, features.round())
    assert torch.equal(features[1], torch.full((PIXELS,), 77.0))


def test_a_killed_run_goes_on_to_the_same_bits(scratch, tmp_path):
    whole = run(scratch, tmp_path / "whole")
    interrupted(scratch, tmp_path / "killed", Evaluator, "evaluate", 1, True)
    result = run(scratch, tmp_path / "killed")
    for name in ("checkpoint.safetensors", "episodes.parquet"):
        assert file_hash(result.path / name) == file_hash(whole.path / name)


def test_frames_are_kept_as_bytes_and_the_network_is_trained(scratch, tmp_path, cache, monkeypatch):
    seen = []
    imitate = learning.imitate
    monkeypatch.setattr(learning, "imitate", lambda *given: seen.append(given[3]) or imitate(*given))
    result = run(scratch, tmp_path)
    (path,) = (cache / "features").glob("*.rows")
    assert path.stat().st_size == 2 * 8 * PIXELS
    (pairs,) = seen
    assert pairs.observations(np.arange(2)).shape == (2, 3 * PIXELS + 24)
    state = RunFolder(result.path).load_checkpoint()[0]
    assert state["policy.part.convolutions.0.weight"].shape == (32, 3, 3, 3)
    assert state["policy.head.input_norm.weight"].shape == (3 * 50 + 24,)
    (other,) = evaluate_backgrounds(result.path, [3])
    assert other.episodes == 2


@pytest.mark.parametrize("settings", [(), CLONED[:4]], ids=["DAPG", "another head"])
def test_who_does_not_train_it_refuses_it_in_one_line(configured, tmp_path, settings):
    with pytest.raises(ConfigError, match=r"encoder 'scratch': a part of the policy is trained .*: use --preset imit"):
        run(configured(*settings, encoder="scratch"), tmp_path)
