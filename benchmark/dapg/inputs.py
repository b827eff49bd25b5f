"""Standardised observations for the policy's network, a block at a time where a batch is large.

Features of 20,000 frames take 166 MB, more than all else of an update, so on a CPU they are not copied whole. A matrix
product with a block of rows or of columns has the bits of the product with all of them, as long as the axis that is
summed over stays whole and no block is a single row, which BLAS multiplies in another way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor

from .policy import GaussianPolicy

BLOCK_BYTES = 6 * 2**20
"""Of a block of columns; narrower ones of 20,000 rows take much longer to multiply."""
BLOCK_ROWS = 512


@dataclass(frozen=True)
class NetworkInputs:
    """The standardised observations (N, D) that a policy's network is fed.

    Attributes:
        policy: Its shift and scale, which must not change meanwhile.
        parts: The observations (n, D), part after part, on the policy's device and of its dtype.
        memory: (N, D) with all inputs, or a vector that holds one block at a time.
    """

    policy: GaussianPolicy
    parts: Sequence[Tensor]
    memory: Tensor

    def __len__(self) -> int:
        """Return the number of rows N."""
        return sum(len(part) for part in self.parts)

    def first(self, count: int) -> NetworkInputs:
        """Return the first rows, which share this object's memory."""
        memory = self.memory[:count] if self._kept else self.memory
        return NetworkInputs(self.policy, self._between(slice(0, count)), memory)

    @property
    def row_slices(self) -> list[slice]:
        """Blocks of rows: one where all inputs are kept."""
        return self._slices(len(self), max(self.policy.observation_dim, len(self.memory) // BLOCK_ROWS))

    def row_blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield all rows in order, as (which, (n, D)); each block takes the memory of the one before."""
        for rows in self.row_slices:
            yield rows, self._block(rows, slice(0, self.policy.observation_dim))

    def column_blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield all columns in order, as (which, (N, n)); each block takes the memory of the one before."""
        for columns in self._slices(self.policy.observation_dim, len(self)):
            yield columns, self._block(slice(0, len(self)), columns)

    @property
    def _kept(self) -> bool:
        return self.memory.dim() == 2

    def _slices(self, length: int, across: int) -> list[slice]:
        """Cut a length into the fewest, nearly equal blocks that the memory holds; `across` is the other side's."""
        count = 1 if self._kept else -(-length // (len(self.memory) // across))
        return [slice(start, stop) for start, stop in pairwise(length * block // count for block in range(count + 1))]

    def _block(self, rows: slice, columns: slice) -> Tensor:
        if self._kept:
            return self.memory[rows, columns]
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        block = self.memory[: shape[0] * shape[1]].view(shape)
        return self.policy.standardise(*self._between(rows), columns=columns, out=block)

    def _between(self, rows: slice) -> list[Tensor]:
        """Return views of the parts that hold these rows."""
        views, begin = [], 0
        for part in self.parts:
            views.append(part[max(rows.start - begin, 0) : max(rows.stop - begin, 0)])
            begin += len(part)
        return [view for view in views if len(view)]


def memory_shape(policy: GaussianPolicy, rows: int) -> tuple[int, ...]:
    """Return the shape of the memory for inputs (rows, D): all of them if they are few or on a GPU, else one block."""
    width, block = policy.observation_dim, BLOCK_BYTES // policy.log_std.element_size()
    if policy.log_std.device.type != "cpu" or rows * width <= 2 * block:
        return rows, width
    return (max(block, 2 * rows, 2 * width),)


def network_inputs(policy: GaussianPolicy, parts: Sequence[Tensor], memory: Tensor) -> NetworkInputs:
    """Standardise observations, given in parts, in memory of `memory_shape`: now if it holds all, else at each use."""
    if memory.dim() == 2:
        policy.standardise(*parts, out=memory)
    return NetworkInputs(policy, parts, memory)
