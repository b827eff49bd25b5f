"""The precision of a run's encoder, held to its features on frames of the run's own task."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from encoders import Encoder, GateReport, choose_precision
from tasks.demonstrations.dataset import Demonstrations

from ..config import RunConfig
from ..errors import ConfigError
from ..rollout.simulators import Frames, SceneSettings, Simulators

EPISODES, FRAMES_EACH = 2, 4


def settle_precision(
    encoder: Encoder, config: RunConfig, demonstrations: Demonstrations, scene: SceneSettings
) -> GateReport | None:
    """Set how a run's encoder computes; frames are drawn only where another format than float32 is at stake.

    Args:
        encoder: changed in place; moving BatchNorm statistics must not have moved yet.
        config: of the run.
        demonstrations: whose first episodes are drawn.
        scene: that they were made for.

    Returns:
        The comparison with float32; None where there was nothing to compare.

    Raises:
        ConfigError: the network is to be compiled while statistics inside it move.
        PrecisionRefused: the precision that was asked for cannot be had.
    """
    if config.compiled and config.ema.momentum:
        raise ConfigError(
            f"compiled=true does not go with BatchNorm statistics that move (ema.momentum {config.ema.momentum:g}): "
            "run without compiling"
        )

    def frames() -> Frames:
        return demonstrated_frames(demonstrations, scene, config.workers)

    return choose_precision(encoder, config.precision, frames, compiled=config.compiled)


def outcome(report: GateReport) -> str:
    """What came of a comparison, in a line."""
    if report.passed:
        return (
            f"precision {report.way}: lowest cosine similarity to float32 {report.cosine:.6f}, {report.frames} frames"
        )
    return f"precision float32: {report.verdict()}"


def demonstrated_frames(demonstrations: Demonstrations, scene: SceneSettings, workers: int = 0) -> Frames:
    """The first frames of some episodes and further ones on the way, (up to 8, 224, 224, 3) uint8.

    Args:
        demonstrations: replayed open loop from their initial states.
        scene: that they were made for.
        workers: simulation processes.
    """
    episodes = demonstrations.episodes[:EPISODES]
    slots = range(len(episodes))
    length = min(len(episode.actions) for episode in episodes)
    drawn = {length * number // FRAMES_EACH for number in range(1, FRAMES_EACH)} - {0}
    with Simulators(replace(scene, slots=len(episodes)), workers) as simulators:
        simulators.begin(slots, [episode.initial_state for episode in episodes])
        frames = [simulators.frames.copy()]
        for step in range(max(drawn, default=0)):
            wanted = step + 1 in drawn
            actions = np.stack([episode.actions[step] for episode in episodes])
            simulators.step(slots, actions, slots if wanted else ())
            if wanted:
                frames.append(simulators.frames.copy())
    return np.concatenate(frames)
