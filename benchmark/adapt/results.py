"""What a trained adaptation leaves in its folder: its scores, pictures and tensors, and its card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from encoders import WeightsOrigin
from encoders.adapt.trainer import AdaptationTrainer

from ..progress import Progress
from ..store import atomic
from . import data, evaluation, pictures, segments
from .card import Adapted, card, held_out_rows
from .config import AdaptConfig, Position, joined
from .folder import BATCHNORM, HEADS, PICTURES, PRETRAINED, STRIP, TRUNK, finish

STRIP_ROWS = 4


def write_results(
    folder: Path,
    *,
    encoder: str,
    origin: WeightsOrigin,
    config: AdaptConfig,
    identity: dict[str, Any],
    parts: list[data.TaskFrames],
    trainer: AdaptationTrainer,
    position: Position,
    progress: Progress,
) -> None:
    """Evaluate, draw, write what was learnt, and the card last.

    Args:
        folder: The adaptation's, held.
        encoder: Name of the encoder.
        origin: Where its weights came from.
        config: Resolved.
        identity: Of the adaptation.
        parts: The frames of each task.
        trainer: At the end of its training.
        position: At the end.
        progress: Receives progress updates.

    Raises:
        OutputError: A file cannot be written.
    """
    progress.stage("evaluate")
    drawings = data.evaluate(trainer, parts, evaluation.PAIRS)
    keypoints = {part.task: _keypoints(folder, trainer, part, config, len(parts)) for part in parts}
    whole = held_out_rows(data.together([*drawings.values()]), segments.together([*keypoints.values()]))
    progress.say(evaluation.line(whole["psnr"]))
    rates = whole["keypoints_on_hand_or_object"]
    rate, uniform = (rates[name]["mean"] for name in ("keypoints", "uniform_points"))
    progress.say(f"keypoints on hand or object: {rate:.1%} (uniformly placed ones {uniform:.1%})")
    _strip(folder, trainer, parts)
    title = origin.title(encoder)
    about = {"task": joined([part.task for part in parts]), "encoder": title, "input": "RGB in [0, 1]"}
    for name, tensors in _tensors(trainer, config.mode).items():
        atomic.write_bytes(folder / name, safetensors.torch.save(tensors, about))
    adapted = Adapted(
        config=config,
        encoder=encoder,
        origin=origin,
        parts=parts,
        heads_sha256=identity["heads_sha256"],
        position=position,
        trainer=trainer,
        held_out=whole,
        by_task={part.task: held_out_rows(drawings[part.task], keypoints[part.task]) for part in parts},
    )
    finish(folder, card(adapted), identity)


def heads_for_storage(trainer: AdaptationTrainer) -> dict[str, Tensor]:
    """Return what `AdaptationTrainer.load` needs to draw again: all but the optimiser, convolutions as float16."""
    return {
        name: tensor.half() if tensor.ndim == 4 else tensor
        for name, tensor in trainer.state().items()
        if not name.startswith("optimiser.")
    }


def _tensors(trainer: AdaptationTrainer, mode: str) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of each file."""
    contents = {BATCHNORM: trainer.adapted(), PRETRAINED: trainer.pretrained, HEADS: heads_for_storage(trainer)}
    if mode == "all":
        trunk = trainer.model.pose_net.trunk.state_dict()
        contents[TRUNK] = {name: tensor.detach().cpu().contiguous() for name, tensor in trunk.items()}
    return contents


def _keypoints(
    folder: Path, trainer: AdaptationTrainer, part: data.TaskFrames, config: AdaptConfig, tasks: int
) -> segments.Hits:
    """Return where keypoints lie on a task's held-out frames; draw those of the first video."""
    held_out = part.held_out
    steps = segments.even_steps(held_out)
    masks = segments.masks(part.settings, held_out, steps, config.egl_device)
    prefix = f"{part.task}-" if tasks > 1 else ""
    on_hand_or_object = []
    for number, row in enumerate(torch.from_numpy(steps)):
        frames = held_out.videos[number, row.to(held_out.videos.device)]
        points = trainer.reconstruct(frames, frames).keypoints.cpu().numpy()
        on_hand_or_object.append(segments.hits(points, masks[number], config.size))
        if number == 0:
            for step, frame, keypoints in zip(row.tolist(), frames.cpu().numpy(), points, strict=True):
                path = folder / PICTURES / f"{prefix}{step:03d}.png"
                pictures.save(path, pictures.with_keypoints(frame, keypoints))
    return segments.Hits(np.stack(on_hand_or_object), masks)


def _strip(folder: Path, trainer: AdaptationTrainer, parts: list[data.TaskFrames]) -> None:
    """Draw pairs of held-out frames: of one task several, of several tasks one each."""
    rows: list[Any] = []
    for part in parts:
        places = evaluation.held_out_places(part.held_out, 1)[: STRIP_ROWS if len(parts) == 1 else 1, 0]
        source, target = part.held_out.take(places)
        drawn = trainer.reconstruct(source, target)
        columns = (
            source.cpu().numpy(),
            target.cpu().numpy(),
            pictures.unbounded(drawn.images.cpu().numpy()),
            drawn.keypoints.cpu().numpy(),
        )
        rows += zip(*columns, strict=True)
    pictures.save(folder / STRIP, pictures.strip(rows))
