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

from .policy import GaussianPolicy, gaussian_kl, gaussian_log_probability

Vector = NDArray[np.floating]


def surrogate_gradient(policy: GaussianPolicy, inputs: Tensor, actions: Tensor, weights: Tensor) -> Tensor:
    """Return the gradient of `mean(exp(log_new - log_old) * weights)` at new = old.

    Args:
        policy: The policy; its `.grad` fields stay untouched.
        inputs: (N, D) standardised observations, on the policy's device.
        actions: (N, A) there.
        weights: (N,) there, usually advantages.

    Returns:
        (P,) in the order of `GaussianPolicy.flat_parameters`.
    """
    log_probability = gaussian_log_probability(policy.mean_at(inputs), policy.log_std, actions)
    surrogate = ((log_probability - log_probability.detach()).exp() * weights).mean()
    gradients = torch.autograd.grad(surrogate, policy.ordered_parameters())
    return torch.cat([gradient.reshape(-1) for gradient in gradients])


def fisher_vector_product(policy: GaussianPolicy, inputs: Tensor, damping: float) -> Callable[[Tensor], Tensor]:
    """Build the product `v -> (F + damping I) v` at the policy's present parameters.

    `F = J^T M J`, with J the Jacobian of (mean, log-std) by the flat parameters and M the Hessian of the
    released KL by (mean, log-std), nearly `diag(1/std², 2) / N`. A product is one forward-mode and one
    reverse-mode pass over activations that are computed once: two matrix products as wide as D, and no double
    backward through the network. Memory beyond the arguments: a few (N, hidden).

    Args:
        policy: The policy, not to be changed while products are taken.
        inputs: (N, D) standardised observations, on the policy's device.
        damping: Added to the diagonal.

    Returns:
        A function from (P,) to (P,), in the order of `GaussianPolicy.flat_parameters`.

    Source: Kakade 2001; equals the Hessian of the released KL at old = new, its 1e-8 included.
    """
    parameters = [parameter.detach() for parameter in policy.ordered_parameters()]
    weights = parameters[:-1:2]
    with torch.no_grad():
        activations = policy.activations(inputs)
    metric = _kl_hessian(policy.log_std.detach(), rows=len(inputs))
    tanh_backward = torch.ops.aten.tanh_backward

    @torch.no_grad()
    def product(vector: Tensor) -> Tensor:
        blocks = vector.split([parameter.numel() for parameter in parameters])
        *moved_layers, moved_log_std = [block.view_as(like) for block, like in zip(blocks, parameters, strict=True)]

        # Forward: how each layer's output moves; this order of the sums is the release's.
        moved = activations[0] @ moved_layers[0].T + moved_layers[1]
        for depth in range(1, len(weights)):
            from_below = tanh_backward(moved, activations[depth]) @ weights[depth].T
            moved = activations[depth] @ moved_layers[2 * depth].T + moved_layers[2 * depth + 1] + from_below
        pulled, pulled_log_std = metric(moved * policy.action_scale, moved_log_std)

        # Backward: what each parameter contributes to it.
        pulled = pulled * policy.action_scale
        pulls = [pulled_log_std]
        for depth in range(len(weights) - 1, -1, -1):
            pulls = [(pulled.T @ activations[depth]).reshape(-1), pulled.sum(dim=0), *pulls]
            if depth > 0:
                pulled = tanh_backward(pulled @ weights[depth], activations[depth])
        return torch.cat(pulls) + damping * vector

    return product


def _kl_hessian(log_std: Tensor, rows: int) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Build the product of the KL's Hessian by (mean (N, A), log-std (A,)) at new = old with such a pair.

    There the Hessian does not depend on the mean. Differentiating the KL itself keeps its 1e-8.
    """
    mean = log_std.new_zeros(rows, len(log_std))
    at = (mean.clone().requires_grad_(), log_std.clone().requires_grad_())
    with torch.enable_grad():
        slopes = torch.autograd.grad(gaussian_kl(mean, log_std, *at), at, create_graph=True)

    def product(moved_mean: Tensor, moved_log_std: Tensor) -> tuple[Tensor, Tensor]:
        pulled = torch.autograd.grad(slopes, at, (moved_mean, moved_log_std), retain_graph=True)
        return pulled[0], pulled[1]

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
            direction = residual + (squared / previous) * direction
            spent += 1
            if squared < tolerance or not np.isfinite(squared):
                break
    return ConjugateGradientResult(solution, float(squared), spent)
