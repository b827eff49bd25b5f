"""The policy head of CortexBench and R3M, alone or behind a part that is trained on frames."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..dapg.policy import ArrayOrTensor, GaussianPolicy, policy_layers
from ..rollout.fusion import Fusion
from .trained_parts import ShiftedConvolutions, TrainedPart, random_shifts


class BatchNormPolicy(nn.Module):
    """A deterministic policy: BatchNorm1d, hidden layers with ReLU, a linear output.

    In training mode the input is standardised by its minibatch, otherwise by the running statistics.

    Args:
        observation_dim: Length D of an observation.
        action_dim: Length A of an action.
        hidden: Widths of the hidden layers, at least one.
        generator: CPU generator the initial weights are drawn from.

    Raises:
        ValueError: If `hidden` is empty.

    Source: CortexBench (its branch of mjrl), R3M's evaluation; the initial output layer is torch's usual times 0.01.
    """

    def __init__(
        self, observation_dim: int, action_dim: int, hidden: Sequence[int], *, generator: torch.Generator
    ) -> None:
        """Draw the initial weights."""
        super().__init__()
        self.input_norm = nn.BatchNorm1d(observation_dim)
        self.layers = policy_layers((observation_dim, *hidden, action_dim), generator)

    def as_tensor(self, values: ArrayOrTensor) -> Tensor:
        """Return an array or tensor on the policy's device in its dtype, without a copy where it is there already."""
        weight = self.input_norm.weight
        return torch.as_tensor(values).to(device=weight.device, dtype=weight.dtype)

    def mean(self, observations: Tensor) -> Tensor:
        """Return the actions (N, A) for observations (N, D), in action units."""
        maps: Tensor = self.input_norm(observations)
        for layer in self.layers[:-1]:
            maps = torch.relu(layer(maps))
        actions: Tensor = self.layers[-1](maps)
        return actions


class FramesPolicy(nn.Module):
    """A policy with a part that turns frames into features and is trained with it.

    It acts on observations whose frames `features` has turned into features already, so that each frame is seen once.

    Args:
        part: the trained part.
        fusion: of the features of neighbouring frames.
        head: on the fused features and the proprioception.
    """

    def __init__(self, part: TrainedPart, fusion: Fusion, head: BatchNormPolicy) -> None:
        super().__init__()
        self.part, self.head = part, head
        self.fusion = fusion

    def as_tensor(self, values: ArrayOrTensor) -> Tensor:
        """Return an array or tensor on the policy's device in its dtype."""
        return self.head.as_tensor(values)

    def mean(self, observations: Tensor) -> Tensor:
        """Return the actions (N, A) for observations (N, D) of features, in action units."""
        return self.head.mean(observations)

    @torch.no_grad()
    def features(self, frames: Tensor) -> Tensor:
        """Return the features (n, F) of what the encoder gives of frames, (n, numbers), as demonstrations keep it."""
        raw = self.as_tensor(frames).unflatten(1, self.part.shape)
        features: Tensor = self.part(self.part.stored(raw))
        return features

    def observe(self, raw: Tensor, generator: torch.Generator) -> Tensor:
        """Return the observations (n, D) of raw ones in training.

        Args:
            raw: (n, history numbers + P), of all frames and then the proprioception.
            generator: CPU generator of random shifts; the frames of an observation are shifted alike.
        """
        history, shape = self.fusion.history, self.part.shape
        numbers = history * math.prod(shape)
        shift = None
        if isinstance(self.part, ShiftedConvolutions):
            shift = random_shifts(len(raw), generator).repeat_interleave(history, 0)
        features = self.part(raw[:, :numbers].reshape(-1, *shape), shift)
        windows = features.unflatten(0, (-1, history))
        if self.fusion.name == "flare":
            windows = torch.cat([windows.diff(dim=1), windows[:, -1:]], 1)
        return torch.cat([windows.flatten(1), raw[:, numbers:]], 1)


Policy = GaussianPolicy | BatchNormPolicy | FramesPolicy
"""Every policy that can be cloned and can act in rollouts."""
