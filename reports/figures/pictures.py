"""Pictures of run folders: read, cut into frames, shrunk, and shown on a figure."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, UnidentifiedImageError

from . import style
from .style import COLUMN, MUTED, SMALL

Picture = npt.NDArray[np.uint8]

UNREADABLE: tuple[type[Exception], ...] = (
    *(OSError, ValueError, TypeError, LookupError, SyntaxError, EOFError, OverflowError, MemoryError),
    *(struct.error, zlib.error, UnidentifiedImageError, Image.DecompressionBombError),
)
"""What reading a damaged picture may raise."""

PIXELS = 150
"""Height of a picture on a figure, in pixels: some 200 per inch."""

MOST_PIXELS = 40_000_000
"""Pixels of a picture at most; frames have a few hundred thousand."""

MOST_FRAMES = 24
"""Frames of a film strip at most."""


def read_picture(path: Path, height: int) -> Picture | None:
    """Return an RGB picture (height, width, 3) no higher than `height` pixels; None where it cannot be read."""
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
    """Return the square frames that stand side by side in a film strip, the first of them where there are very many."""
    side = strip.shape[0]
    count = min(MOST_FRAMES, max(1, strip.shape[1] // side))
    return [strip[:, k * side : (k + 1) * side] for k in range(count)]


def jpeg(picture: Picture, quality: int = 82) -> bytes:
    """Return the picture as a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality, optimize=True, progressive=True)
    return buffer.getvalue()


def picture_grid(
    pictures: Sequence[tuple[str, Path]], width: float, across: tuple[int, int], height: int = PIXELS
) -> Figure:
    """Draw pictures in a grid, each below its title.

    Args:
        pictures: titles and paths.
        width: of the figure in inches.
        across: how many stand side by side in one column, and on both.
        height: of a picture in pixels, at most.
    """
    columns = max(1, min(len(pictures), across[0] if width <= COLUMN else across[1]))
    rows = max(1, -(-len(pictures) // columns))
    figure = style.canvas(width, (width / columns + 0.17) * rows + 0.22)
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes, (title, path) in zip(panels.flat, pictures, strict=False):
        show(axes, read_picture(path, height))
        axes.set_title(title, fontsize=SMALL)
    for axes in panels.flat[len(pictures) :]:
        axes.set_visible(False)
    return figure


def show(axes: Axes, picture: Picture | None, instead: str = "") -> None:
    """Show a picture, or words instead of it."""
    axes.set_axis_off()
    if picture is None:
        axes.set_aspect("equal")
        axes.text(0.5, 0.5, instead.replace(" ", "\n"), ha="center", va="center", fontsize=SMALL, color=MUTED)
    else:
        axes.imshow(picture)
