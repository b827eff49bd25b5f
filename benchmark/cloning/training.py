"""The training of a cloned policy, epoch by epoch, so that it can be evaluated and resumed between epochs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from encoders.adam_state import adam_state, load_adam_state

from ..config import LearnerSettings
from ..rollout.episodes import Array
from .head import FramesPolicy, Policy


class Pairs(Protocol):
    """Pairs of observation and action, looked up by row."""

    def __len__(self) -> int:
        """Return the number M of pairs."""

    def observations(self, rows: npt.NDArray[np.int64], /) -> Array:
        """Return the observations (n, D) float32 of rows (n,); of a `FramesPolicy` the raw ones."""

    def actions(self, rows: npt.NDArray[np.int64], /) -> Array:
        """Return the actions (n, A) float32 of rows (n,)."""


class Cloning:
    """A policy in training: its mean learns to repeat the demonstrations by squared error.

    Args:
        policy: Trained in place.
        settings: ``bc_batch_size``, ``bc_learning_rate``, ``bc_minibatches`` and ``bc_steps_per_epoch`` count.
        generator: CPU generator of the minibatches, and of random shifts.

    Source: CortexBench, R3M's evaluation.
    Differs: a last minibatch of a single pair, which BatchNorm cannot take, joins the one before it.
    """

    def __init__(self, policy: Policy, settings: LearnerSettings, generator: torch.Generator) -> None:
        self.policy = policy
        self.settings = settings
        self.generator = generator
        # The spread of a Gaussian policy has no part in the loss.
        self.trained = {name: tensor for name, tensor in policy.named_parameters() if name != "log_std"}
        self.optimiser = torch.optim.Adam(self.trained.values(), lr=settings.bc_learning_rate, fused=True)

    def epoch(self, pairs: Pairs) -> float:
        """Train for one epoch and return the mean loss of its pairs, in squared action units."""
        policy = self.policy
        policy.train()
        total, seen = torch.zeros(()), 0
        for rows in self._minibatches(len(pairs)):
            inputs, targets = (policy.as_tensor(values(rows.numpy())) for values in (pairs.observations, pairs.actions))
            if isinstance(policy, FramesPolicy):
                inputs = policy.observe(inputs, self.generator)
            loss = nn.functional.mse_loss(policy.mean(inputs), targets)
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            total += loss.detach().cpu() * len(rows)
            seen += len(rows)
        self.optimiser.zero_grad()
        policy.eval()
        return float(total) / seen

    def _minibatches(self, count: int) -> Iterator[Tensor]:
        """Yield the rows (n,) of an epoch's minibatches."""
        settings, size = self.settings, self.settings.bc_batch_size
        if settings.bc_minibatches == "replacement":
            for _ in range(settings.bc_steps_per_epoch or max(1, count // size)):
                yield torch.randint(count, (size,), generator=self.generator)
            return
        steps = 0
        while True:  # a pass each
            batches = list(torch.randperm(count, generator=self.generator).split(size))
            if len(batches) > 1 and len(batches[-1]) == 1:
                batches[-2:] = [torch.cat(batches[-2:])]
            for rows in batches:
                yield rows
                steps += 1
                if steps == settings.bc_steps_per_epoch:
                    return
            if not settings.bc_steps_per_epoch:
                return

    def state_tensors(self) -> dict[str, Tensor]:
        """Return all that a resumed training needs: ``policy.NAME``, ``optimiser.MOMENT.NAME``."""
        state = {f"policy.{name}": tensor for name, tensor in self.policy.state_dict().items()}
        return state | adam_state(self.optimiser, self.trained)

    def load_state_tensors(self, state: Mapping[str, Tensor]) -> None:
        """Restore exactly what `state_tensors` returned.

        Raises:
            ValueError: If names or shapes are not this policy's.
        """
        expected = {f"policy.{name}": tensor.shape for name, tensor in self.policy.state_dict().items()}
        for name, parameter in self.trained.items():
            shapes = {"step": torch.Size([]), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}
            expected |= {f"optimiser.{moment}.{name}": shape for moment, shape in shapes.items()}
        found = {name: tensor.shape for name, tensor in state.items()}
        if wrong := sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)):
            raise ValueError(f"{wrong[0]} is missing, or of another shape")
        self.policy.load_state_dict(
            {name.removeprefix("policy."): tensor for name, tensor in state.items() if name.startswith("policy.")}
        )
        load_adam_state(self.optimiser, self.trained, state)
