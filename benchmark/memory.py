"""Memory: what work needs at least, what this machine has, and what to lower where it was not enough."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import ParamSpec, TypeVar

from encoders.memory import is_out_of_memory
from tasks.cards import TaskCard

from .config import RunConfig
from .errors import ConfigError, OutOfMemory

RUN_ADVICE = (
    "lower rollout.group (the encoder's batch), rollout.slots, learner.trajectories_per_iteration, rollout.horizon or "
    "learner.policy_hidden with --set, or use another --device"
)
_FRAME_BYTES = 224 * 224 * 3
_FLOAT_BYTES = 4
_ACTIVATIONS = 100  # a ResNet-50 keeps about 150 numbers per number of its input for the backward pass
_COPIES_TRAINED = 4  # a weight, its gradient, and Adam's two moments
_COPIES_OF_RAW = 4  # numbers as read, normalised, and the gradients of both
_GROUPS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def limit() -> int | None:
    """Return the bytes that this process can have: the machine's, its container's or its own limit; None if unknown."""
    found = [_physical(), *map(_group_limit, _GROUPS)]
    own, _ = resource.getrlimit(resource.RLIMIT_AS)
    if own != resource.RLIM_INFINITY:
        found.append(own)
    known = [size for size in found if size is not None]
    return min(known) if known else None


def give_back() -> None:
    """Return freed memory to the system where the C library keeps it, which glibc does between buffers still in use."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    trim = getattr(library, "malloc_trim", None)
    if trim is not None:
        trim(0)


def require(needs: Mapping[str, int]) -> None:
    """Check that work fits into this machine's memory, before it begins.

    Args:
        needs: for each setting the bytes that it takes at least, all of them at the same time.

    Raises:
        ConfigError: together they are more than the machine has.
    """
    total, there = sum(needs.values()), limit()
    if there is None or total <= there:
        return
    worst = max(needs, key=lambda name: needs[name])
    together = "" if needs[worst] > 0.99 * total else f" ({_gigabytes(total)} with all other settings)"
    raise ConfigError(
        f"{worst} takes at least {_gigabytes(needs[worst])} of memory{together}, {_gigabytes(there)} are available; "
        f"lower {worst}"
    )


def require_run(config: RunConfig, card: TaskCard, feature_dim: int = 0, raw_shape: Sequence[int] = ()) -> None:
    """Check that a run fits into this machine's memory.

    Args:
        config: resolved.
        card: the task's.
        feature_dim: numbers that the policy sees of a frame; 0 where it sees the state, or where it is not known yet.
        raw_shape: of what a part of the policy is trained on, see `encoders.Encoder.raw_shape`; empty where there is
            none. It lies on disk, but for the frames of a minibatch.

    Raises:
        ConfigError: it cannot; the message names the setting that takes most.
    """
    learner, horizon = config.learner, int(config.rollout.horizon or card.horizon)
    seen = config.observation.history * feature_dim + card.proprioception_dim
    step = _FLOAT_BYTES * (seen + 2 * card.action_dim)  # observation, action and noise
    evaluated = max(config.evaluation.episodes, config.evaluation.held_out_episodes)
    trained, dapg = _FLOAT_BYTES * _COPIES_TRAINED, learner.algorithm == "dapg"
    weights = {"learner.policy_hidden": trained * _weights(seen, *learner.policy_hidden, card.action_dim)}
    if dapg:
        weights["learner.trajectories_per_iteration"] = int(learner.trajectories_per_iteration or 1) * horizon * step
        weights["learner.value_hidden"] = trained * _weights(seen, *learner.value_hidden, 1)
    if raw_shape:
        raw = learner.bc_batch_size * config.observation.history * prod(raw_shape)
        weights["learner.bc_batch_size"] = raw * _FLOAT_BYTES * _COPIES_OF_RAW
    require(
        {
            **weights,
            "demonstrations.episodes": int(config.demonstrations.episodes or 1)
            * horizon
            * _FLOAT_BYTES
            * ((0 if raw_shape else feature_dim) + card.proprioception_dim + card.action_dim),
            "evaluation.episodes": evaluated * horizon * _FLOAT_BYTES * card.action_dim,
            "rollout.slots": config.slots * (_FRAME_BYTES if feature_dim else 0),
            "rollout.horizon": horizon * _FRAME_BYTES if feature_dim and config.evaluation.video else 0,
        }
    )


def adaptation_needs(size: int, batch: int, frames: Sequence[int]) -> dict[str, int]:
    """Return the least memory that a Stage 2 adaptation takes, for `require`.

    Args:
        size: height and width of a frame in pixels.
        batch: pairs of frames per step.
        frames: of each task.
    """
    frame = size**2 * 3
    return {"videos": sum(frames) * frame, "batch": 2 * batch * frame * _FLOAT_BYTES * _ACTIVATIONS}


@contextmanager
def explained(advice: str) -> Iterator[None]:
    """Say in one line that memory is exhausted, and what to lower.

    Args:
        advice: the second half of the line.

    Raises:
        OutOfMemory: instead of what torch, numpy, MuJoCo and Python raise.
    """
    try:
        yield
    except (MemoryError, RuntimeError, ValueError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemory(f"out of memory{_amount(error)}: {advice}") from error


def advising(advice: str) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Wrap a whole function in `explained`."""

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        @wraps(function)
        def called(*args: Parameters.args, **options: Parameters.kwargs) -> Result:
            with explained(advice):
                return function(*args, **options)

        return called

    return decorate


def _amount(error: BaseException) -> str:
    """Return the size of the allocation that failed, if the message names it."""
    text = str(error)
    gpu = " on the GPU" if "cuda" in text.lower() else ""
    asked = re.search(r"tried to allocate (\d+) bytes", text)
    if asked:
        return f"{gpu} (asked for {_gigabytes(int(asked[1]))})"
    asked = re.search(r"(?:[Tt]ried to|Unable to) allocate ([\d.]+ [KMGTPE]?i?B)", text)
    return f"{gpu} (asked for {asked[1]})" if asked else gpu


def _weights(*sizes: int) -> int:
    return sum(before * after for before, after in pairwise(sizes))


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB"


def _physical() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None


def _group_limit(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None
