"""One iteration of DAPG, top to bottom: advantages, gradient, natural gradient, step, baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config import LearnerSettings
from ..rollout.trajectory import Trajectory
from .batch import Batch, assemble_batch
from .natural_gradient import ConjugateGradientResult, conjugate_gradient, fisher_vector_product, surrogate_gradient
from .passes import passes_over
from .policy import ArrayOrTensor, GaussianPolicy, gaussian_kl, gaussian_log_probability
from .value import ValueBaseline

JOINT_SCALE = 1e-2
BLOCK_ROWS = 512


@dataclass(frozen=True)
class UpdateReport:
    """What one update did, as plain numbers; NaN where a skipped update did not get that far.

    Attributes:
        skipped: True when something was not finite, and policy and baseline are as they were.
        reason: Which quantity it was; empty otherwise.
        samples: On-policy steps N.
        mean_return: Over the trajectories, undiscounted; likewise `std_return`, `min_return`, `max_return`.
        demonstration_weight: Weight of a demonstration pair in this iteration, 0 without demonstrations.
        gradient_norm: Euclidean norm of the (joint) policy gradient.
        conjugate_gradient_residual: Squared residual the solver stopped at.
        conjugate_gradient_iterations: Products it took.
        step: Length α along the natural gradient; 0 when skipped.
        kl: KL(old, new) over the batch; 0 when skipped.
        surrogate_before: Mean of likelihood ratio times standardised advantage, on-policy; 0 by construction.
        surrogate_after: The same with the new policy.
        log_std: Mean over actions after the update.
        value_error_before: Squared error of the baseline over the squared returns, before its fit.
        value_error_after: The same after it.
        value_loss: Mean minibatch loss of the fit's last epoch; NaN when the data were too few to fit.
    """

    skipped: bool
    reason: str
    samples: float = math.nan
    mean_return: float = math.nan
    std_return: float = math.nan
    min_return: float = math.nan
    max_return: float = math.nan
    demonstration_weight: float = math.nan
    gradient_norm: float = math.nan
    conjugate_gradient_residual: float = math.nan
    conjugate_gradient_iterations: float = math.nan
    step: float = 0.0
    kl: float = 0.0
    surrogate_before: float = math.nan
    surrogate_after: float = math.nan
    log_std: float = math.nan
    value_error_before: float = math.nan
    value_error_after: float = math.nan
    value_loss: float = math.nan


class _NonFiniteError(ArithmeticError):
    """A quantity of the update is not finite; its text is the report's reason."""


def dapg_update(
    policy: GaussianPolicy,
    baseline: ValueBaseline,
    trajectories: Sequence[Trajectory],
    demonstrations: tuple[ArrayOrTensor, ArrayOrTensor] | None,
    *,
    settings: LearnerSettings,
    iteration: int,
    generator: torch.Generator,
) -> UpdateReport:
    """Improve the policy by one natural-gradient step, then fit the baseline to the batch.

    Args:
        policy: Changed in place.
        baseline: Changed in place; on the policy's device and of its dtype.
        trajectories: What the present policy did. On a CPU their observations are not copied if they lie one behind
            the other in one array, as those of a rollout do.
        demonstrations: Observations (M, D) and actions (M, A), or None for NPG. Tensors on the policy's
            device are used where they lie.
        settings: The learner's numbers.
        iteration: Counts from 0; decays the demonstrations' weight.
        generator: CPU generator of the baseline's minibatches.

    Returns:
        What happened. When an advantage, gradient, step, KL or value is not finite, policy and baseline
        stay bit for bit as they were and the report says so.

    Raises:
        ValueError: If there is no trajectory.

    Source: Rajeswaran et al. 2018, equation 6; Kakade 2001.
    """
    if not trajectories:
        raise ValueError("dapg_update got no trajectories; collect at least one per iteration")
    policy_before = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    if settings.demonstration_weight == 0.0:
        demonstrations = None
    # What overflows here is found by the checks below; numpy need not warn of it as well.
    with np.errstate(over="ignore", invalid="ignore"):
        measured = _return_statistics(trajectories)
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            batch = assemble_batch(
                policy, baseline, trajectories, demonstrations, gamma=settings.gamma, gae_lambda=settings.gae_lambda
            )
            advantages = (batch.advantages - batch.advantages.mean()) / (batch.advantages.std() + 1e-6)
        _require_finite("advantages", advantages)
        measured |= _step_policy(policy, batch, advantages, settings, iteration)
        measured |= _fit_baseline(baseline, batch, settings, generator)
    except _NonFiniteError as failure:
        policy.load_state_dict(policy_before)
        return UpdateReport(skipped=True, reason=str(failure), **measured | {"step": 0.0, "kl": 0.0})
    return UpdateReport(skipped=False, reason="", **measured)


def _step_policy(
    policy: GaussianPolicy,
    batch: Batch,
    advantages: NDArray[np.float64],
    settings: LearnerSettings,
    iteration: int,
) -> dict[str, float]:
    """Take the natural-gradient step on standardised advantages (N,); return what was measured."""
    old_mean, old_log_std = _blockwise_mean(policy, batch.observations), policy.log_std.detach().clone()

    shown = len(batch.actions) - len(advantages)
    weight = settings.demonstration_weight * settings.demonstration_decay**iteration if shown else 0.0
    weights = advantages
    if shown:
        weights = JOINT_SCALE * np.append(advantages / (advantages.std() + 1e-8), np.full(shown, weight))
    gradient, natural = _natural_gradient(policy, batch, policy.as_tensor(weights), settings)
    step = math.sqrt(abs(settings.step_size / (float(gradient.cpu().numpy().dot(natural.solution)) + 1e-20)))
    new_parameters = policy.flat_parameters() + step * policy.as_tensor(natural.solution)
    _require_finite("natural-gradient step", new_parameters)
    policy.load_flat_parameters(new_parameters)

    new_mean, new_log_std = _blockwise_mean(policy, batch.observations), policy.log_std.detach()
    kl = float(gaussian_kl(old_mean, old_log_std, new_mean, new_log_std))
    _require_finite("KL divergence", kl)
    old_log_probability = gaussian_log_probability(old_mean, old_log_std, batch.own_actions)
    ratio = (gaussian_log_probability(new_mean, new_log_std, batch.own_actions) - old_log_probability).exp()
    return {
        "demonstration_weight": weight,
        "gradient_norm": float(gradient.norm()),
        "conjugate_gradient_residual": natural.squared_residual,
        "conjugate_gradient_iterations": float(natural.iterations),
        "step": step,
        "kl": kl,
        "surrogate_before": float(advantages.mean()),
        "surrogate_after": float((ratio * policy.as_tensor(advantages)).mean()),
        "log_std": float(new_log_std.mean()),
    }


def _natural_gradient(
    policy: GaussianPolicy, batch: Batch, weights: Tensor, settings: LearnerSettings
) -> tuple[Tensor, ConjugateGradientResult]:
    """Return the policy gradient (P,) for weights (N + M,) of all rows, and its product with the inverse Fisher matrix.

    The memory for passes over the batch is free again on return.
    """
    parts = [batch.observations] if batch.demonstrated is None else [batch.observations, batch.demonstrated]
    passes = passes_over(policy, *parts)
    gradient = surrogate_gradient(passes, batch.actions, weights)
    gradient *= len(weights) / len(batch.steps)
    _require_finite("policy gradient", gradient)
    fisher = fisher_vector_product(passes.first(len(batch.steps)), settings.fisher_damping)
    natural = conjugate_gradient(
        lambda vector: fisher(policy.as_tensor(vector)).cpu().numpy(),
        gradient.cpu().numpy(),
        iterations=settings.conjugate_gradient_iterations,
        tolerance=settings.conjugate_gradient_tolerance,
    )
    return gradient, natural


def _fit_baseline(
    baseline: ValueBaseline, batch: Batch, settings: LearnerSettings, generator: torch.Generator
) -> dict[str, float]:
    """Regress this batch's returns, and return the errors before and after; if not finite, nothing has changed."""
    as_it_was = baseline.state_tensors()
    losses = baseline.fit(
        batch.observations,
        batch.steps,
        batch.returns,
        epochs=settings.value_epochs,
        batch_size=settings.value_batch_size,
        generator=generator,
    )
    fitted = baseline.predict(batch.observations, batch.steps)
    before, after = (
        float((batch.returns - values).square().sum() / (batch.returns.square().sum() + 1e-8))
        for values in (batch.values, fitted)
    )
    if not math.isfinite(after):
        baseline.load_state_tensors(as_it_was)
        raise _NonFiniteError("value error not finite")
    return {
        "value_error_before": before,
        "value_error_after": after,
        "value_loss": losses[-1] if losses else math.nan,
    }


@torch.no_grad()
def _blockwise_mean(policy: GaussianPolicy, observations: Tensor) -> Tensor:
    """Return the mean actions (N, A) for observations (N, D), with the layers of a block at a time."""
    memory = observations.new_empty(min(BLOCK_ROWS, len(observations)), policy.observation_dim)
    means = observations.new_empty(len(observations), policy.action_dim)
    for rows, out in zip(observations.split(BLOCK_ROWS), means.split(BLOCK_ROWS), strict=True):
        out.copy_(policy.mean_at(policy.standardise(rows, out=memory[: len(rows)])))
    return means


def _return_statistics(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """Describe the undiscounted returns."""
    totals = np.array([trajectory.rewards.sum() for trajectory in trajectories])
    return {
        "samples": float(sum(len(trajectory) for trajectory in trajectories)),
        "mean_return": float(totals.mean()),
        "std_return": float(totals.std()),
        "min_return": float(totals.min()),
        "max_return": float(totals.max()),
    }


def _require_finite(name: str, values: float | Tensor | NDArray[np.float64]) -> None:
    """Raise _NonFiniteError unless every value is finite."""
    if not bool(torch.isfinite(torch.as_tensor(values)).all()):
        raise _NonFiniteError(f"{name} not finite")
