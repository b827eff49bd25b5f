"""Policy inputs for demonstrations: the episodes replayed, drawn and encoded once, and found again by content."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.demonstrations.dataset import Demonstrations, Episode

from ..rollout.episodes import Actor, Array, Clock, Encode, EpisodeRule, GroupThreads, rollout
from ..rollout.fusion import ONE_FRAME, Fusion
from ..rollout.simulators import Simulators
from ..rollout.trajectory import joined
from ..store import cache


class Pairs(NamedTuple):
    """The pairs that behaviour cloning learns from.

    Attributes:
        observations: (M, D) float32, features of one frame and proprioception, or the state observation.
        actions: (M, action_dim) float32, as demonstrated, unclipped.
        lengths: (episodes,) int64, steps of each; they lie one after another.
    """

    observations: Array
    actions: Array
    lengths: npt.NDArray[np.int64]


@dataclass(frozen=True)
class FusedPairs:
    """Pairs whose observations join the features of several frames; joined when they are asked for, as they are large.

    Attributes:
        pairs: of one frame each.
        features: numbers at the front of their observations that are features of the frame; 0 for a state.
        fusion: of the frames.
    """

    pairs: Pairs
    features: int
    fusion: Fusion = ONE_FRAME

    def __len__(self) -> int:
        """Return the number M of pairs."""
        return len(self.pairs.actions)

    @property
    def observation_dim(self) -> int:
        """Length D of an observation."""
        return int(self.pairs.observations.shape[1]) - self.features + self.fusion.length(self.features)

    @cached_property
    def _windows(self) -> npt.NDArray[np.int64]:
        return self.fusion.windows(self.pairs.lengths.tolist())

    def observations(self, rows: npt.NDArray[np.int64]) -> Array:
        """Return the observations (n, D) of rows (n,)."""
        single = self.pairs.observations
        if self.fusion.history == 1 or not self.features:
            return single[rows]
        fused = self.fusion.fuse(single[self._windows[rows], : self.features])
        return np.concatenate([fused, single[rows, self.features :]], axis=1)

    def all_observations(self) -> Array:
        """Return all observations (M, D); without a copy where they are of one frame."""
        if self.fusion.history == 1 or not self.features:
            return self.pairs.observations
        return self.observations(np.arange(len(self)))

    def actions(self, rows: npt.NDArray[np.int64]) -> Array:
        """Return the actions (n, action_dim) of rows (n,)."""
        return self.pairs.actions[rows]


def demonstration_pairs(
    demonstrations: Demonstrations,
    simulators: Simulators,
    encode: Encode | None,
    *,
    privileged: bool = True,
    rule: EpisodeRule,
    made_by: Mapping[str, Any],
    clock: Clock,
    on_steps: Callable[[int], None],
    on_begin: Callable[[Sequence[int]], None] | None = None,
    threads: GroupThreads | None = None,
) -> Pairs:
    """Replay demonstrations open loop and observe every step as the policy will.

    Args:
        demonstrations: restored to their initial states, then stepped with their actions.
        simulators: the slots.
        encode: the encoder, or None for no images; what is then observed is not cached.
        privileged: what is observed without images, as in `rollout`.
        rule: when episodes end; a replay that terminates early is cut there.
        made_by: what the features depend on besides the demonstrations: encoder, scene, renderer, batch.
        clock: filled with timings.
        on_steps: receives the number of steps taken, cached ones at once.
        on_begin: receives the slots that begin an episode.
        threads: how groups of slots share this process, as in `rollout`.
    """
    episodes = demonstrations.episodes
    path = cache_path(demonstrations, made_by) if encode is not None else None
    if path is not None:
        cached = load_arrays(path, demonstrations)
        if cached is not None:
            on_steps(sum(len(episode.actions) for episode in episodes))
            return Pairs(**cached)
    pairs = replayed_pairs(
        demonstrations,
        simulators,
        encode,
        recorded_actions(episodes),
        privileged=privileged,
        rule=rule,
        clock=clock,
        on_steps=on_steps,
        on_begin=on_begin,
        threads=threads,
    )
    if path is not None:
        cache.store(path, pairs._asdict())
    return pairs


def replayed_pairs(
    demonstrations: Demonstrations, simulators: Simulators, encode: Encode | None, actor: Actor, **options: Any
) -> Pairs:
    """Return what is seen and done while demonstrations are replayed; ``options`` as in `rollout`."""
    trajectories = rollout(
        simulators,
        [episode.initial_state for episode in demonstrations.episodes],
        actor,
        horizons=[len(episode.actions) for episode in demonstrations.episodes],
        encode=encode,
        **options,
    )
    return Pairs(
        joined([trajectory.observations for trajectory in trajectories]),
        np.concatenate([trajectory.actions for trajectory in trajectories]),
        np.array([len(trajectory) for trajectory in trajectories]),
    )


def recorded_actions(episodes: Sequence[Episode]) -> Actor:
    """Return an actor that takes the actions of episodes as they were recorded."""

    def act(observations: Array, numbers: Sequence[int], steps: Sequence[int]) -> Array:
        return np.stack([episodes[number].actions[step] for number, step in zip(numbers, steps, strict=True)])

    return act


def cache_path(demonstrations: Demonstrations, made_by: Mapping[str, Any]) -> Path:
    """Return where the features of these demonstrations lie in the cache."""
    return cache.features_path({"demonstrations": demonstrations.content_hash, **made_by})


def load_arrays(
    path: Path, demonstrations: Demonstrations, also: Sequence[str] = ()
) -> dict[str, npt.NDArray[Any]] | None:
    """Return the arrays of cached pairs; None where there are none, or where the file is damaged.

    Args:
        path: the file.
        demonstrations: that were observed.
        also: names of further arrays that it holds.
    """
    demonstrated = np.concatenate([episode.actions for episode in demonstrations.episodes])
    lengths = np.array([len(episode.actions) for episode in demonstrations.episodes])

    def fits(arrays: cache.Arrays) -> bool:
        if not {"observations", "actions", *also} <= set(arrays) <= {*Pairs._fields, *also}:
            return False
        observations, actions = arrays["observations"], arrays["actions"]
        pairs, replayed = len(observations), arrays.get("lengths", lengths)
        return (
            observations.dtype == actions.dtype == np.float32
            and observations.ndim == 2
            and actions.shape == (pairs, demonstrated.shape[1])
            # A replay that ends early is cut; else the actions are the demonstrated ones.
            and replayed.shape == lengths.shape
            and bool((replayed > 0).all() and (replayed <= lengths).all())
            and pairs == replayed.sum()
            and (pairs < len(demonstrated) or np.array_equal(actions, demonstrated))
            and bool(np.isfinite(observations).all())
        )

    arrays = cache.load(path, fits)
    # Files from before lengths were kept hold whole episodes, or do not fit.
    return None if arrays is None else {"lengths": lengths, **arrays}
