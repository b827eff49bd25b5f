"""The latest rendered images, on the device that trains: filled at one end, drawn from at random."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .workers import LABEL_DIM, ImageBlock

STAGING_BUFFERS = 8
STAGING_BYTES = 1 << 23


class Pool:
    """The latest images, and their labels, on the training device.

    Args:
        capacity: how many.
        size: of the images in pixels.
        device: where they lie.
        seed: of the batches drawn.
    """

    def __init__(self, capacity: int, size: int, device: torch.device, seed: int) -> None:
        self.capacity = capacity
        self.received = 0
        self._images = torch.empty(capacity, size, size, 3, dtype=torch.uint8, device=device)
        self._labels = torch.empty(capacity, LABEL_DIM, device=device)
        self._generator = torch.Generator(device).manual_seed(seed)
        self._upload = _Upload(device)

    @property
    def filled(self) -> int:
        """Number of images in the pool."""
        return min(self.received, self.capacity)

    def add(self, block: ImageBlock) -> None:
        """Copy a block over the oldest images; afterwards the block may be reused at once."""
        first = self.received % self.capacity
        head = min(len(block.images), self.capacity - first)
        for begin, stop, at in ((0, head, first), (head, len(block.images), 0)):
            if stop > begin:
                self._upload(block.images[begin:stop], self._images[at : at + stop - begin])
                self._upload(block.labels[begin:stop], self._labels[at : at + stop - begin])
        self.received += len(block.images)

    def draw(self, batch: int) -> tuple[Tensor, Tensor]:
        """Draw a random batch: (batch, size, size, 3) uint8 and (batch, 129) float32."""
        chosen = torch.randint(self.filled, (batch,), generator=self._generator, device=self._images.device)
        return self._images[chosen], self._labels[chosen]

    def labels(self) -> Tensor:
        """Return the labels of all images, on the CPU."""
        return self._labels[: self.filled].cpu()


class _Upload:
    """Copies arrays to the device; to a GPU through page-locked memory, without waiting for it."""

    def __init__(self, device: torch.device) -> None:
        self._gpu = device.type == "cuda"
        self._staging: list[tuple[Tensor, torch.cuda.Event]] = []
        self._next = 0

    def __call__(self, array: np.ndarray[Any, Any], target: Tensor) -> None:
        source = torch.from_numpy(array)
        if not self._gpu:
            target.copy_(source)
            return
        flat = source.reshape(-1).view(torch.uint8)
        if len(self._staging) < STAGING_BUFFERS:
            self._staging.append(
                (torch.empty(max(flat.numel(), STAGING_BYTES), dtype=torch.uint8).pin_memory(), torch.cuda.Event())
            )
        place, self._next = self._next, (self._next + 1) % STAGING_BUFFERS
        buffer, copied = self._staging[place]
        if buffer.numel() < flat.numel():
            buffer = torch.empty(flat.numel(), dtype=torch.uint8).pin_memory()
        copied.synchronize()
        staged = buffer[: flat.numel()]
        staged.copy_(flat)
        target.copy_(staged.view(target.dtype).view(target.shape), non_blocking=True)
        copied.record()
        self._staging[place] = (buffer, copied)
