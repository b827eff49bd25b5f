"""Episodes in lockstep: simulate and draw in workers, encode the whole batch at once, act.

Every tick the active slots are encoded together, in the order of their numbers. A slot runs its contiguous share of
the episodes one after another, as the sampling processes of the released code did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from time import perf_counter
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..store.metrics import ROLLING_STAGES
from .simulators import Frames, Simulators, Start
from .trajectory import Trajectory

Array = npt.NDArray[np.float32]
Encode = Callable[[Frames, Sequence[int]], Array]
"""(frames (n, 224, 224, 3) uint8, their slots) -> features (n, F) float32."""


class Actor(Protocol):
    """Chooses actions: a policy, or the recorded actions of demonstrations."""

    def __call__(self, observations: Array, episodes: Sequence[int], steps: Sequence[int], /) -> Array:
        """Return actions (n, action_dim) for observations (n, D) of these episodes at these steps."""


@dataclass(frozen=True)
class EpisodeRule:
    """The rule by which episodes end and succeed.

    Attributes:
        goal_steps: goal steps that make an episode a success.
        time_limit_is_terminal: whether reaching the horizon counts as terminal.
    """

    goal_steps: int
    time_limit_is_terminal: bool


@dataclass
class Clock:
    """Measures where the time of rollouts goes, and counts control steps.

    Attributes:
        steps: control steps taken.
        seconds: by stage: ``simulate`` (with drawing), ``encode``, ``act``.
    """

    steps: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(ROLLING_STAGES, 0.0))

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the time of a block to a stage."""
        began = perf_counter()
        yield
        self.seconds[stage] += perf_counter() - began


@dataclass
class _Episode:
    """One episode in progress."""

    number: int
    horizon: int
    observations: Array | None = None
    actions: list[Array] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    goals: list[bool] = field(default_factory=list)

    @property
    def step(self) -> int:
        return len(self.rewards)

    @property
    def last(self) -> bool:
        """Whether the next step is the horizon's."""
        return self.step + 1 >= self.horizon

    def observe(self, observation: Array) -> None:
        if self.observations is None:
            self.observations = np.empty((self.horizon, len(observation)), np.float32)
        self.observations[self.step] = observation

    def trajectory(self, start: Start, terminated: bool, unstable: bool, rule: EpisodeRule) -> Trajectory:
        assert self.observations is not None
        return Trajectory(
            observations=self.observations[: self.step],
            actions=np.stack(self.actions),
            rewards=np.array(self.rewards),
            goals=np.array(self.goals),
            terminal=terminated or rule.time_limit_is_terminal,
            seed=start if isinstance(start, int) else -1,
            success=sum(self.goals) >= rule.goal_steps,
            unstable=unstable,
        )


def rollout(
    simulators: Simulators,
    starts: Sequence[Start],
    actor: Actor,
    *,
    horizons: Sequence[int],
    rule: EpisodeRule,
    encode: Encode | None,
    clock: Clock | None = None,
    on_steps: Callable[[int], None] | None = None,
    on_frame: Callable[[int, Frames], None] | None = None,
    on_begin: Callable[[Sequence[int]], None] | None = None,
) -> list[Trajectory]:
    """Run episodes and return their trajectories in the order of ``starts``.

    Args:
        simulators: the slots.
        starts: one seed or initial state per episode.
        actor: chooses the actions.
        horizons: control steps of each episode.
        rule: by which they end and succeed.
        encode: turns frames into features, to which the proprioception is appended; None hands the privileged state
            observation to the actor.
        clock: filled with timings.
        on_steps: called with the number of steps taken, after every tick.
        on_frame: called with (episode, frame (224, 224, 3)) for every observed frame.
        on_begin: called with the slots that begin an episode, before any frame of it is encoded.
    """
    clock = clock or Clock()
    shares = _shares(len(starts), simulators.settings.slots)
    queues = [iter([_Episode(number, horizons[number]) for number in share]) for share in shares]
    running: dict[int, _Episode] = {}
    newest: dict[int, npt.NDArray[np.float64]] = {}
    finished: dict[int, Trajectory] = {}

    def begin(slots: Sequence[int]) -> None:
        """Start the next episode of each slot that has one left."""
        for slot in slots:
            episode = next(queues[slot], None)
            if episode is None:
                running.pop(slot, None)
            else:
                running[slot] = episode
        chosen = sorted(slot for slot in slots if slot in running)
        if chosen:
            with clock.measure("simulate"):
                reading = simulators.begin(chosen, [starts[running[slot].number] for slot in chosen])
            rows = reading.proprioception if encode else reading.observation
            newest.update(zip(chosen, rows, strict=True))
            if on_begin is not None:
                on_begin(chosen)

    begin(range(len(queues)))
    while running:
        slots = sorted(running)
        episodes = [running[slot] for slot in slots]
        inputs = np.stack([newest[slot] for slot in slots]).astype(np.float32)
        if encode is not None:
            frames = simulators.frames[slots]
            if on_frame is not None:
                for episode, frame in zip(episodes, frames, strict=True):
                    on_frame(episode.number, frame)
            with clock.measure("encode"):
                inputs = np.concatenate([encode(frames, slots), inputs], axis=1)
        with clock.measure("act"):
            actions = actor(inputs, [episode.number for episode in episodes], [episode.step for episode in episodes])
        drawn = [slot for slot, episode in zip(slots, episodes, strict=True) if not episode.last]
        with clock.measure("simulate"):
            reading = simulators.step(slots, actions, drawn)
        rows = reading.proprioception if encode else reading.observation
        newest.update(zip(slots, rows, strict=True))
        done = []
        for row, (slot, episode) in enumerate(zip(slots, episodes, strict=True)):
            ends = episode.last or bool(reading.terminated[row])
            episode.observe(inputs[row])
            episode.actions.append(np.asarray(actions[row], np.float32))
            episode.rewards.append(float(reading.reward[row]))
            episode.goals.append(bool(reading.goal[row]))
            if ends:
                terminated, unstable = bool(reading.terminated[row]), bool(reading.unstable[row])
                finished[episode.number] = episode.trajectory(starts[episode.number], terminated, unstable, rule)
                done.append(slot)
        clock.steps += len(slots)
        if on_steps is not None:
            on_steps(len(slots))
        begin(done)
    return [finished[number] for number in range(len(starts))]


def _shares(episodes: int, slots: int) -> list[range]:
    """Return contiguous shares of the episodes, one per slot, equal to within one."""
    bounds = [episodes * slot // slots for slot in range(slots + 1)]
    return [range(first, stop) for first, stop in pairwise(bounds)]
