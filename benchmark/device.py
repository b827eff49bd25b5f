"""The device that computes, and the memory that it took."""

from __future__ import annotations

import resource
import sys

import torch

from .device_names import device_name
from .errors import ConfigError


def choose_device(name: str) -> torch.device:
    """Return the torch device of a name; ``auto`` is the first GPU if there is one.

    Raises:
        ConfigError: the name is none of a device, or a GPU is asked for and there is none.
    """
    try:
        device_name(name)
    except ValueError as error:
        raise ConfigError(f"--device {name}: {error}") from None
    if name == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"--device {name}: torch sees {torch.cuda.device_count()} GPUs; use --device cpu")
    return device


def peak_memory(device: torch.device) -> dict[str, float]:
    """Return the peak memory of this process and of its GPU so far, in megabytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    peak = {"memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6}
    if device.type == "cuda":
        peak["gpu_memory_mb"] = torch.cuda.max_memory_allocated(device) / 1e6
    return peak
