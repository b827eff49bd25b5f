"""A sheet of rendered hands, to see what Stage 1 trains on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.hand_images.images import HandImages

from ..store import atomic
from ..store.video import png

SIDE = 8
WRIST_COLOUR = (255, 255, 255)
FINGER_COLOURS = ((255, 0, 0), (0, 255, 0), (0, 128, 255), (255, 255, 0), (255, 0, 255))


def preview(file: Path, size: int, seed: int, device: int | None = None) -> None:
    """Write 64 images, the keypoints drawn into every other one: the wrist, and each finger in a colour.

    Args:
        file: a PNG.
        size: of an image in pixels.
        seed: of what is drawn.
        device: the EGL device to try first.

    Raises:
        RenderError: no OpenGL context can be had.
        OutputError: the file cannot be written.
    """
    with HandImages(seed, size, device, multisampling=4) as generator:
        batch = generator.batch(SIDE * SIDE)
    images = batch.images
    colours = [WRIST_COLOUR, *(tuple(colour) for colour in np.repeat(FINGER_COLOURS, 4, axis=0))]
    for image, points in zip(images[1::2], batch.points[1::2], strict=True):
        for (column, row), colour in zip((points * size).astype(int), colours, strict=True):
            if 0 <= column < size and 0 <= row < size:
                image[row : row + 2, column : column + 2] = colour
    sheet = images.reshape(SIDE, SIDE, size, size, 3).swapaxes(1, 2).reshape(SIDE * size, SIDE * size, 3)
    atomic.write_bytes(file, png(sheet))
