"""Pictures of an adaptation: how held-out frames are drawn, and where keypoints lie.

Source: H-InDex, figure 10.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ..store import atomic
from ..store.video import png

TILE = 224
GUTTER, HEADING = 6, 26
DOT = 4
TITLES = ("source", "target", "reconstruction", "keypoints of the target")

Pixels = NDArray[np.uint8]


def strip(rows: Sequence[tuple[Pixels, Pixels, Pixels, NDArray[Any]]]) -> Image.Image:
    """Draw source, target, reconstruction and keypoints side by side, one pair per row.

    Args:
        rows: (S, S, 3) uint8 three times, and keypoints (K, 2), row and column in pixels of these.
    """
    step = TILE + GUTTER
    picture = Image.new("RGB", (len(TITLES) * step - GUTTER, HEADING + len(rows) * step - GUTTER), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(15)
    for column, title in enumerate(TITLES):
        pen.text((column * step + 2, 4), title, fill=(24, 24, 27), font=font)
    for number, (source, target, drawn, keypoints) in enumerate(rows):
        tiles = (_tile(source), _tile(target), _tile(drawn), with_keypoints(target, keypoints))
        for column, tile in enumerate(tiles):
            picture.paste(tile, (column * step, HEADING + number * step))
    return picture


def with_keypoints(frame: Pixels, keypoints: NDArray[Any]) -> Image.Image:
    """Draw keypoints (K, 2) on a frame (S, S, 3) uint8 at 224 pixels, each in the colour of its number."""
    tile = _tile(frame)
    pen, scale = ImageDraw.Draw(tile), TILE / frame.shape[0]
    for number, (row, column) in enumerate(keypoints):
        x, y = (column + 0.5) * scale, (row + 0.5) * scale
        red, green, blue = colorsys.hsv_to_rgb(number / len(keypoints), 0.9, 1.0)
        colour = (round(255 * red), round(255 * green), round(255 * blue))
        pen.ellipse((x - DOT, y - DOT, x + DOT, y + DOT), fill=colour, outline="white")
    return tile


def unbounded(images: NDArray[np.floating[Any]]) -> Pixels:
    """Convert unbounded images (N, 3, S, S) to (N, S, S, 3) uint8."""
    clipped = (np.clip(images, 0.0, 1.0) * 255.0).round().astype(np.uint8)
    return np.ascontiguousarray(clipped.transpose(0, 2, 3, 1))


def save(path: Path, picture: Image.Image) -> None:
    """Write a picture as PNG.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic.naming_failures(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(path, png(np.asarray(picture)))


def _tile(frame: Pixels) -> Image.Image:
    tile = Image.fromarray(frame)
    return tile if tile.width == TILE else tile.resize((TILE, TILE), Image.Resampling.BILINEAR)
