"""Measure encoders in PyTorch's float32 and in the fast way: their speed, and how close their features stay."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

import tasks
from encoders import Encoder, GateReport
from encoders.backend import TORCH, backends_to_try
from encoders.precision import FLOAT32, resolve_precision
from encoders.precision_check import check_precision, set_precision
from tasks.demonstrations.rollout import collect

from ..doctor import require_gl
from ..rollout.slots import Frames, SceneSettings
from ..runner.precision import demonstrated_frames

TASKS = ("door", "pen", "relocate-mug")
ACTS = 40  # control steps of an expert that the frames are taken from
SECONDS = 1.0

SMALLER_BATCHES = ((500_000_000, 3), (50_000_000, 6))
"""Parameters from which a batch is smaller on a CPU; three frames are one of every task."""


@dataclass(frozen=True)
class Speed:
    """One encoder on one device.

    Attributes:
        title: the encoder, with what its weights are.
        batch: images in a batch; the features were compared on as many frames.
        exact: images a second by PyTorch in float32.
        fast: images a second in the fast way; None where that is PyTorch in float32.
        gate: the comparison of the features; None likewise.
    """

    title: str
    batch: int
    exact: float
    fast: float | None
    gate: GateReport | None


def measure(
    encoder: Encoder,
    title: str,
    frames: Frames,
    *,
    precision: str,
    batch: int,
    backend: str = TORCH,
    compiled: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> Speed:
    """Time an encoder on task frames, and compare its features in both ways of computing.

    Args:
        encoder: on its device; left computing in the fast way.
        title: its name, with what its weights are.
        frames: (N, 224, 224, 3) uint8 from `task_frames`.
        precision: the fast format, one of `encoders.precision.PRECISIONS`.
        batch: images in a batch, at most ``len(frames)``; fewer for large networks on a CPU.
        backend: what computes in the fast way, one of `encoders.backend.BACKENDS`.
        compiled: whether the network is compiled for the fast format.
        clock: seconds; `time.process_time` counts the processor's own, of all threads, on a machine with other work.
    """
    numbers = sum(parameter.numel() for parameter in encoder.parameters())
    if encoder.device.type == "cpu":
        batch = next((min(batch, fewer) for least, fewer in SMALLER_BATCHES if numbers >= least), batch)
    images = frames[:batch]
    resolved = resolve_precision(precision, encoder.device)
    library = backends_to_try(backend, encoder.device)[0]
    if resolved == FLOAT32 and library == TORCH and not compiled:
        encoder.encode(images).cpu()
        return Speed(title, len(images), images_per_second(encoder, images, clock), None, None)
    gate = check_precision(encoder, images, resolved, compiled=compiled, backend=library)  # which also warms up
    exact = images_per_second(encoder, images, clock)
    set_precision(encoder, resolved, compiled=compiled, backend=library)
    if compiled or library != TORCH:
        encoder.encode(images).cpu()
    return Speed(title, len(images), exact, images_per_second(encoder, images, clock), gate)


def images_per_second(encoder: Encoder, images: Frames, clock: Callable[[], float]) -> float:
    """Return the rate of the fastest batch within a second; other work on the machine only slows batches down."""
    best, began = float("inf"), clock()
    while best == float("inf") or clock() - began < SECONDS:
        before = clock()
        encoder.encode(images).cpu()  # waits for the device
        best = min(best, clock() - before)
    return len(images) / best


def task_frames(count: int) -> Frames:
    """Render frames of three tasks in turn, (count, 224, 224, 3) uint8, along an expert's episodes.

    Raises:
        GraphicsError: nothing can be rendered here.
    """
    require_gl()
    seen = [_frames_of(name) for name in TASKS]
    in_turn = np.stack(seen, 1).reshape(-1, *seen[0].shape[1:])
    return np.resize(in_turn, (count, *in_turn.shape[1:]))


def _frames_of(name: str) -> Frames:
    demonstrations = collect(
        tasks.make(name, slots=2),
        tasks.expert(name),
        episodes=2,
        first_seed=0,
        horizon=ACTS,
        successful_only=False,
    )
    return demonstrated_frames(demonstrations, SceneSettings(task=name, slots=2))


def markdown(rows: Sequence[Speed]) -> list[str]:
    """Return a table in Markdown, as lines."""
    lines = [
        "| encoder | batch | float32, images/s | images/s | fast way | lowest cosine | error / spread | largest |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        start = f"| {row.title} | {row.batch} | {row.exact:.3g} |"
        if row.gate is None or row.fast is None:
            lines.append(f"{start} | float32 | | | |")
            continue
        refused = "" if row.gate.passed else " (refused)"
        errors = ("" if np.isnan(each) else f"{each:.2%}" for each in (row.gate.error, row.gate.largest))
        lines.append(
            f"{start} {row.fast:.3g} | {row.gate.way}{refused} | {row.gate.cosine:.6f} | {' | '.join(errors)} |"
        )
    return lines
