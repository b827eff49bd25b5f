"""The precision of a run's encoder, checked against its float32 features on frames of the run's task."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from encoders import Encoder, GateReport, choose_precision
from tasks.demonstrations.dataset import Demonstrations

from ..errors import ConfigError
from ..rollout.simulators import Frames, SceneSettings, Simulators

EPISODES, FRAMES_EACH = 2, 4


def settle_precision(
    encoder: Encoder,
    precision: str,
    demonstrations: Demonstrations,
    scene: SceneSettings,
    *,
    compiled: bool = False,
    momentum: float = 0.0,
    workers: int = 0,
) -> GateReport | None:
    """Set how a run's encoder computes; frames are drawn only where another format than float32 is at stake.

    Args:
        encoder: changed in place; moving BatchNorm statistics must not have moved yet.
        precision: as configured, such as ``auto``.
        demonstrations: whose first episodes are drawn.
        scene: that they were made for.
        compiled: whether the network is compiled too.
        momentum: of the moving BatchNorm statistics.
        workers: simulation processes that draw.

    Returns:
        The comparison with float32; None where there was nothing to compare.

    Raises:
        ConfigError: the network is to be compiled while statistics inside it move.
        PrecisionRefused: the precision that was asked for cannot be had.
    """
    if compiled and momentum:
        raise ConfigError(
            f"compiled=true does not go with BatchNorm statistics that move (ema.momentum {momentum:g}): run without "
            "compiling"
        )

    def frames() -> Frames:
        return demonstrated_frames(demonstrations, scene, workers)

    return choose_precision(encoder, precision, frames, compiled=compiled)


def outcome(report: GateReport) -> str:
    """Return the result of a comparison in one line."""
    if report.passed:
        return (
            f"precision {report.way}: lowest cosine similarity to float32 {report.cosine:.6f}, {report.frames} frames"
        )
    return f"precision float32: {report.verdict()}"


def demonstrated_frames(demonstrations: Demonstrations, scene: SceneSettings, workers: int = 0) -> Frames:
    """Draw the first frames of some episodes and a few later ones, (up to 8, 224, 224, 3) uint8.

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
            show = step + 1 in drawn
            actions = np.stack([episode.actions[step] for episode in episodes])
            simulators.step(slots, actions, slots if show else ())
            if show:
                frames.append(simulators.frames.copy())
    return np.concatenate(frames)
