"""Images per second of the ResNet-50 that most encoders are: ``pytest tests/performance --benchmark-only``."""

import numpy as np
import pytest

from encoders import build
from encoders.precision_check import set_precision


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 4, 16])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_resnet50_images_per_second(benchmark, batch, precision):
    encoder, _ = build("random")
    set_precision(encoder, precision)
    frames = np.random.default_rng(0).integers(0, 256, (batch, 224, 224, 3), dtype=np.uint8)
    features = benchmark.pedantic(encoder.encode, (frames,), rounds=5, warmup_rounds=1)
    benchmark.extra_info["images_per_second"] = batch / benchmark.stats.stats.median if benchmark.stats else None
    assert features.shape == (batch, 2048)
