"""How an encoder computes: PyTorch in float32, or something faster that its features are held to.

A faster backend or format is used only after `check_precision` compared its features with those of PyTorch in float32,
frame by frame, on frames that the encoder is going to see. What was used is part of `Encoder.describe`, so of a run's
identity.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .backend import AUTO as ANY_BACKEND
from .backend import OPENVINO, TITLES, TORCH, WITH_TORCH, backends_to_try
from .backends.openvino import compile_forward
from .base import Encoder
from .ema_batchnorm import Scope
from .errors import BackendRefused, EncoderError, PrecisionRefused
from .memory import is_out_of_memory
from .precision import AUTO, FLOAT32, resolve_precision

LEAST_COSINE = 0.999
"""What the cosine similarity of every frame's feature to that of PyTorch in float32 has to exceed."""


@dataclass(frozen=True)
class GateReport:
    """How far an encoder's features are from those of PyTorch in float32, where it computes in a faster way.

    Attributes:
        encoder: its name.
        precision: the format.
        compiled: whether torch compiled the network.
        frames: how many frames were compared.
        cosine: the lowest cosine similarity of a frame's two features.
        error: root mean square difference, as a share of the spread of the features over the frames; NaN where all
            frames have the same feature. A cosine near 1 says little where all features point the same way.
        largest: the largest difference of two numbers, as a share of the same spread.
        finite: whether all features are finite.
        repeatable: whether the faster way gave the same bits twice.
        backend: what computed it.
    """

    encoder: str
    precision: str
    compiled: bool
    frames: int
    cosine: float
    error: float
    largest: float
    finite: bool
    repeatable: bool
    backend: str = TORCH

    @property
    def passed(self) -> bool:
        """Whether this way of computing may be used."""
        return self.finite and self.repeatable and self.cosine > LEAST_COSINE

    @property
    def way(self) -> str:
        """The format and the backend, as messages name them."""
        library = "" if self.backend == TORCH else f" by {TITLES[self.backend]}"
        return f"{self.precision}{library}" + (", compiled" if self.compiled else "")

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


@dataclass(frozen=True)
class Choice:
    """How an encoder computes from now on, and why.

    Attributes:
        report: the last comparison of features, passed or not; None where nothing was compared.
        refused: why faster ways were not taken, a line each.
    """

    report: GateReport | None = None
    refused: tuple[str, ...] = ()


def choose_precision(
    encoder: Encoder,
    asked: str,
    frames: Callable[[], NDArray[np.uint8]],
    *,
    compiled: bool = False,
    backend: str = TORCH,
    moving: Scope | None = None,
    callers: int | None = None,
) -> Choice:
    """Set how an encoder computes, after its features were compared with those of PyTorch in float32.

    An encoder whose BatchNorm statistics move has to choose before they do.

    Args:
        encoder: changed in place, on its device.
        asked: one of `PRECISIONS`. ``auto`` takes what is fast on the device, and float32 where the features do not
            bear it.
        frames: gives (N, 224, 224, 3) uint8 frames; called only where there is something to compare, once.
        compiled: whether torch compiles the network, too; then PyTorch computes under ``auto``.
        backend: one of `encoders.backend.BACKENDS`. ``auto`` takes OpenVINO where it can be used, and PyTorch where the
            features do not bear it or the network cannot be exported.
        moving: which BatchNorm statistics are going to move: where it is the ``stem``'s, OpenVINO computes what comes
            after it; where it is ``all``, PyTorch computes everything.
        callers: threads that will encode at the same time, each on one core; None for one that uses torch's threads.

    Raises:
        PrecisionRefused: the device cannot do it, there is no compiler, or the features are too far off.
        BackendRefused: the backend that was asked for cannot be used here, or not for this network.
    """
    precision = resolve_precision(asked, encoder.device)
    backends = (TORCH,) if compiled and backend == ANY_BACKEND else backends_to_try(backend, encoder.device, moving)
    if compiled and backends != (TORCH,):
        raise BackendRefused(
            "compiled=true is torch's compiler, which backend 'openvino' does without; use one of them"
        )
    precisions = [precision, FLOAT32] if asked == AUTO and precision != FLOAT32 and not compiled else [precision]
    seen: NDArray[np.uint8] | None = None
    report: GateReport | None = None
    refused: list[str] = []
    usable = set(backends)
    for each, library in itertools.product(precisions, backends):
        if not encoder.uses_images or ((each, library) == (FLOAT32, TORCH) and not compiled):
            set_precision(encoder, FLOAT32)
            return Choice(report, tuple(refused))
        if library not in usable:
            continue
        seen = frames() if seen is None else seen
        try:
            report = _compare(encoder, seen, each, compiled=compiled, backend=library, moving=moving, callers=callers)
        except BackendRefused as error:
            if backend == OPENVINO:
                raise
            refused.append(str(error).removesuffix(f"; {WITH_TORCH}"))
            usable.remove(library)
            continue
        if report.passed:
            return Choice(report, tuple(refused))
        refused.append(report.verdict())
    set_precision(encoder, FLOAT32)
    remedy = "use --precision float32" if precision != FLOAT32 else WITH_TORCH
    remedy += " and run without compiling" if compiled else ""
    raise PrecisionRefused(f"encoder '{encoder.name}': {refused[-1]}; {remedy}")


def check_precision(
    encoder: Encoder,
    frames: NDArray[np.uint8],
    precision: str,
    *,
    compiled: bool = False,
    backend: str = TORCH,
    moving: Scope | None = None,
    callers: int | None = None,
) -> GateReport:
    """Compare an encoder's features with those of PyTorch in float32; it is left computing in PyTorch as it was.

    Args:
        encoder: on the device that counts.
        frames: (N, 224, 224, 3) uint8, such as it is going to see; encoded as one batch.
        precision: one of `PRECISIONS`.
        compiled: whether torch compiles the network for it.
        backend: ``torch`` or ``openvino``.
        moving: as in `choose_precision`.
        callers: as in `choose_precision`.

    Raises:
        PrecisionRefused: the device cannot do it, or the network cannot be compiled.
        BackendRefused: the network cannot be exported.
    """
    before = encoder.precision, encoder.compiled
    try:
        return _compare(encoder, frames, precision, compiled=compiled, backend=backend, moving=moving, callers=callers)
    finally:
        set_precision(encoder, before[0], compiled=before[1])


def set_precision(
    encoder: Encoder,
    precision: str,
    *,
    compiled: bool = False,
    backend: str = TORCH,
    moving: Scope | None = None,
    callers: int | None = None,
) -> None:
    """Set how an encoder computes, without a look at its features; `choose_precision` has one.

    Raises:
        PrecisionRefused: the device cannot do it, or there is no compiler.
        BackendRefused: the backend cannot be used here, or the network cannot be exported.
    """
    encoder.precision = resolve_precision(precision, encoder.device)
    encoder.backend, encoder.compiled_forward = TORCH, None
    if backend == OPENVINO:
        backends_to_try(OPENVINO, encoder.device, moving)
        # What stays in PyTorch wants channels innermost; OpenVINO takes them outermost.
        encoder.memory_format = torch.channels_last if moving else torch.contiguous_format
        encoder.to(memory_format=encoder.memory_format)
        encoder.compiled_forward = compile_forward(encoder, encoder.precision, stem=moving is not None, callers=callers)
        encoder.backend = OPENVINO
        return
    faster = compiled or encoder.precision != FLOAT32
    # The fast kernels want channels innermost; float32 keeps its layout and so its bits.
    encoder.memory_format = torch.channels_last if faster else encoder.usual_memory_format
    encoder.to(memory_format=encoder.memory_format)
    if compiled:
        _require_compiler(encoder.device)
        # Shapes that may vary from the start: else the bits would depend on which batch sizes came before.
        encoder.compiled_forward = torch.compile(encoder.forward, dynamic=True)


def _compare(
    encoder: Encoder,
    frames: NDArray[np.uint8],
    precision: str,
    *,
    compiled: bool,
    backend: str,
    moving: Scope | None,
    callers: int | None,
) -> GateReport:
    """Compare as `check_precision` does, and leave the encoder computing in the way that was compared."""
    precision = resolve_precision(precision, encoder.device)
    set_precision(encoder, FLOAT32)
    exact = encoder.encode(frames).double()
    try:
        set_precision(encoder, precision, compiled=compiled, backend=backend, moving=moving, callers=callers)
        first, second = (_encode(encoder, frames) for _ in range(2))
    except Exception:
        set_precision(encoder, FLOAT32)
        raise
    fast = first.double()
    return GateReport(
        encoder=encoder.name,
        precision=precision,
        compiled=compiled,
        backend=backend,
        frames=len(frames),
        cosine=lowest_cosine(fast, exact),
        error=_share_of_spread((fast - exact).square().mean().sqrt(), exact),
        largest=_share_of_spread((fast - exact).abs().max(), exact),
        finite=bool(torch.isfinite(fast).all()),
        repeatable=bool(((first == second) | (first.isnan() & second.isnan())).all()),
    )


def lowest_cosine(fast: Tensor, exact: Tensor) -> float:
    """Return the lowest cosine similarity of the rows of two (N, F) sets of features; 1 for equal rows."""
    cosine = torch.nn.functional.cosine_similarity(fast, exact, dim=1)
    return float(torch.where((fast == exact).all(1), torch.ones_like(cosine), cosine).min())


def _share_of_spread(difference: Tensor, exact: Tensor) -> float:
    spread = (exact - exact.mean(0)).square().mean().sqrt()
    return float(difference / spread) if spread > 0 else float("nan")


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
