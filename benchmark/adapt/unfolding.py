"""Encoders whose BatchNorm was folded get it back in a task: which frames its statistics are measured on, and are kept.

Once measured, statistics are read from their file, so what goes on with them computes with the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

import tasks
from encoders import Encoder
from encoders.unfold import folded, measure, unfold
from encoders.weights.checkpoint import state_sha256
from encoders.weights.sealed import Damaged, check, seal
from tasks.rendering.qualities import Quality, version_entry
from tasks.rendering.render import CROP

from .. import task_files
from ..config import RunConfig
from ..errors import FolderError
from ..progress import Progress
from ..store import atomic
from ..store.identity import identity_hash
from .frames import FrameSettings, render_videos

VIDEOS = 4
FRAMES_EACH = 24
FIRST_SEED = 3_700_000_000
"""Apart from the seeds of demonstrations, rollouts, evaluations and the videos of Stage 2."""
FOLDER = "unfolded"
_BATCH = 16


def frame_settings(task: str, quality: Quality, objects: str, physics: str) -> FrameSettings:
    """Return the videos of a task that statistics are measured on, as the policy will see them."""
    return FrameSettings(task, CROP, VIDEOS, quality=quality, objects=objects, physics=physics, seed=FIRST_SEED)


def identity(settings: Sequence[FrameSettings]) -> dict[str, Any]:
    """Return what determines the frames, for an identity in which tasks and experts stand already."""
    return {"frames_each": FRAMES_EACH, "videos": [asdict(one) for one in settings]}


def unfold_for_run(encoder: Encoder, config: RunConfig, out: Path, progress: Progress) -> None:
    """Give an encoder back its BatchNorm where Stage 3 will move it and Stage 2 has not needed it before.

    Args:
        encoder: changed in place; one whose BatchNorm is in place stays as it is.
        config: resolved.
        out: the folder of all runs, which keeps the statistics: ``OUT/unfolded/<task>``.
        progress: receives progress updates.

    Raises:
        BenchError, EncoderError: something the user can mend.
    """
    if not config.ema.momentum or not folded(encoder):
        return
    settings = frame_settings(config.task, config.rollout.quality, config.objects, config.physics)
    made_by = {
        **identity([settings]),
        **version_entry(config.rollout.quality),
        **task_files.identity(config.task),
        "task_results_version": tasks.card(config.task).results_version_with(config.objects),
        "expert_sha256": tasks.expert(config.task).sha256 if tasks.has_expert(config.task) else None,
        "encoder": encoder.describe(),
    }
    path = out / FOLDER / config.task / f"{encoder.name}+{identity_hash(made_by)[:8]}.safetensors"
    unfold_with(encoder, path, [settings], config.workers, config.egl_device, progress)
    encoder.adaptation = state_sha256(encoder.state_dict())


def unfold_with(
    encoder: Encoder,
    path: Path,
    settings: Sequence[FrameSettings],
    workers: int,
    egl_device: int | None,
    progress: Progress,
) -> None:
    """Give an encoder back its BatchNorm, in place, with the statistics of a file, measured now if there is none.

    Args:
        encoder: one whose BatchNorm is in place stays as it is.
        path: of the statistics.
        settings: the videos to measure on, of each task.
        workers: simulation processes; any number gives the same frames.
        egl_device: the EGL device that draws.
        progress: receives progress updates.

    Raises:
        ConfigError: a task has no expert.
        FolderError: the file is damaged.
        EncoderError: it is of another network.
        OutputError: it cannot be written.
    """
    layers = len(folded(encoder))
    if not layers:
        return
    if not path.exists():
        progress.stage("measure BatchNorm")
        frames = np.concatenate([_frames(one, workers, egl_device) for one in settings])
        write_statistics(path, measure(encoder, _batches(frames)))
        progress.say(f"BatchNorm of {layers} layers, which was folded, is put back: statistics of {len(frames)} frames")
    unfold(encoder, read_statistics(path))


def write_statistics(path: Path, statistics: Mapping[str, Tensor]) -> None:
    """Write statistics into a file that detects its own damage.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic.naming_failures(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_bytes(path, seal(safetensors.torch.save(dict(statistics))))


def read_statistics(path: Path) -> dict[str, Tensor]:
    """Return the statistics of a file; `encoders.unfold.unfold` checks that they fit.

    Raises:
        FolderError: it is damaged, or cannot be read.
    """
    content = atomic.read_bytes(path)
    try:
        if not check(path):
            raise Damaged("it has no digest")
        return safetensors.torch.load(content)
    except (Damaged, OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise FolderError(f"{path} is damaged ({error}); delete it to measure the statistics anew") from error


def _frames(settings: FrameSettings, workers: int, egl_device: int | None) -> NDArray[np.uint8]:
    """Return `FRAMES_EACH` frames of each video, evenly spaced, (N, 224, 224, 3)."""
    drawn = render_videos(settings, workers, egl_device)
    chosen = [
        video[torch.linspace(0, length - 1, FRAMES_EACH).round().long()]
        for video, length in zip(drawn.videos, drawn.lengths.tolist(), strict=True)
    ]
    return torch.cat(chosen).numpy()


def _batches(frames: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    for first in range(0, len(frames), _BATCH):
        yield frames[first : first + _BATCH]
