"""The natural gradient's parts: the gradient, products with the Fisher matrix, the solver that inverts it.

Ten conjugate-gradient steps are far from converged, and the log-std block of F has one isolated eigenvalue
as often as there are actions; there the solution magnifies rounding some 10^5 times. So the arithmetic here
follows the released code operation by operation where a rounding would differ, at no cost in memory or time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .passes import Passes
from .policy import gaussian_kl, gaussian_log_probability

Vector = NDArray[np.floating]


def surrogate_gradient(passes: Passes, actions: Tensor, weights: Tensor) -> Tensor:
    """Return the gradient of `mean(exp(log_new - log_old) * weights)` at new = old.

    Args:
        passes: Over N observations, of a policy whose `.grad` fields stay untouched.
        actions: (N, A) on the policy's device.
        weights: (N,) there, usually advantages.

    Returns:
        (P,) in the order of `GaussianPolicy.flat_parameters`.
    """
    policy = passes.inputs.policy
    log_std_slopes = []

    @torch.enable_grad()
    def slopes_at(outputs: Tensor) -> Tensor:
        mean = policy.scale_actions(outputs.requires_grad_())
        log_probability = gaussian_log_probability(mean, policy.log_std, actions)
        surrogate = ((log_probability - log_probability.detach()).exp() * weights).mean()
        slopes, log_std_slope = torch.autograd.grad(surrogate, (outputs, policy.log_std))
        log_std_slopes.append(log_std_slope)
        return slopes

    return torch.cat([*passes.gradient(slopes_at), *log_std_slopes])


def fisher_vector_product(passes: Passes, damping: float) -> Callable[[Tensor], Tensor]:
    """Build the product `v -> (F + damping I) v` at the policy's present parameters.

    `F = J^T M J`, with J the Jacobian of (mean, log-std) by the flat parameters and M the Hessian of the
    released KL by (mean, log-std), nearly `diag(1/std², 2) / N`. A product is one forward-mode and one
    reverse-mode pass over activations that are computed once: two matrix products as wide as D, and no double
    backward through the network.

    Args:
        passes: Over N observations.
        damping: Added to the diagonal.

    Returns:
        A function from (P,) to (P,), in the order of `GaussianPolicy.flat_parameters`.

    Source: Kakade 2001; equals the Hessian of the released KL at old = new, its 1e-8 included.
    """
    policy = passes.inputs.policy
    parameters = [parameter.detach() for parameter in policy.ordered_parameters()]
    precision = _mean_precision(policy.log_std.detach(), len(passes.inputs))

    def metric(moved: Tensor) -> Tensor:
        return moved.mul_(policy.action_scale).mul_(precision).mul_(policy.action_scale)

    @torch.no_grad()
    def product(vector: Tensor) -> Tensor:
        blocks = vector.split([parameter.numel() for parameter in parameters])
        *moved, moved_log_std = [block.view_as(like) for block, like in zip(blocks, parameters, strict=True)]
        pulled_log_std = _log_std_hessian_product(policy.log_std.detach(), len(passes.inputs), moved_log_std)
        return torch.cat([*passes.product(moved, metric), pulled_log_std]).add_(damping * vector)

    return product


def _mean_precision(log_std: Tensor, rows: int) -> Tensor:
    """Return the diagonal (A,) of the KL's Hessian by each of N means at new = old; it does not depend on them."""
    variance = log_std.exp().square()
    return torch.ones_like(log_std).div_(rows).div_(2.0 * variance + 1e-8).mul_(2.0)


def _log_std_hessian_product(log_std: Tensor, rows: int, moved: Tensor) -> Tensor:
    """Multiply a vector (A,) by the KL's Hessian by log-std at new = old.

    Differentiating the KL over all N rows, alike as they are, keeps the rounding of its mean, and its 1e-8.
    """
    mean, at = log_std.new_zeros(rows, 1), log_std.clone().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(gaussian_kl(mean, log_std, mean, at), at, create_graph=True)
    (product,) = torch.autograd.grad(slope, at, moved)
    return product


@dataclass(frozen=True, eq=False)
class ConjugateGradientResult:
    """Solution (P,) of a symmetric positive system, its squared residual and the iterations spent."""

    solution: Vector
    squared_residual: float
    iterations: int


def conjugate_gradient(
    product: Callable[[Vector], Vector], target: Vector, *, iterations: int, tolerance: float
) -> ConjugateGradientResult:
    """Solve `product(x) = target` for x, starting from zero.

    Args:
        product: Multiplies a vector (P,) by a symmetric positive definite matrix.
        target: (P,) right-hand side; all arithmetic is in its dtype.
        iterations: Most steps taken.
        tolerance: Stops after a step that leaves the squared residual below this.

    Returns:
        The solution; zero when the target is zero. Non-finite products make it non-finite.

    Source: Rajeswaran et al. 2018, released code.
    """
    solution = np.zeros_like(target)
    residual = target.copy()
    direction = target.copy()
    squared = residual.dot(residual)
    spent = 0
    with np.errstate(all="ignore"):
        while spent < iterations and squared != 0.0:
            moved = product(direction)
            step = squared / direction.dot(moved)
            solution += step * direction
            residual -= step * moved
            previous, squared = squared, residual.dot(residual)
            direction *= squared / previous
            direction += residual
            spent += 1
            if squared < tolerance or not np.isfinite(squared):
                break
    return ConjugateGradientResult(solution, float(squared), spent)
