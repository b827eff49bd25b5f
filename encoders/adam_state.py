"""The moments of Adam and AdamW as named tensors, for checkpoints without pickles."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

_PREFIX = "optimiser"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def adam_state(optimiser: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Return what the optimiser keeps for each parameter as ``optimiser.MOMENT.PARAMETER``; empty before a step."""
    return {
        f"{_PREFIX}.{moment}.{name}": tensor
        for name, parameter in parameters.items()
        for moment, tensor in optimiser.state.get(parameter, {}).items()
    }


def load_adam_state(
    optimiser: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], state: Mapping[str, Tensor]
) -> None:
    """Put the tensors of `adam_state` back, copied to each parameter's device and memory format.

    Args:
        optimiser: fused, or on the CPU: its step counters lie beside the parameters.
        parameters: by the names that they had in `adam_state`.
        state: may hold other tensors too; a parameter of which it holds nothing keeps what it has.
    """
    for name, parameter in parameters.items():
        places = {moment: f"{_PREFIX}.{moment}.{name}" for moment in _MOMENTS}
        moments = {moment: state[place] for moment, place in places.items() if place in state}
        if moments:
            optimiser.state[parameter] = {
                moment: tensor.to(parameter.device, copy=True)
                if moment == "step"
                else torch.empty_like(parameter).copy_(tensor)
                for moment, tensor in moments.items()
            }
