"""Predict how long runs take on this machine, from a few measured rollouts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from time import perf_counter
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch

from tasks.cards import CARDS, GROUPS, TaskCard

from ..config import RunConfig, configure
from ..dapg import GaussianPolicy, ValueBaseline, dapg_update
from ..presets import PRESETS
from ..rollout.trajectory import Trajectory
from ..runner.schedule import BEFORE_EVERYTHING, remaining_episodes
from .stages import FrameCost, Pipeline, measure_groups, rehearse

MEASURED = {"Adroit": "door", "DexMV": "relocate-mug"}
"""The task that stands for each suite of scenes."""

ENCODER = "hindex"
UPDATED_STEPS, UPDATED_LENGTH = 1000, 100
PAPER = {setting: PRESETS["paper"][setting] for setting in ("precision", "backend", "rollout")}
"""How the preset ``paper`` rolls out, without its weights and demonstrations."""


class Ceilings(NamedTuple):
    """One task's rollouts on this machine.

    Attributes:
        task: the task.
        way: how the encoder computes.
        cost: of a frame.
        pipeline: what the stages share.
        start: seconds until the first frame: loading and compiling the encoder, and what comes with it.
        costs: of a frame, by the slots of a group.
    """

    task: str
    way: str
    cost: FrameCost
    pipeline: Pipeline
    start: float
    costs: Mapping[int, FrameCost] = MappingProxyType({})

    def under(self, config: RunConfig) -> Ceilings:
        """Return the rollouts of a run with as many slots and groups as configured, on the same frames."""
        groups = -(-config.slots // config.rollout.group)
        return self._replace(cost=self.costs[config.rollout.group], pipeline=replace(self.pipeline, groups=groups))

    @property
    def frames_per_second(self) -> float:
        """The lowest ceiling."""
        return self.pipeline.frames_per_second(self.cost)

    @property
    def bottleneck(self) -> str:
        """The stage that takes most of what is scarcest, as a share: ``encoding (79 %)``."""
        scarcest = min(self.pipeline.ceilings(self.cost).items(), key=lambda item: item[1])[0]
        names = {"draw": "drawing", "encode": "encoding", "act": "acting", "answer": "passing frames on"}
        of = {"workers": ("physics", "draw", "answer"), "encoding": ("encode", "act")}.get(scarcest, self.cost._fields)
        seconds = {stage: getattr(self.cost, stage) for stage in of}
        if scarcest == "cores" and not self.pipeline.encodes_on_cpu:
            del seconds["encode"]
        most = max(seconds, key=lambda stage: seconds[stage])
        return f"{names.get(most, most)} ({seconds[most] / sum(seconds.values()):.0%})".replace("%", " %")


def ceilings(
    device: str, presets: Collection[str], settings: Mapping[str, Any] = MappingProxyType({})
) -> dict[str, Ceilings]:
    """Measure the rollouts of `ENCODER` on the tasks of `MEASURED`, a suite of scenes each; seconds for each.

    Args:
        device: as configured, such as ``auto``.
        presets: whose groups of slots are measured.
        settings: beyond those of the preset small.

    Raises:
        BenchError, EncoderError, TaskError: something the user can mend.
    """
    found = {}
    for suite, task in MEASURED.items():
        began = perf_counter()
        options = {"task": task, "encoder": ENCODER, "device": device, "weights": "random", **settings}
        run = rehearse(configure("small", ["demonstrations.episodes=8"], **options))
        start, own = perf_counter() - began, run.context.config.rollout.group
        sizes = {configure(preset, task=task, encoder=ENCODER).rollout.group for preset in presets}
        costs = measure_groups(run, sizes | {own})
        found[suite] = Ceilings(task, run.way, costs[own], run.pipeline, start, costs)
    return found


def update_seconds() -> float:
    """Return the seconds that an update takes per step of its trajectories, with features of 2,048."""
    size, actions, random = 2048 + 24, 26, np.random.default_rng(0)
    flags = np.zeros(UPDATED_LENGTH, dtype=bool)
    trajectories = [
        Trajectory(
            random.standard_normal((UPDATED_LENGTH, size), dtype=np.float32),
            random.standard_normal((UPDATED_LENGTH, actions), dtype=np.float32),
            random.standard_normal(UPDATED_LENGTH),
            flags,
            terminal=True,
            seed=0,
            success=False,
        )
        for _ in range(UPDATED_STEPS // UPDATED_LENGTH)
    ]
    generator = torch.Generator().manual_seed(0)
    policy, baseline = GaussianPolicy(size, actions, generator=generator), ValueBaseline(size, generator=generator)
    settings = configure("paper", task="door", encoder=ENCODER).learner
    began = perf_counter()
    dapg_update(policy, baseline, trajectories, None, settings=settings, iteration=0, generator=generator)
    return (perf_counter() - began) / UPDATED_STEPS


def frames_of(config: RunConfig, card: TaskCard) -> tuple[int, int]:
    """Return how many frames a run draws, and how many steps its updates see.

    Demonstrations count as whole episodes of the task, though they may end with their success.

    Args:
        config: of the run.
        card: its task's.
    """
    config = config.resolve(card)
    horizon, iterations = int(config.rollout.horizon or 0), int(config.learner.iterations or 0)
    episodes = remaining_episodes(config, BEFORE_EVERYTHING)
    shown = int(config.demonstrations.episodes or 0)
    steps = iterations * int(config.learner.trajectories_per_iteration or 0) * horizon
    return episodes * horizon + shown * card.horizon, steps


def preset_seconds(preset: str, measured: Mapping[str, Ceilings], update: float) -> float:
    """Return the seconds that all tasks of the paper take under a preset.

    Args:
        preset: its name.
        measured: rollouts on this machine, a suite of scenes each.
        update: seconds of an update per step.
    """
    total = 0.0
    for name in GROUPS["all"]:
        card = CARDS[name]
        config = configure(preset, task=name, encoder=ENCODER).resolve(card)
        rollouts = measured[card.source].under(config)
        frames, steps = frames_of(config, card)
        total += rollouts.start + frames / rollouts.frames_per_second + steps * update
    return total


@dataclass(frozen=True)
class Estimate:
    """Measured rollout speeds, and the run times that follow for the presets.

    Attributes:
        fast: rollouts as the presets but paper do them, a suite of scenes each.
        paper: rollouts as the preset paper does them.
        seconds: of all tasks under each preset.
    """

    fast: Mapping[str, Ceilings]
    paper: Mapping[str, Ceilings]
    seconds: Mapping[str, float]


def estimate(device: str = "auto") -> Estimate:
    """Measure this machine, which takes up to a minute.

    Args:
        device: as configured.

    Raises:
        BenchError, EncoderError, TaskError: something the user can mend.
    """
    fast, paper = ceilings(device, set(PRESETS) - {"paper"}), ceilings(device, {"paper"}, PAPER)
    update = update_seconds()
    seconds = {name: preset_seconds(name, paper if name == "paper" else fast, update) for name in PRESETS}
    return Estimate(fast, paper, seconds)
