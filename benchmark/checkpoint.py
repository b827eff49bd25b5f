"""A learner as plain arrays, and back: everything that the next iteration depends on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import torch

from .dapg import GaussianPolicy, ValueBaseline

POLICY, BASELINE, GENERATOR = "policy.", "baseline.", "generator"


def pack(policy: GaussianPolicy, baseline: ValueBaseline, generator: torch.Generator) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a checkpoint."""
    arrays = {POLICY + name: tensor.cpu().numpy() for name, tensor in policy.state_dict().items()}
    arrays |= {BASELINE + name: tensor.numpy() for name, tensor in baseline.state_tensors().items()}
    return arrays | {GENERATOR: generator.get_state().numpy()}


def unpack(
    arrays: Mapping[str, npt.NDArray[Any]], policy: GaussianPolicy, baseline: ValueBaseline, generator: torch.Generator
) -> None:
    """Bring a learner back to where `pack` left it, bit for bit."""
    unpack_policy(arrays, policy)
    baseline.load_state_tensors(_part(arrays, BASELINE))
    generator.set_state(torch.from_numpy(arrays[GENERATOR]))


def unpack_policy(arrays: Mapping[str, npt.NDArray[Any]], policy: GaussianPolicy) -> None:
    """Bring a policy back to where `pack` left it, bit for bit."""
    policy.load_state_dict(_part(arrays, POLICY))


def _part(arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): torch.from_numpy(array) for name, array in arrays.items() if name.startswith(prefix)
    }
