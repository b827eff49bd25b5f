"""What the regression of a probe costs at its usual size: 40 training episodes of 12 frames, a ResNet-50's feature."""

import numpy as np
import pytest

from benchmark.probe.ridge import predict

EPISODES, HELD_OUT, FRAMES, FEATURES, TARGETS = 40, 20, 12, 2048, 40


@pytest.mark.benchmark(group="regression of a probe")
def test_predict(benchmark):
    random = np.random.default_rng(0)
    features = random.standard_normal(((EPISODES + HELD_OUT) * FRAMES, FEATURES))
    targets = features[:, :TARGETS] + random.standard_normal((len(features), TARGETS))
    episode, train = np.repeat(np.arange(EPISODES), FRAMES), slice(EPISODES * FRAMES)
    arguments = (features[train], targets[train], episode, features[EPISODES * FRAMES :], [slice(0, TARGETS)])
    predicted, _ = benchmark.pedantic(predict, arguments, rounds=3, warmup_rounds=1)
    assert predicted.shape == (HELD_OUT * FRAMES, TARGETS)
