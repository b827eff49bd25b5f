"""Rendered images of the Adroit hand with its 3D pose, for Stage 1.

Pose, camera, light, colours, background and occluding solids are random; there is no physics. The frame of the labels
is the camera's: x to the right, y down, z away from it.

Differs: the paper's Stage 1 is FrankMocap's hand network, trained on photographs of people; its weights may not be
passed on. These images are of a robot hand, in simulation.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from ..engine import mujoco
from ..errors import RenderError
from ..forks import keep_in_children, require_process
from ..rendering.render import LEFT_BEHIND, open_context
from . import draws
from .scene import CAMERA, HIDDEN, KEYPOINTS, LIGHTS, PALM_FROM_FOREARM, VISIBLE, SceneIndex, build

Floats = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]

GRID = 8
"""Images along each side of the sheet that is drawn before the driver is asked for its pixels."""

MAX_GEOMS = 200
NEAREST = 0.05
FLAGS_OFF = (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION)


class HandBatch(NamedTuple):
    """Images and what they show.

    Attributes:
        images: (n, size, size, 3) uint8 RGB.
        keypoints: (n, 21, 3) float32, metres in the camera's frame, relative to the wrist; see `KEYPOINTS`.
        angles: (n, 24) float32, the hand's joint angles in radians.
        points: (n, 21, 2) float32, where the keypoints are in the image: 0 is its left and upper edge, 1 the others;
            beyond these a keypoint is outside.
    """

    images: npt.NDArray[np.uint8]
    keypoints: Floats
    angles: Floats
    points: Floats


class HandImages:
    """Draws random images of the hand; owns an OpenGL context, so it belongs to one process and thread.

    Args:
        seed: what is drawn depends on it, on the sizes of the batches asked for, and on the driver.
        size: height and width of the images in pixels.
        device: the EGL device to try first.
        multisampling: samples a pixel; 0 draws hard edges.

    Attributes:
        device: what draws.
        joint_ranges: (24, 2) limits of the hand's joints in radians.

    Raises:
        RenderError: no OpenGL context can be had.
    """

    def __init__(self, seed: int | Sequence[int], size: int, device: int | None = None, multisampling: int = 0) -> None:
        self.size = size
        self._generator = np.random.default_rng(seed)
        self._model, self._index = build(self._generator)
        self._data = mujoco.MjData(self._model)
        self.joint_ranges = self._joint_ranges()
        self._model.vis.global_.offwidth = self._model.vis.global_.offheight = GRID * size
        self._model.vis.quality.offsamples = multisampling
        self._context, self.device = open_context(device)
        self._process = os.getpid()
        keep_in_children(self)
        try:
            self._graphics = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_50)
        except mujoco.FatalError as error:
            self._context.free()
            raise RenderError(f"the OpenGL driver ({self.device.name}) cannot draw the hand: {error}") from None
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._graphics)
        self._scene = mujoco.MjvScene(self._model, MAX_GEOMS)
        for flag in FLAGS_OFF:
            self._scene.flags[flag] = 0
        self._options = mujoco.MjvOption()
        self._options.sitegroup[:] = 0
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = self._model.camera(CAMERA).id
        self._pixels = np.empty((GRID * size, GRID * size, 3), np.uint8)

    def batch(self, n: int, out: npt.NDArray[np.uint8] | None = None) -> HandBatch:
        """Draw the next images.

        Args:
            n: how many.
            out: (n, size, size, 3) uint8 to draw into.

        Raises:
            RenderError: the driver returned nothing but black.
            ForkedError: this process was forked from the one that made this object.
        """
        require_process(self._process, LEFT_BEHIND)
        images = np.empty((n, self.size, self.size, 3), np.uint8) if out is None else out
        generator = self._generator
        angles = draws.draw_angles(generator, n, self.joint_ranges)
        hand = draws.draw_orientations(generator, n)
        view = draws.draw_views(generator, n, hand)
        keypoints, grasp = self._keypoints(angles, hand)
        look = _Look(generator, self._index, view, keypoints, grasp)
        self._context.make_current()
        for first in range(0, n, GRID * GRID):
            stop = min(first + GRID * GRID, n)
            for place, number in enumerate(range(first, stop)):
                self._pose(angles[number], hand[number])
                self._dress(look, number)
                self._draw(place)
            self._read(images[first:stop])
        seen = np.einsum("nki,nij->nkj", keypoints - view.position[:, None], view.rotation) * (1.0, -1.0, -1.0)
        tangent = np.tan(np.radians(view.field_of_view) / 2.0)[:, None, None]
        points = 0.5 + seen[..., :2] / (2.0 * tangent * seen[..., 2:].clip(min=NEAREST))
        relative = seen - seen[:, :1]
        return HandBatch(images, *(array.astype(np.float32) for array in (relative, angles, points)))

    def close(self) -> None:
        """Release the graphics memory and the context; in a forked child, which has neither, do nothing."""
        if self._process != os.getpid():
            return
        self._context.make_current()
        self._graphics.free()
        self._context.free()

    def __enter__(self) -> HandImages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _joint_ranges(self) -> FloatArray:
        joints = [self._model.dof_jntid[address] for address in self._index.hand_qpos]
        ranges: FloatArray = self._model.jnt_range[joints]
        return ranges

    def _pose(self, angles: FloatArray, hand: FloatArray) -> None:
        """Put the hand's palm at the origin."""
        index = self._index
        self._data.qpos[index.hand_qpos] = angles
        mujoco.mju_mat2Quat(self._model.body_quat[index.forearm], hand.ravel())
        self._model.body_pos[index.forearm] = -hand @ PALM_FROM_FOREARM
        mujoco.mj_kinematics(self._model, self._data)

    def _keypoints(self, angles: FloatArray, hand: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Keypoints (n, 21, 3) and the point before the palm (n, 3), in the world."""
        n, index, data = len(angles), self._index, self._data
        bodies, tips = np.empty((n, len(index.keypoint_bodies), 3)), np.empty((n, len(index.tips), 3))
        grasp = np.empty((n, 3))
        for number in range(n):
            self._pose(angles[number], hand[number])
            bodies[number] = data.xpos[index.keypoint_bodies]
            tips[number] = data.site_xpos[index.tips]
            grasp[number] = data.site_xpos[index.grasp]
        fingers = np.concatenate([bodies[:, 1:].reshape(n, len(index.tips), -1, 3), tips[:, :, None]], axis=2)
        return np.concatenate([bodies[:, :1], fingers.reshape(n, len(KEYPOINTS) - 1, 3)], axis=1), grasp

    def _dress(self, look: _Look, number: int) -> None:
        """Place and colour everything but the hand's joints."""
        model, data, index = self._model, self._data, self._index
        geoms = look.geoms
        data.geom_xpos[geoms] = look.position[number]
        data.geom_xmat[geoms] = look.rotation[number].reshape(len(geoms), 9)
        model.geom_size[geoms] = look.size[number]
        model.geom_rgba[geoms] = look.colour[number]
        model.geom_matid[geoms] = look.material[number]
        model.geom_group[geoms] = np.where(look.shown[number], VISIBLE, HIDDEN)
        model.geom_rgba[index.hand_geoms] = look.hand_colour[number]
        model.geom_matid[index.hand_geoms] = look.hand_material[number]
        shine = [index.plain, index.hand_material]
        model.mat_specular[shine], model.mat_shininess[shine] = look.shine[number].T
        camera = self._camera.fixedcamid
        data.cam_xpos[camera] = look.view.position[number]
        data.cam_xmat[camera] = look.view.rotation[number].ravel()
        model.cam_fovy[camera] = look.view.field_of_view[number]
        data.light_xdir[:] = look.light_direction[number]
        data.light_xpos[:] = -4.0 * look.light_direction[number]
        model.light_active[:] = look.light_active[number]
        model.light_diffuse[:] = look.light_colour[number]
        model.light_specular[:] = 0.5 * look.light_colour[number]
        model.light_ambient[:] = 0.0
        headlight = model.vis.headlight
        headlight.ambient[:], headlight.diffuse[:] = look.ambient[number], look.headlight[number]
        headlight.specular[:] = look.headlight[number]
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SKYBOX] = look.sky[number]

    def _draw(self, place: int) -> None:
        mujoco.mjv_updateScene(
            self._model, self._data, self._options, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL, self._scene
        )
        row, column = divmod(place, GRID)
        rectangle = mujoco.MjrRect(column * self.size, row * self.size, self.size, self.size)
        mujoco.mjr_render(rectangle, self._scene, self._graphics)

    def _read(self, images: npt.NDArray[np.uint8]) -> None:
        """Fetch the sheet's first images: from the lower left to the right, then upwards; their rows run upwards."""
        size, rows = self.size, -(-len(images) // GRID)
        sheet = self._pixels[: rows * size]
        mujoco.mjr_readPixels(sheet, None, mujoco.MjrRect(0, 0, GRID * size, rows * size), self._graphics)
        if not sheet.any():
            raise RenderError(f"the OpenGL driver ({self.device.name}) returned black images; try another EGL device")
        tiles = sheet.reshape(rows, size, GRID, size, 3)[:, ::-1].swapaxes(1, 2)
        for place, image in enumerate(images):
            image[:] = tiles[divmod(place, GRID)]


class _Look:
    """Everything seen in n images but the hand's pose: arrays with the image as the first axis."""

    def __init__(
        self,
        generator: np.random.Generator,
        index: SceneIndex,
        view: draws.View,
        keypoints: FloatArray,
        grasp: FloatArray,
    ) -> None:
        n = len(grasp)
        self.view = view
        self._place(generator, index, keypoints, grasp)
        solids, planes = len(index.solids) + 1, 2
        self.material = np.concatenate(
            [
                draws.draw_materials(generator, (n, solids), index, plane=False),
                draws.draw_materials(generator, (n, planes), index, plane=True),
            ],
            axis=1,
        )
        shape = self.material.shape
        plain = (self.material == index.plain)[..., None]
        self.colour = np.where(plain, draws.draw_colours(generator, shape), draws.draw_tints(generator, shape))
        self.hand_colour = draws.draw_hand_colours(generator, n)[:, None]
        pictured = generator.random(n) < 0.06
        self.hand_material = np.where(pictured, generator.choice(index.cube_materials, n), index.hand_material)
        self.shine = generator.uniform(0.0, 1.0, (n, 2, 2))
        self.shine[:, 1] = np.where(generator.random((n, 1)) < 0.5, (0.75, 0.1), self.shine[:, 1])
        self._light(generator, n)
        self.sky = generator.random(n) < 0.65

    def _place(
        self, generator: np.random.Generator, index: SceneIndex, keypoints: FloatArray, grasp: FloatArray
    ) -> None:
        """Solids, table, floor and wall, in this order."""
        n, view = len(grasp), self.view
        height = (
            keypoints[..., 2].min(axis=1)
            - 0.012
            - np.where(generator.random(n) < 0.3, 0.0, generator.uniform(0.0, 0.3, n))
        )
        kind = generator.choice(3, n, p=(0.6, 0.25, 0.15))
        above = view.position[:, 2] > height + 0.08
        table = (kind == 0) & above
        wall = (kind == 1) | ((kind == 0) & ~above)
        things = draws.draw_things(generator, view, keypoints, grasp, np.where(table, height, -np.inf))
        self.geoms = np.array([*index.solids, index.table, index.floor, index.wall])
        half = generator.uniform(0.3, 0.9, (n, 1)) * (1.0, 1.0, 0.0) + (0.0, 0.0, 0.025)
        aside = generator.uniform(-0.25, 0.25, (n, 2))
        on_table = np.concatenate([aside, height[:, None] - 0.025], axis=1)
        on_floor = np.concatenate([aside, height[:, None] - generator.uniform(0.3, 1.0, (n, 1))], axis=1)
        yaw = np.zeros((n, 3))
        yaw[:, 2] = generator.uniform(-np.pi, np.pi, n) * (generator.random(n) < 0.5)
        flat = Rotation.from_rotvec(yaw).as_matrix()
        tilt = Rotation.from_rotvec(generator.normal(0.0, 0.3, (n, 3))).as_matrix()
        behind = -view.rotation[..., 2] * generator.uniform(0.2, 0.8, (n, 1))
        planes = np.full((n, 2, 3), (2.5, 2.5, 0.1))
        self.position = np.concatenate([things.position, on_table[:, None], on_floor[:, None], behind[:, None]], axis=1)
        self.rotation = np.concatenate(
            [things.rotation, flat[:, None], flat[:, None], (view.rotation @ tilt)[:, None]], axis=1
        )
        self.size = np.concatenate([things.size, half[:, None], planes], axis=1)
        floor = table | ((kind == 2) & above & (generator.random(n) < 0.5))
        self.shown = np.concatenate([things.shown, np.stack([table, floor, wall], axis=1)], axis=1)

    def _light(self, generator: np.random.Generator, n: int) -> None:
        direction = generator.standard_normal((n, LIGHTS, 3))
        # Most lamps hang above.
        falling = generator.random((n, LIGHTS)) < 0.85
        direction[..., 2] = np.where(falling, -np.abs(direction[..., 2]) - 0.3, direction[..., 2])
        self.light_direction = direction / np.linalg.norm(direction, axis=-1, keepdims=True)
        self.light_active = generator.random((n, LIGHTS)) < (0.9, 0.5, 0.25)
        total = np.exp(generator.uniform(np.log(0.5), np.log(1.3), (n, 1, 1)))
        share = generator.uniform(0.2, 1.0, (n, LIGHTS, 1)) * self.light_active[..., None]
        tint = generator.normal(1.0, 0.08, (n, LIGHTS, 3)).clip(0.6, 1.4)
        self.light_colour = total * tint * share / share.sum(axis=1, keepdims=True).clip(min=0.2)
        self.ambient = generator.uniform(0.15, 0.4, (n, 1)) * np.ones(3)
        self.headlight = (generator.random((n, 1)) < 0.8) * generator.uniform(0.1, 0.6, (n, 1)) * np.ones(3)
