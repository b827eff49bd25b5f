"""Where hand and handled object are in the frames of Stage 2, and how many keypoints lie on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tasks
from tasks.base import Task
from tasks.engine import mujoco
from tasks.rendering.render import AS_COLOURS, CROP, Renderer
from tasks.scene.subtrees import geoms_of

from ..intervals import interval
from .frames import AdaptFrames, FrameSettings

FRAMES = 10

Masks = NDArray[np.bool_]


class Segmenter(Renderer):
    """Draws which geoms a camera sees, with the whole meshes: the frustum and the pixels of ``shadows`` frames.

    Args:
        model: the scene.
        camera: name of the camera.
        geoms: (ngeom,) bool, those to find.
        device: the EGL device to try first.
        translucent: names of sites that geoms are seen through.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        camera: str,
        geoms: Masks,
        device: int | None = None,
        translucent: Sequence[str] = (),
    ) -> None:
        super().__init__(model, camera, "shadows", device)
        for site in translucent:
            self.model.site_rgba[self.model.site(site).id, 3] = 0.0
        for flag, value in AS_COLOURS.items():
            self._scene.flags[flag] = value
        self._geoms = geoms

    def mask(self, data: mujoco.MjData) -> Masks:
        """Return (224, 224) bool: the pixels that show one of the geoms."""
        red, green, blue = np.moveaxis(self.render(data).astype(np.int64), -1, 0)
        shown = red + 256 * green + 65536 * blue
        chosen = np.zeros(self._scene.ngeom + 1, bool)
        for drawn in self._scene.geoms[: self._scene.ngeom]:
            if drawn.objtype == mujoco.mjtObj.mjOBJ_GEOM and drawn.segid >= 0:
                chosen[drawn.segid + 1] = self._geoms[drawn.objid]
        mask: Masks = chosen[shown]
        return mask


def hand_and_object(task: Task) -> Masks:
    """Return (ngeom,) bool: the geoms of the hand and of what it handles."""
    return geoms_of(task.model, task.subject.hand.root, task.subject.handled)


def even_steps(frames: AdaptFrames, count: int = FRAMES) -> NDArray[np.int64]:
    """Return (E, count) evenly spaced frames of each video."""
    return np.stack([np.linspace(0, int(last) - 1, count).round().astype(np.int64) for last in frames.lengths])


def masks(
    settings: FrameSettings, frames: AdaptFrames, steps: NDArray[np.int64], egl_device: int | None = None
) -> Masks:
    """Repeat the actions of the videos, and draw hand and object.

    Args:
        settings: of the frames.
        frames: the videos.
        steps: (E, F) frames of each.
        egl_device: the EGL device that draws.

    Returns:
        (E, F, 224, 224).
    """
    count = len(frames)
    drawn = np.zeros((*steps.shape, CROP, CROP), bool)
    task = tasks.make(settings.task, slots=count, physics=settings.physics, objects=settings.objects)
    data = mujoco.MjData(task.model)
    task.reset(frames.seeds)
    segmenter = Segmenter(task.model, settings.camera_name, hand_and_object(task), egl_device, task.subject.translucent)
    with segmenter:
        for step in range(int(steps.max()) + 1):
            if step:
                running = [slot for slot in range(count) if step < int(frames.lengths[slot])]
                task.step(frames.actions[running, step - 1].astype(np.float64), running)
            for slot, place in np.argwhere(steps == step):
                task.load_data(int(slot), data)
                drawn[slot, place] = segmenter.mask(data)
    return drawn


def hits(keypoints: NDArray[np.floating[Any]], masks: Masks, size: int) -> Masks:
    """Return which keypoints lie on a mask.

    Args:
        keypoints: (N, K, 2) row and column in pixels of frames of ``size``.
        masks: (N, H, H).
        size: height and width of those frames.

    Returns:
        (N, K).
    """
    side = masks.shape[-1]
    cells = np.clip(((keypoints + 0.5) * side / size).astype(np.int64), 0, side - 1)
    on_mask: Masks = masks[np.arange(len(masks))[:, None], cells[..., 0], cells[..., 1]]
    return on_mask


@dataclass(frozen=True)
class Hits:
    """Keypoints on hand or object.

    Attributes:
        on: (E, F, K), see `hits`.
        masks: (E, F, H, H); their mean is the rate of uniformly placed points.
    """

    on: Masks
    masks: Masks

    def summary(self) -> dict[str, dict[str, float]]:
        """Return the share of keypoints on hand or object against that of uniformly placed points, for JSON."""
        rate, uniform = self.on.mean(axis=(1, 2)), self.masks.mean(axis=(1, 2, 3))
        rows = {"keypoints": rate, "uniform_points": uniform, "difference": rate - uniform}
        return {name: interval(values)._asdict() for name, values in rows.items()}


def together(parts: Sequence[Hits]) -> Hits:
    """Pool the hits of several tasks as if their episodes were one task's."""
    return Hits(np.concatenate([one.on for one in parts]), np.concatenate([one.masks for one in parts]))
