"""The card of an adaptation: what was trained on what, how long, and how well it draws held-out frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from encoders import WeightsOrigin
from encoders.adapt import affine
from encoders.adapt.files import PENN_FILE
from encoders.adapt.loss import VGG16_FILE
from encoders.adapt.trainer import AdaptationTrainer
from tasks.rendering.qualities import version_entry

from ..device import peak_memory
from ..store import provenance as versions
from .config import RENDERER, AdaptConfig, Position, joined
from .data import TaskFrames
from .evaluation import Drawings
from .segments import Hits

TITLE = "H-InDex Bench Stage 2"
VGG = f"VGG-16 ({VGG16_FILE}), images not normalised"
OWN = "not VGG-16: frozen features of the unadapted encoder; running means begin with the first batch"
PERCEPTUAL = {"vgg16": VGG, "stage1": OWN, "none": "none: the loss is the error of the pixels alone"}
PENN = "trained on Penn Action"
SHIPPED = "those that ship, trained on other episodes of all twelve tasks over the unadapted encoder, which ships too"
DRAWING = "what draws is that of the shipped heads; from the encoder's maps to keypoints random"
FILE = "of the file {name}, sha256 {sha256}"
DRAWN = "random, their BatchNorm statistics those of a first batch; the authors begin with heads trained on Penn Action"


def held_out_rows(drawings: Drawings, keypoints: Hits) -> dict[str, Any]:
    """Return the scores of held-out episodes, together and one by one, and where their keypoints lie."""
    return {
        "psnr": drawings.summary(),
        "psnr_of_episodes": drawings.episodes(),
        "keypoints_on_hand_or_object": keypoints.summary(),
    }


@dataclass(frozen=True)
class Adapted:
    """A finished adaptation.

    Attributes:
        config: resolved.
        encoder: name of the encoder.
        origin: where its weights came from.
        parts: the frames of each task.
        heads_sha256: of the file of the first heads; None where they were drawn.
        position: at the end.
        trainer: with what it learnt.
        held_out: see `held_out_rows`, of all tasks.
        by_task: the same of each.
    """

    config: AdaptConfig
    encoder: str
    origin: WeightsOrigin
    parts: Sequence[TaskFrames]
    heads_sha256: str | None
    position: Position
    trainer: AdaptationTrainer
    held_out: Mapping[str, Any]
    by_task: Mapping[str, Any]


def card(adapted: Adapted) -> dict[str, Any]:
    """Return the card, ready for JSON."""
    config, trainer, position, origin = adapted.config, adapted.trainer, adapted.position, adapted.origin
    device, names = trainer.device, [part.task for part in adapted.parts]
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    network = trainer.model.pose_net.trunk
    trunk_numbers = sum(p.numel() for name, p in trainer.trained.items() if name.startswith("pose_net.trunk."))
    parts = adapted.parts
    whole, whole_name = affine.whole(network)
    moved = {name: float((value - trainer.pretrained[name]).abs().mean()) for name, value in trainer.adapted().items()}
    return {
        "name": TITLE,
        "task": joined(names),
        "tasks": names,
        "encoder": {
            "name": adapted.encoder,
            "title": origin.title(adapted.encoder),
            "weights": origin.kind,
            "weights_sha256": origin.sha256,
        },
        "input": "RGB in [0, 1], no mean and standard deviation, here and afterwards",
        "trained": {
            "mode": config.mode,
            "shortcuts": config.shortcuts,
            "encoder_numbers": trunk_numbers,
            "percent": 100.0 * trunk_numbers / whole,
            "percent_of": f"{whole_name}, {whole:,}",
            "batchnorm_layers": len(affine.batchnorm_layers(network)),
            "heads_numbers": sum(p.numel() for p in trainer.trained.values()) - trunk_numbers,
            "mean_change": {
                part: sum(value for name, value in moved.items() if name.endswith(part))
                / max(1, sum(name.endswith(part) for name in moved))
                for part in ("weight", "bias")
            },
        },
        "heads": heads_in_words(config, adapted.heads_sha256),
        "perceptual_network": PERCEPTUAL[config.perceptual],
        "data": {
            "what": f"{config.videos} episodes of the shipped expert of each task, with its exploration noise",
            "frames": sum(part.train.frames for part in parts),
            "held_out_videos": sum(len(part.held_out) for part in parts),
            "first_seed": parts[0].settings.seed,
            "frames_a_video": {part.task: part.settings.limit for part in parts},
            "sha256": position.frames_sha256,
            "cameras": {part.task: part.settings.camera_name for part in parts},
            "objects": config.objects,
            "quality": config.quality,
            **version_entry(config.quality),
            "size": config.size,
            "rendered_by": parts[0].train.device._asdict() if parts[0].train.device else None,
        },
        "training": {
            "steps": position.step,
            "batch": config.batch,
            "seed": config.seed,
            "learning_rate": config.learning_rate,
            "warm_up": config.warm_up,
            "map_rate": config.map_rate,
            "cool_down": config.cool_down,
            "precision": config.precision,
            "seconds": round(position.seconds, 1),
            "sessions": position.sessions,
            "paper": "100,000 steps of 8 pairs at 224 pixels, learning rate 1e-4",
        },
        "held_out": {
            **adapted.held_out,
            "meaning": "PSNR in decibels, peak 1; share of keypoints on hand or handled object, by the segmentation "
            "rendering; means with 95 % bootstrap intervals over held-out episodes",
            "evaluations": position.evaluations,
            **({"by_task": adapted.by_task} if len(adapted.by_task) > 1 else {}),
        },
        "machine": {"device": gpu or "cpu", **versions.record(), **peak_memory(device)},
    }


def heads_in_words(config: AdaptConfig, sha256: str | None) -> str:
    """Say where the first heads of an adaptation come from; ``config`` is resolved."""
    path = config.heads_path
    if path is None:
        return DRAWN
    if config.heads == "shipped":
        return SHIPPED
    if config.heads == RENDERER:
        return DRAWING
    return PENN if path.name == PENN_FILE else FILE.format(name=path.name, sha256=sha256)
