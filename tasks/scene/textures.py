"""The pictures on tables, legs and floors, as (H, W, 3) uint8 arrays.

The paper's arenas wear texture files that are not ours to ship. Four of them lie in the hand's package; the other nine
are drawn here, from fixed random generators, with the originals' mean colour and contrast.

Source: ``../shared/spec/tasks.md`` section 8 gives the colours, and the release's frames the layout of the floor.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

import imageio.v3 as iio
import numpy as np
import numpy.typing as npt

from ..errors import TaskError
from .hand import folder

Image = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float64]

SIZE = 256
CERAMIC_SIZE = 384
FLOOR_TILES, FLOOR_TILE_SIZE, FLOOR_STRIPS = 3, 128, 5


class Look(NamedTuple):
    """Statistics of the original texture's pixels.

    Attributes:
        mean: red, green and blue in [0, 1].
        contrast: standard deviation over the pixels, averaged over the colours.
    """

    mean: tuple[float, float, float]
    contrast: float


# The contrast of cream-plaster is a guess.
LOOKS = MappingProxyType(
    {
        "ceramic": Look((0.975, 0.973, 0.955), 0.0133),
        "steel-brushed": Look((0.714, 0.714, 0.714), 0.07),
        "granite": Look((0.697, 0.746, 0.731), 0.13),
        "floor1": Look((0.716, 0.682, 0.656), 0.05),
        "light_wood": Look((0.810, 0.655, 0.443), 0.04),
        "metal": Look((0.423, 0.423, 0.423), 0.085),
        "purple": Look((0.431, 0.204, 0.502), 0.0),
        "cream-plaster": Look((0.916, 0.899, 0.840), 0.02),
        "wood-tiles": Look((0.746, 0.543, 0.332), 0.13),
    }
)

# The same picture under its name in the release and in the hand's package.
FILES = MappingProxyType({"woodr": "wood.png", "silverRaw": "silverRaw.png", "woodb": "woodb.png", "foil": "foil.png"})


@cache
def texture(name: str) -> Image:
    """Return a texture by the name of its file in the release: (H, W, 3) uint8, read-only, the same at every call.

    Raises:
        TaskError: there is none of this name.
        AssetError: the hand's package is missing or changed.
    """
    if name in FILES:
        image: Image = iio.imread(folder() / "resources" / "textures" / FILES[name])[..., :3].copy()
    elif name in PATTERNS:
        image = painted(PATTERNS[name](np.random.default_rng(list(name.encode()))), LOOKS[name])
    else:
        raise TaskError(f"unknown texture {name!r}; available: {', '.join((*PATTERNS, *FILES))}")
    image.setflags(write=False)
    return image


def painted(pattern: FloatArray, look: Look) -> Image:
    """Colour a pattern.

    Args:
        pattern: (H, W) or (H, W, 3), brighter where larger; its scale and zero do not matter.
        look: the colours and contrast to meet.

    Returns:
        (H, W, 3) uint8.
    """
    waves = np.moveaxis(np.atleast_3d(pattern), -1, 0).astype(np.float32)
    waves = waves - waves.mean(axis=(1, 2), keepdims=True)
    spread = float(waves.std(axis=(1, 2)).mean())
    if spread:
        waves *= 255.0 * look.contrast / spread
    image = np.empty((*pattern.shape[:2], 3), np.uint8)
    for colour, mean in enumerate(look.mean):
        wave = waves[min(colour, len(waves) - 1)]
        # Clipping moves the mean; the half is for rounding.
        levels = (wave + 255.0 * mean).clip(0.0, 255.0)
        levels = (wave + (2.0 * 255.0 * mean - levels.mean() + 0.5)).clip(0.0, 255.0)
        image[..., colour] = levels
    return image


def noise(generator: np.random.Generator, rows: float, columns: float, size: int = SIZE) -> FloatArray:
    """Seamless random waves of mean 0 and variance 1.

    Args:
        generator: where they come from.
        rows: how smooth they are from row to row: the deviation in pixels of a Gaussian.
        columns: and from column to column.
        size: height and width in pixels.
    """
    spectrum = np.fft.rfft2(generator.standard_normal((size, size)))
    across, along = np.fft.fftfreq(size)[:, None] * rows, np.fft.rfftfreq(size) * columns
    field = np.fft.irfft2(spectrum * np.exp(-2.0 * np.pi**2 * (across**2 + along**2)), s=(size, size))
    field -= field.mean()
    smooth: FloatArray = field / field.std()
    return smooth


def ceramic(generator: np.random.Generator) -> FloatArray:
    """A slow shade, darker towards the lower edge and towards the left one; no grain, as in the paper's frames."""
    x, y = np.linspace(-1.0, 1.0, CERAMIC_SIZE), np.linspace(1.0, -1.0, CERAMIC_SIZE)[:, None]
    shade = 0.018 * y + 0.0075 * x - 0.014 * y**2 - 0.0065 * x**2 + 0.003 * x * y
    pattern: FloatArray = shade + 0.003 * generator.standard_normal((CERAMIC_SIZE, CERAMIC_SIZE))
    return pattern


def steel_brushed(generator: np.random.Generator) -> FloatArray:
    """Long, soft horizontal scratches over a slow sheen."""
    return 0.9 * noise(generator, 0.3, 50.0) + 0.3 * noise(generator, 1.5, 90.0) - 0.2 * noise(generator, 12.0, 40.0)


def metal(generator: np.random.Generator) -> FloatArray:
    """Short, sharp horizontal scratches, some of them deep."""
    scratches = noise(generator, 0.3, 24.0)
    pattern: FloatArray = 0.9 * scratches - 0.2 * scratches.clip(max=-1.0) ** 2 + 0.35 * noise(generator, 2.0, 60.0)
    return pattern


def granite(generator: np.random.Generator) -> FloatArray:
    """Clouds, pale crystals, and dark speckles of three sizes."""
    stone = 0.25 * noise(generator, 14.0, 14.0) + 0.30 * noise(generator, 1.2, 1.2) + 0.2 * noise(generator, 0.4, 0.4)
    for size, rarity, depth in ((0.8, 1.3, 1.3), (1.6, 1.5, 1.7), (3.0, 1.9, 1.5)):
        stone -= depth * ((noise(generator, size, size) - rarity) * 2.5).clip(0.0, 1.0)
    pattern: FloatArray = stone[..., None] * np.array([1.04, 0.97, 0.99])
    return pattern


def floor1(generator: np.random.Generator) -> FloatArray:
    """Four by four mottled tiles, each of its own shade, between dark joints."""
    tile = SIZE // 4
    shades = np.kron(generator.standard_normal((4, 4)), np.ones((tile, tile)))
    mottling = noise(generator, 4.0, 4.0) + 0.7 * noise(generator, 0.8, 0.8)
    return 0.4 * shades + 0.35 * mottling - 4.5 * joints(SIZE, tile, 1.2)


def joints(size: int, tile: int, width: float) -> FloatArray:
    """(size, size): 1 in the joints of square tiles, 0 elsewhere, soft between; ``width`` pixels lie in either tile."""
    position = (np.arange(size) + 0.5) % tile
    line = (width + 0.5 - np.minimum(position, tile - position)).clip(0.0, 1.0)
    grid: FloatArray = np.maximum(line[:, None], line)
    return grid


def light_wood(generator: np.random.Generator) -> FloatArray:
    """Growth rings cut lengthwise, streaks and short pores along the rows."""
    rows = np.arange(SIZE)[:, None] / SIZE
    rings = np.sin(2.0 * np.pi * (9.0 * rows + 0.7 * noise(generator, 22.0, 90.0)))
    streaks = 0.8 * noise(generator, 1.0, 70.0) + 0.5 * noise(generator, 5.0, 110.0)
    pores = (noise(generator, 0.4, 6.0) - 1.2).clip(min=0.0)
    pattern: FloatArray = (0.45 * rings + streaks - 1.1 * pores)[..., None] * np.array([0.85, 1.0, 1.15])
    return pattern


def purple(_generator: np.random.Generator) -> FloatArray:
    """Return no pattern."""
    return np.zeros((SIZE, SIZE))


def cream_plaster(generator: np.random.Generator) -> FloatArray:
    """Trowelled bumps, lit from the upper left."""
    bumps = noise(generator, 2.5, 2.5) + 0.8 * noise(generator, 6.0, 9.0)
    relief = bumps - np.roll(bumps, (2, 2), axis=(0, 1))
    pattern: FloatArray = relief / relief.std() + 0.5 * noise(generator, 20.0, 20.0)
    return pattern


def wood_tiles(generator: np.random.Generator) -> FloatArray:
    """Parquet: squares of strips whose grain runs along the columns and the rows by turns, between dark joints."""
    tile = FLOOR_TILE_SIZE
    size = FLOOR_TILES * tile
    strip = np.arange(tile) * FLOOR_STRIPS // tile
    light = 0.35 * noise(generator, 0.8, 25.0, size) + 0.5 * noise(generator, 4.0, 60.0, size)
    hue = 0.5 * light[::-1]
    for row in range(FLOOR_TILES):
        for column in range(FLOOR_TILES):
            square = slice(row * tile, (row + 1) * tile), slice(column * tile, (column + 1) * tile)
            for waves in (light, hue):
                shades = 0.5 * generator.standard_normal() + 0.5 * generator.standard_normal(FLOOR_STRIPS)
                waves[square] += shades[strip, None]
                if (row + column) % 2 == 0:
                    waves[square] = waves[square].T.copy()
    light -= 5.0 * joints(size, tile, 1.3)
    # Lighter and darker wood; redder and yellower.
    pattern: FloatArray = light[..., None] * np.array([0.85, 1.0, 0.95]) + hue[..., None] * np.array([0.25, -0.1, -0.5])
    return pattern


PATTERNS: MappingProxyType[str, Callable[[np.random.Generator], FloatArray]] = MappingProxyType(
    {
        "ceramic": ceramic,
        "steel-brushed": steel_brushed,
        "granite": granite,
        "floor1": floor1,
        "light_wood": light_wood,
        "metal": metal,
        "purple": purple,
        "cream-plaster": cream_plaster,
        "wood-tiles": wood_tiles,
    }
)
