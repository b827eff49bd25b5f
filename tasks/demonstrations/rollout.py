"""Experts in their task: collecting demonstrations, evaluating, and replaying recorded actions.

Every episode has its own seed and its own noise, and takes a free slot of the task when one is there. Results stand in
the order of the episodes and do not depend on how many slots the task has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import DemonstrationError
from ..experts import Actor
from .dataset import Demonstrations, Episode

if TYPE_CHECKING:
    from ..base import Reading, Task

FloatArray = npt.NDArray[np.float64]
OnEpisode = Callable[[int, Episode], None]

ACTION_NOISE_STREAM = 1  # the reset of the same seed draws from another stream


def collect(
    task: Task,
    expert: Actor,
    *,
    episodes: int,
    first_seed: int,
    horizon: int | None = None,
    stochastic: bool = True,
    successful_only: bool = True,
    until_success: bool = False,
    max_attempts: int | None = None,
    on_episode: OnEpisode | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Demonstrations:
    """Collect demonstrations.

    Attempt k uses the reset seed ``first_seed + k`` and noise from ``np.random.default_rng([first_seed + k, 1])``.

    Args:
        task: where to act.
        expert: who acts; actions are rounded to float32, so that a replay gives the simulator the same.
        episodes: how many to keep.
        first_seed: of attempt 0, not negative.
        horizon: control steps after which an episode ends; the card's by default.
        stochastic: with the expert's noise, or its mean actions.
        successful_only: keep only episodes that meet the task's success rule, else all.
        until_success: end an episode at the step that meets the success rule, instead of at the horizon.
        max_attempts: when to give up; ten a wanted episode by default.
        on_episode: called with the attempt's number and the episode, as each ends (in no fixed order).
        metadata: added to what the demonstrations say of themselves, for example the task's options.

    Returns:
        The kept episodes in order of k; ``metadata["counts"]`` has the attempts and the successes among them.

    Raises:
        DemonstrationError: not enough successes within ``max_attempts``.
    """
    limit = 10 * episodes if max_attempts is None else max_attempts
    enough = task.card.goal_steps if until_success else None
    attempts = _rollouts(
        task, expert, episodes, limit, first_seed, horizon, stochastic, successful_only, on_episode, enough
    )
    kept = [episode for episode in attempts if episode.success or not successful_only]
    successes = sum(episode.success for episode in attempts)
    if len(kept) < episodes:
        raise DemonstrationError(
            f"{task.card.name}: {successes} successes in {len(attempts)} attempts, {episodes} wanted; "
            "allow more attempts, or use a better expert"
        )
    described = {
        "source": "expert",
        "task": task.card.name,
        "expert_sha256": expert.sha256,
        "first_seed": first_seed,
        "horizon": horizon or task.card.horizon,
        "stochastic": stochastic,
        "scene": task.scene,
        "until": "success" if until_success else "horizon",
        "selection": "successful episodes in order of seed" if successful_only else "all episodes in order of seed",
        "counts": {"attempts": len(attempts), "successes": successes, "kept": len(kept)},
        "results_version": task.results_version,
        "versions": _versions(),
    }
    return Demonstrations(task.card.name, tuple(kept), described | dict(metadata or {}))


def evaluate(
    task: Task,
    expert: Actor,
    *,
    episodes: int,
    first_seed: int,
    stochastic: bool = False,
    horizon: int | None = None,
    on_episode: OnEpisode | None = None,
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Returns and successes of an expert, (episodes,) float64 and bool, in order of the seeds.

    Args:
        task: where to act.
        expert: who acts.
        episodes: how many.
        first_seed: reset seed of episode 0; seeds and noise as in `collect`.
        stochastic: with the expert's noise, or its mean actions.
        horizon: control steps after which an episode ends; the card's by default.
        on_episode: called with the episode's number and the episode, as each ends.
    """
    done = list(_rollouts(task, expert, episodes, episodes, first_seed, horizon, stochastic, False, on_episode))
    return np.array([episode.total_reward for episode in done]), np.array([episode.success for episode in done])


def card_scores(
    task: Task, expert: Actor, *, episodes: int, first_seed: int, stochastic: bool = False
) -> dict[str, float]:
    """Evaluate an expert and return what its card says of that.

    Args:
        task: where to act.
        expert: who acts.
        episodes: how many.
        first_seed: reset seed of episode 0; seeds and noise as in `collect`.
        stochastic: with the expert's noise, or its mean actions.

    Returns:
        ``episodes`` and ``first_seed``, which make the rest repeatable; mean ``return`` and its standard deviation
        ``return_std``; ``success``, the fraction of episodes that met the task's rule.
    """
    returns, successes = evaluate(task, expert, episodes=episodes, first_seed=first_seed, stochastic=stochastic)
    return {
        "episodes": episodes,
        "first_seed": first_seed,
        "return": round(float(returns.mean()), 2),
        "return_std": round(float(returns.std()), 2),
        "success": float(successes.mean()),
    }


def replay(task: Task, demonstrations: Demonstrations, on_episode: OnEpisode | None = None) -> Demonstrations:
    """Take recorded actions again, open loop, from the recorded initial states.

    Each episode runs as long as its actions last (the human ones exceed the horizon) or until it terminates.

    Returns:
        The same initial states and actions with the observations, rewards, goal flags and success of this simulator.

    Raises:
        DemonstrationError: the demonstrations are of another task or have other dimensions.
    """
    card = task.card
    demonstrations.check_fits(card)
    recorded = demonstrations.episodes

    def start(number: int, slot: int) -> _Recorder:
        episode = recorded[number]
        reading = task.restore([episode.initial_state], [slot])
        return _Recorder(number, episode.seed, episode.initial_state, reading.observation[0].copy(), len(episode))

    def act(recorders: list[_Recorder]) -> npt.NDArray[np.float32]:
        return np.stack([recorded[recorder.number].actions[recorder.step] for recorder in recorders])

    finished: dict[int, Episode] = {}
    for number, episode in _run(task, start, act, lambda started, _: started < len(recorded)):
        finished[number] = episode
        if on_episode is not None:
            on_episode(number, episode)
    ordered = tuple(finished[number] for number in range(len(recorded)))
    described = {"replayed": True, "results_version": task.results_version, "versions": _versions()}
    return Demonstrations(card.name, ordered, {**demonstrations.metadata, **described})


@dataclass
class _Recorder:
    """An episode under way in a slot."""

    number: int
    seed: int | None
    initial_state: Mapping[str, FloatArray]
    observation: FloatArray
    length: int
    noise: FloatArray | None = None
    enough: int | None = None
    actions: list[npt.NDArray[np.float32]] = field(default_factory=list)
    observations: list[FloatArray] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    goals: list[bool] = field(default_factory=list)

    @property
    def step(self) -> int:
        return len(self.actions)

    def record(self, action: npt.NDArray[np.float32], reading: Reading, row: int) -> bool:
        """Add a step; whether the episode is over."""
        self.actions.append(action)
        self.observations.append(self.observation)
        self.rewards.append(float(reading.reward[row]))
        self.goals.append(bool(reading.goal[row]))
        self.observation = reading.observation[row].copy()
        succeeded = self.enough is not None and sum(self.goals) >= self.enough
        return succeeded or bool(reading.terminated[row]) or self.step >= self.length

    def episode(self, goal_steps: int) -> Episode:
        return Episode(
            self.initial_state,
            np.array(self.actions, np.float32),
            np.array(self.observations, np.float32),
            np.array(self.rewards),
            np.array(self.goals),
            success=sum(self.goals) >= goal_steps,
            seed=self.seed,
        )


def _rollouts(
    task: Task,
    expert: Actor,
    wanted: int,
    limit: int,
    first_seed: int,
    horizon: int | None,
    stochastic: bool,
    successful_only: bool,
    on_episode: OnEpisode | None,
    enough: int | None = None,
) -> list[Episode]:
    """The attempts 0, 1, ... up to the one that completes ``wanted`` episodes, in order.

    An attempt starts only while successes and attempts under way together are fewer than wanted. So no attempt is made
    in vain, and which are made does not depend on the slots.
    """
    card = task.card
    length = card.horizon if horizon is None else horizon
    if min(wanted, limit, length) < 1 or first_seed < 0:
        raise DemonstrationError(
            f"{card.name}: {wanted} episodes of {length} steps in {limit} attempts from seed {first_seed}; "
            "numbers must be 1 or more, the seed 0 or more"
        )
    if (expert.observation_dim, expert.action_dim) != (card.observation_dim, card.action_dim):
        raise DemonstrationError(
            f"expert with observations of {expert.observation_dim} and actions of {expert.action_dim} "
            f"does not fit {card.name} ({card.observation_dim}, {card.action_dim})"
        )
    finished: dict[int, Episode] = {}

    def start(number: int, slot: int) -> _Recorder:
        seed = first_seed + number
        reading = task.reset([seed], [slot])
        generator = np.random.default_rng([seed, ACTION_NOISE_STREAM])
        noise = generator.standard_normal((length, card.action_dim)) if stochastic else None
        observation = reading.observation[0].copy()
        return _Recorder(number, seed, task.initial_state(slot), observation, length, noise, enough)

    def act(recorders: list[_Recorder]) -> npt.NDArray[np.float32]:
        observations = np.stack([recorder.observation for recorder in recorders])
        if not stochastic:
            return expert.mean(observations).astype(np.float32)
        noise = np.stack([recorder.noise[recorder.step] for recorder in recorders if recorder.noise is not None])
        return expert.sample(observations, noise).astype(np.float32)

    def more(started: int, running: int) -> bool:
        counted = sum(episode.success or not successful_only for episode in finished.values())
        return started < limit and counted + running < wanted

    for number, episode in _run(task, start, act, more):
        finished[number] = episode
        if on_episode is not None:
            on_episode(number, episode)
    return [finished[number] for number in sorted(finished)]


def _run(
    task: Task,
    start: Callable[[int, int], _Recorder],
    act: Callable[[list[_Recorder]], npt.NDArray[np.float32]],
    more: Callable[[int, int], bool],
) -> Iterator[tuple[int, Episode]]:
    """Run episodes 0, 1, ... in the task's slots while ``more(started, running)``; give each as it ends."""
    running: dict[int, _Recorder] = {}
    started = 0
    while True:
        for slot in range(task.slots):
            if slot not in running and more(started, len(running)):
                running[slot] = start(started, slot)
                started += 1
        if not running:
            return
        slots = sorted(running)
        actions = act([running[slot] for slot in slots])
        reading = task.step(actions.astype(np.float64), None if len(slots) == task.slots else slots)
        for row, slot in enumerate(slots):
            if running[slot].record(actions[row], reading, row):
                recorder = running.pop(slot)
                yield recorder.number, recorder.episode(task.card.goal_steps)


def _versions() -> dict[str, str]:
    found = {package: _version(package) for package in ("hindex-bench", "mujoco", "numpy")}
    return {package: installed for package, installed in found.items() if installed}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
