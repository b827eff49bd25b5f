"""Frames per second beside the released code's loop, and beside what the stages allow, in one run.

``tox -e performance`` prints both tables at its end. Only ratios of one run say something, and only on a machine that
does nothing else.
"""

import numpy as np
import pytest
import torch
from reference_loop import ReferenceLoop
from timm import create_model
from torchvision.models import resnet50

from benchmark.config import configure, usable_cores
from benchmark.speed.stages import measure, rehearse

STEPS = 30
SMALL = "timm:efficientnet_lite0"
NETWORKS = {"frankmocap_hand": "ResNet-50", SMALL: "EfficientNet-Lite0"}
TASKS = ("door", "relocate-mug")
SCENES = {"fast": [], "the scene's own": ["rollout.quality=paper"]}


def released_network():
    """A ResNet-50 as the released code has it: contiguous, in float32."""
    network = resnet50(weights=None)
    network.fc = torch.nn.Identity()
    return network


def reference_rate(task, network):
    loop = ReferenceLoop(task, network, threads=usable_cores())
    try:
        loop.episode(0, 3)
        return STEPS / loop.episode(1, STEPS)
    finally:
        loop.close()


def rehearsed(encoder, task, workers, settings=()):
    settings = ["demonstrations.episodes=8", "rollout.slots=16", "rollout.group=4", "rollout.horizon=25", *settings]
    return rehearse(configure("quickstart", settings, task=task, encoder=encoder, weights="random", workers=workers))


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_the_released_loop_and_ours(task, table):
    """The reference is the released loop with its ResNet-50; with a small network it is shown beside it."""
    released = reference_rate(task, released_network())
    small = reference_rate(task, create_model(SMALL.removeprefix("timm:"), pretrained=False, num_classes=0))
    table.row(task, "the released loop", "float32 by PyTorch", "the scene's own", released, 1.0)
    table.row(
        task, f"the same with {NETWORKS[SMALL]}", "float32 by PyTorch", "the scene's own", small, small / released
    )
    for encoder, title in NETWORKS.items():
        for frames, settings in SCENES.items():
            run = rehearsed(encoder, task, usable_cores(), settings)
            speed = run.frames_per_second(repeats=1)
            table.row(task, title, run.way, frames, speed, speed / released)
            assert speed > released, "our loop has to be faster than the released one, on any machine"


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("encoder", NETWORKS)
def test_a_rollout_reaches_what_its_stages_allow(encoder, workers, stages):
    run = rehearsed(encoder, "door", workers)
    cost = measure(run)
    allowed, reached = run.pipeline.frames_per_second(cost), run.frames_per_second(repeats=2)
    stages.row(NETWORKS[encoder], workers, *np.multiply(cost, 1e3), allowed, reached, reached / allowed)
    assert reached / allowed > 0.5, "half of a machine that does nothing else"
