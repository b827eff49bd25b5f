"""Fusion: the features of the newest frames as one vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..config import FusionName

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Fusion:
    """How the features of neighbouring frames become one vector.

    Attributes:
        name: ``none``, ``concat`` (from the oldest frame to the newest) or ``flare`` (differences between neighbours,
            then the newest).
        history: frames.

    Source: FLARE (Shang et al. 2021) as CortexBench uses it.
    """

    name: FusionName = "none"
    history: int = 1

    def length(self, features: int) -> int:
        """Return the length of the vector, for this many features of a frame."""
        return self.history * features

    def fuse(self, windows: Array) -> Array:
        """Map the features (n, history, F) of frames, the newest last, to (n, history F)."""
        if self.name == "flare":
            windows = np.concatenate([np.diff(windows, axis=1), windows[:, -1:]], axis=1)
        return windows.reshape(len(windows), -1)

    def windows(self, lengths: Sequence[int]) -> npt.NDArray[np.int64]:
        """Return the rows (M, history) of the frames that each step sees; an episode's first one counts several times.

        Args:
            lengths: steps of episodes whose frames lie one after another, M together.
        """
        first = np.repeat(np.cumsum([0, *lengths[:-1]]), lengths)
        back = np.arange(self.history - 1, -1, -1)
        rows: npt.NDArray[np.int64] = np.maximum(np.arange(len(first))[:, None] - back, first[:, None])
        return rows


ONE_FRAME = Fusion()


class Window:
    """The features of the newest frames of one episode.

    Args:
        history: frames to keep.
    """

    def __init__(self, history: int) -> None:
        self._history = history
        self._frames: Array | None = None

    def push(self, features: Array) -> Array:
        """Add the features (F,) of the next frame; return those of the newest frames (history, F), until the next."""
        if self._frames is None:
            self._frames = np.repeat(features[None], self._history, axis=0)
        else:
            self._frames[:-1] = self._frames[1:]
            self._frames[-1] = features
        return self._frames
