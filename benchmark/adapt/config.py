"""What an adaptation of Stage 2 is asked to do."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

import tasks
from encoders import WeightsOrigin
from encoders.weights.files import file_sha256
from tasks import experts
from tasks.cards import Pack
from tasks.rendering.qualities import Quality, version_entry

from ..bounded import Batch, DeviceNumber, Episodes, Iterations, Processes, Seed, Steps, Threads, Videos
from ..config import usable_cores
from ..errors import ConfigError
from ..marks import Part
from ..store.identity import identity_hash
from ..store.paths import user_path
from .frames import FIRST_SEED, TOGETHER_SEED, FrameSettings

RESULTS_VERSION = 2
"""Raised only when the numbers of an adaptation change."""

LEARNING_RATE = 5e-4
DRAWN_MAP_RATE = 0.02
SHIPPED_MAP_RATE = 0.1
LONGEST_WARM_UP = 1000
COOL_DOWN = 0.5
"""Differs: the authors' heads come trained; 100,000 steps at 1e-4, all layers alike from the first one to the last."""

_WORDS = ("shipped", "drawn")
NOT_COMPARED = {"device", "workers", "egl_device", "torch_threads"}


class AdaptConfig(Part):
    """An adaptation. The defaults are for minutes on a CPU; the paper's are 100,000 steps of 8 pairs at 224 pixels.

    Attributes:
        mode: what of the encoder is trained: ``none`` (the heads alone), the ``affine`` parameters of its BatchNorm
            layers, or ``all`` of it.
        shortcuts: whether ``affine`` includes a ResNet's shortcuts, as released; the paper's 0.18 % leave them out.
        size: of the frames in pixels.
        batch: pairs of frames a step.
        steps: updates.
        learning_rate: of Adam.
        warm_up: steps in which the keypoints stay as they are, see `encoders.adapt.trainer`; None for a tenth
            of all where heads are drawn, else 0.
        map_rate: learning rate of the layers between encoder and keypoints, as a part of ``learning_rate``; None for
            `DRAWN_MAP_RATE` where heads are drawn, `SHIPPED_MAP_RATE` for those that ship, else 1.
        cool_down: share of the steps, at the end, in which the learning rate falls linearly to 0.
        seed: of everything but the frames.
        perceptual: network of the perceptual loss; ``auto`` is VGG-16 where its weights lie in the cache, else the
            encoder's own frozen features; ``none`` for pixels alone, which teaches drawn heads much faster.
        precision: of the training; evaluation is in float32.
        heads: ``auto`` takes heads trained on Penn Action where they lie in the cache, else those that ship where they
            were trained on this encoder's weights, else they are drawn; ``shipped``; ``drawn``; or a file, see
            `encoders.adapt.files.load_heads`.
        videos: episodes of the task's expert.
        held_out: the last so many of them are for evaluation.
        camera: through which the frames are seen: the ``task``'s, as the policy, or the ``released`` Stage 2's.
        quality: of the rendering.
        physics: of the task.
        objects: of the task.
        device: auto, cpu, cuda or cuda:N.
        workers: rendering processes; 0 for none.
        egl_device: the EGL device that draws.
        torch_threads: of torch on a CPU; None leaves it alone.
    """

    mode: Literal["none", "affine", "all"] = "affine"
    shortcuts: bool = True
    size: Annotated[int, Field(ge=64, le=224, multiple_of=32)] = 128
    batch: Batch = 4
    steps: Steps = 300
    learning_rate: Annotated[float, Field(gt=0)] = LEARNING_RATE
    warm_up: Iterations | None = None
    map_rate: Annotated[float, Field(gt=0)] | None = None
    cool_down: Annotated[float, Field(ge=0, le=1)] = COOL_DOWN
    seed: Seed = 0
    perceptual: Literal["auto", "vgg16", "stage1", "none"] = "auto"
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    heads: str = "auto"
    videos: Videos = 50
    held_out: Episodes = 10
    camera: Literal["task", "released"] = "task"
    quality: Quality = "fast"
    physics: Literal["paper", "native"] = "paper"
    objects: Pack = "builtin"
    device: str = "auto"
    workers: Processes = Field(default_factory=lambda: min(usable_cores(), 16))
    egl_device: DeviceNumber | None = None
    torch_threads: Threads | None = None

    def frames(self, task: str, together: bool = False) -> FrameSettings:
        """The frames of a task, adapted to alone or together with others."""
        options = self.size, self.videos, self.camera, self.quality, self.objects, self.physics
        return FrameSettings(task, *options, TOGETHER_SEED if together else FIRST_SEED)

    def resolve(self, origin: WeightsOrigin) -> AdaptConfig:
        """The same with ``auto`` decided for this machine's cache and these weights of the encoder.

        Raises:
            ConfigError: the heads are not there or of other weights, or too few videos are left to train on.
        """
        from encoders.adapt import files, loss, shipped

        if self.held_out >= self.videos:
            raise ConfigError(f"{self.videos} videos, {self.held_out} of them held out: none is left to train on")
        perceptual, heads = self.perceptual, self.heads
        if perceptual == "auto":
            perceptual = "vgg16" if os.path.isfile(loss.vgg16_path()) else "stage1"
        fits = shipped.fits(shipped.HEADS, origin.sha256)
        if heads == "auto":
            heads = str(files.penn_path()) if os.path.isfile(files.penn_path()) else "shipped" if fits else "drawn"
        if heads == "shipped" and not fits:
            raise ConfigError("--heads shipped: these were trained on the Stage 1 that ships; use auto or drawn")
        if heads not in _WORDS and not user_path(heads).is_file():
            raise ConfigError(f"no heads at {heads}; expected auto, {', '.join(_WORDS)}, or the path of a file")
        drawn = heads == "drawn"
        warm_up, map_rate = self.warm_up, self.map_rate
        if warm_up is None:
            warm_up = min(self.steps // 10, LONGEST_WARM_UP) if drawn else 0
        if map_rate is None:
            map_rate = {"drawn": DRAWN_MAP_RATE, "shipped": SHIPPED_MAP_RATE}.get(heads, 1.0)
        return self.model_copy(
            update={"perceptual": perceptual, "heads": heads, "warm_up": warm_up, "map_rate": map_rate}
        )

    @property
    def heads_path(self) -> Path | None:
        """The file of the heads, once resolved; None where they are drawn."""
        from encoders.adapt import shipped

        if self.heads == "shipped":
            return shipped.HEADS
        return None if self.heads == "drawn" else user_path(self.heads)


def joined(names: Sequence[str]) -> str:
    """One name for a task or several, such as ``door``, ``door+pen`` or ``all``."""
    return "all" if len(names) > 1 and set(names) == set(tasks.names()) else "+".join(names)


def identity(config: AdaptConfig, encoder: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """What makes the numbers of an adaptation.

    Args:
        config: resolved.
        encoder: what `encoders.Encoder.describe` says.
        names: of the tasks.
    """
    settings = config.model_dump(mode="json", exclude=NOT_COMPARED | {"heads"})
    heads, shipped = config.heads_path, experts.shipped_names()
    return {
        "results_version": RESULTS_VERSION,
        "tasks": [
            {"name": name, "results_version": tasks.card(name).results_version_with(config.objects)} for name in names
        ],
        "expert_sha256": {name: experts.shipped(name).sha256 for name in names if name in shipped},
        "encoder": {name: encoder[name] for name in ("name", "class", "results_version", "weights", "weights_sha256")},
        "heads_sha256": file_sha256(heads) if heads else None,
        **version_entry(config.quality),
        **settings,
    }


def folder_title(config: AdaptConfig, origin: WeightsOrigin, encoder: str) -> str:
    """The name of an adaptation's folder: the encoder as legends show it; unusual settings add a hash of them.

    >>> folder_title(AdaptConfig(), WeightsOrigin("builtin", label="(builtin)"), "frankmocap_hand")
    'frankmocap_hand (builtin)'
    """
    usual = AdaptConfig().model_dump(mode="json")
    given = config.model_dump(mode="json", exclude=NOT_COMPARED)
    changed = {name: value for name, value in given.items() if value != usual[name]}
    name = origin.title(encoder)
    return f"{name}+{identity_hash(changed)[:8]}" if changed else name


def configure(**values: Any) -> AdaptConfig:
    """A configuration from the command line's values.

    Raises:
        ConfigError: one of them cannot be used; the message is one line.
    """
    try:
        return AdaptConfig(**values)
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).replace("_", "-")
        raise ConfigError(f"--{option} {first['input']}: {first['msg'][0].lower()}{first['msg'][1:]}") from error


@dataclass
class Position:
    """How far an adaptation is; part of the checkpoint."""

    step: int = 0
    seconds: float = 0.0
    sessions: int = 1
    frames_sha256: str = ""
    evaluations: list[dict[str, Any]] = field(default_factory=list)
