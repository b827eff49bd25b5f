"""Stage 1, our own version: a ResNet-50 learns to see the 3D pose of a hand. Arrays in, a trunk out.

The trunk is the network of `encoders.zoo.resnet`, its input RGB normalised with ImageNet's mean and standard deviation,
as H-InDex uses the unadapted hand encoder. From its pooled feature a small head predicts where the keypoints are in
space and in the image, and the joint angles; the head is thrown away.

Differs: the paper takes FrankMocap's hand network, which regresses MANO's parameters from photographs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models import resnet50

from ..adam_state import adam_state, load_adam_state
from ..cards import IMAGENET

FEATURE_DIM = 2048
HIDDEN = 512
KEYPOINTS, ANGLES = 21, 24
KEYPOINT_SCALE = 0.07
POINT_SCALE = 0.2
LOSS_WEIGHTS = {"keypoints": 1.0, "angles": 0.5, "points": 0.5}
LOSS_KNEE = 0.1
"""Below it the loss is quadratic, above linear; in normalised units."""

LEARNING_RATE = 1e-3
REFERENCE_BATCH = 256
WEIGHT_DECAY = 0.02
WARM_UP = 0.03
GRADIENT_NORM = 5.0


class Labels(NamedTuple):
    """What a hand's image shows.

    Attributes:
        keypoints: (N, 21, 3) float32, metres in the camera's frame, relative to the first, the wrist.
        angles: (N, 24) float32, radians.
        points: (N, 21, 2) float32, the keypoints in the image, 0 to 1 across it.
    """

    keypoints: Tensor
    angles: Tensor
    points: Tensor

    @staticmethod
    def split(rows: Tensor) -> Labels:
        """Split rows (N, 129) into labels."""
        keypoints, angles, points = rows.split([KEYPOINTS * 3, ANGLES, KEYPOINTS * 2], dim=1)
        return Labels(keypoints.unflatten(1, (KEYPOINTS, 3)), angles, points.unflatten(1, (KEYPOINTS, 2)))


LABEL_DIM = KEYPOINTS * 3 + ANGLES + KEYPOINTS * 2


class HandPoseNetwork(nn.Module):
    """ResNet-50 trunk and head.

    Args:
        angle_ranges: (24, 2) limits of the joints in radians; angles are predicted relative to them.
    """

    angle_middle: Tensor
    angle_half: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, angle_ranges: NDArray[Any] | Tensor) -> None:
        super().__init__()
        self.trunk: nn.Module = resnet50(weights=None, zero_init_residual=True)
        self.trunk.fc = nn.Identity()
        self.head = nn.Sequential(nn.Linear(FEATURE_DIM, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, LABEL_DIM))
        low, high = torch.as_tensor(angle_ranges, dtype=torch.float32).unbind(1)
        self.register_buffer("angle_middle", (low + high) / 2)
        self.register_buffer("angle_half", (high - low) / 2)
        self.register_buffer("mean", torch.tensor(IMAGENET.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET.std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(N, 3, H, W) float in [0, 1]`` to ``(N, 129)`` normalised labels, float32."""
        pixels = (images - self.mean) / self.std
        features = self.trunk(pixels.contiguous(memory_format=torch.channels_last))
        normalised: Tensor = self.head(features)
        return normalised.float()

    def normalise(self, labels: Labels) -> Labels:
        """Scale labels to about unit size."""
        return Labels(
            labels.keypoints / KEYPOINT_SCALE,
            (labels.angles - self.angle_middle) / self.angle_half,
            (labels.points - 0.5) / POINT_SCALE,
        )

    def pose(self, normalised: Tensor) -> Labels:
        """Undo `normalise` for the rows that `forward` gives."""
        labels = Labels.split(normalised)
        return Labels(
            labels.keypoints * KEYPOINT_SCALE,
            labels.angles * self.angle_half + self.angle_middle,
            labels.points * POINT_SCALE + 0.5,
        )

    def loss(self, normalised: Tensor, labels: Labels) -> Tensor:
        """Compute the weighted smooth-L1 distance to the labels."""
        predicted, wanted = Labels.split(normalised), self.normalise(labels)
        total = normalised.new_zeros(())
        for name, weight in LOSS_WEIGHTS.items():
            # A keypoint far outside the frame would outweigh the others.
            target = getattr(wanted, name).clamp(-5.0, 5.0)
            total = total + weight * F.smooth_l1_loss(getattr(predicted, name), target, beta=LOSS_KNEE)
        return total


class Errors(NamedTuple):
    """How far predictions are off.

    Attributes:
        keypoints_mm: mean distance of the 20 keypoints other than the wrist, relative to it, millimetres (MPJPE).
        angles_degrees: mean absolute error of the joint angles.
        points_percent: mean distance of the keypoints in the image, percent of its width.
    """

    keypoints_mm: float
    angles_degrees: float
    points_percent: float


def errors(predicted: Labels, labels: Labels) -> Errors:
    """Compute the errors of predictions in metres, radians and image widths."""
    keypoints = (predicted.keypoints - labels.keypoints)[:, 1:].norm(dim=-1).mean()
    angles = (predicted.angles - labels.angles).abs().mean()
    points = (predicted.points - labels.points).norm(dim=-1).mean()
    return Errors(1000.0 * float(keypoints), math.degrees(float(angles)), 100.0 * float(points))


def mean_pose_errors(labels: Labels, reference: Labels) -> Errors:
    """Compute the errors of always predicting the mean of ``reference``."""
    means = Labels(
        *(part.mean(dim=0, keepdim=True).expand_as(own) for part, own in zip(reference, labels, strict=True))
    )
    return errors(means, labels)


def augment(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Change colours, sharpness and noise, and cover a rectangle; where things are stays.

    Args:
        images: ``(N, 3, H, W) float32 in [0, 1]``.
        generator: where chance comes from, on the images' device.

    Returns:
        The same shape and range.
    """
    n, _, height, width = images.shape

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(n, *shape, generator=generator, device=images.device) * (high - low) + low

    images = images * (uniform(0.7, 1.3, 1, 1, 1) * uniform(0.88, 1.12, 3, 1, 1)) + uniform(-0.1, 0.1, 1, 1, 1)
    middle = images.mean(dim=(2, 3), keepdim=True)
    images = middle + (images - middle) * uniform(0.7, 1.3, 1, 1, 1)
    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * uniform(0.3, 1.4, 1, 1, 1)
    blurred = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    images = torch.lerp(images, blurred, (uniform(-1.0, 1.0, 1, 1, 1)).clamp(min=0.0))
    level = uniform(-0.04, 0.06, 1, 1, 1).clamp(min=0.0)
    images = images + level * torch.randn(images.shape, generator=generator, device=images.device)
    row, column = (torch.arange(size, device=images.device) for size in (height, width))
    half = uniform(-0.1, 0.16, 2)  # negative: nothing is covered
    centre = uniform(0.0, 1.0, 2)
    covered = ((row / height - centre[:, :1]).abs() < half[:, :1])[:, None, :, None] & (
        (column / width - centre[:, 1:]).abs() < half[:, 1:]
    )[:, None, None, :]
    return torch.where(covered, uniform(0.0, 1.0, 3, 1, 1), images).clamp(0.0, 1.0)


def learning_rate(progress: float, batch: int) -> float:
    """Return the learning rate: warm-up, then a cosine down to zero; ``progress`` runs from 0 to 1."""
    peak = LEARNING_RATE * math.sqrt(min(batch, REFERENCE_BATCH) / REFERENCE_BATCH)
    if progress < WARM_UP:
        return peak * max(progress / WARM_UP, 1e-3)
    return peak * 0.5 * (1.0 + math.cos(math.pi * min((progress - WARM_UP) / (1.0 - WARM_UP), 1.0)))


@dataclass
class Trainer:
    """The network and its optimiser on one device.

    Attributes:
        network: in training mode between calls.
        device: where it is.
        seed: of the first weights and of the augmentation.
        compile: whether torch compiles the network's forward and backward pass.
    """

    network: HandPoseNetwork
    device: torch.device
    seed: int = 0
    compile: bool = False

    def __post_init__(self) -> None:
        """Move the network and make the optimiser."""
        self.network.to(self.device).to(memory_format=torch.channels_last).train()
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
        on_gpu = self.device.type == "cuda"
        self.optimiser = torch.optim.AdamW(groups, lr=LEARNING_RATE, fused=on_gpu)
        self.generator = torch.Generator(self.device).manual_seed(self.seed)
        self._forward = torch.compile(self.network) if self.compile else self.network
        if on_gpu:
            torch.backends.cudnn.benchmark = True

    def step(self, frames: Tensor, rows: Tensor, progress: float) -> Tensor:
        """Update the network once.

        Args:
            frames: ``(N, H, W, 3)`` uint8 on the device.
            rows: ``(N, 129)`` float32 labels on the device.
            progress: of the whole training, 0 to 1; it sets the learning rate.

        Returns:
            The loss, still on the device.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(progress, len(frames))
        images = augment(pixels(frames), self.generator)
        with self._autocast():
            predicted = self._forward(images)
        loss = self.network.loss(predicted.float(), Labels.split(rows))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), GRADIENT_NORM)
        self.optimiser.step()
        return loss.detach()

    def predict(self, frames: Tensor, batch: int = 256) -> Labels:
        """Predict the poses of ``(N, H, W, 3)`` uint8 images, in evaluation mode; on the CPU."""
        self.network.eval()
        with torch.inference_mode(), self._autocast():
            rows = torch.cat([self.network(pixels(chunk.to(self.device))) for chunk in frames.split(batch)])
            poses = self.network.pose(rows)
        self.network.train()
        return Labels(*(part.float().cpu() for part in poses))

    def state(self) -> dict[str, Tensor]:
        """Return everything but the images that the next step depends on, by name, on the CPU."""
        state = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        state |= adam_state(self.optimiser, dict(self.network.named_parameters()))
        state["generator"] = self.generator.get_state()
        return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Restore what `state` returned."""
        prefix = "network."
        network = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        self.network.load_state_dict(network)
        load_adam_state(self.optimiser, dict(self.network.named_parameters()), state)
        self.generator.set_state(state["generator"])

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")


def pixels(frames: Tensor) -> Tensor:
    """Convert ``(N, H, W, 3)`` uint8 to ``(N, 3, H, W)`` float32 in [0, 1], channels last."""
    return frames.permute(0, 3, 1, 2).float().div_(255.0)


def trunk_for_storage(network: HandPoseNetwork) -> dict[str, Tensor]:
    """Return the trunk under torchvision's names: convolutions as float16, BatchNorm as it is."""
    return {
        name: (tensor.half() if tensor.ndim == 4 else tensor).detach().cpu().contiguous()
        for name, tensor in network.trunk.state_dict().items()
    }
