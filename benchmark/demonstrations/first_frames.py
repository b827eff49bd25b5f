"""Compare the first frames of published demonstrations with our renders of their initial states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.demonstrations.dataset import Demonstrations
from tasks.errors import TaskError
from tasks.rendering.render import CROP

from ..doctor import require_gl
from ..errors import BenchError
from ..rollout.simulators import Simulators
from ..rollout.slots import Frames, SceneSettings

FULL = 256
BLOCK = 8
LARGEST = 0.15
"""Mean difference, as a share of the range of brightness, above which a frame is not of the same scene.

Measured on pen, relocate, door and hammer: at most 0.06 between the qualities of drawing one state and 0.09 between
states of one scene, at least 0.24 between two tasks and 0.31 between two cameras. So another state of the same scene is
not noticed.
"""


def unlike_ours(
    demonstrations: Demonstrations, first_frames: Sequence[npt.NDArray[Any] | None], options: dict[str, Any]
) -> str:
    """Say in one line which recorded first frames are far from renders of their initial states; empty for none.

    Args:
        demonstrations: whose initial states are drawn.
        first_frames: (H, W, 3) uint8 of each, or None where the file has no images.
        options: of the task.
    """
    shown = [number for number, frame in enumerate(first_frames) if frame is not None]
    if not shown:
        return ""
    try:
        require_gl()
        ours = _drawn(demonstrations, shown, options)
    except (BenchError, TaskError) as error:
        return f"its frames were not compared with this scene ({error})"
    far = {}
    for number, own in zip(shown, ours, strict=True):
        difference = distance(np.asarray(first_frames[number]), own)
        if difference > LARGEST:
            far[number] = difference
    if not far:
        return ""
    worst = max(far, key=lambda number: far[number])
    return (
        f"the first frames of {len(far)} of {len(shown)} are unlike a render of their initial states here (mean "
        f"difference {far[worst]:.2f} of the brightness in demonstration {worst}, {LARGEST:.2f} at most in one scene): "
        "another camera or scene?"
    )


def distance(recorded: npt.NDArray[Any], own: Frames) -> float:
    """Return the mean difference of two frames in blocks of 8 x 8 pixels, as a share of the range of brightness.

    Args:
        recorded: (H, W, 3) uint8, taken as 256 x 256 of which the centre is seen.
        own: (224, 224, 3) uint8.
    """
    if recorded.ndim != 3 or recorded.shape[2] != 3 or recorded.dtype != np.uint8 or 0 in recorded.shape:
        return 1.0
    rows, columns = (np.arange(FULL) * side // FULL for side in recorded.shape[:2])
    margin = (FULL - CROP) // 2
    seen = recorded[rows[:, None], columns][margin:-margin, margin:-margin]
    return float(np.abs(_blocks(seen) - _blocks(own)).mean() / 255.0)


def _blocks(frame: Frames) -> npt.NDArray[np.float64]:
    side = CROP // BLOCK
    means: npt.NDArray[np.float64] = frame.reshape(side, BLOCK, side, BLOCK, 3).mean((1, 3))
    return means


def _drawn(demonstrations: Demonstrations, shown: Sequence[int], options: dict[str, Any]) -> list[Frames]:
    """Draw the initial states, as the paper's frames are drawn."""
    frames = []
    with Simulators(SceneSettings(demonstrations.task, options=options, quality="paper")) as simulators:
        for number in shown:
            simulators.begin([0], [demonstrations.episodes[number].initial_state])
            frames.append(simulators.frames[0].copy())
    return frames
