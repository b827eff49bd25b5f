"""Measure each stage of a rollout separately, and predict the speed of all of them together."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import gettempdir
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch

from tasks.demonstrations.dataset import Demonstrations

from ..config import RunConfig, usable_cores
from ..dapg import GaussianPolicy
from ..demonstrations import sources
from ..demonstrations.features import recorded_actions
from ..progress import Silent
from ..rollout.episodes import Clock, GroupThreads, rollout
from ..rollout.simulators import Simulators
from ..runner.context import RunContext, ready_encoder, run_context, scene_settings, settle
from ..runner.encoder import hashed_plan
from ..runner.moving_statistics import Role
from ..runner.policy_actor import PolicyActor, exploration_noise
from ..store.metrics import WAITING

SECONDS = 1.5
"""Duration of the encoding measurement; acting is measured for a tenth of it."""

STEPS = 40
"""Control steps of a measured episode."""


class FrameCost(NamedTuple):
    """Seconds of one frame in each stage, while every core is at that stage.

    Attributes:
        physics: of a worker process.
        draw: of a worker process.
        answer: of the way to the worker and back, and of keeping what it answered.
        encode: of a thread that encodes, or of the GPU.
        act: of a thread that encodes.
    """

    physics: float
    draw: float
    answer: float
    encode: float
    act: float


@dataclass(frozen=True)
class Pipeline:
    """The resources that the stages share.

    Attributes:
        workers: worker processes, at least one.
        callers: groups of slots that encode and act at the same time.
        cores: of the machine, as far as this process may use them.
        groups: groups of slots.
        encodes_on_cpu: whether encoding takes a core.
    """

    workers: int
    callers: int
    cores: int
    groups: int
    encodes_on_cpu: bool = True

    def ceilings(self, cost: FrameCost) -> dict[str, float]:
        """Return the frames per second that each thing of which there is a limited number allows, by its name.

        A rollout reaches the lowest ceiling if enough groups keep that resource busy.
        """
        simulating, computing = cost.physics + cost.draw + cost.answer, cost.encode + cost.act
        busy = simulating + cost.act + (cost.encode if self.encodes_on_cpu else 0.0)
        return {
            "workers": min(self.workers, self.groups) / simulating,
            "encoding": self.callers / computing,
            "cores": self.cores / busy,
            "groups": self.groups / (simulating + computing),
        }

    def frames_per_second(self, cost: FrameCost) -> float:
        """Return the lowest ceiling."""
        return min(self.ceilings(cost).values())


@dataclass(frozen=True)
class Rehearsed:
    """A run that is ready to roll out, without a run folder.

    Attributes:
        context: its parts.
        demonstrations: of the shipped expert.
        policy: drawn at random, for what the encoder gives.
        way: how the encoder computes, such as ``bfloat16 by OpenVINO``.
    """

    context: RunContext
    demonstrations: Demonstrations
    policy: GaussianPolicy
    way: str

    @property
    def pipeline(self) -> Pipeline:
        """The resources that its stages share."""
        config, on_cpu = self.context.config, self.context.device.type == "cpu"
        with self.context.group_threads() as threads:
            callers = threads.at_once
        groups = -(-config.slots // config.rollout.group)
        return Pipeline(max(1, config.workers), callers, usable_cores(), groups, on_cpu)

    def frames_per_second(self, repeats: int) -> float:
        """Return the speed of a rollout of the policy's samples, as a run measures it.

        Args:
            repeats: episodes of each slot.
        """
        context = self.context
        with context.simulators(context.config.task_options()) as simulators:
            for seeds in (range(context.config.slots), range(repeats * context.config.slots)):  # once to warm up
                context.clock = Clock()
                context.roll(simulators, self.policy, list(seeds), noise_of=1)
        return context.clock.steps / context.clock.wall


def rehearse(config: RunConfig) -> Rehearsed:
    """Make everything that a run's rollouts need.

    Raises:
        BenchError, EncoderError, TaskError: something the user can mend.
    """
    ready = ready_encoder(config, hashed_plan(config), Path(gettempdir()), Silent())
    config, card = ready.config, ready.card
    demonstrations = sources.gather(config.task, config.demonstrations, config.demonstration_options(card))
    choice = settle(ready, demonstrations)
    context = run_context(ready, demonstrations, Silent())
    size = _observed(context)
    hidden, generator = config.learner.policy_hidden, torch.Generator().manual_seed(config.seed)
    policy = GaussianPolicy(size, card.action_dim, hidden, generator=generator).to(context.device)
    way = choice.report.way if choice.report is not None and choice.report.passed else "float32"
    return Rehearsed(context, demonstrations, policy, way)


def measure(run: Rehearsed) -> FrameCost:
    """Measure the stages of a run's rollouts, one after another."""
    group = run.context.config.rollout.group
    return measure_groups(run, [group])[group]


def measure_groups(run: Rehearsed, sizes: Collection[int]) -> dict[int, FrameCost]:
    """Measure the stages of rollouts for several sizes of groups, whose frames are encoded and answered together.

    Args:
        run: ready to roll out.
        sizes: slots of a group; physics and drawing are measured for the largest.
    """
    context, largest = run.context, max(sizes)
    scene = scene_settings(context.config, context.encoder, context.device, context.config.task_options())
    workers = max(1, context.config.workers)
    with Simulators(replace(scene, slots=workers * largest, group=largest), workers) as simulators:
        simulating = _simulate(run, simulators)
        frames = simulators.frames[:largest].copy()
    width = _observed(context)
    costs, encoded = {}, context.encode()
    for size in sizes:
        slots, first = list(range(size)), [0] * size
        observations = np.zeros((size, width), np.float32)
        actor = PolicyActor(run.policy, exploration_noise(0, 0, size, (1, context.card.action_dim)))
        context.statistics.begin(Role.TRAINING)
        with context.group_threads() as threads:
            encode = 0.0
            if encoded is not None:
                encode = _seconds_each(partial(encoded, frames[:size], slots), size, SECONDS, threads)
            act = _seconds_each(partial(actor, observations, slots, first), size, SECONDS / 10, threads)
        costs[size] = FrameCost(**simulating, encode=encode, act=act)
    return costs


def _observed(context: RunContext) -> int:
    """Return the length of what a policy gets of one frame, or of the state or the joints where there is none."""
    state = not context.encoder.uses_images and context.privileged
    return context.encoder.feature_dim + (context.card.observation_dim if state else context.card.proprioception_dim)


def _simulate(run: Rehearsed, simulators: Simulators) -> dict[str, float]:
    """Replay the beginnings of demonstrations without encoding; return the seconds of a frame by stage."""
    shown = run.demonstrations.episodes
    episodes = [shown[k % len(shown)] for k in range(simulators.settings.slots)]
    clock = Clock()
    for steps in (2, STEPS):  # the first time warms up
        clock = Clock()
        rollout(
            simulators,
            [episode.initial_state for episode in episodes],
            recorded_actions(episodes),
            horizons=[min(steps, len(episode.actions)) for episode in episodes],
            rule=run.context.rule,
            encode=None,
            threads=GroupThreads(simulators.workers),
            clock=clock,
        )
    frames = clock.steps / len(simulators.settings.groups)
    stages = {"physics": "physics", "draw": "draw", "answer": WAITING}
    return {name: clock.seconds[stage] / frames for name, stage in stages.items()}


def _seconds_each(action: Callable[[], object], images: int, seconds: float, threads: GroupThreads) -> float:
    """Return a thread's seconds per image while as many threads as may compute at once do the same."""

    def measured() -> float:
        action()
        done, began = 0, perf_counter()
        while perf_counter() - began < seconds:
            action()
            done += images
        return (perf_counter() - began) / done

    with ThreadPoolExecutor(threads.at_once, initializer=threads.prepare) as pool:
        found = [future.result() for future in [pool.submit(measured) for _ in range(threads.at_once)]]
    return float(np.mean(found))
