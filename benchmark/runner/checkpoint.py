"""A learner, as plain arrays and back: everything that the next iteration depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt
import torch

from ..cloning import BatchNormPolicy, FramesPolicy, Policy
from ..cloning.trained_parts import trained_part
from ..config import LearnerSettings, RunConfig
from ..dapg import GaussianPolicy, NonFiniteGuard, ValueBaseline
from ..rollout.fusion import Fusion

POLICY, BASELINE, GENERATOR = "policy.", "baseline.", "generator"


@dataclass
class Learner:
    """What DAPG changes.

    Attributes:
        policy: The policy.
        baseline: The value baseline.
        generator: CPU generator of minibatches.
        guard: Counts updates that were not finite.
        steps: Environment steps of training so far.
    """

    policy: GaussianPolicy
    baseline: ValueBaseline
    generator: torch.Generator
    guard: NonFiniteGuard = field(default_factory=NonFiniteGuard)
    steps: int = 0


def new_policy(
    config: RunConfig,
    observation_dim: int,
    action_dim: int,
    generator: torch.Generator,
    raw_shape: tuple[int, ...] | None = None,
) -> Policy:
    """Return an untrained policy with the configured head.

    Args:
        config: Resolved.
        observation_dim: Length of an observation as the head sees it.
        action_dim: Length of an action.
        generator: CPU generator the initial weights are drawn from.
        raw_shape: The encoder's, where a part of the policy is trained on what it gives.
    """
    if raw_shape is not None:
        part = trained_part(raw_shape, generator)
        head = BatchNormPolicy(observation_dim, action_dim, config.learner.policy_hidden, generator=generator)
        return FramesPolicy(part, Fusion(config.observation.fusion, config.observation.history), head)
    kind = BatchNormPolicy if config.policy.head == "batchnorm_mlp" else GaussianPolicy
    return kind(observation_dim, action_dim, config.learner.policy_hidden, generator=generator)


def stored_policy(
    arrays: Mapping[str, npt.NDArray[Any]],
    config: RunConfig,
    action_dim: int,
    raw_shape: tuple[int, ...] | None = None,
) -> Policy:
    """Return the policy of a checkpoint; arguments as of `new_policy`.

    Raises:
        LookupError, ValueError: The arrays are not those of such a policy.
    """
    first = "input_norm.weight" if config.policy.head == "batchnorm_mlp" else "observation_shift"
    first = first if raw_shape is None else f"head.{first}"
    policy = new_policy(config, int(arrays[POLICY + first].shape[0]), action_dim, torch.Generator(), raw_shape)
    unpack_policy(arrays, policy)
    return policy.eval()


def new_learner(
    settings: LearnerSettings, observation_dim: int, action_dim: int, seed: int, device: torch.device
) -> Learner:
    """Return an untrained learner on a device, its first weights drawn from the seed."""
    generator = torch.Generator().manual_seed(seed)
    policy = GaussianPolicy(observation_dim, action_dim, settings.policy_hidden, generator=generator).to(device)
    baseline = ValueBaseline(
        observation_dim,
        settings.value_hidden,
        learning_rate=settings.value_learning_rate,
        weight_decay=settings.value_weight_decay,
        generator=generator,
        device=device,
    )
    return Learner(policy, baseline, generator)


def pack(learner: Learner) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a checkpoint."""
    arrays = {POLICY + name: tensor.cpu().numpy() for name, tensor in learner.policy.state_dict().items()}
    arrays |= {BASELINE + name: tensor.numpy() for name, tensor in learner.baseline.state_tensors().items()}
    return arrays | {GENERATOR: learner.generator.get_state().numpy()}


def unpack(arrays: Mapping[str, npt.NDArray[Any]], learner: Learner) -> None:
    """Bring a learner back to where `pack` left it, bit for bit; its counters are left alone.

    Raises:
        ValueError: The arrays are not those of such a learner.
    """
    unpack_policy(arrays, learner.policy)
    state = {GENERATOR: arrays[GENERATOR]} if GENERATOR in arrays else {}
    _require_alike(state, {GENERATOR: learner.generator.get_state()})
    learner.baseline.load_state_tensors(_part(arrays, BASELINE))
    try:
        learner.generator.set_state(torch.from_numpy(arrays[GENERATOR]))
    except RuntimeError as error:
        raise ValueError(f"{GENERATOR}: {error}") from error


def unpack_policy(arrays: Mapping[str, npt.NDArray[Any]], policy: Policy) -> None:
    """Bring a policy back to where `pack` left it, bit for bit.

    Raises:
        ValueError: The arrays are not those of such a policy.
    """
    expected = {POLICY + name: tensor for name, tensor in policy.state_dict().items()}
    _require_alike({name: array for name, array in arrays.items() if name.startswith(POLICY)}, expected)
    policy.load_state_dict(_part(arrays, POLICY))


def _require_alike(arrays: Mapping[str, npt.NDArray[Any]], expected: Mapping[str, torch.Tensor]) -> None:
    """Make sure that the arrays have these names, shapes and dtypes."""
    if unknown := sorted(arrays.keys() - expected.keys()):
        raise ValueError(f"{unknown[0]} is not part of it")
    for name, tensor in expected.items():
        if name not in arrays:
            raise ValueError(f"{name} is missing")
        array, like = arrays[name], tensor.detach().cpu().numpy()
        if array.shape != like.shape or array.dtype != like.dtype:
            raise ValueError(f"{name} is {array.shape} {array.dtype}, expected {like.shape} {like.dtype}")


def _part(arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): torch.from_numpy(array) for name, array in arrays.items() if name.startswith(prefix)
    }
