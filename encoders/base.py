"""The encoder that all others are: subclass it and it is registered."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from . import registration
from .backend import TORCH
from .cards import CARDS, Card, Normalisation
from .errors import EncoderContract, EncoderError
from .precision import FLOAT32, computing
from .weights.checkpoint import state_sha256
from .weights.origin import WeightsOrigin

IMAGE_SIZE = 224


class Encoder(nn.Module):
    """A frozen network that turns images into feature vectors.

    ``class Mine(Encoder, name="mine")`` registers the class. It needs `feature_dim`, ``__init__(self, weights=None)``,
    where ``weights`` is the path of a weights file or None, and ``forward``: ``(N, 3, 224, 224) float32 in [0, 1]`` to
    ``(N, feature_dim)`` floating point.

    Attributes:
        name: the registered name; empty for a class without one.
        feature_dim: length of the feature.
        feature_is_mean: whether the feature is the mean of `tokens`, which the contract then holds it to.
        raw_shape: where the feature is no vector yet, but what a part of the policy is trained on, its shape: tokens
            (T, D), or a frame (3, H, W) in whole numbers from 0 to 255; None for all others.
        uses_images: False for a control without a camera; its ``feature_dim`` is 0.
        without_images: what the policy then gets: the task's ``state`` observation, or its ``proprioception`` alone.
        results_version: raised when the numbers that this encoder gives change.
        card: what is known about it; None where nobody wrote one.
        normalisation: what `normalise` does; None where ``forward`` sees to it alone.
        memory_format: the layout in which ``forward`` gets its images.
        precision: the format in which `encode` computes; see `encoders.precision`.
        backend: the library that computes ``forward``; see `encoders.backend`.
        compiled_forward: ``forward`` compiled by torch or for another backend, with the numbers that the encoder had
            then; None where it runs as it is.
        random_weights: set by an ``__init__`` that found no weights and drew some instead.
        origin: where the weights came from, once `encoders.build` made the encoder.
        batchnorm_folded: whether its weights have BatchNorm folded into the convolutions, see `encoders.unfold`.
        adaptation: the sha256 of the tensors that Stage 2 or `encoders.unfold` put in place of the weights' own; None
            without these.
        plugin_file: the file the class came from, if loaded as ``file.py:Class``.
        plugin_sha256: the hash of that file.
    """

    name: ClassVar[str] = ""
    feature_dim: int
    feature_is_mean: ClassVar[bool] = False
    raw_shape: tuple[int, ...] | None = None
    uses_images: ClassVar[bool] = True
    without_images: ClassVar[Literal["state", "proprioception"]] = "state"
    results_version: ClassVar[int] = 1
    card: ClassVar[Card | None] = None
    normalisation: Normalisation | None = None
    memory_format: torch.memory_format = torch.contiguous_format
    precision: str = FLOAT32
    backend: str = TORCH
    compiled_forward: Callable[[Tensor], Tensor] | None = None
    random_weights: bool = False
    origin: WeightsOrigin | None = None
    batchnorm_folded: ClassVar[bool] = False
    adaptation: str | None = None
    plugin_file: ClassVar[str | None] = None
    plugin_sha256: ClassVar[str | None] = None

    def __init_subclass__(cls, *, name: str | None = None, **options: Any) -> None:
        """Register the class if it has a name.

        Raises:
            EncoderError: the name is malformed or belongs to another class.
        """
        super().__init_subclass__(**options)
        cls.name = name or ""
        cls.plugin_file = cls.plugin_sha256 = None
        if name is None:
            return
        registration.register(name, cls)
        if name in CARDS:
            cls.card = CARDS[name]
            cls.normalisation = cls.card.normalisation
            cls.results_version = cls.card.results_version

    def tokens(self, images: Tensor) -> Tensor:
        """Map the images that ``forward`` takes to tokens, ``(N, T, D)``; optional.

        The tokens are a transformer's patches, or the positions of a convolutional map row by row; those that stand for
        no place, such as class tokens, are left out.

        Raises:
            EncoderError: this encoder has none.
        """
        raise EncoderError(
            f"encoder '{self.name or type(self).__name__}': has no tokens; leave policy.pooling at pooled, or define "
            "tokens(images) -> (N, T, D)"
        )

    @property
    def usual_memory_format(self) -> torch.memory_format:
        """Layout of images in float32."""
        return type(self).memory_format

    @property
    def device(self) -> torch.device:
        """Device of the network; the CPU if it has no parameters."""
        first = next(chain(self.parameters(), self.buffers()), None)
        return torch.device("cpu") if first is None else first.device

    @property
    def compiled(self) -> bool:
        """Whether `encode` runs a ``forward`` compiled by torch."""
        return self.compiled_forward is not None and self.backend == TORCH

    def normalise(self, images: Tensor) -> Tensor:
        """Apply `normalisation` to RGB images.

        Args:
            images: ``(N, 3, H, W)`` float in [0, 1].

        Returns:
            The same shape; the images themselves where there is nothing to do.
        """
        how = self.normalisation
        if how is None:
            return images
        if how.bgr:
            images = images.flip(1)
        if any(how.mean) or any(one != 1.0 for one in how.std):
            mean, std = (images.new_tensor(values).view(1, 3, 1, 1) for values in (how.mean, how.std))
            images = (images - mean) / std
        return images

    def encode(self, images: NDArray[np.uint8] | Tensor) -> Tensor:
        """Return the features of camera frames, without gradient and in evaluation mode.

        The frames of one call are one batch; the caller chooses its size, on which the last bits of a feature depend.

        Args:
            images: ``(N, 224, 224, 3)`` uint8, RGB.

        Returns:
            ``(N, feature_dim)`` float32 on the encoder's device.

        Raises:
            EncoderError: the encoder sees no images, or these have another shape or type.
            EncoderContract: the features do not have the shape that ``feature_dim`` announces.
        """
        frames = self._frames(images)
        if self.training:
            self.eval()
        forward = self.compiled_forward or self
        with torch.inference_mode(), computing(self.precision, self.device):
            pixels = frames.to(self.device).permute(0, 3, 1, 2).float().div_(255.0)
            pixels = pixels.contiguous(memory_format=self.memory_format)
            features: Tensor = forward(pixels) if len(frames) else pixels.new_empty(0, self.feature_dim)
        if features.shape != (len(frames), self.feature_dim):
            raise EncoderContract(
                f"encoder '{self.name}': forward returned shape {tuple(features.shape)} for {len(frames)} images; "
                f"expected ({len(frames)}, {self.feature_dim})"
            )
        # A copy made here is an ordinary tensor, which training may save for its backward pass.
        return torch.clone(features).float()

    def describe(self) -> dict[str, Any]:
        """Return the fields that determine the features, as plain values for a run's identity.

        The backend is among them where it is not PyTorch: so what was made before there were others is recognised.
        """
        origin = self.origin or WeightsOrigin("own", sha256=state_sha256(self.state_dict()))
        backend = {} if self.backend == TORCH else {"backend": self.backend}
        return {
            **self.describe_unbuilt(origin),
            "feature_dim": self.feature_dim,
            "uses_images": self.uses_images,
            "normalisation": self.normalisation.name if self.normalisation else "own",
            "adaptation_sha256": self.adaptation,
            "precision": self.precision,
            "compiled": self.compiled,
            **backend,
        }

    @classmethod
    def describe_unbuilt(cls, origin: WeightsOrigin) -> dict[str, Any]:
        """Return the entries of `describe` that the class and the origin of its weights determine."""
        return {
            "name": cls.name,
            "class": cls.identity_class(),
            "results_version": cls.results_version,
            "weights": origin.kind,
            "weights_sha256": origin.sha256,
            "plugin_sha256": cls.plugin_sha256,
        }

    @classmethod
    def identity_class(cls) -> str:
        """Return the class as identities name it: ``file.py:Class``, or ``module.Class`` for a built-in encoder.

        Run folders and caches of before the module moved to ``encoders.zoo`` are recognised by it.
        """
        if cls.plugin_file:
            return f"{Path(cls.plugin_file).name}:{cls.__qualname__}"
        return f"{cls.__module__.replace('encoders.zoo.', 'encoders.', 1)}.{cls.__qualname__}"

    def _frames(self, images: NDArray[np.uint8] | Tensor) -> Tensor:
        if not self.uses_images:
            raise EncoderError(
                f"encoder '{self.name}' sees no images: give the task's {self.without_images} to the policy"
            )
        expected = (IMAGE_SIZE, IMAGE_SIZE, 3)
        shape, dtype = tuple(images.shape), str(images.dtype).removeprefix("torch.")
        if len(shape) != 4 or shape[1:] != expected or dtype != "uint8":
            raise EncoderError(
                f"encoder '{self.name}': images are {shape} {dtype}; expected (N, 224, 224, 3) uint8 RGB frames"
            )
        if isinstance(images, Tensor):
            return images
        return torch.from_numpy(np.require(images, requirements=["C", "W"]))
