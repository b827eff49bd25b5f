"""The settings of an adaptation (Stage 2), its identity, and the name of its folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

import tasks
from encoders import WeightsOrigin
from encoders.weights.files import file_sha256
from tasks.cards import GROUPS, Pack
from tasks.rendering.qualities import Quality, version_entry

from .. import task_files
from ..bounded import DeviceNumber, Processes, Seed, Threads
from ..config import AdaptationSettings, usable_cores
from ..device_names import device_name
from ..errors import ConfigError
from ..marks import IDENTITY, OPTION, SPEED, marked, without
from ..overrides import parse
from ..presets import preset_settings
from ..store.identity import identity_hash
from ..store.paths import user_path
from .frames import FIRST_SEED, TOGETHER_SEED, FrameSettings

RESULTS_VERSION = 2
"""Raised only when the numbers of an adaptation change."""

DRAWN_MAP_RATE = 0.02
SHIPPED_MAP_RATE = 0.1
LONGEST_WARM_UP = 1000

RENDERER = "renderer"
_WORDS = ("shipped", RENDERER, "drawn")


class AdaptConfig(AdaptationSettings):
    """One adaptation: the numbers of Stage 2, what is adapted to what, and where.

    Attributes:
        mode: what of the encoder is trained: ``none`` (the heads alone), the ``affine`` parameters of its BatchNorm
            layers, or ``all`` of it.
        seed: of everything but the frames.
        quality: of the frames: ``paper``, ``shadows`` or ``fast``.
        physics: of the task.
        objects: of the task.
        device: auto, cpu, cuda or cuda:N.
        workers: rendering processes; 0 for none.
        egl_device: the EGL device that draws.
        torch_threads: of torch on a CPU; None leaves it alone.
    """

    mode: Annotated[Literal["none", "affine", "all"], IDENTITY, OPTION] = "affine"
    seed: Annotated[Seed, IDENTITY, OPTION] = 0
    quality: Quality = "fast"
    physics: Literal["paper", "native"] = "paper"
    objects: Annotated[Pack, IDENTITY, OPTION] = "builtin"
    device: Annotated[str, AfterValidator(device_name), SPEED, OPTION] = "auto"
    workers: Annotated[Processes, Field(default_factory=lambda: min(usable_cores(), 16)), SPEED, OPTION]
    egl_device: Annotated[DeviceNumber | None, SPEED] = None
    torch_threads: Annotated[Threads | None, SPEED] = None

    def frames(self, task: str, together: bool = False) -> FrameSettings:
        """Return which frames of a task are rendered, alone or together with other tasks."""
        options = self.size, self.videos, self.camera, self.quality, self.objects, self.physics
        return FrameSettings(task, *options, TOGETHER_SEED if together else FIRST_SEED)

    def resolve(self, origin: WeightsOrigin) -> AdaptConfig:
        """Return the same with ``auto`` decided from this machine's cache and the encoder's weights.

        Raises:
            ConfigError: the heads are not there or of other weights, or too few videos are left to train on.
        """
        from encoders.adapt import files, loss, shipped

        if self.held_out >= self.videos:
            raise ConfigError(
                f"{self.videos} videos with {self.held_out} held out: none is left to train on; lower held_out, or "
                "raise videos"
            )
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
        """The file of the heads, once resolved; None where they are drawn at random."""
        from encoders.adapt import shipped

        if self.heads in ("shipped", RENDERER):
            return shipped.HEADS
        return None if self.heads == "drawn" else user_path(self.heads)


def joined(names: Sequence[str]) -> str:
    """Return one name for a task or several: ``door``, ``door+pen``, or the name of their group, such as ``all``."""
    for group, members in GROUPS.items():
        if len(names) > 1 and set(names) == set(members):
            return group
    return "+".join(names)


def identity(config: AdaptConfig, encoder: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return everything that determines an adaptation's results.

    Args:
        config: resolved.
        encoder: what `encoders.Encoder.describe` returns, at least the entries that are taken from it.
        names: of the tasks.
    """
    settings = config.model_dump(mode="json", exclude=without(AdaptConfig, IDENTITY))
    heads = config.heads_path
    return {
        "results_version": RESULTS_VERSION,
        "tasks": [
            {
                "name": name,
                "results_version": tasks.card(name).results_version_with(config.objects),
                **task_files.identity(name),
            }
            for name in names
        ],
        "expert_sha256": {name: tasks.expert(name).sha256 for name in names if tasks.has_expert(name)},
        "encoder": {name: encoder[name] for name in ("name", "class", "results_version", "weights", "weights_sha256")},
        "heads_sha256": file_sha256(heads) if heads else None,
        **version_entry(config.quality),
        **settings,
    }


def folder_title(config: AdaptConfig, origin: WeightsOrigin, encoder: str) -> str:
    """Return the name of an adaptation's folder: the encoder's title, and a hash of settings that are not the defaults.

    >>> folder_title(AdaptConfig(), WeightsOrigin("builtin", label="(builtin)"), "frankmocap_hand")
    'frankmocap_hand (builtin)'
    """
    usual = AdaptConfig.model_validate({}).model_dump(mode="json")
    given = config.model_dump(mode="json", exclude=marked(AdaptConfig, SPEED))
    changed = {name: value for name, value in given.items() if value != usual[name]}
    name = origin.title(encoder)
    return f"{name}+{identity_hash(changed)[:8]}" if changed else name


def configure(preset: str = "quickstart", overrides: Sequence[str] = (), **values: Any) -> AdaptConfig:
    """Return an adaptation's configuration: what a run of the preset does, and what is set otherwise.

    Args:
        preset: quickstart, small or paper.
        overrides: ``key=value`` with JSON values; a value that is no JSON is a string.
        **values: fields of `AdaptConfig`.

    Raises:
        ConfigError: an unknown preset or key, or a value of the wrong type or range; the message is one line.
    """
    settings = preset_settings(preset)
    tree = {**settings.get("adaptation", {})}
    tree |= {"quality": settings["rollout"]["quality"]} if "quality" in settings["rollout"] else {}
    tree |= {"objects": settings["objects"]} if "objects" in settings else {}
    return parse(AdaptConfig, {**tree, **values}, overrides)


@dataclass
class Position:
    """The progress of an adaptation; part of its checkpoint."""

    step: int = 0
    seconds: float = 0.0
    sessions: int = 1
    frames_sha256: str = ""
    evaluations: list[dict[str, Any]] = field(default_factory=list)
