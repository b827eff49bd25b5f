"""One training of Stage 2: pairs of frames in, adapted BatchNorm out.

Source: encoders.md, section 8; H-InDex, section 3.2 and its released settings.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..adam_state import adam_state, load_adam_state
from ..cards import IMAGENET, Normalisation
from ..errors import EncoderError
from ..precision import FLOAT32, computing
from . import affine, keypoints
from .files import authors_names, load_heads, load_renderer
from .loss import Perceptual, perceptual_loss
from .model import KEYPOINTS, KeypointModel
from .start import calibrate, draw_heads

Mode = Literal["none", "affine", "all"]
Precision = Literal["float32", "tf32", "bfloat16"]
Frames = Tensor | NDArray[np.uint8]

LEARNING_RATE = 1e-4
STRIDE = 32
_TRUNK = "pose_net.trunk."


@dataclass(frozen=True)
class TrainerSettings:
    """How to train.

    Attributes:
        mode: what of the trunk is trained: ``none``, the ``affine`` parameters of BatchNorm, or ``all`` of it.
        shortcuts: whether ``affine`` includes a ResNet's shortcuts.
        size: of the frames in pixels.
        batch: pairs a step.
        learning_rate: of Adam.
        seed: of the heads and of the pairs.
        perceptual: the network of the perceptual loss.
        precision: ``float32`` everywhere; a GPU may be faster with ``tf32`` or ``bfloat16``.
        keypoints: how many.
        train_maps: whether the 1 x 1 convolution that gives the maps is trained; None: in mode ``all`` only, as
            released.
        map_rate: learning rate of the layers between trunk and keypoints, as a part of ``learning_rate``. Maps are
            summed before their softmax, which saturates for good if they grow faster than the renderer learns.
        warm_up: steps in which only image encoder, pose encoder and renderer learn; in as many more, the learning rate
            of the rest rises to its value. A renderer that knows nothing drives drawn keypoints to constant places.
        steps: how many there will be; needed for ``cool_down`` alone.
        cool_down: the last so many of them, in which all learning rates fall linearly towards 0.
    """

    mode: Mode = "affine"
    shortcuts: bool = True
    size: int = 128
    batch: int = 8
    learning_rate: float = LEARNING_RATE
    seed: int = 0
    perceptual: Perceptual = "stage1"
    precision: Precision = "float32"
    keypoints: int = KEYPOINTS
    train_maps: bool | None = None
    map_rate: float = 1.0
    warm_up: int = 0
    steps: int = 0
    cool_down: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        if self.size < 2 * STRIDE or self.size % STRIDE:
            raise EncoderError(f"Stage 2: frames of {self.size} pixels; expected a multiple of {STRIDE} from 64 on")
        if self.batch < 1 or self.warm_up < 0:
            raise EncoderError(f"Stage 2: batch {self.batch} and warm-up {self.warm_up}; expected at least 1 and 0")
        if not 0 <= self.cool_down <= self.steps:
            raise EncoderError(f"Stage 2: a cool-down of {self.cool_down} steps; expected 0 to all {self.steps}")


class Losses(NamedTuple):
    """Of one step, detached, on the device.

    Attributes:
        terms: (6,) mean squared errors: pixels, then the perceptual network's layers; (1,) without such a network.
        quotients: the same over their running means.
        total: () their sum, which is minimised.
        psnr: () of the batch, in decibels, for a peak of 1.
    """

    terms: Tensor
    quotients: Tensor
    total: Tensor
    psnr: Tensor


class Reconstruction(NamedTuple):
    """What the model draws.

    Attributes:
        images: (N, 3, S, S) float32, unbounded.
        keypoints: (N, K, 2) float32, row and column in pixels of the frame.
        heat: (N, K, S / 4, S / 4) float32.
    """

    images: Tensor
    keypoints: Tensor
    heat: Tensor


class AdaptationTrainer:
    """The keypoint model, its loss and its optimiser on one device.

    Everything stays in evaluation mode, so no BatchNorm statistic moves.

    Args:
        trunk: the network to adapt, in place; see `trunk.maps` for what it may be.
        settings: how to train.
        device: where.
        heads: a file whose heads are the first ones, see `files.load_heads`; None to draw them.
        renderer: a file of which only what draws is taken, see `files.load_renderer`; the other heads are drawn.
        normalisation: what the frozen copy of the trunk in the perceptual loss gets.

    Raises:
        EncoderError: the network has no BatchNorm, or no maps.
        WeightsMissing, WeightsInvalid: as `loss.perceptual_loss`.
    """

    def __init__(
        self,
        trunk: nn.Module,
        settings: TrainerSettings,
        device: torch.device,
        *,
        heads: Path | None = None,
        renderer: Path | None = None,
        normalisation: Normalisation = IMAGENET,
    ) -> None:
        if not affine.affine_parameters(trunk):
            raise EncoderError(f"{type(trunk).__name__} has no BatchNorm layer with scale and offset to adapt")
        self.settings, self.device = settings, device
        self.pretrained = affine.extract(trunk)
        self.loss = perceptual_loss(settings.perceptual, trunk, normalisation).to(device)
        with torch.random.fork_rng(devices=[]):
            self.model = KeypointModel(trunk, keypoints=settings.keypoints)
        draw_heads(self.model, settings.seed)
        if heads is not None:
            load_heads(self.model, heads)
        if renderer is not None:
            load_renderer(self.model, renderer)
        self.model.to(device).to(memory_format=torch.channels_last).eval()
        self.loss.to(memory_format=torch.channels_last)
        self.trained = self._choose()
        on_gpu = device.type == "cuda"
        groups = [{"params": [self.trained[name] for name in names]} for names in self._groups()]
        self.optimiser = torch.optim.Adam(groups, lr=settings.learning_rate, fused=True, capturable=on_gpu)
        self.steps = 0
        self.generator = torch.Generator().manual_seed(settings.seed)
        self.calibrated = heads is not None
        self._renderer_drawn = renderer is None

    def _choose(self) -> dict[str, nn.Parameter]:
        """Freeze what stays as it is, and name the rest."""
        settings, model = self.settings, self.model
        self.model.requires_grad_(False)
        chosen = [f"{name}." for name in model.heads]
        final = settings.mode == "all" if settings.train_maps is None else settings.train_maps
        if final:
            chosen.append("pose_net.final_layer_unsup.")
        if settings.mode == "all":
            chosen.append(_TRUNK)
        trained = {name: value for name, value in model.named_parameters() if name.startswith(tuple(chosen))}
        if settings.mode == "affine":
            own = affine.affine_parameters(model.pose_net.trunk, settings.shortcuts)
            trained |= {f"{_TRUNK}{name}": parameter for name, parameter in own.items()}
        trained = {name: value for name, value in trained.items() if not name.startswith(f"{_TRUNK}fc.")}
        for parameter in trained.values():
            parameter.requires_grad_(True)
        return trained

    def calibrate(self, source: Frames, target: Frames) -> None:
        """Give the untrained heads' BatchNorm layers the statistics of a batch, see `start.calibrate`."""
        with computing(FLOAT32, self.device):
            calibrate(self.model, self.pixels(source), self.pixels(target), renderer=self._renderer_drawn)
        self.calibrated = True

    def step(self, source: Frames, target: Frames) -> Losses:
        """One update.

        Args:
            source: ``(N, S, S, 3)`` uint8 frames whose appearance is known.
            target: the frames to draw, of which only the keypoints are seen.
        """
        if not self.calibrated:
            self.calibrate(source, target)
        wanted = self.pixels(target)
        with self._precision():
            drawn = self.model(self.pixels(source), wanted)
            terms = self.loss.terms(drawn.images, wanted)
            quotients = self.loss.update(terms)
            total = quotients.sum()
            self.optimiser.zero_grad(set_to_none=True)
            total.backward()
        for group, rate in zip(self.optimiser.param_groups, self._rates(), strict=True):
            group["lr"] = rate
        self.optimiser.step()
        self.steps += 1
        terms = terms.detach()
        return Losses(terms, quotients.detach(), total.detach(), psnr(terms[0]))

    def reconstruct(self, source: Frames, target: Frames) -> Reconstruction:
        """Draw frames from others and their own keypoints, without gradient; the shapes are those of `step`."""
        with torch.no_grad(), computing(FLOAT32, self.device):
            drawn = self.model(self.pixels(source), self.pixels(target))
        return Reconstruction(drawn.images, keypoints.pixel_positions(drawn.keypoints), drawn.heat)

    def pixels(self, frames: Frames) -> Tensor:
        """``(N, S, S, 3)`` uint8 to ``(N, 3, S, S)`` float32 in [0, 1] on the device: no mean, no deviation."""
        found = torch.as_tensor(frames).to(self.device, non_blocking=True)
        size = self.settings.size
        if found.ndim != 4 or found.shape[1:] != (size, size, 3) or found.dtype != torch.uint8:
            shape = tuple(found.shape)
            raise EncoderError(f"Stage 2: frames are {shape} {found.dtype}; expected (N, {size}, {size}, 3) uint8")
        return found.permute(0, 3, 1, 2).float().div_(255.0)

    def adapted(self) -> dict[str, Tensor]:
        """The trunk's BatchNorm scales and offsets as they are now, see `affine.extract`."""
        return affine.extract(self.model.pose_net.trunk)

    def _groups(self) -> tuple[list[str], list[str], list[str]]:
        """Names of what is trained: the trunk's, those of the other layers before the keypoints, and the rest."""
        trunk = [name for name in self.trained if name.startswith(_TRUNK)]
        maps = [name for name in self.trained if name.startswith("pose_net.") and name not in trunk]
        return trunk, maps, [name for name in self.trained if not name.startswith("pose_net.")]

    def _rates(self) -> tuple[float, float, float]:
        """The learning rate of each of `_groups` in the coming step."""
        settings, rate = self.settings, self.settings.learning_rate
        if settings.cool_down:
            rate *= min(1.0, max(0.0, (settings.steps - self.steps) / settings.cool_down))
        warmth = min(1.0, max(0.0, self.steps / settings.warm_up - 1.0)) if settings.warm_up else 1.0
        return rate * warmth, rate * warmth * settings.map_rate, rate

    # Going on later.

    def state(self) -> dict[str, Tensor]:
        """All that the next steps depend on but the frames and the frozen part of the trunk, on the CPU."""
        state = {
            f"model.{name}": tensor
            for name, tensor in self.model.state_dict().items()
            if not name.startswith(_TRUNK) or name in self.trained
        }
        state |= adam_state(self.optimiser, self.trained)
        state |= {"loss.means": self.loss.means, "loss.begun": self.loss.begun}
        state |= {"generator": self.generator.get_state(), "calibrated": torch.tensor(self.calibrated)}
        state["steps"] = torch.tensor(self.steps)
        return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go back to where `state` was taken; the trunk must be the same.

        Raises:
            EncoderError: the state is of another training.
        """
        state = authors_names(state)
        missing = [name for name in self.state() if name not in state and not name.startswith("optimiser.")]
        if missing:
            raise EncoderError(f"Stage 2: the checkpoint lacks {', '.join(missing[:3])}; it is of another training")
        model = {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
        self.model.load_state_dict(model, strict=False)
        load_adam_state(self.optimiser, self.trained, state)
        self.loss.means.copy_(state["loss.means"])
        self.loss.begun.copy_(state["loss.begun"])
        self.generator.set_state(state["generator"])
        self.calibrated, self.steps = bool(state["calibrated"]), int(state["steps"])

    @contextmanager
    def _precision(self) -> Iterator[None]:
        kind = self.settings.precision
        if kind == "float32":
            with computing(FLOAT32, self.device):
                yield
            return
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high")
        try:
            with (
                torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=True),
                torch.autocast(self.device.type, torch.bfloat16, enabled=kind == "bfloat16"),
            ):
                yield
        finally:
            torch.set_float32_matmul_precision(before)


def psnr(error: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in decibels of a mean squared error, for a peak of 1."""
    return -10.0 * torch.log10(error.clamp(min=1e-10))
