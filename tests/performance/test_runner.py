"""What a step of a rollout costs, and how many frames a second one process draws."""

import mujoco
import numpy as np
import pytest

import encoders
import tasks
from benchmark.rollout.episodes import EpisodeRule, rollout
from benchmark.rollout.simulators import Simulators
from benchmark.rollout.slots import SceneSettings
from tasks.rendering.qualities import DRAWINGS
from tasks.rendering.render import Renderer

SLOTS, HORIZON = 4, 20
RULE = EpisodeRule(goal_steps=21, time_limit_is_terminal=True)


def still(observations, episodes, steps):
    return np.zeros((len(observations), 28), np.float32)


@pytest.mark.benchmark(group="rollout of door, four slots of 20 steps")
@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("observed", ["state", "tiny encoder"])
def test_rollout(benchmark, workers, observed, tiny_encoder):
    encode = None
    if observed != "state":
        encoder, _ = encoders.build(tiny_encoder)
        encode = lambda frames, slots: encoder.encode(frames).numpy()  # noqa: E731
    settings = SceneSettings("door", slots=SLOTS, images=encode is not None)
    with Simulators(settings, workers) as simulators:
        arguments = (simulators, list(range(SLOTS)), still)
        options = {"horizons": [HORIZON] * SLOTS, "rule": RULE, "encode": encode}
        found = benchmark.pedantic(rollout, arguments, options, rounds=5, warmup_rounds=1)
    assert [len(trajectory) for trajectory in found] == [HORIZON] * SLOTS
    if benchmark.stats:
        benchmark.extra_info["steps_per_second"] = SLOTS * HORIZON / benchmark.stats.stats.median


@pytest.mark.benchmark(group="a frame of 224 x 224")
@pytest.mark.parametrize("quality", list(DRAWINGS))
@pytest.mark.parametrize("name", tasks.names())
def test_frames_per_second(benchmark, name, quality):
    task = tasks.make(name)
    model = task.model
    data = mujoco.MjData(model)
    task.load_data(0, data)
    with Renderer(model, task.card.camera, quality) as renderer:
        frame = benchmark.pedantic(renderer.render, (data,), rounds=30, warmup_rounds=3)
        benchmark.extra_info["drawn_by"] = renderer.device.name
    assert frame.any()
    if benchmark.stats:
        benchmark.extra_info["frames_per_second"] = 1 / benchmark.stats.stats.median
