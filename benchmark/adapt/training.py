"""Stage 2: an encoder adapts to frames of a task, or of several; what comes out is a folder: its BatchNorm and a card.

Source: H-InDex, section 3.2; encoders.md, section 8.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import torch

import encoders
from encoders import Encoder, WeightsOrigin
from encoders.adapt.trainer import AdaptationTrainer, Losses, TrainerSettings
from encoders.adapt.trunk import adaptable
from encoders.cards import UNIT
from encoders.factory import assemble, hashed_origin
from encoders.unfold import unfold

from .. import memory, task_files
from ..device import choose_device
from ..errors import ConfigError, OutputError
from ..progress import Progress, Silent
from ..signals import stop_signals
from ..store import atomic
from ..store.training import held, load_checkpoint, require_alike, rewind_metrics, write_checkpoint
from ..training_loop import train
from . import data, evaluation, unfolding
from .card import heads_in_words
from .config import RENDERER, AdaptConfig, Position, folder_title, identity, joined
from .folder import (
    CHECKPOINT,
    CONFIG,
    IDENTITY,
    METRICS,
    STATISTICS,
    adapted_path,
    is_finished,
    load_adapted,
    read_card,
    require_identity,
    require_unaltered,
)
from .frames import FrameSettings
from .results import write_results

__all__ = ["adapt", "adapt_named", "adapted_path", "folder_title", "is_finished", "load_adapted", "read_card"]

EVALUATIONS = 10
EVALUATION_PAIRS = 4
CALIBRATION_PAIRS = 16
_CALIBRATION_SEED = 1


class _Asked(NamedTuple):
    """An adaptation that is asked for: its tasks and resolved settings, its folder and its identity."""

    tasks: tuple[str, ...]
    config: AdaptConfig
    folder: Path
    identity: dict[str, Any]


def adapt_named(
    name: str,
    origin: WeightsOrigin,
    task: str | Sequence[str],
    out: Path,
    config: AdaptConfig,
    progress: Progress | None = None,
) -> Path:
    """Do as `adapt` with the encoder of a name; a finished adaptation is recognised before the encoder is loaded.

    Args:
        name: the encoder's name, or ``file.py:Class``.
        origin: where its weights come from, see `encoders.resolve`.
        task: as for `adapt`.
        out: as for `adapt`.
        config: as for `adapt`.
        progress: as for `adapt`.
    """
    origin = hashed_origin(name, origin)
    network = encoders.get(name)
    asked = _ask(network, network.describe_unbuilt(origin), origin, task, out, config)
    if is_finished(asked.folder):
        with held(asked.folder):
            _require_same(asked)
            return asked.folder
    encoder, origin = assemble(name, origin)
    return adapt(encoder, origin, task, out, config, progress)


@memory.advising("lower batch, size or videos (adaptation.batch and so on in a run), or use another --device")
def adapt(
    encoder: Encoder,
    origin: WeightsOrigin,
    task: str | Sequence[str],
    out: Path,
    config: AdaptConfig,
    progress: Progress | None = None,
) -> Path:
    """Adapt an encoder to a task, go on with a killed adaptation, or find a finished one.

    Several tasks are adapted to together: one encoder and one set of heads for all. Their frames are of other episodes
    than those of one task, so that what is learnt may be the beginning of an adaptation to any of them.

    Args:
        encoder: stays as it is; put the result into it with `load_adapted`.
        origin: where its weights came from.
        task: the task's name or ``path/to/file.py:Class``, or several.
        out: the folder of all runs.
        config: the adaptation.
        progress: receives progress updates.

    Returns:
        The adaptation's folder.

    Raises:
        BenchError, EncoderError, TaskError: something the user can mend.
        KeyboardInterrupt: stopped by a signal, after a checkpoint was written.
    """
    _require_adaptable(encoder)
    asked = _ask(type(encoder), encoder.describe(), origin, task, out, config)
    with held(asked.folder):
        _require_same(asked)
        if not is_finished(asked.folder):
            atomic.write_json(asked.folder / IDENTITY, asked.identity)
            atomic.write_json(asked.folder / CONFIG, asked.config.model_dump(mode="json"))
            _adapt(asked, deepcopy(encoder), origin, progress or Silent())
    return asked.folder


def _require_adaptable(encoder: Encoder) -> None:
    """Refuse an encoder that Stage 2 cannot adapt, before anything is written."""
    if encoder.batchnorm_folded:
        encoder = deepcopy(encoder)
        unfold(encoder)
    adaptable(encoder)


def _ask(
    network: type[Encoder],
    encoder: Mapping[str, Any],
    origin: WeightsOrigin,
    task: str | Sequence[str],
    out: Path,
    config: AdaptConfig,
) -> _Asked:
    """Say which adaptation is asked for; ``encoder`` is what `encoders.Encoder.describe_unbuilt` returns."""
    names = tuple(task_files.name_of(one) for one in ([task] if isinstance(task, str) else task))
    if not names:
        raise ConfigError("Stage 2: no task is named")
    for each in names:
        task_files.check(each)
    folder = adapted_path(out, joined(names), folder_title(config, origin, network.name))
    config = config.resolve(origin)
    made = identity(config, encoder, names)
    if network.batchnorm_folded:
        made |= {"unfolded": unfolding.identity(_measured(names, config))}
    return _Asked(names, config, folder, made)


def _measured(names: Sequence[str], config: AdaptConfig) -> list[FrameSettings]:
    """Return the videos that the statistics of a folded BatchNorm are measured on."""
    return [unfolding.frame_settings(name, config.quality, config.objects, config.physics) for name in names]


def _require_same(asked: _Asked) -> None:
    """Refuse a folder that was altered after it was finished, or that holds another adaptation."""
    require_unaltered(asked.folder)
    require_identity(asked.folder, asked.identity)


def _adapt(asked: _Asked, encoder: Encoder, origin: WeightsOrigin, progress: Progress) -> None:
    """Render, train and write; the encoder is adapted in place."""
    names, config, folder = asked.tasks, asked.config, asked.folder
    device = choose_device(config.device)
    if device.type == "cpu" and config.torch_threads:
        torch.set_num_threads(config.torch_threads)
    frames = [config.frames(task, together=len(names) > 1) for task in names]
    memory.require(memory.adaptation_needs(config.size, config.batch, [each.limit * each.videos for each in frames]))
    state, position = load_checkpoint(folder / CHECKPOINT, asked.identity, Position())
    title = origin.title(encoder.name)
    progress.begin(
        f"Stage 2 · {title} · {joined(names)} · {config.mode} · {device}",
        config.steps + sum(each.limit for each in frames),
    )
    measured = _measured(names, config)
    unfolding.unfold_with(encoder, folder / STATISTICS, measured, config.workers, config.egl_device, progress)
    progress.say(f"first heads: {heads_in_words(config, asked.identity['heads_sha256'])}")
    parts = [_render(each, config, device, progress) for each in frames]
    trainer = _trainer(encoder, config, device)
    training = _Adaptation(config, folder, asked.identity, progress, joined(names), position, trainer, parts)
    if state is None:
        training.begin()
    else:
        training.resume(state)
    progress.stage("adapt")
    stop = Event()
    with stop_signals(stop.set):
        train(training, stop)
    if stop.is_set():
        progress.close()
        raise KeyboardInterrupt
    write_results(
        folder,
        encoder=encoder.name,
        origin=origin,
        config=config,
        identity=asked.identity,
        parts=parts,
        trainer=trainer,
        position=position,
        progress=progress,
    )
    atomic.remove(folder / CHECKPOINT)
    progress.end()


def _render(settings: FrameSettings, config: AdaptConfig, device: torch.device, progress: Progress) -> data.TaskFrames:
    progress.stage(f"render frames of {settings.task}")
    part = data.render(
        settings, config.held_out, device, config.workers, config.egl_device, lambda: progress.advance(1)
    )
    drawn_by = part.train.device.name if part.train.device else "nothing"
    frames = part.train.frames + part.held_out.frames
    progress.say(f"{settings.task}: {frames} frames of {config.videos} videos, drawn by {drawn_by}")
    return part


def _trainer(encoder: Encoder, config: AdaptConfig, device: torch.device) -> AdaptationTrainer:
    """Return a trainer of an encoder, which from now on sees RGB in [0, 1] without mean and deviation."""
    assert config.perceptual != "auto"
    normalisation = encoder.normalisation or UNIT
    encoder.normalisation = UNIT
    settings = TrainerSettings(
        mode=config.mode,
        shortcuts=config.shortcuts,
        size=config.size,
        batch=config.batch,
        learning_rate=config.learning_rate,
        seed=config.seed,
        perceptual=config.perceptual,
        precision=config.precision,
        warm_up=config.warm_up or 0,
        map_rate=config.map_rate or 1.0,
        steps=config.steps,
        cool_down=round(config.cool_down * config.steps),
    )
    network = adaptable(encoder)
    given = {"renderer" if config.heads == RENDERER else "heads": config.heads_path}
    return AdaptationTrainer(network, settings, device, **given, normalisation=normalisation)


@dataclass
class _Adaptation:
    """An adaptation in training, as `benchmark.training_loop.train` drives it.

    Attributes:
        task: one name for all tasks.
        since_log: losses since the last line of the metrics.
    """

    config: AdaptConfig
    folder: Path
    identity: dict[str, Any]
    progress: Progress
    task: str
    position: Position
    trainer: AdaptationTrainer
    parts: list[data.TaskFrames]
    since_log: list[Losses] = field(default_factory=list)

    def begin(self) -> None:
        """Start at step 0; heads that are drawn get their statistics from a first batch."""
        if not self.trainer.calibrated:
            generator = torch.Generator().manual_seed(_CALIBRATION_SEED + self.config.seed)
            self.trainer.calibrate(*data.pairs(self.parts, generator, CALIBRATION_PAIRS))
        self.position.frames_sha256 = data.frames_sha256(self.parts)
        rewind_metrics(self.folder / METRICS, 0)

    def resume(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from the tensors of a checkpoint."""
        require_alike(state, self.trainer.state(), self.folder / CHECKPOINT)
        self.trainer.load(state)
        self.position.sessions += 1
        self.progress.say(f"resumed from step {self.position.step}")
        drawn = data.frames_sha256(self.parts)
        if self.position.frames_sha256 != drawn:
            self.progress.say("another driver draws other frames: the result differs from an uninterrupted adaptation")
        self.position.frames_sha256 = drawn
        rewind_metrics(self.folder / METRICS, self.position.step)
        self.progress.advance(self.position.step)

    def finished(self) -> bool:
        """Return whether all steps are done."""
        return self.position.step >= self.config.steps

    def step(self) -> None:
        """Train on one batch of pairs."""
        pairs = data.pairs(self.parts, self.trainer.generator, self.config.batch)
        self.since_log.append(self.trainer.step(*pairs))
        self.position.step += 1
        self.progress.advance(1)

    def losses(self) -> dict[str, Any]:
        """Return the mean losses since the last line, which are then forgotten."""
        columns = zip(*self.since_log, strict=True)
        terms, quotients, total, psnr = (torch.stack(column).mean(dim=0).cpu() for column in columns)
        self.since_log.clear()
        if not torch.isfinite(total):
            raise OutputError(
                f"Stage 2 of {self.task}: the loss is {float(total)} at step {self.position.step}; "
                "give a smaller learning_rate with --set, or another --seed"
            )
        return {
            "step": self.position.step,
            "loss": round(float(total), 5),
            "psnr": round(float(psnr), 3),
            "terms": [float(f"{value:.5g}") for value in terms.tolist()],
            "quotients": [round(value, 4) for value in quotients.tolist()],
        }

    def log(self, losses: dict[str, Any], steps_per_second: float) -> None:
        """Write a line of the metrics."""
        times = {"seconds": round(self.position.seconds, 2), "steps_per_second": round(steps_per_second, 3)}
        atomic.append_line(self.folder / METRICS, json.dumps(losses | times))
        self.progress.stage(f"loss {losses['loss']:.2f} PSNR {losses['psnr']:.1f}")

    def evaluation_due(self) -> bool:
        """Return whether a tenth of the steps is complete; the end is evaluated by `write_results`."""
        step, steps = self.position.step, self.config.steps
        return step < steps and step * EVALUATIONS // steps > (step - 1) * EVALUATIONS // steps

    def evaluate(self) -> None:
        """Draw held-out frames, and write how well."""
        drawings = data.evaluate(self.trainer, self.parts, EVALUATION_PAIRS)
        summary = data.together([*drawings.values()]).summary()
        means = {name: round(row["mean"], 3) for name, row in summary.items()}
        self.position.evaluations.append({"step": self.position.step, **means})
        atomic.append_line(self.folder / METRICS, json.dumps({"held_out": True, "step": self.position.step, **means}))
        self.progress.say(f"step {self.position.step}: {evaluation.line(summary)}")

    def checkpoint(self) -> None:
        """Write all that a later session needs."""
        write_checkpoint(self.folder / CHECKPOINT, self.trainer.state(), self.identity, asdict(self.position))
