"""How a run's encoder computes, held to its features on frames of the run's own task."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from encoders import Choice, Encoder, choose_precision
from encoders.backend import TORCH
from encoders.ema_batchnorm import Scope
from tasks.demonstrations.dataset import Demonstrations

from ..errors import ConfigError
from ..rollout.simulators import Simulators
from ..rollout.slots import Frames, SceneSettings

EPISODES, FRAMES_EACH = 2, 4


def computing_threads(workers: int) -> int:
    """Return how many groups of slots encode at the same time on a CPU, each on one core."""
    return max(1, workers)


def settle_precision(
    encoder: Encoder,
    precision: str,
    demonstrations: Demonstrations,
    scene: SceneSettings,
    *,
    backend: str = TORCH,
    compiled: bool = False,
    momentum: float = 0.0,
    scope: Scope = "stem",
    workers: int = 0,
) -> Choice:
    """Set how a run's encoder computes; frames are drawn only where it might not be by PyTorch in float32.

    Args:
        encoder: changed in place; moving BatchNorm statistics must not have moved yet.
        precision: as configured, such as ``auto``.
        demonstrations: whose first episodes are drawn.
        scene: that they were made for.
        backend: as configured, such as ``auto``.
        compiled: whether the network is compiled too.
        momentum: of the moving BatchNorm statistics.
        scope: which of them move.
        workers: simulation processes that draw.

    Raises:
        ConfigError: the network is to be compiled while statistics inside it move.
        PrecisionRefused: the precision that was asked for cannot be had.
        BackendRefused: the backend that was asked for cannot be had.
    """
    if compiled and momentum:
        raise ConfigError(
            f"compiled=true does not go with BatchNorm statistics that move (ema.momentum {momentum:g}): run without "
            "compiling"
        )

    def frames() -> Frames:
        return demonstrated_frames(demonstrations, scene, workers)

    moving = scope if momentum else None
    callers = computing_threads(workers)
    return choose_precision(
        encoder, precision, frames, compiled=compiled, backend=backend, moving=moving, callers=callers
    )


def outcome(choice: Choice) -> list[str]:
    """Return lines that say how the encoder computes and what was not taken; none for PyTorch in float32 as usual."""
    refused = [f"not taken: {line}" for line in choice.refused]
    report = choice.report
    if report is not None and report.passed:
        way = f"precision {report.way}: lowest cosine similarity to float32 {report.cosine:.6f}, {report.frames} frames"
        return [*refused, way]
    return [*refused, "precision float32"] if refused else []


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
