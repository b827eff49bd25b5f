"""Pictures of run folders, small enough for a page: read, cut into frames, shrunk."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

Picture = npt.NDArray[np.uint8]

UNREADABLE: tuple[type[Exception], ...] = (
    *(OSError, ValueError, TypeError, LookupError, SyntaxError, EOFError, OverflowError, MemoryError),
    *(struct.error, zlib.error, UnidentifiedImageError, Image.DecompressionBombError),
)
"""What reading a damaged picture may raise."""

MOST_PIXELS = 40_000_000
"""Pixels of a picture at most; frames have a few hundred thousand."""

MOST_FRAMES = 24
"""Frames of a film strip at most."""


def read_picture(path: Path, height: int) -> Picture | None:
    """An RGB picture (height, width, 3) no higher than `height` pixels; None where it cannot be read."""
    try:
        with Image.open(path) as file:
            if file.width * file.height > MOST_PIXELS or file.width > 4 * MOST_FRAMES * file.height:
                return None
            picture = file.convert("RGB")
            if picture.height > height:
                size = (max(1, round(picture.width * height / picture.height)), height)
                picture = picture.resize(size, Image.Resampling.LANCZOS)
            return np.asarray(picture)
    except UNREADABLE:
        return None


def strip_frames(strip: Picture) -> list[Picture]:
    """The square frames that stand side by side in a film strip, the first of them where there are very many."""
    side = strip.shape[0]
    count = min(MOST_FRAMES, max(1, strip.shape[1] // side))
    return [strip[:, k * side : (k + 1) * side] for k in range(count)]


def jpeg(picture: Picture, quality: int = 82) -> bytes:
    """The picture as a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality, optimize=True, progressive=True)
    return buffer.getvalue()
