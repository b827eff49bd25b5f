"""Headless rendering of one camera: 224 x 224 frames as the policies see them.

The paper renders 256 x 256 and crops the central 224. Where the pixels come out the same, the crop's own frustum is
rendered instead.
"""

from __future__ import annotations

import os
import sys
from math import atan, degrees, radians, tan
from types import TracebackType
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ..engine import mujoco
from ..errors import RenderError
from ..forks import keep_in_children, require_process
from .drawing_model import drawing_model
from .egl import EGLContext, EGLError
from .mirrors import mirrors, moves, screens
from .qualities import DRAWINGS, Quality

Frame = npt.NDArray[np.uint8]

RENDERED = 256
CROP = 224
MAX_GEOMS = 2000
NO_GL = "no headless OpenGL ({reason}); on Debian or Ubuntu: apt-get install libegl1 libgl1-mesa-dri, then try again"
AS_COLOURS = {
    mujoco.mjtRndFlag.mjRND_SEGMENT: 1,
    mujoco.mjtRndFlag.mjRND_IDCOLOR: 1,
    mujoco.mjtRndFlag.mjRND_SHADOW: 0,
    mujoco.mjtRndFlag.mjRND_REFLECTION: 0,
}
"""The flags of MuJoCo with which every geom has a colour of its own: its number in the scene."""

LEFT_BEHIND = "pixels cannot be drawn here: OpenGL stayed"
SOFTWARE_RENDERERS = ("llvmpipe", "softpipe", "swrast", "swiftshader")


_opened_in: list[int] = []
"""The process that opened the first context; forked children inherit the entry."""


class GLContext(Protocol):
    """What MuJoCo's platform contexts have in common."""

    def make_current(self) -> None:
        """Bind the context to the calling thread."""

    def free(self) -> None:
        """Release it."""


class Device(NamedTuple):
    """The OpenGL implementation that draws.

    Attributes:
        name: the driver's own name.
        software: whether it draws on the CPU.
        number: the EGL device.
    """

    name: str
    software: bool
    number: int


class Renderer:
    """Draws one camera of one model; owns one OpenGL context, so it belongs to one process and thread.

    Args:
        model: the scene; it is copied.
        camera: name of the camera.
        quality: ``paper`` draws 256 x 256 with the scene's shadows and multisampling and cuts out the centre;
            ``shadows`` draws the centre alone, with a shadow map of 1024 pixels and without multisampling; ``fast``
            draws it without shadows, and meshes with fewer faces.
        device: the EGL device to try first; the others follow, the software one last.

    Raises:
        RenderError: there is no such camera, or no OpenGL context can be had; the message says what to do.
        ForkedError: see `open_context`.
    """

    def __init__(
        self, model: mujoco.MjModel, camera: str, quality: Quality = "fast", device: int | None = None
    ) -> None:
        if quality not in DRAWINGS:
            *others, last = map(repr, DRAWINGS)
            raise RenderError(f"quality is {', '.join(others)} or {last}, got {quality!r}")
        names = [model.camera(index).name for index in range(model.ncam)]
        if camera not in names:
            raise RenderError(f"unknown camera {camera!r}; available: {', '.join(names)}")
        drawing = DRAWINGS[quality]
        model = self.model = drawing_model(model, drawing)
        model.vis.global_.offwidth = model.vis.global_.offheight = RENDERED
        self._context, self.device = open_context(device)
        self._process = os.getpid()
        keep_in_children(self)
        try:
            self._graphics = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        except mujoco.FatalError as error:
            self._context.free()
            raise RenderError(f"the OpenGL driver ({self.device.name}) cannot draw the scene: {error}") from None
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._graphics)
        self._scene = mujoco.MjvScene(model, MAX_GEOMS)
        self._options = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = model.camera(camera).id
        self.quality = quality
        size = RENDERED
        if not drawing.whole:
            model.cam_fovy[self._camera.fixedcamid] = crop_angle(model.cam_fovy[self._camera.fixedcamid])
            size = CROP
        self._rectangle = mujoco.MjrRect(0, 0, size, size)
        self._pixels = np.empty((size, size, 3), np.uint8)
        margin = (size - CROP) // 2
        # OpenGL's rows run upwards.
        self._view = self._pixels[::-1][margin : margin + CROP, margin : margin + CROP]
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = drawing.reflections and self._sees_mirror()

    def render(self, data: mujoco.MjData, out: Frame | None = None) -> Frame:
        """Draw a simulation as its data stands; nothing is recomputed.

        Args:
            data: the simulation.
            out: (224, 224, 3) uint8 to write into.

        Returns:
            (224, 224, 3) uint8 RGB, upright.

        Raises:
            RenderError: the driver returned an empty frame.
            ForkedError: this process was forked from the one that made the renderer.
        """
        require_process(self._process, LEFT_BEHIND)
        self._context.make_current()
        self._update(data)
        self._draw()
        if not self._pixels.any():
            raise RenderError(f"the OpenGL driver ({self.device.name}) returned a black frame; try another EGL device")
        frame = np.empty((CROP, CROP, 3), np.uint8) if out is None else out
        frame[:] = self._view
        return frame

    def _update(self, data: mujoco.MjData) -> None:
        mujoco.mjv_updateScene(
            self.model, data, self._options, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL, self._scene
        )

    def _draw(self) -> None:
        mujoco.mjr_render(self._rectangle, self._scene, self._graphics)
        mujoco.mjr_readPixels(self._pixels, None, self._rectangle, self._graphics)

    def _sees_mirror(self) -> bool:
        """Draw nothing but mirrors and what always hides them, and return whether a mirror is left.

        A mirror that may move counts as seen.
        """
        model, scene = self.model, self._scene
        reflecting = mirrors(model, self._options)
        if not reflecting.any() or moves(model, reflecting):
            return bool(reflecting.any())
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        self._update(data)
        drawn = reflecting | screens(model)
        colours = np.zeros(scene.ngeom + 1, bool)
        for geom in scene.geoms[: scene.ngeom]:
            if geom.objtype != mujoco.mjtObj.mjOBJ_GEOM or not drawn[geom.objid]:
                geom.type = mujoco.mjtGeom.mjGEOM_NONE
            else:
                colours[geom.segid + 1] = reflecting[geom.objid]
        flags = scene.flags.copy()
        for flag, value in AS_COLOURS.items():
            scene.flags[flag] = value
        self._draw()
        scene.flags[:] = flags
        red, green, _ = np.moveaxis(self._view.astype(np.intp), -1, 0)
        return bool(colours[red + 256 * green].any())

    def close(self) -> None:
        """Release the graphics memory and the context; in a forked child, which has neither, do nothing."""
        if self._process != os.getpid():
            return
        self._context.make_current()
        self._graphics.free()
        self._context.free()

    def __enter__(self) -> Renderer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def crop_angle(fovy: float) -> float:
    """The vertical field of view in degrees of the central 224 rows of a 256-row image."""
    return degrees(2.0 * atan(tan(radians(fovy) / 2.0) * CROP / RENDERED))


def open_context(device: int | None = None) -> tuple[GLContext, Device]:
    """A current OpenGL context without a window: EGL on Linux, the platform's own elsewhere.

    Args:
        device: the EGL device to try first.

    Raises:
        RenderError: there is none.
        ForkedError: the process was forked from one that has drawn; the driver would wait for ever for its threads.
    """
    require_process(_first_process(), LEFT_BEHIND)
    if sys.platform != "linux":
        from mujoco.gl_context import GLContext as PlatformContext

        context = PlatformContext(RENDERED, RENDERED)
        context.make_current()
        return context, Device(f"OpenGL of {sys.platform}", software=False, number=0)
    try:
        headless = EGLContext(device)
    except EGLError as error:
        raise RenderError(NO_GL.format(reason=error)) from None
    name = headless.driver.renderer
    software = any(renderer in name.lower() for renderer in SOFTWARE_RENDERERS)
    return headless, Device(name, software, headless.driver.device)


def _first_process() -> int:
    """The process, this one or one that it was forked from, that opened the first context."""
    if not _opened_in:
        _opened_in.append(os.getpid())
    return _opened_in[0]


def check_distinct(frames: npt.NDArray[np.uint8]) -> None:
    """Refuse equal frames of simulations that started differently: (n, 224, 224, 3) uint8.

    Raises:
        RenderError: two frames are equal, as happens when environments share a context by mistake.
    """
    seen: dict[bytes, int] = {}
    for index, frame in enumerate(frames):
        first = seen.setdefault(frame.tobytes(), index)
        if first != index:
            raise RenderError(f"environments {first} and {index} started differently but show the same frame")
