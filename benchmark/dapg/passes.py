"""Forward, tangent and reverse passes of the policy's network over a whole batch, in little memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .inputs import NetworkInputs, memory_shape, network_inputs
from .policy import GaussianPolicy

_tanh_backward = torch.ops.aten.tanh_backward


@dataclass(frozen=True)
class Passes:
    """Passes at the policy's present parameters, which must not change meanwhile.

    Beside the inputs, all that is as long as the batch and as wide as a layer are the activations of the hidden layers
    but the last, and one array more: it takes the last layer's activations, which are computed anew each time, and then
    the slopes of the reverse pass in their place.

    Attributes:
        inputs: N standardised observations.
        kept: (N, width) activations of the hidden layers, without the last where there are several.
        spare: (N, width of the last hidden layer), overwritten by every pass.
    """

    inputs: NetworkInputs
    kept: tuple[Tensor, ...]
    spare: Tensor

    def first(self, count: int) -> Passes:
        """Return the passes over the first rows, which share this object's memory."""
        kept = tuple(activations[:count] for activations in self.kept)
        return Passes(self.inputs.first(count), kept, self.spare[:count])

    @torch.no_grad()
    def gradient(self, slopes_at: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """Return a scalar's gradient by the layers' parameters: flat, in the order of `GaussianPolicy.flat_parameters`.

        Args:
            slopes_at: Maps the network's outputs (N, A) to the scalar's slopes (N, A) by them.
        """
        for rows in self.inputs.row_slices:
            self._last(rows)
        return self._pull(slopes_at(self._layers[-1](self.spare)))

    @torch.no_grad()
    def product(self, moved: Sequence[Tensor], metric: Callable[[Tensor], Tensor]) -> list[Tensor]:
        """Return `J^T M J moved`, J the Jacobian of the outputs by the layers' parameters, as `gradient` does.

        Args:
            moved: A direction: one tensor per parameter of the layers.
            metric: Multiplies outputs (N, A) by M.
        """
        outputs = torch.cat([self._push(rows, block, moved) for rows, block in self.inputs.row_blocks()])
        return self._pull(metric(outputs))

    def _push(self, rows: slice, block: Tensor, moved: Sequence[Tensor]) -> Tensor:
        """Return how outputs (n, A) move when parameters do; the order of the sums is the release's."""
        outputs = block @ moved[0].T + moved[1]
        below = [*(activations[rows] for activations in self.kept), self._last(rows)][: len(self._layers) - 1]
        for depth, activations in enumerate(below, start=1):
            from_below = _tanh_backward(outputs, activations) @ self._layers[depth].weight.T
            outputs = activations @ moved[2 * depth].T + moved[2 * depth + 1] + from_below
        return outputs

    def _pull(self, slopes: Tensor) -> list[Tensor]:
        """Return what each parameter contributes to slopes (N, A) of the outputs; the last activations are computed."""
        pulls: list[Tensor] = []
        for depth in range(len(self._layers) - 1, 0, -1):
            last = depth == len(self._layers) - 1
            activations = self.spare if last else self.kept[depth - 1]
            pulls = [(slopes.T @ activations).reshape(-1), slopes.sum(dim=0), *pulls]
            into = self.spare if self.spare.shape == activations.shape else torch.empty_like(activations)
            for rows in self.inputs.row_slices:
                into[rows] = _tanh_backward(slopes[rows] @ self._layers[depth].weight, activations[rows])
            slopes = into
        weight = torch.empty_like(self._layers[0].weight)
        for columns, block in self.inputs.column_blocks():
            weight[:, columns] = slopes.T @ block
        return [weight.reshape(-1), slopes.sum(dim=0), *pulls]

    def _last(self, rows: slice) -> Tensor:
        """Compute the last hidden layer's activations of some rows in the spare array, and return them."""
        activations = self.spare[rows]
        if len(self._layers) == 2:
            return activations.copy_(self.kept[0][rows])
        layer = self._layers[-2]
        return torch.addmm(layer.bias, self.kept[-1][rows], layer.weight.T, out=activations).tanh_()

    @property
    def _layers(self) -> list[nn.Linear]:
        return _linear_layers(self.inputs.policy)


@torch.no_grad()
def passes_over(policy: GaussianPolicy, *observations: Tensor) -> Passes:
    """Compute the activations that passes over observations (N, D), given in parts, need."""
    count = sum(len(part) for part in observations)
    first, *others = _linear_layers(policy)[:-1]
    widths = [layer.out_features for layer in (first, *others)]
    shapes = [memory_shape(policy, count), *((count, width) for width in (*(widths[:-1] or widths), widths[-1]))]
    memory, *kept, spare = _allocate(policy.log_std, shapes)
    inputs = network_inputs(policy, observations, memory)
    for rows, block in inputs.row_blocks():
        torch.addmm(first.bias, block, first.weight.T, out=kept[0][rows])
    kept[0].tanh_()
    for layer, below, above in zip(others, kept, kept[1:], strict=False):  # the last hidden layer's are not kept
        torch.addmm(layer.bias, below, layer.weight.T, out=above).tanh_()
    return Passes(inputs, tuple(kept), spare)


def _linear_layers(policy: GaussianPolicy) -> list[nn.Linear]:
    return [layer for layer in policy.layers if isinstance(layer, nn.Linear)]


def _allocate(like: Tensor, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Return empty arrays from one allocation.

    Below 32 MB each would come from the C library's heap, which keeps what is freed in the middle of it.
    """
    sizes = [math.prod(shape) for shape in shapes]
    pieces = torch.empty(sum(sizes), dtype=like.dtype, device=like.device).split(sizes)
    return [piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True)]
