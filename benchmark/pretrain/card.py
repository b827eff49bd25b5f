"""The card of Stage 1's weights: what they saw, how long, how well they do, and what they are not."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from encoders.pretrain import training as stage1
from tasks.rendering.render import Device

from ..device import peak_memory
from ..store import provenance as versions
from .config import Position, PretrainConfig

TITLE = "H-InDex Bench Stage 1"
NOT = (
    "Not FrankMocap: synthetic images of one robot hand, the Adroit hand, and of nothing else; no photograph and no "
    "human hand was seen."
)
MEANING = (
    "keypoints_mm: mean distance of the 20 keypoints other than the wrist, relative to it (MPJPE); angles_degrees: "
    "mean absolute error; points_percent: percent of the image's width"
)


class Outcome(NamedTuple):
    """The outcome of a training.

    Attributes:
        weights: name of the file.
        sha256: its hash.
        errors: on the held-out images, of the weights as written.
        baseline: of always predicting the mean pose.
        held_out_sha256: hash of the held-out images' pixels.
        images_per_second: trained on in the last session.
        renderer: the device that drew the images.
    """

    weights: str
    sha256: str
    errors: stage1.Errors
    baseline: stage1.Errors
    held_out_sha256: str
    images_per_second: float
    renderer: Device


def card(config: PretrainConfig, position: Position, outcome: Outcome, device: torch.device) -> dict[str, Any]:
    """Return the card, ready for JSON."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "name": TITLE,
        "file": outcome.weights,
        "sha256": outcome.sha256,
        "architecture": "torchvision ResNet-50 trunk; convolutions float16, BatchNorm float32",
        "input": "RGB, ImageNet mean and standard deviation",
        "what_it_is_not": NOT,
        "data": {
            "what": "Adroit hand rendered with MuJoCo: random pose, camera, light, colour, background and occluding "
            "solids; half of the views are those of the tasks' cameras, shaken",
            "labels": "21 keypoints in the camera's frame relative to the wrist, 24 joint angles, 21 image points",
            "size": config.size,
            "rendered_by": outcome.renderer._asdict(),
            "images_rendered": position.images_rendered,
            "held_out_images": config.held_out,
            "held_out_sha256": outcome.held_out_sha256,
            "repeatable": "each worker's images are; the order in which workers deliver them is not",
            "licence": "made here; the hand's model and meshes are (C) Vikash Kumar, Apache-2.0, as shipped in "
            "gymnasium-robotics 1.4.2 (MIT)",
        },
        "training": {
            "steps": position.step,
            "batch": config.batch,
            "images_seen": position.images_seen,
            "uses_of_an_image": round(position.images_seen / max(position.images_rendered, 1), 2),
            "hours": round(position.seconds / 3600.0, 4),
            "sessions": position.session + 1,
            "images_per_second": round(outcome.images_per_second, 1),
            "optimiser": f"AdamW, learning rate {stage1.learning_rate(stage1.WARM_UP, config.batch):.2g}, weight decay "
            f"{stage1.WEIGHT_DECAY}, cosine schedule over the training's progress",
            "loss_weights": stage1.LOSS_WEIGHTS,
            "precision": "bfloat16 autocast" if gpu else "float32",
            "first_weights": "random; no ImageNet",
            "config": config.model_dump(mode="json"),
        },
        "held_out": {
            "error": outcome.errors._asdict(),
            "always_the_mean_pose": outcome.baseline._asdict(),
            "evaluations": position.evaluations,
            "meaning": MEANING,
        },
        "machine": {"gpu": gpu, **versions.record(), **peak_memory(device)},
    }
