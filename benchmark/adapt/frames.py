"""In-domain frames for Stage 2: videos of a task's expert, acting with its exploration noise.

Source: encoders.md, section 8, data and schedule.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

import tasks
from tasks.demonstrations.rollout import ACTION_NOISE_STREAM
from tasks.rendering.qualities import Quality
from tasks.rendering.render import CROP, Device

from ..errors import ConfigError
from ..rollout.simulators import Simulators
from ..rollout.slots import SceneSettings

Camera = Literal["task", "released"]

VIDEOS = 50
HELD_OUT = 10
FIRST_SEED = 3_000_000_000
"""Apart from the seeds of demonstrations, rollouts and evaluations."""
TOGETHER_SEED = 3_500_000_000
"""Of the videos of several tasks together, which an adaptation to one of them may begin with: not that one's videos."""


@dataclass(frozen=True)
class FrameSettings:
    """Which frames to render.

    Attributes:
        task: the task's name.
        size: of the frames in pixels: the central 224 x 224 of the render, shrunk.
        videos: episodes.
        camera: the ``task``'s own, through which the policy sees, or the ``released`` Stage 2's.
        quality: of the rendering.
        objects: the pack of objects.
        physics: as in `tasks.base.Task`.
        seed: reset seed of the first video.
    """

    task: str
    size: int = 128
    videos: int = VIDEOS
    camera: Camera = "task"
    quality: Quality = "fast"
    objects: str = "builtin"
    physics: str = "paper"
    seed: int = FIRST_SEED

    @property
    def limit(self) -> int:
        """The most frames of a video: the released limit, within the task's horizon."""
        card = tasks.card(self.task)
        return min(card.adaptation_frames or card.horizon + 1, card.horizon + 1)

    @property
    def camera_name(self) -> str:
        """The camera's name in the scene."""
        card = tasks.card(self.task)
        return card.adaptation_camera if self.camera == "released" and card.adaptation_camera else card.camera

    def scene(self, egl_device: int | None = None) -> SceneSettings:
        """Return the scene that the simulation workers build."""
        options: dict[str, Any] = {"physics": self.physics, "objects": self.objects}
        return SceneSettings(
            self.task, options, self.videos, quality=self.quality, device=egl_device, camera=self.camera_name
        )


@dataclass
class AdaptFrames:
    """Videos of one size.

    Attributes:
        videos: (E, T, S, S, 3) uint8; frames after a video's length mean nothing.
        lengths: (E,) int64, on the CPU.
        actions: (E, T - 1, A) float32; together with the seeds, they reproduce the videos.
        seeds: of the resets.
        device: what drew them.
    """

    videos: Tensor
    lengths: Tensor
    actions: NDArray[np.float32]
    seeds: list[int]
    device: Device | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def frames(self) -> int:
        """The number of frames, over all videos."""
        return int(self.lengths.sum())

    def to(self, device: torch.device) -> AdaptFrames:
        """Return the same on a device."""
        return replace(self, videos=self.videos.to(device))

    def split(self, held_out: int = HELD_OUT) -> tuple[AdaptFrames, AdaptFrames]:
        """Return the videos to train on, and the last ``held_out`` ones."""
        first = len(self) - held_out
        if held_out < 1 or first < 1:
            raise ConfigError(f"{len(self)} videos cannot be split into training and {held_out} held-out ones")
        train, rest = (
            AdaptFrames(self.videos[part], self.lengths[part], self.actions[part], self.seeds[part], self.device)
            for part in (slice(None, first), slice(first, None))
        )
        return train, rest

    def draw(self, generator: torch.Generator, batch: int) -> Tensor:
        """Draw a batch of pairs: (batch, 3) video, source frame and target frame, two different ones.

        Videos are drawn without replacement as long as they last. No minimal distance in time.

        Differs: the authors go through the videos in passes, the last batch of which is smaller.
        """
        passes = -(-batch // len(self))
        order = torch.cat([torch.randperm(len(self), generator=generator) for _ in range(passes)])[:batch]
        lengths = self.lengths[order]
        chance = torch.rand(2, batch, generator=generator, dtype=torch.float64)
        source = (chance[0] * lengths).long()
        other = (chance[1] * (lengths - 1)).long()
        return torch.stack([order, source, other + (other >= source)], dim=1)

    def pairs(self, generator: torch.Generator, batch: int) -> tuple[Tensor, Tensor]:
        """Draw source and target frames, (batch, S, S, 3) uint8 each, on the videos' device."""
        return self.take(self.draw(generator, batch))

    def take(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Return the frames of rows (video, source, target)."""
        video, source, target = places.to(self.videos.device, non_blocking=True).unbind(1)
        return self.videos[video, source], self.videos[video, target]


def render_videos(
    settings: FrameSettings,
    workers: int = 0,
    egl_device: int | None = None,
    on_step: Callable[[], None] | None = None,
) -> AdaptFrames:
    """Roll out the expert of a task and draw every step.

    Args:
        settings: which frames.
        workers: simulation processes; any number gives the same frames.
        egl_device: the EGL device that draws.
        on_step: called after each of ``settings.limit`` steps of all videos, the first frame counted.

    Raises:
        ConfigError: the task has no expert.
    """
    if not tasks.has_expert(settings.task):
        raise ConfigError(f"task '{settings.task}' has no expert; Stage 2 has no frames to adapt to")
    count, limit, size = settings.videos, settings.limit, settings.size
    card, expert = tasks.card(settings.task), tasks.expert(settings.task)
    seeds = [settings.seed + number for number in range(count)]
    noise = np.stack([_noise(seed, limit, card.action_dim) for seed in seeds])
    videos = torch.zeros(count, limit, size, size, 3, dtype=torch.uint8)
    actions = np.zeros((count, limit - 1, card.action_dim), np.float32)
    lengths = torch.ones(count, dtype=torch.int64)
    running = list(range(count))
    with Simulators(settings.scene(egl_device), workers) as simulators:
        observation = simulators.begin(running, seeds).reading.observation
        videos[:, 0] = shrink(simulators.frames, size)
        for step in range(limit - 1):
            if on_step is not None:
                on_step()
            if not running:
                continue
            actions[running, step] = expert.sample(observation, noise[running, step])
            reading = simulators.step(running, actions[running, step].astype(np.float64), running).reading
            videos[running, step + 1] = shrink(simulators.frames[running], size)
            lengths[running] = step + 2
            going = ~reading.terminated
            running = [slot for slot, on in zip(running, going, strict=True) if on]
            observation = reading.observation[going]
        device = simulators.device
    if on_step is not None:
        on_step()
    return AdaptFrames(videos, lengths, actions, seeds, device)


def _noise(seed: int, steps: int, actions: int) -> NDArray[np.float64]:
    """Return the exploration noise of an episode, from the stream of `tasks.demonstrations.rollout`."""
    return np.random.default_rng([seed, ACTION_NOISE_STREAM]).standard_normal((steps, actions))


def shrink(frames: NDArray[np.uint8], size: int) -> Tensor:
    """Shrink (N, 224, 224, 3) uint8 to (N, size, size, 3) uint8: bilinear, antialiased, rounded."""
    pixels = torch.from_numpy(np.ascontiguousarray(frames))
    if size == CROP:
        return pixels
    small = F.interpolate(pixels.permute(0, 3, 1, 2).float(), size=(size, size), mode="bilinear", antialias=True)
    return small.round_().clamp_(0.0, 255.0).to(torch.uint8).permute(0, 2, 3, 1)
