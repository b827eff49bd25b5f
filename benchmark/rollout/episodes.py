"""Episodes: simulate and draw in workers, encode and act here.

Slots form groups. The slots of a group take their steps together and are encoded together, in the order of their
numbers; groups run beside each other and wait for nothing, so that some draw while others are encoded. A slot runs its
contiguous share of the episodes one after another, as the sampling processes of the released code did. What a group
does depends neither on the other groups nor on the number of workers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from itertools import pairwise
from time import perf_counter
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tasks.base import Reading

from ..store.metrics import ROLLING_STAGES, WAITING
from .fusion import ONE_FRAME, Fusion, Window
from .simulators import Simulators
from .slots import Answer, Frames, Start
from .trajectory import Trajectory

Array = npt.NDArray[np.float32]
WHOLE, NOTHING = slice(None), slice(0)
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


@dataclass(frozen=True)
class GroupThreads:
    """How groups of slots share this process, each in a thread of its own.

    Attributes:
        at_once: groups that may encode and act at the same time.
        prepare: called once in each thread, such as to let torch compute with one thread there; without workers all
            groups run in the caller's thread.
    """

    at_once: int = 1
    prepare: Callable[[], None] = lambda: None


class Clock:
    """Measures where the time of rollouts goes, and counts control steps.

    Attributes:
        steps: control steps taken.
        wall: seconds of all rollouts.
        seconds: by stage, averaged over the groups that ran together, so that their sum is ``wall``.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.wall = 0.0
        self.seconds = dict.fromkeys(ROLLING_STAGES, 0.0)

    def add(self, steps: int, wall: float, groups: Sequence[Mapping[str, float]]) -> None:
        """Add a rollout.

        Args:
            steps: control steps taken.
            wall: its seconds.
            groups: seconds by stage of each group; what is missing of ``wall`` is counted as waiting.
        """
        self.steps += steps
        self.wall += wall
        for group in groups:
            for stage, seconds in group.items():
                self.seconds[stage] += seconds / len(groups)
            self.seconds[WAITING] += (wall - sum(group.values())) / len(groups)


class _Observations:
    """The observations of all episodes, one behind the other in one array."""

    def __init__(self, horizons: Sequence[int]) -> None:
        self.ends = np.cumsum(horizons)
        self.horizons = horizons
        self.array: Array | None = None
        self.lock = threading.Lock()

    def of(self, episode: int, width: int) -> Array:
        """Return the rows (horizon, width) of an episode."""
        with self.lock:
            if self.array is None:
                self.array = np.empty((int(self.ends[-1]), width), np.float32)
        end = self.ends[episode]
        return self.array[end - self.horizons[episode] : end]

    def without_gaps(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        """Move episodes to the ends of those before them, where these ended early."""
        moved, begin = [], 0
        for trajectory, end, horizon in zip(trajectories, self.ends, self.horizons, strict=True):
            if begin < end - horizon:
                assert self.array is not None
                rows = self.array[begin : begin + len(trajectory)]
                rows[:] = trajectory.observations
                trajectory = replace(trajectory, observations=rows)
            moved.append(trajectory)
            begin += len(trajectory)
        return moved


@dataclass
class _Episode:
    """One episode in progress."""

    number: int
    horizon: int
    window: Window
    memory: _Observations
    observations: Array | None = None
    actions: Array | None = None
    rewards: list[float] = field(default_factory=list)
    goals: list[bool] = field(default_factory=list)

    @property
    def step(self) -> int:
        return len(self.rewards)

    @property
    def last(self) -> bool:
        """Whether the next step is the horizon's."""
        return self.step + 1 >= self.horizon

    def observe(self, observation: Array, action: Array) -> None:
        if self.observations is None or self.actions is None:
            self.observations = self.memory.of(self.number, len(observation))
            # An array of its own for each step would stay where large buffers were freed, and break up the heap.
            self.actions = np.empty((self.horizon, len(action)), np.float32)
        self.observations[self.step] = observation
        self.actions[self.step] = action

    def trajectory(self, start: Start, terminated: bool, unstable: bool, rule: EpisodeRule) -> Trajectory:
        assert self.observations is not None
        assert self.actions is not None
        return Trajectory(
            observations=self.observations[: self.step],
            actions=self.actions[: self.step],
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
    privileged: bool = True,
    fusion: Fusion = ONE_FRAME,
    kept: slice = WHOLE,
    threads: GroupThreads | None = None,
    clock: Clock | None = None,
    on_steps: Callable[[int], None] | None = None,
    on_frame: Callable[[int, Frames], None] | None = None,
    on_begin: Callable[[Sequence[int]], None] | None = None,
) -> list[Trajectory]:
    """Run episodes and return their trajectories in the order of ``starts``.

    Their observations lie one behind the other in one array.

    Args:
        simulators: the slots.
        starts: one seed or initial state per episode.
        actor: chooses the actions.
        horizons: control steps of each episode.
        rule: by which they end and succeed.
        encode: turns frames into features, to which the proprioception is appended; None for no images.
        privileged: whether, without images, the actor gets the task's state observation; else the proprioception alone.
        fusion: joins the features of an episode's newest frames.
        kept: the part of an observation that the trajectories hold; `NOTHING` of it saves memory.
        threads: how the groups share this process; by default one of them encodes and acts at a time.
        clock: filled with timings.
        on_steps: receives the number of steps after every tick of a group; one thread at a time.
        on_frame: receives (episode, frame (224, 224, 3)) for every observed frame.
        on_begin: receives the slots that begin an episode, before any frame of it is encoded.

    Raises:
        SimulationError, TaskError, RenderError: of the first group that fails; the others are stopped.
    """
    began = perf_counter()
    shares = _shares(len(starts), simulators.settings.slots)
    memory = _Observations(horizons)
    queues = {
        slot: [_Episode(number, horizons[number], Window(fusion.history), memory) for number in share]
        for slot, share in enumerate(shares)
    }
    threads = threads or GroupThreads()
    computing = threading.BoundedSemaphore(threads.at_once)
    call = _one_at_a_time(on_steps)
    common = _Common(
        simulators, starts, actor, rule, encode, privileged, fusion, kept, call, on_frame, on_begin, computing
    )
    groups = [
        _Group(common, {slot: queues[slot] for slot in slots})
        for slots in simulators.settings.groups
        if any(queues[slot] for slot in slots)
    ]
    if simulators.workers:
        _run_together(groups, common, threads.prepare)
    else:  # an OpenGL context belongs to the thread that made it
        threads.prepare()
        for group in groups:
            group.run()
    if clock is not None:
        clock.add(sum(group.steps for group in groups), perf_counter() - began, [group.seconds for group in groups])
    finished: dict[int, Trajectory] = {}
    for group in groups:
        finished |= group.finished
    return memory.without_gaps([finished[number] for number in range(len(starts))])


@dataclass
class _Common:
    """What the groups of a rollout share."""

    simulators: Simulators
    starts: Sequence[Start]
    actor: Actor
    rule: EpisodeRule
    encode: Encode | None
    privileged: bool
    fusion: Fusion
    kept: slice
    on_steps: Callable[[int], None]
    on_frame: Callable[[int, Frames], None] | None
    on_begin: Callable[[Sequence[int]], None] | None
    computing: threading.BoundedSemaphore
    stop: threading.Event = field(default_factory=threading.Event)


class _Group:
    """The episodes of some slots, in lockstep.

    Attributes:
        finished: trajectories by the number of their episode.
        steps: control steps taken.
        seconds: by stage.
    """

    def __init__(self, common: _Common, queues: Mapping[int, Sequence[_Episode]]) -> None:
        self.common = common
        self.queues = {slot: iter(episodes) for slot, episodes in queues.items()}
        self.running: dict[int, _Episode] = {}
        self.newest: dict[int, npt.NDArray[np.float64]] = {}
        self.finished: dict[int, Trajectory] = {}
        self.steps = 0
        self.seconds = dict.fromkeys(ROLLING_STAGES, 0.0)

    def run(self) -> None:
        """Run the episodes to their ends."""
        self._begin(list(self.queues))
        while self.running and not self.common.stop.is_set():
            self._tick()

    def _tick(self) -> None:
        """Take one step in every running episode."""
        common, slots = self.common, sorted(self.running)
        episodes = [self.running[slot] for slot in slots]
        inputs, actions = self._act(slots, episodes)
        drawn = [slot for slot, episode in zip(slots, episodes, strict=True) if not episode.last]
        reading = self._simulate(slots, lambda: common.simulators.step(slots, actions, drawn))
        done = []
        for row, (slot, episode) in enumerate(zip(slots, episodes, strict=True)):
            ends = episode.last or bool(reading.terminated[row])
            episode.observe(inputs[row, common.kept], actions[row])
            episode.rewards.append(float(reading.reward[row]))
            episode.goals.append(bool(reading.goal[row]))
            if ends:
                start, terminated = common.starts[episode.number], bool(reading.terminated[row])
                self.finished[episode.number] = episode.trajectory(
                    start, terminated, bool(reading.unstable[row]), common.rule
                )
                done.append(slot)
        self.steps += len(slots)
        common.on_steps(len(slots))
        self._begin(done)

    def _begin(self, slots: Sequence[int]) -> None:
        """Start the next episode of each slot that has one left."""
        for slot in slots:
            episode = next(self.queues[slot], None)
            if episode is None:
                self.running.pop(slot, None)
            else:
                self.running[slot] = episode
        chosen = sorted(slot for slot in slots if slot in self.running)
        if chosen:
            starts = [self.common.starts[self.running[slot].number] for slot in chosen]
            self._simulate(chosen, lambda: self.common.simulators.begin(chosen, starts))
            if self.common.on_begin is not None:
                self.common.on_begin(chosen)

    def _simulate(self, slots: Sequence[int], command: Callable[[], Answer]) -> Reading:
        """Let the slots do something, and keep what they observe."""
        reading, physics, drawing = command()
        self.seconds["physics"] += physics
        self.seconds["draw"] += drawing
        state = self.common.encode is None and self.common.privileged
        rows = reading.observation if state else reading.proprioception
        self.newest.update(zip(slots, rows, strict=True))
        return reading

    def _act(self, slots: Sequence[int], episodes: Sequence[_Episode]) -> tuple[Array, Array]:
        """Return the observations of the slots (n, D), and the actions that follow from them (n, action_dim)."""
        common = self.common
        inputs = np.stack([self.newest[slot] for slot in slots]).astype(np.float32)
        frames = common.simulators.frames[slots] if common.encode is not None else None
        if frames is not None and common.on_frame is not None:
            for episode, frame in zip(episodes, frames, strict=True):
                common.on_frame(episode.number, frame)
        with common.computing:
            began = perf_counter()
            if common.encode is not None and frames is not None:
                features = common.encode(frames, slots)
                seen = [episode.window.push(row) for episode, row in zip(episodes, features, strict=True)]
                inputs = np.concatenate([common.fusion.fuse(np.stack(seen)), inputs], axis=1)
            encoded = perf_counter()
            numbers, steps = [episode.number for episode in episodes], [episode.step for episode in episodes]
            actions = common.actor(inputs, numbers, steps)
            self.seconds["encode"] += encoded - began
            self.seconds["act"] += perf_counter() - encoded
        return inputs, actions


def _run_together(groups: Sequence[_Group], common: _Common, prepare: Callable[[], None]) -> None:
    """Run every group in a thread of its own; if one fails, stop the others at their next tick."""
    with ThreadPoolExecutor(len(groups), "group", prepare) as pool:
        futures = [pool.submit(group.run) for group in groups]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            common.stop.set()
            raise


def _one_at_a_time(call: Callable[[int], None] | None) -> Callable[[int], None]:
    """Return a function that threads may call, which calls ``call`` for one of them at a time."""
    lock = threading.Lock()

    def locked(count: int) -> None:
        if call is not None:
            with lock:
                call(count)

    return locked


def _shares(episodes: int, slots: int) -> list[range]:
    """Return contiguous shares of the episodes, one per slot, equal to within one."""
    bounds = [episodes * slot // slots for slot in range(slots + 1)]
    return [range(first, stop) for first, stop in pairwise(bounds)]
