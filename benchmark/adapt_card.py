"""The card of an adaptation: what was trained on what, how long, and how well it draws held-out frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from encoders.adapt import affine
from encoders.adapt.loss import VGG16_FILE

from . import versions
from .machine import peak_memory

if TYPE_CHECKING:
    from .adapt import _Adaptation

TITLE = "H-InDex Bench Stage 2"
VGG = f"VGG-16 ({VGG16_FILE}), images not normalised"
OWN = "not VGG-16: frozen features of the unadapted encoder; running means begin with the first batch"
PENN = "trained on Penn Action"
DRAWN = "random, their BatchNorm statistics those of a first batch; the authors begin with heads trained on Penn Action"


Summary = Mapping[str, Mapping[str, float]]


def card(made: _Adaptation, psnr: Summary, keypoints: Summary) -> dict[str, Any]:
    """The card, ready for JSON."""
    config, trainer, position, origin = made.config, made.trainer, made.position, made.origin
    gpu = torch.cuda.get_device_name(made.device) if made.device.type == "cuda" else None
    network = trainer.model.pose_net.trunk
    trunk_numbers = sum(p.numel() for name, p in trainer.trained.items() if name.startswith("pose_net.trunk."))
    settings = config.frames(made.task)
    moved = {name: float((value - trainer.pretrained[name]).abs().mean()) for name, value in trainer.adapted().items()}
    return {
        "name": TITLE,
        "task": made.task,
        "encoder": {
            "name": made.encoder.name,
            "title": origin.title(made.encoder.name),
            "weights": origin.kind,
            "weights_sha256": origin.sha256,
        },
        "input": "RGB in [0, 1], no mean and standard deviation, here and afterwards",
        "trained": {
            "mode": config.mode,
            "shortcuts": config.shortcuts,
            "encoder_numbers": trunk_numbers,
            "percent": 100.0 * trunk_numbers / affine.RESNET50_PARAMETERS,
            "percent_of": "a ResNet-50 with its classifier, 25,557,032",
            "batchnorm_layers": len(affine.batchnorm_layers(network)),
            "heads_numbers": sum(p.numel() for p in trainer.trained.values()) - trunk_numbers,
            "mean_change": {
                part: sum(value for name, value in moved.items() if name.endswith(part))
                / max(1, sum(name.endswith(part) for name in moved))
                for part in ("weight", "bias")
            },
        },
        "heads": DRAWN if config.heads_path is None else PENN,
        "perceptual_network": VGG if config.perceptual == "vgg16" else OWN,
        "data": {
            "what": f"{config.videos} episodes of the shipped expert with its exploration noise",
            "frames": made.train.frames,
            "held_out_videos": len(made.held_out),
            "frames_a_video": settings.limit,
            "sha256": position.frames_sha256,
            "camera": settings.camera_name,
            "quality": config.quality,
            "size": config.size,
            "rendered_by": made.train.device._asdict() if made.train.device else None,
        },
        "training": {
            "steps": position.step,
            "batch": config.batch,
            "learning_rate": config.learning_rate,
            "warm_up": config.warm_up,
            "map_rate": config.map_rate,
            "precision": config.precision,
            "seconds": round(position.seconds, 1),
            "sessions": position.sessions,
            "paper": "100,000 steps of 8 pairs at 224 pixels, learning rate 1e-4",
        },
        "held_out": {
            "psnr": psnr,
            "keypoints_on_hand_or_object": keypoints,
            "meaning": "PSNR in decibels, peak 1; share of keypoints on hand or handled object, by the segmentation "
            "rendering; means with 95 % bootstrap intervals over held-out episodes",
            "evaluations": position.evaluations,
        },
        "machine": {"device": gpu or "cpu", **versions.record(), **peak_memory(made.device)},
    }
