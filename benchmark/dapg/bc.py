"""Behaviour cloning: the policy's mean learns to repeat the demonstrations."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .policy import ArrayOrTensor, GaussianPolicy

DEVIATION_FLOOR = 1e-12


def clone_behaviour(
    policy: GaussianPolicy,
    observations: ArrayOrTensor,
    actions: ArrayOrTensor,
    *,
    epochs: int = 5,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    generator: torch.Generator,
    on_epoch: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Fit the demonstrations by squared error, after taking transforms and spread from them.

    Shifts and scales become the demonstrations' mean and standard deviation, log-std the log of the
    actions' standard deviation; the loss leaves log-std there. Minibatches are drawn with replacement,
    `floor(M / batch_size)` an epoch.

    Args:
        policy: Changed in place.
        observations: (M, D) demonstrated observations.
        actions: (M, A) demonstrated actions.
        epochs: 0 sets transforms and log-std only.
        batch_size: Pairs a minibatch.
        learning_rate: Adam's.
        generator: CPU generator of the minibatches.
        on_epoch: Called with the epoch (from 0) and its loss as each ends.

    Returns:
        The mean minibatch loss of each epoch, in squared action units.

    Raises:
        ValueError: If there is no pair, the two differ in length, or a value is not finite.

    Source: released H-InDex training.
    Differs: fewer pairs than `batch_size` still make one minibatch an epoch; the release trains nothing then.
    """
    if len(observations) == 0 or len(observations) != len(actions):
        raise ValueError(
            f"behaviour cloning got {len(observations)} observations and {len(actions)} actions; "
            "give it as many of one as of the other, and at least one pair"
        )
    inputs, targets = policy.as_tensor(observations), policy.as_tensor(actions)
    fit_transforms(policy, inputs, targets)

    optimiser = torch.optim.Adam(policy.parameters(), lr=learning_rate, fused=True)
    minibatches = max(1, len(targets) // batch_size)
    losses = []
    for epoch in range(epochs):
        total = torch.zeros((), dtype=targets.dtype, device=targets.device)
        for _ in range(minibatches):
            rows = torch.randint(len(targets), (batch_size,), generator=generator).to(targets.device)
            loss = nn.functional.mse_loss(policy.mean(inputs[rows]), targets[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.detach()
        losses.append(float(total) / minibatches)
        if on_epoch is not None:
            on_epoch(epoch, losses[-1])
    optimiser.zero_grad()
    return losses


def fit_transforms(policy: GaussianPolicy, observations: Tensor, actions: Tensor) -> None:
    """Set shifts, scales and log-std from demonstrations (M, D) and (M, A) on the policy's device.

    Raises:
        ValueError: If a value is not finite; the policy is then unchanged.
    """
    statistics = []
    for name, values in (("observations", observations), ("actions", actions)):
        deviation, mean = torch.std_mean(values, dim=0, correction=0)
        if not bool(torch.isfinite(mean + deviation).all()):
            raise ValueError(f"demonstrated {name} hold values that are not finite; collect or encode them again")
        statistics += [mean, deviation]
    policy.set_transforms(*statistics)
    policy.set_log_std((statistics[3] + DEVIATION_FLOOR).log())
