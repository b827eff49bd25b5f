"""Features of the probe's frames, computed once and cached under everything that they depend on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from encoders import Encoder

from ..errors import ConfigError
from ..progress import Progress
from ..store import cache
from ..store import provenance as versions
from .frames import ProbeFrames

BATCH = 32


def encode(encoder: Encoder, frames: ProbeFrames, progress: Progress) -> npt.NDArray[np.float32]:
    """Return the features (N, F) of all frames, encoded in batches of 32 or from the cache.

    Raises:
        ConfigError: a feature is not finite.
    """
    made_by = {
        "images": frames.images_sha256,
        "encoder": encoder.describe(),
        "batch": BATCH,
        "threads": torch.get_num_threads(),
        "device": str(encoder.device),
        "versions": versions.package_versions(("torch", "torchvision", "timm")),
    }
    path = cache.features_path(made_by)
    cached = cache.load(path, lambda arrays: _fits(arrays, len(frames.images)))
    if cached is not None:
        progress.advance(len(frames.images))
        return cached["features"]
    parts = []
    for begin in range(0, len(frames.images), BATCH):
        parts.append(encoder.encode(frames.images[begin : begin + BATCH]).cpu().numpy())
        progress.advance(len(parts[-1]))
    features = np.concatenate(parts)
    if not np.isfinite(features).all():
        raise ConfigError(f"encoder '{encoder.name}': a feature is not finite on frames of {frames.record['camera']}")
    cache.store(path, {"features": features})
    return features


def _fits(arrays: cache.Arrays, images: int) -> bool:
    """Return whether these are features of so many images."""
    features = arrays.get("features")
    return (
        features is not None
        and features.ndim == 2
        and len(features) == images
        and features.dtype.kind == "f"
        and bool(np.isfinite(features).all())
    )
