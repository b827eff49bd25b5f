"""The released code's loop beside ours: the same task and encoder, frames per second of each."""

import pytest
from reference_loop import ReferenceLoop

import encoders

STEPS = 10


@pytest.mark.benchmark(group="ten frames of door")
def test_the_reference_loop(benchmark, tiny_encoder):
    encoder, _ = encoders.build(tiny_encoder)
    loop = ReferenceLoop("door", encoder, threads=2)
    try:
        seconds = benchmark.pedantic(loop.episode, (0, STEPS), rounds=3, warmup_rounds=1)
    finally:
        loop.close()
    assert seconds > 0
    assert loop.policy.layers[0].in_features == encoder.feature_dim + loop.task.card.proprioception_dim
