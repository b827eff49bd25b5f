"""A learner as plain arrays, and back: everything that the next iteration depends on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import torch

from ..dapg import GaussianPolicy, ValueBaseline

POLICY, BASELINE, GENERATOR = "policy.", "baseline.", "generator"


def pack(policy: GaussianPolicy, baseline: ValueBaseline, generator: torch.Generator) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a checkpoint."""
    arrays = {POLICY + name: tensor.cpu().numpy() for name, tensor in policy.state_dict().items()}
    arrays |= {BASELINE + name: tensor.numpy() for name, tensor in baseline.state_tensors().items()}
    return arrays | {GENERATOR: generator.get_state().numpy()}


def unpack(
    arrays: Mapping[str, npt.NDArray[Any]], policy: GaussianPolicy, baseline: ValueBaseline, generator: torch.Generator
) -> None:
    """Bring a learner back to where `pack` left it, bit for bit.

    Raises:
        ValueError: the arrays are not those of such a learner.
    """
    unpack_policy(arrays, policy)
    _require_alike({GENERATOR: arrays[GENERATOR]} if GENERATOR in arrays else {}, {GENERATOR: generator.get_state()})
    baseline.load_state_tensors(_part(arrays, BASELINE))
    try:
        generator.set_state(torch.from_numpy(arrays[GENERATOR]))
    except RuntimeError as error:
        raise ValueError(f"{GENERATOR}: {error}") from error


def unpack_policy(arrays: Mapping[str, npt.NDArray[Any]], policy: GaussianPolicy) -> None:
    """Bring a policy back to where `pack` left it, bit for bit.

    Raises:
        ValueError: the arrays are not those of such a policy.
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
        found, wanted = arrays[name], tensor.detach().cpu().numpy()
        if found.shape != wanted.shape or found.dtype != wanted.dtype:
            raise ValueError(f"{name} is {found.shape} {found.dtype}, expected {wanted.shape} {wanted.dtype}")


def _part(arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): torch.from_numpy(array) for name, array in arrays.items() if name.startswith(prefix)
    }
