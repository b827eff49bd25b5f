"""What Stage 3 costs a ResNet-50 in a batch of 16: none of its BatchNorms, the first, or all 53 of them."""

import numpy as np
import pytest

from encoders import build
from encoders.ema_batchnorm import attach

BATCH = 16


@pytest.mark.benchmark(group="a ResNet-50 sees 16 frames of 224 x 224, one a stream")
@pytest.mark.parametrize("moving", ["none", "stem", "all"])
def test_encode(benchmark, moving):
    encoder, _ = build("random")
    momentum, scope = (0.0, "stem") if moving == "none" else (0.01, moving)
    attach(encoder, momentum=momentum, scope=scope, streams=BATCH).select(range(BATCH))
    frames = np.random.default_rng(0).integers(0, 256, (BATCH, 224, 224, 3), dtype=np.uint8)
    features = benchmark.pedantic(encoder.encode, (frames,), rounds=5, warmup_rounds=1)
    assert features.shape == (BATCH, 2048)
    if benchmark.stats:
        benchmark.extra_info["images_per_second"] = BATCH / benchmark.stats.stats.median
