"""What differs from one rendered hand to the next, drawn for many images at once.

Half of the views are those of the tasks' cameras (``../shared/spec/tasks.md`` section 2), shaken; the others come from
all around. The hand fills three quarters of the frame down to a sixth of it, as in the tasks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from ..rendering.render import crop_angle
from .scene import SOLIDS, SceneIndex

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Generator = np.random.Generator

# Columns: the hand's x, y (back of the hand) and z (fingers) in the world, as the tasks hold it at rest.
PALM_DOWN = ((-1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, 1.0, 0.0))
PALM_UP = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0))
ORIENTATION_SHARES = (0.5, 0.15, 0.35)
SHAKE = 0.4

# Looking direction and upward direction of the tasks' cameras: top, pen and front, back, side.
TASK_VIEWS = (
    ((0.0, 0.0, -1.0), (0.0, -1.0, 0.0)),
    ((0.0, 0.707, -0.707), (0.0, 0.707, 0.707)),
    ((0.0, -0.540, -0.841), (0.0, -0.841, 0.540)),
    ((0.866, 0.433, -0.25), (0.211, 0.136, 0.968)),
)
VIEW_SHARES = (0.3, 0.2, 0.35, 0.15)
TASK_VIEW_SHARE = 0.5
VIEW_SHAKE = 0.15
FIELD_OF_VIEW = crop_angle(45.0)
HAND_LENGTH = 0.19
FILLED = (0.17, 0.75)
HAND_COLOUR = (0.9, 0.7, 0.5)

# Joints by their place among the hand's 24: of each finger, the sideways one and the three that bend.
FINGER_JOINTS = ((2, 3, 4, 5), (6, 7, 8, 9), (10, 11, 12, 13), (15, 16, 17, 18))
PALM_ARCH = 14
THUMB_JOINTS = (19, 20, 21, 22, 23)
# Which end of its range each of the thumb's joints has in a closed grasp.
THUMB_CLOSED = (0.9, 0.9, 0.5, 0.8, 0.2)
THUMB_OPEN = (0.5, 0.0, 0.5, 0.5, 1.0)
POSE_SHARES = (0.2, 0.3, 0.25, 0.25)


class View(NamedTuple):
    """Cameras that look at the origin: the palm.

    Attributes:
        rotation: (n, 3, 3) columns right, up and backwards in the world.
        position: (n, 3) metres.
        field_of_view: (n,) degrees.
        distance: (n,) of the palm, metres.
    """

    rotation: FloatArray
    position: FloatArray
    field_of_view: FloatArray
    distance: FloatArray


class Things(NamedTuple):
    """Solids: (n, 7, ...) positions, rotations, half sizes in metres, and which of them are there."""

    position: FloatArray
    rotation: FloatArray
    size: FloatArray
    shown: BoolArray


def draw_angles(generator: Generator, n: int, ranges: FloatArray) -> FloatArray:
    """Joint angles (n, 24) in radians within ``ranges`` (24, 2).

    One of four kinds an image: every joint by itself; all fingers bent alike (fists, grasps, flat hands); each finger
    either bent or stretched (pinches, pointing); nearly at rest, as the tasks' episodes begin.
    """
    low, high = ranges.T
    alone = generator.uniform(0.0, 1.0, (n, len(low)))
    kind = generator.choice(len(POSE_SHARES), n, p=POSE_SHARES)
    share = np.full((n, len(low)), 0.5)
    rest = -low / (high - low)

    common = generator.beta(0.8, 0.8, (n, 1))
    each = np.where(generator.random((n, 5)) < 0.5, generator.beta(1, 6, (n, 5)), generator.beta(6, 2, (n, 5)))
    bent = np.where((kind == 1)[:, None], common + generator.normal(0.0, 0.1, (n, 5)), each)
    for finger, (side, *joints) in enumerate(FINGER_JOINTS):
        share[:, side] = 0.5 + generator.normal(0.0, 0.2, n)
        share[:, joints] = bent[:, finger, None] + generator.normal(0.0, 0.12, (n, 3))
    share[:, PALM_ARCH] = np.abs(generator.normal(0.0, 0.4, n))
    thumb = np.array(THUMB_OPEN) + bent[:, 4, None] * (np.array(THUMB_CLOSED) - THUMB_OPEN)
    share[:, THUMB_JOINTS] = thumb + generator.normal(0.0, 0.15, thumb.shape)
    share[:, :2] = rest[:2] + generator.normal(0.0, 0.25, (n, 2))

    spread = 0.15 * generator.random((n, 1))
    restful = rest + spread * generator.standard_normal(share.shape)
    chosen = np.select([(kind == 0)[:, None], (kind == 3)[:, None]], [alone, restful], share)
    angles: FloatArray = low + (high - low) * chosen.clip(0.0, 1.0)
    return angles


def draw_orientations(generator: Generator, n: int) -> FloatArray:
    """Draw orientations of the hand: (n, 3, 3) from its frame to the world; palm down, palm up, or any."""
    held = np.stack([PALM_DOWN, PALM_UP, np.eye(3)])[generator.choice(3, n, p=ORIENTATION_SHARES)]
    anyhow = (held == np.eye(3)).all(axis=(1, 2))
    turn = generator.normal(0.0, SHAKE, (n, 3))
    turn[anyhow] = Rotation.random(int(anyhow.sum()), rng=generator).as_rotvec()
    rotation: FloatArray = Rotation.from_rotvec(turn).as_matrix() @ held
    return rotation


def draw_views(generator: Generator, n: int, hand: FloatArray) -> View:
    """Draw camera positions.

    Args:
        generator: where chance comes from.
        n: how many.
        hand: (n, 3, 3) orientations of the hand; no camera stands inside the forearm, nor straight behind it.
    """
    frames = []
    for direction, up in TASK_VIEWS:
        forward = np.array(direction) / np.linalg.norm(direction)
        right = np.cross(forward, up)
        right /= np.linalg.norm(right)
        frames.append(np.stack([right, np.cross(right, forward), -forward], axis=1))
    shaken = Rotation.from_rotvec(generator.normal(0.0, VIEW_SHAKE, (n, 3))).as_matrix()
    rotation = shaken @ np.stack(frames)[generator.choice(len(frames), n, p=VIEW_SHARES)]
    anywhere = generator.random(n) >= TASK_VIEW_SHARE
    rotation[anywhere] = Rotation.random(int(anywhere.sum()), rng=generator).as_matrix()

    angle = np.where(generator.random(n) < 0.6, FIELD_OF_VIEW, generator.uniform(25.0, 60.0, n))
    tangent = np.tan(np.radians(angle) / 2.0)
    filled = np.exp(generator.uniform(np.log(FILLED[0]), np.log(FILLED[1]), n))
    distance = HAND_LENGTH / (2.0 * filled * tangent)
    behind = -np.einsum("ni,ni->n", rotation[..., 2], hand[..., 2])
    blocked = (behind > 0.85) | ((behind > 0.55) & (distance < 0.6))
    rotation[blocked] *= (-1.0, 1.0, -1.0)
    room = 0.9 * (0.5 - 0.5 * filled) * 2.0 * tangent * distance
    aside = generator.uniform(-1.0, 1.0, (n, 2)) * room[:, None]
    offset = np.concatenate([aside, distance[:, None]], axis=1)
    return View(rotation, np.einsum("nij,nj->ni", rotation, offset), angle, distance)


def draw_things(
    generator: Generator, view: View, keypoints: FloatArray, grasp: FloatArray, table: FloatArray
) -> Things:
    """Solids in the hand, beside it, before it and behind it.

    Args:
        generator: where chance comes from.
        view: the cameras of n images.
        keypoints: (n, 21, 3) in the world.
        grasp: (n, 3) a point before the palm.
        table: (n,) height of the table, -inf where there is none.
    """
    n, m = len(grasp), len(SOLIDS)
    kind = generator.choice(4, (n, m), p=(0.55, 0.15, 0.15, 0.15))
    kind[generator.random(n) < 0.35] = 0
    held = (generator.random(n) < 0.35)[:, None] & (generator.integers(m, size=n)[:, None] == np.arange(m))

    forward = -view.rotation[:, None, :, 2]
    around = generator.standard_normal((n, m, 3))
    around /= np.linalg.norm(around, axis=-1, keepdims=True)
    beside = around * generator.uniform(0.09, 0.3, (n, m, 1))
    point = keypoints[np.arange(n)[:, None], generator.integers(keypoints.shape[1], size=(n, m))]
    share = generator.uniform(0.1, 0.6, (n, m, 1))
    before = point + (view.position[:, None] - point) * share + 0.02 * around
    depth = generator.uniform(0.15, 0.6, (n, m, 1))
    behind = forward * depth + generator.uniform(-0.4, 0.4, (n, m, 3))
    inside = grasp[:, None] + generator.normal(0.0, 0.012, (n, m, 3))
    position = np.select(
        [held[..., None], kind[..., None] == 1, kind[..., None] == 2], [inside, beside, before], behind
    )

    unit = generator.uniform(0.0, 1.0, (n, m, 3))
    size = np.select(
        [held[..., None], kind[..., None] == 1, kind[..., None] == 2],
        [0.012 + unit * (0.02, 0.02, 0.06), 0.015 + 0.045 * unit, (0.006 + 0.022 * unit) * (1.0 - share)],
        0.02 + unit * 0.3 * depth,
    )
    rotation = Rotation.random(n * m, rng=generator).as_matrix().reshape(n, m, 3, 3)
    # What stands beside or behind does not sink into the table.
    resting = ~held & ((kind == 1) | (kind == 3))
    lifted = np.maximum(position[..., 2], table[:, None] + size.max(axis=-1))
    position[..., 2] = np.where(resting, lifted, position[..., 2])
    clear = np.linalg.norm(position - view.position[:, None], axis=-1) > 0.12 + 1.8 * size.max(axis=-1)
    return Things(position, rotation, size, (held | (kind > 0)) & clear)


def draw_colours(generator: Generator, shape: tuple[int, ...]) -> FloatArray:
    """Random colours (..., 4): grey, pale and bright ones; opaque."""
    hue = generator.uniform(0.0, 1.0, (*shape, 3))
    grey = hue.mean(axis=-1, keepdims=True)
    saturation = generator.beta(0.8, 1.0, (*shape, 1))
    value = generator.uniform(0.3, 1.3, (*shape, 1))
    colours = ((grey + (hue - grey) * saturation * 1.6) * value).clip(0.02, 1.0)
    return np.concatenate([colours, np.ones((*shape, 1))], axis=-1)


def draw_hand_colours(generator: Generator, n: int) -> FloatArray:
    """Draw the hand's colours (n, 4): half of them its own, a quarter near it, a quarter any."""
    own = np.broadcast_to((*HAND_COLOUR, 1.0), (n, 4))
    near = own.copy()
    near[:, :3] = (near[:, :3] * generator.normal(1.0, 0.12, (n, 3)) * generator.uniform(0.5, 1.1, (n, 1))).clip(0, 1)
    which = generator.choice(3, n, p=(0.5, 0.25, 0.25))[:, None]
    return np.select([which == 0, which == 1], [own, near], draw_colours(generator, (n,)))


def draw_tints(generator: Generator, shape: tuple[int, ...]) -> FloatArray:
    """Draw factors for the colours of pictures: mostly 1, else a colour."""
    white = generator.random((*shape, 1)) < 0.6
    return np.where(white, 1.0, 0.3 + 0.7 * draw_colours(generator, shape))


def draw_materials(
    generator: Generator, shape: tuple[int, ...], index: SceneIndex, plane: bool
) -> npt.NDArray[np.intp]:
    """Materials, a quarter of them without a picture."""
    choice = generator.choice(index.plane_materials if plane else index.cube_materials, shape)
    return np.where(generator.random(shape) < 0.25, index.plain, choice)
