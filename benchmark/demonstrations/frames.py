"""Keep the tokens or pixels of demonstrations on disk, for policies that train on them.

All tokens of all demonstrations may be more than the memory holds. So they lie beside the cached pairs in a file of
their own, tokens as float16 and pixels as uint8, and training reads those of a minibatch.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.demonstrations.dataset import Demonstrations

from ..errors import ConfigError
from ..rollout.episodes import Actor, Array, Clock, Encode, EpisodeRule, GroupThreads
from ..rollout.fusion import ONE_FRAME, Fusion
from ..rollout.simulators import Simulators
from ..store import cache
from ..store.identity import file_hash
from ..store.rows import RowFile, written_whole
from .features import Pairs, cache_path, load_arrays, recorded_actions, replayed_pairs

logger = logging.getLogger(__name__)

SUFFIX = ".rows"
DIGEST = "rows_sha256"


@dataclass(frozen=True)
class FramePairs:
    """Pairs whose observations begin with what the encoder gives of several frames, read when it is asked for.

    Attributes:
        pairs: their observations are the proprioception alone.
        frames: a row per pair.
        features: numbers that the policy's trained part makes of a frame.
        fusion: of the frames.
    """

    pairs: Pairs
    frames: RowFile
    features: int
    fusion: Fusion = ONE_FRAME

    def __len__(self) -> int:
        """Return the number M of pairs."""
        return len(self.pairs.actions)

    @property
    def observation_dim(self) -> int:
        """Length D of an observation as the policy's head sees it."""
        return int(self.pairs.observations.shape[1]) + self.fusion.length(self.features)

    @cached_property
    def _windows(self) -> npt.NDArray[np.int64]:
        return self.fusion.windows(self.pairs.lengths.tolist())

    def observations(self, rows: npt.NDArray[np.int64]) -> Array:
        """Return the raw observations of rows (n,): all numbers of ``history`` frames, then the proprioception."""
        wanted, which = np.unique(self._windows[rows], return_inverse=True)
        numbers, proprioception = math.prod(self.frames.shape), self.pairs.observations[rows]
        all_frames = self.fusion.history * numbers
        observations = np.empty((len(rows), all_frames + proprioception.shape[1]), np.float32)
        seen = self.frames.read(wanted).reshape(len(wanted), numbers)
        for place, of in enumerate(which.reshape(len(rows), -1).T):
            observations[:, place * numbers : (place + 1) * numbers] = seen[of]
        observations[:, all_frames:] = proprioception
        return observations

    def actions(self, rows: npt.NDArray[np.int64]) -> Array:
        """Return the actions (n, action_dim) of rows (n,)."""
        return self.pairs.actions[rows]


def kept_dtype(raw_shape: tuple[int, ...]) -> npt.DTypeLike:
    """Return how the numbers of a frame are kept: float16 for tokens (T, D), uint8 for pixels (3, H, W)."""
    return np.float16 if len(raw_shape) == 2 else np.uint8


def bytes_per_frame(raw_shape: tuple[int, ...]) -> int:
    """Return the bytes of a frame on disk."""
    return math.prod(raw_shape) * np.dtype(kept_dtype(raw_shape)).itemsize


def demonstration_frames(
    demonstrations: Demonstrations,
    simulators: Simulators,
    encode: Encode,
    raw_shape: tuple[int, ...],
    *,
    rule: EpisodeRule,
    made_by: Mapping[str, Any],
    clock: Clock,
    on_steps: Callable[[int], None],
    on_begin: Callable[[Sequence[int]], None] | None = None,
    threads: GroupThreads | None = None,
) -> tuple[Pairs, RowFile]:
    """Replay demonstrations as `features.demonstration_pairs` does, and keep what the encoder gives on disk.

    Args:
        demonstrations: as there.
        simulators: as there.
        encode: gives (n, numbers of ``raw_shape``).
        raw_shape: the encoder's.
        rule: as there.
        made_by: as there.
        clock: as there.
        on_steps: as there.
        on_begin: as there.
        threads: as there.

    Returns:
        Pairs whose observations are the proprioception, and the open file with a row for each.

    Raises:
        OutputError: the cache cannot be written, or has no room.
        ConfigError: a number does not fit into the file's type.
    """
    path = cache_path(demonstrations, made_by)
    found = _load(path, demonstrations, raw_shape)
    if found is not None:
        on_steps(sum(len(episode.actions) for episode in demonstrations.episodes))
        return found
    cache.require_writable(path.parent)
    lengths = [len(episode.actions) for episode in demonstrations.episodes]
    dtype, rows_path = kept_dtype(raw_shape), path.with_suffix(SUFFIX)
    with cache.naming_variable(rows_path), written_whole(rows_path, raw_shape, dtype, sum(lengths)) as file:
        pairs = replayed_pairs(
            demonstrations,
            simulators,
            encode,
            _keeping(recorded_actions(demonstrations.episodes), file, np.cumsum([0, *lengths[:-1]])),
            kept=slice(math.prod(raw_shape), None),
            rule=rule,
            clock=clock,
            on_steps=on_steps,
            on_begin=on_begin,
            threads=threads,
        )
        _close_gaps(file, pairs.lengths.tolist(), lengths)
        file.sync()
        digest = np.frombuffer(bytes.fromhex(file_hash(file.path)), np.uint8)
    cache.store(path, {**pairs._asdict(), DIGEST: digest})
    return pairs, RowFile(rows_path, raw_shape, dtype)


def _keeping(actor: Actor, file: RowFile, first: npt.NDArray[np.int64]) -> Actor:
    """Return an actor that also writes the frames that it sees to their rows; ``first`` are those of the episodes."""
    numbers = math.prod(file.shape)

    def act(observations: Array, episodes: Sequence[int], steps: Sequence[int]) -> Array:
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
            kept = observations[:, :numbers].astype(file.dtype)
        if not np.isfinite(kept).all():
            raise ConfigError("a token is not finite in float16; use policy.pooling=pooled, mean or spatial_softmax")
        for values, episode, step in zip(kept, episodes, steps, strict=True):
            file.write(int(first[episode]) + step, values)
        return actor(observations, episodes, steps)

    return act


def _close_gaps(file: RowFile, lengths: Sequence[int], reserved: Sequence[int]) -> None:
    """Move rows to the front where episodes ended before their reserved rows were full, and cut the file there."""
    end = source = 0
    for length, room in zip(lengths, reserved, strict=True):
        if end != source:
            for row in range(length):
                file.write(end + row, file.read(np.array([source + row]))[0])
        end, source = end + length, source + room
    file.truncate(end)


def _load(path: Path, demonstrations: Demonstrations, raw_shape: tuple[int, ...]) -> tuple[Pairs, RowFile] | None:
    """Return what is cached; None where there is nothing, or where a file is damaged, which is logged."""
    arrays = load_arrays(path, demonstrations, also=(DIGEST,))
    if arrays is None:
        return None
    digest = arrays.pop(DIGEST).tobytes().hex()
    rows_path = path.with_suffix(SUFFIX)
    try:
        file = RowFile(rows_path, raw_shape, kept_dtype(raw_shape))
        if file_hash(rows_path) == digest:
            return Pairs(**arrays), file
    except OSError as error:
        logger.warning("%s cannot be used (%s); it is made anew", rows_path, error.strerror)
        return None
    logger.warning("%s is damaged (its content is not what was written); it is made anew", rows_path)
    return None
