"""The qualities that frames are drawn in, and the results version of each."""

from __future__ import annotations

from typing import Literal, NamedTuple

Quality = Literal["paper", "shadows", "fast"]

VERSION_KEY = "frames_results_version"


class Drawing(NamedTuple):
    """How a quality draws.

    Attributes:
        results_version: raised when the frames change, and with them the numbers of runs that see them.
        whole: whether the paper's 256 x 256 pixels are drawn and the centre is cut out, or the centre alone.
        shadow_map: largest side of the shadow map in pixels, 0 for no shadows; None for the scene's own.
        multisampling: whether pixels get the scene's number of samples, or one.
        reflections: whether mirrors reflect.
        simplified: whether meshes have fewer faces, see `tasks.rendering.drawing_model`.
        packages: distributions besides MuJoCo whose version may change the frames.
    """

    results_version: int
    whole: bool
    shadow_map: int | None
    multisampling: bool
    reflections: bool
    simplified: bool
    packages: tuple[str, ...] = ()


DRAWINGS: dict[str, Drawing] = {
    "paper": Drawing(
        results_version=1,
        whole=True,
        shadow_map=None,
        multisampling=True,
        reflections=True,
        simplified=False,
    ),
    "shadows": Drawing(
        results_version=1,
        whole=False,
        shadow_map=1024,
        multisampling=False,
        reflections=True,
        simplified=False,
    ),
    "fast": Drawing(
        results_version=2,  # 2: meshes with fewer faces, no reflections
        whole=False,
        shadow_map=0,
        multisampling=False,
        reflections=False,
        simplified=True,
        packages=("fast-simplification",),
    ),
}


def version_entry(quality: Quality) -> dict[str, int]:
    """Return what an identity says of the frames: their results version from 2 on, nothing for version 1.

    Identities were first written without a version of the frames, and those of version 1 stay as they are.
    """
    version = DRAWINGS[quality].results_version
    return {VERSION_KEY: version} if version > 1 else {}
