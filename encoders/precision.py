"""The formats that an encoder can compute in, and what a device can do; `precision_check` decides which is used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import torch

from .errors import PrecisionRefused

AUTO, FLOAT32, TF32, BFLOAT16, FLOAT16 = "auto", "float32", "tf32", "bfloat16", "float16"
PRECISIONS = (AUTO, FLOAT32, TF32, BFLOAT16, FLOAT16)

_AUTOCAST = {BFLOAT16: torch.bfloat16, FLOAT16: torch.float16}
_AMPERE, _VOLTA = (8, 0), (7, 0)  # the first NVIDIA GPUs with TF32 and with fast float16
_CPU_FLAGS = {"avx512_bf16", "amx_bf16"}
_CPUINFO = Path("/proc/cpuinfo")


def resolve_precision(asked: str, device: torch.device) -> str:
    """Return the format to use; ``auto`` becomes the fast one of the device.

    That is bfloat16 on an NVIDIA GPU that has it (its range is float32's, so frames that nobody compared cannot
    overflow it) and on a CPU with instructions for it; float32 elsewhere, where others are slower.

    Raises:
        PrecisionRefused: the format is unknown, or the device does not support it.
    """
    if asked not in PRECISIONS:
        raise PrecisionRefused(f"unknown precision '{asked}'; expected {', '.join(PRECISIONS)}")
    if asked == AUTO:
        return BFLOAT16 if _fast_bfloat16(device) else FLOAT32
    needed = {TF32: _AMPERE, FLOAT16: _VOLTA, BFLOAT16: _AMPERE}.get(asked)
    able = device.type == "cpu" and asked != TF32
    if device.type == "cuda" and needed is not None:
        able = torch.cuda.get_device_capability(device) >= needed
    if needed is not None and not able:
        raise PrecisionRefused(f"precision '{asked}' is not supported on {device}; use --precision auto")
    return asked


@contextmanager
def computing(precision: str, device: torch.device) -> Iterator[None]:
    """Compute in a format, the same bits every time: no choice of a convolution's algorithm by timing.

    Args:
        precision: a resolved one.
        device: where.
    """
    dtype = _AUTOCAST.get(precision)
    formats = torch.autocast(device.type, dtype) if dtype else torch.autocast(device.type, enabled=False)
    before = torch.get_float32_matmul_precision()
    tf32 = precision == TF32
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=tf32), formats:
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def _fast_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= _AMPERE
    return device.type == "cpu" and bool(_cpu_flags() & _CPU_FLAGS)


@lru_cache(maxsize=1)
def _cpu_flags() -> frozenset[str]:
    """Return the instruction sets that Linux lists for the CPU; none elsewhere."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.split(":", 1)[1] for line in lines if line.startswith("flags")), "").split())
