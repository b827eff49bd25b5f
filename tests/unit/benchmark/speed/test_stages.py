"""What stages cost by themselves, and what they allow together."""

import pytest
from small_runs import tiny_config

from benchmark.config import usable_cores
from benchmark.speed import stages
from benchmark.speed.stages import FrameCost, Pipeline, measure, measure_groups, rehearse

COST = FrameCost(physics=0.001, draw=0.004, answer=0.0, encode=0.020, act=0.0)


@pytest.mark.parametrize(
    ("pipeline", "scarcest", "speed"),
    [
        (Pipeline(workers=2, callers=2, cores=2, groups=4), "cores", 2 / 0.025),
        (Pipeline(workers=1, callers=1, cores=2, groups=4), "encoding", 1 / 0.020),
        (Pipeline(workers=4, callers=4, cores=64, groups=2), "groups", 2 / 0.025),
        (Pipeline(workers=1, callers=64, cores=64, groups=64), "workers", 1 / 0.005),
        (Pipeline(workers=16, callers=1, cores=16, groups=32, encodes_on_cpu=False), "encoding", 1 / 0.020),
    ],
)
def test_what_is_scarcest_sets_the_speed(pipeline, scarcest, speed):
    ceilings = pipeline.ceilings(COST)
    assert min(ceilings, key=ceilings.get) == scarcest
    assert pipeline.frames_per_second(COST) == pytest.approx(speed)


def test_a_gpu_takes_no_core():
    pipeline = Pipeline(workers=2, callers=1, cores=2, groups=4, encodes_on_cpu=False)
    assert pipeline.ceilings(COST)["cores"] == pytest.approx(2 / 0.005)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_stages_of_a_run(workers, demonstration_file, tiny_encoder, monkeypatch):
    monkeypatch.setattr(stages, "SECONDS", 0.05)
    config = tiny_config(demonstration_file("pen"), encoder=tiny_encoder, workers=workers)
    run = rehearse(config)
    cost = measure(run)
    assert min(cost) > 0
    assert cost.draw > cost.act
    assert run.pipeline == Pipeline(workers, workers, usable_cores(), groups=1)
    assert run.frames_per_second(repeats=1) > 0


@pytest.mark.parametrize("control", ["state", "blind"])
def test_a_control_without_images_costs_no_encoding(control, demonstration_file, monkeypatch):
    monkeypatch.setattr(stages, "SECONDS", 0.01)
    cost = measure(rehearse(tiny_config(demonstration_file("pen"), encoder=control, workers=0)))
    assert cost.encode == 0
    assert cost.physics > 0
    assert cost.act > 0


def test_groups_of_several_sizes(demonstration_file, tiny_encoder, monkeypatch):
    monkeypatch.setattr(stages, "SECONDS", 0.02)
    costs = measure_groups(rehearse(tiny_config(demonstration_file("pen"), encoder=tiny_encoder, workers=1)), (1, 3))
    assert set(costs) == {1, 3}
    assert min(min(cost) for cost in costs.values()) > 0
    assert costs[1].draw == costs[3].draw


def test_drawing_costs_what_its_quality_costs(demonstration_file, tiny_encoder, monkeypatch):
    monkeypatch.setattr(stages, "SECONDS", 0.05)
    qualities = ("fast", "paper")
    configs = [
        tiny_config(demonstration_file("pen"), f"rollout.quality={quality}", encoder=tiny_encoder, workers=1)
        for quality in qualities
    ]
    fast, paper = (measure(rehearse(config)) for config in configs)
    assert paper.draw > 1.5 * fast.draw
