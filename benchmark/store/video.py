"""The film of an episode and the pictures cut from it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import numpy.typing as npt

from . import atomic

Frame = npt.NDArray[np.uint8]

FRAMES_PER_SECOND = 25
STRIP_FRAMES = 6


def save_film(folder: Path, frames: Sequence[Frame], goals: npt.NDArray[np.bool_]) -> None:
    """Write ``video.mp4`` and ``frames/start.png``, ``goal.png`` (if reached) and ``strip.png``.

    Args:
        folder: the run folder.
        frames: the observed frames (224, 224, 3), one per step.
        goals: (T,) goal flags of these steps.
    """
    save_video(folder / "video.mp4", frames)
    pictures = {"start": frames[0], "strip": film_strip(frames)}
    reached = np.flatnonzero(goals)
    if len(reached):
        # The flag of a step belongs to the frame after it.
        pictures["goal"] = frames[min(int(reached[0]) + 1, len(frames) - 1)]
    (folder / "frames").mkdir(exist_ok=True)
    for name, picture in pictures.items():
        atomic.write_bytes(folder / "frames" / f"{name}.png", png(picture))


def save_video(path: Path, frames: Sequence[Frame]) -> None:
    """Write frames as an H.264 film that browsers play, at a quarter of the simulation's speed."""
    buffer = io.BytesIO()
    imageio.imwrite(
        buffer, np.stack(frames), extension=".mp4", plugin="FFMPEG", fps=FRAMES_PER_SECOND, codec="libx264", quality=7
    )
    atomic.write_bytes(path, buffer.getvalue())


def png(picture: Frame) -> bytes:
    """Return a picture (H, W, 3) uint8 as a PNG file."""
    content: bytes = imageio.imwrite("<bytes>", picture, extension=".png")
    return content


def film_strip(frames: Sequence[Frame], count: int = STRIP_FRAMES) -> Frame:
    """Return evenly spaced frames side by side: (224, count * 224, 3)."""
    chosen = np.linspace(0, len(frames) - 1, count).round().astype(int)
    return np.concatenate([frames[index] for index in chosen], axis=1)
