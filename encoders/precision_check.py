"""How exactly an encoder computes: float32, or a faster format that its features are held to.

A faster format is used only after `check_precision` compared its features with those of float32, frame by frame, on
frames that the encoder is going to see. What was used is part of `Encoder.describe`, so of a run's identity.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .base import Encoder
from .errors import EncoderError, PrecisionRefused
from .memory import is_out_of_memory
from .precision import AUTO, FLOAT32, resolve_precision

LEAST_COSINE = 0.999
"""What the cosine similarity of every frame's feature to that of float32 has to exceed."""


@dataclass(frozen=True)
class GateReport:
    """How far an encoder's features in a faster format are from those in float32.

    Attributes:
        encoder: its name.
        precision: the format.
        compiled: whether the network was compiled.
        frames: how many frames were compared.
        cosine: the lowest cosine similarity of a frame's two features.
        error: root mean square difference, as a share of the spread of the features over the frames; NaN where all
            frames have the same feature. A cosine near 1 says little where all features point the same way.
        finite: whether all features are finite.
        repeatable: whether the faster format gave the same bits twice.
    """

    encoder: str
    precision: str
    compiled: bool
    frames: int
    cosine: float
    error: float
    finite: bool
    repeatable: bool

    @property
    def passed(self) -> bool:
        """Whether the format may be used."""
        return self.finite and self.repeatable and self.cosine > LEAST_COSINE

    @property
    def way(self) -> str:
        """The format, as messages name it."""
        return f"{self.precision}, compiled" if self.compiled else self.precision

    def verdict(self) -> str:
        """Say in words how the features compare."""
        if not self.finite:
            return f"features in {self.way} are not finite on {self.frames} frames"
        if not self.repeatable:
            return f"features in {self.way} differ between two passes over the same frames"
        return (
            f"features in {self.way} have a lowest cosine similarity of {self.cosine:.6f} to those in float32 on "
            f"{self.frames} frames (it has to exceed {LEAST_COSINE})"
        )


def choose_precision(
    encoder: Encoder, asked: str, frames: Callable[[], NDArray[np.uint8]], *, compiled: bool = False
) -> GateReport | None:
    """Set how an encoder computes, after its features were compared with those of float32.

    An encoder whose BatchNorm statistics move has to choose before they do.

    Args:
        encoder: changed in place, on its device.
        asked: one of `PRECISIONS`. ``auto`` takes what is fast on the device, and float32 where the features do not
            bear it.
        frames: gives (N, 224, 224, 3) uint8 frames; called only where there is something to compare.
        compiled: whether to compile the network, too.

    Returns:
        The comparison, passed or, under ``auto``, failed; None where there was nothing to compare.

    Raises:
        PrecisionRefused: the device cannot do it, there is no compiler, or the features are too far off.
    """
    precision = resolve_precision(asked, encoder.device)
    if not encoder.uses_images or (precision == FLOAT32 and not compiled):
        set_precision(encoder, FLOAT32)
        return None
    report = check_precision(encoder, frames(), precision, compiled=compiled)
    if report.passed:
        set_precision(encoder, precision, compiled=compiled)
    elif asked == AUTO and not compiled:
        set_precision(encoder, FLOAT32)
    else:
        remedy = "use --precision float32" + (" and run without compiling" if compiled else "")
        raise PrecisionRefused(f"encoder '{encoder.name}': {report.verdict()}; {remedy}")
    return report


def check_precision(
    encoder: Encoder, frames: NDArray[np.uint8], precision: str, *, compiled: bool = False
) -> GateReport:
    """Compare an encoder's features in a format with those in float32; it is left as it was.

    Args:
        encoder: on the device that counts.
        frames: (N, 224, 224, 3) uint8, such as it is going to see; encoded as one batch.
        precision: one of `PRECISIONS`.
        compiled: whether the network is compiled for it.

    Raises:
        PrecisionRefused: the device cannot do it, or the network cannot be compiled.
    """
    precision = resolve_precision(precision, encoder.device)
    before = encoder.precision, encoder.compiled
    try:
        set_precision(encoder, FLOAT32)
        exact = encoder.encode(frames).double()
        set_precision(encoder, precision, compiled=compiled)
        first, second = (_encode(encoder, frames) for _ in range(2))
    finally:
        set_precision(encoder, before[0], compiled=before[1])
    fast = first.double()
    return GateReport(
        encoder=encoder.name,
        precision=precision,
        compiled=compiled,
        frames=len(frames),
        cosine=lowest_cosine(fast, exact),
        error=_share_of_spread(fast - exact, exact),
        finite=bool(torch.isfinite(fast).all()),
        repeatable=bool(((first == second) | (first.isnan() & second.isnan())).all()),
    )


def set_precision(encoder: Encoder, precision: str, *, compiled: bool = False) -> None:
    """Set how an encoder computes, without a look at its features; `choose_precision` has one.

    Raises:
        PrecisionRefused: the device cannot do it, or there is no compiler.
    """
    encoder.precision = resolve_precision(precision, encoder.device)
    faster = compiled or encoder.precision != FLOAT32
    # The fast kernels want channels innermost; float32 keeps its layout and so its bits.
    encoder.memory_format = torch.channels_last if faster else type(encoder).memory_format
    encoder.to(memory_format=encoder.memory_format)
    if compiled:
        _require_compiler(encoder.device)
        # Shapes that may vary from the start: else the bits would depend on which batch sizes came before.
        encoder.compiled_forward = torch.compile(encoder.forward, dynamic=True)
    else:
        encoder.compiled_forward = None


def lowest_cosine(fast: Tensor, exact: Tensor) -> float:
    """Return the lowest cosine similarity of the rows of two (N, F) sets of features; 1 for equal rows."""
    cosine = torch.nn.functional.cosine_similarity(fast, exact, dim=1)
    return float(torch.where((fast == exact).all(1), torch.ones_like(cosine), cosine).min())


def _share_of_spread(difference: Tensor, exact: Tensor) -> float:
    spread = (exact - exact.mean(0)).square().mean().sqrt()
    return float(difference.square().mean().sqrt() / spread) if spread > 0 else float("nan")


def _encode(encoder: Encoder, frames: NDArray[np.uint8]) -> Tensor:
    """Encode frames; say in one line why where the compiler fails."""
    try:
        return encoder.encode(frames)
    except EncoderError:
        raise
    except Exception as error:
        if not encoder.compiled or is_out_of_memory(error):
            raise
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise PrecisionRefused(
            f"encoder '{encoder.name}': torch.compile cannot compile it here ({reason[:200]}); run without compiling"
        ) from error


def _require_compiler(device: torch.device) -> None:
    """Raise unless torch.compile has what it needs.

    Raises:
        PrecisionRefused: it has not; the message names what is missing.
    """
    variable, programs = ("CC", ("cc", "gcc", "clang")) if device.type == "cuda" else ("CXX", ("g++", "clang++", "c++"))
    if not any(shutil.which(program) for program in (os.environ.get(variable) or programs[0], *programs)):
        raise PrecisionRefused(f"compiling needs one of the compilers {', '.join(programs)}; run without compiling")
    if device.type == "cuda" and importlib.util.find_spec("triton") is None:
        raise PrecisionRefused("compiling for a GPU needs triton, which is not installed; run without compiling")
