"""Steps per second of Stage 2: ``pytest tests/performance/test_adapt.py --benchmark-only``."""

import pytest
import torch

from encoders import build
from encoders.adapt.trainer import AdaptationTrainer, TrainerSettings


@pytest.mark.parametrize("mode", ["none", "affine", "all"])
def test_steps_per_second_at_128_pixels(benchmark, mode):
    encoder, _ = build("random")
    trainer = AdaptationTrainer(encoder.trunk, TrainerSettings(mode=mode, size=128, batch=2), torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    shape = (2, 128, 128, 3)
    source, target = (torch.randint(256, shape, generator=generator, dtype=torch.uint8) for _ in range(2))
    losses = benchmark.pedantic(trainer.step, (source, target), rounds=5, warmup_rounds=2)
    benchmark.extra_info["steps_per_second"] = 1.0 / benchmark.stats.stats.median if benchmark.stats else None
    assert torch.isfinite(losses.total)
