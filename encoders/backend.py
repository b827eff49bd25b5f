"""The libraries that can compute an encoder's features, and which of them are used where."""

from __future__ import annotations

import importlib.util

import torch

from .ema_batchnorm import Scope
from .errors import BackendRefused

AUTO, TORCH, OPENVINO = "auto", "torch", "openvino"
BACKENDS = (AUTO, TORCH, OPENVINO)
WITH_TORCH = "use --backend torch"
TITLES = {TORCH: "PyTorch", OPENVINO: "OpenVINO"}


def backends_to_try(asked: str, device: torch.device, moving: Scope | None = None) -> tuple[str, ...]:
    """Return the backends to try, the fastest first.

    ``auto`` is OpenVINO, then PyTorch, on a CPU where OpenVINO is installed; elsewhere it is PyTorch.

    Args:
        asked: one of `BACKENDS`.
        device: the encoder's.
        moving: which BatchNorm statistics are going to move (Stage 3), if any. Where all of them do, PyTorch computes.

    Raises:
        BackendRefused: the backend is unknown, or cannot be used here.
    """
    if asked not in BACKENDS:
        raise BackendRefused(f"unknown backend '{asked}'; expected {', '.join(BACKENDS)}")
    if asked == TORCH:
        return (TORCH,)
    obstacle = _obstacle(device, moving)
    if asked == AUTO:
        return (TORCH,) if obstacle else (OPENVINO, TORCH)
    if obstacle:
        raise BackendRefused(f"backend 'openvino' {obstacle}; use --backend auto")
    return (OPENVINO,)


def installed() -> bool:
    """Return whether OpenVINO can be imported; it is not imported for that."""
    return importlib.util.find_spec("openvino") is not None


def _obstacle(device: torch.device, moving: Scope | None) -> str:
    """Return why OpenVINO cannot be used, or an empty string."""
    if device.type != "cpu":
        return f"computes on CPUs alone, and the encoder is on {device}"
    if not installed():
        return "is not installed (`pip install openvino`, where there are wheels)"
    if moving == "all":
        return "cannot move the statistics of all BatchNorm layers (--ema-scope all)"
    return ""
