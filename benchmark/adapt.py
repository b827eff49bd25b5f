"""Stage 2: an encoder adapts to a task's frames; what comes out is a folder with its BatchNorm and a card.

Source: H-InDex, section 3.2; encoders.md, section 8.
"""

from __future__ import annotations

import json
import time
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

import tasks
from encoders import Encoder, WeightsOrigin
from encoders.adapt.trainer import AdaptationSettings, AdaptationTrainer, Losses
from encoders.adapt.trunk import adaptable
from encoders.cards import UNIT
from encoders.checkpoint import state_sha256

from . import adapt_evaluation as evaluation
from . import adapt_pictures as pictures
from . import adapt_segments as segments
from . import atomic
from .adapt_card import card
from .adapt_config import AdaptConfig, folder_title, identity
from .adapt_folder import (
    BATCHNORM,
    CARD,
    CHECKPOINT,
    CONFIG,
    HEADS,
    IDENTITY,
    METRICS,
    PICTURES,
    PRETRAINED,
    STRIP,
    TRUNK,
    adapted_path,
    is_finished,
    load_adapted,
    load_checkpoint,
    read_card,
)
from .adapt_frames import render_videos
from .errors import OutputError
from .identity import identity_changes, same_identity
from .lock import hold
from .machine import choose_device
from .progress import Progress, Silent
from .signals import stop_signals
from .training_files import rewind_metrics, write_checkpoint

__all__ = ["adapt", "adapted_path", "folder_title", "is_finished", "load_adapted", "read_card"]

CHECKPOINT_SECONDS = 60.0
LOG_STEPS = 20
EVALUATIONS = 10
EVALUATION_PAIRS = 4
STRIP_ROWS = 4
CALIBRATION_PAIRS = 16
_CALIBRATION_SEED = 1


@dataclass
class Position:
    """How far an adaptation is; part of the checkpoint."""

    step: int = 0
    seconds: float = 0.0
    sessions: int = 1
    frames_sha256: str = ""
    evaluations: list[dict[str, Any]] = field(default_factory=list)


def adapt(
    encoder: Encoder,
    origin: WeightsOrigin,
    task: str,
    out: Path,
    config: AdaptConfig,
    progress: Progress | None = None,
) -> Path:
    """Adapt an encoder to a task, go on with a killed adaptation, or find a finished one.

    Args:
        encoder: stays as it is; put the result into it with `load_adapted`.
        origin: where its weights came from.
        task: the task's name.
        out: the folder of all runs.
        config: the adaptation.
        progress: told how it goes.

    Returns:
        The adaptation's folder.

    Raises:
        BenchError, EncoderError, TaskError: something the user can mend.
        KeyboardInterrupt: stopped by a signal, after a checkpoint was written.
    """
    adaptable(encoder)
    tasks.card(task)
    folder = adapted_path(out, task, folder_title(config, origin, encoder.name))
    config = config.resolve()
    wanted = identity(config, encoder.describe(), task)
    with atomic.naming_failures(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with hold(folder):
        atomic.remove_partials(folder)
        if (folder / IDENTITY).is_file():
            found = atomic.read_json(folder / IDENTITY)
            if not same_identity(found, wanted):
                changes = "; ".join(identity_changes(found, wanted)[:3])
                raise OutputError(f"{folder} holds another adaptation ({changes}); delete it or choose another --out")
        if is_finished(folder):
            return folder
        atomic.write_json(folder / IDENTITY, wanted)
        atomic.write_json(folder / CONFIG, config.model_dump(mode="json"))
        _Adaptation(encoder, origin, task, folder, config, wanted, progress or Silent()).execute()
    return folder


class _Adaptation:
    """An adaptation in progress."""

    def __init__(
        self,
        encoder: Encoder,
        origin: WeightsOrigin,
        task: str,
        folder: Path,
        config: AdaptConfig,
        identity: dict[str, Any],
        progress: Progress,
    ) -> None:
        self.encoder, self.origin, self.task, self.folder = deepcopy(encoder), origin, task, folder
        self.config, self.identity, self.progress = config, identity, progress
        self.device = choose_device(config.device)
        if self.device.type == "cpu" and config.torch_threads:
            torch.set_num_threads(config.torch_threads)
        self.position = Position()
        self.stopped = False

    def execute(self) -> None:
        """Render, train, evaluate, write."""
        config, progress = self.config, self.progress
        saved = load_checkpoint(self.folder, self.identity)
        settings = config.frames(self.task)
        name = self.origin.title(self.encoder.name)
        progress.begin(f"Stage 2 · {name} · {self.task} · {config.mode} · {self.device}", config.steps + settings.limit)
        progress.stage("render frames")
        frames = render_videos(settings, config.workers, config.egl_device, lambda: progress.advance(1))
        drawn_by = frames.device.name if frames.device else "nothing"
        progress.say(f"{frames.frames} frames of {len(frames)} videos, drawn by {drawn_by}")
        self.train, self.held_out = (part.to(self.device) for part in frames.split(config.held_out))
        self.blind = evaluation.mean_image(self.train)
        self.trainer = self._trainer()
        self._resume(saved)
        with stop_signals(self._stop):
            self._train()
        if self.stopped:
            progress.close()
            raise KeyboardInterrupt
        self._finish()
        progress.end()

    def _trainer(self) -> AdaptationTrainer:
        config = self.config
        assert config.perceptual != "auto"
        normalisation = self.encoder.normalisation or UNIT
        self.encoder.normalisation = UNIT
        settings = AdaptationSettings(
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
        )
        return AdaptationTrainer(
            adaptable(self.encoder),
            settings,
            self.device,
            heads=config.heads_path,
            normalisation=normalisation,
        )

    def _resume(self, saved: tuple[dict[str, Tensor], dict[str, Any]] | None) -> None:
        drawn = state_sha256({"train": self.train.videos, "held_out": self.held_out.videos})
        if saved is not None:
            self.trainer.load(saved[0])
            self.position = Position(**saved[1])
            self.position.sessions += 1
            self.progress.say(f"go on from step {self.position.step}")
            if self.position.frames_sha256 != drawn:
                self.progress.say("another driver draws other frames: not what one uninterrupted adaptation gives")
        elif not self.trainer.calibrated:
            generator = torch.Generator().manual_seed(_CALIBRATION_SEED + self.config.seed)
            self.trainer.calibrate(*self.train.pairs(generator, CALIBRATION_PAIRS))
        self.position.frames_sha256 = drawn
        rewind_metrics(self.folder / METRICS, self.position.step)
        self.progress.advance(self.position.step)

    def _train(self) -> None:
        config, position, trainer = self.config, self.position, self.trainer
        self.progress.stage("adapt")
        began, before = time.monotonic(), position.seconds
        saved = logged = began
        losses: list[Losses] = []
        while position.step < config.steps and not self.stopped:
            losses.append(trainer.step(*self.train.pairs(trainer.generator, config.batch)))
            position.step += 1
            self.progress.advance(1)
            last = position.step == config.steps
            due = time.monotonic() - saved > CHECKPOINT_SECONDS
            if position.step % LOG_STEPS == 0 or last or due or self.stopped:
                steps = len(losses)
                row = self._means(losses)
                now = time.monotonic()
                position.seconds = before + now - began
                self._log(row, steps / max(now - logged, 1e-9))
                logged = now
            if self._evaluation_due() and not last:
                self._evaluate()
                logged = time.monotonic()
            if due or self.stopped:
                self._checkpoint()
                saved = logged = time.monotonic()

    def _evaluation_due(self) -> bool:
        step, steps = self.position.step, self.config.steps
        return step * EVALUATIONS // steps > (step - 1) * EVALUATIONS // steps

    def _means(self, losses: list[Losses]) -> dict[str, Any]:
        """The mean losses since the last line, which are then forgotten."""
        terms, quotients, total, psnr = (torch.stack(column).mean(dim=0).cpu() for column in zip(*losses, strict=True))
        losses.clear()
        if not torch.isfinite(total):
            raise OutputError(
                f"Stage 2 of {self.task}: the loss is {float(total)} at step {self.position.step}; "
                "take a smaller --learning-rate or another --seed"
            )
        return {
            "step": self.position.step,
            "loss": round(float(total), 5),
            "psnr": round(float(psnr), 3),
            "terms": [float(f"{value:.5g}") for value in terms.tolist()],
            "quotients": [round(value, 4) for value in quotients.tolist()],
        }

    def _log(self, row: dict[str, Any], rate: float) -> None:
        row |= {"seconds": round(self.position.seconds, 2), "steps_per_second": round(rate, 3)}
        with (self.folder / METRICS).open("a") as file:
            file.write(json.dumps(row) + "\n")
        self.progress.stage(f"loss {row['loss']:.2f} PSNR {row['psnr']:.1f}")

    def _evaluate(self) -> None:
        summary = evaluation.evaluate(self.trainer, self.held_out, self.blind, EVALUATION_PAIRS).summary()
        means = {name: round(row["mean"], 3) for name, row in summary.items()}
        self.position.evaluations.append({"step": self.position.step, **means})
        atomic.append_line(self.folder / METRICS, json.dumps({"held_out": True, "step": self.position.step, **means}))
        self.progress.say(f"step {self.position.step}: {evaluation.line(summary)}")

    def _stop(self) -> None:
        self.stopped = True

    # Files.

    def _checkpoint(self) -> None:
        write_checkpoint(self.folder / CHECKPOINT, self.trainer.state(), self.identity, asdict(self.position))

    def _finish(self) -> None:
        """Evaluate, draw, write what was learnt, and the card last; then the checkpoint has served."""
        self.progress.stage("evaluate")
        psnr = evaluation.evaluate(self.trainer, self.held_out, self.blind).summary()
        self.progress.say(evaluation.line(psnr))
        keypoints = self._keypoints()
        rate, uniform = (keypoints[name]["mean"] for name in ("keypoints", "uniform_points"))
        self.progress.say(f"keypoints on hand or object: {rate:.1%} (uniformly placed ones {uniform:.1%})")
        self._strip()
        self._write_tensors()
        atomic.write_json(self.folder / CARD, card(self, psnr, keypoints))
        atomic.remove(self.folder / CHECKPOINT)

    def _keypoints(self) -> dict[str, dict[str, float]]:
        """Where keypoints lie on held-out frames, as numbers; as pictures, those of the first video."""
        config, held_out = self.config, self.held_out
        steps = segments.even_steps(held_out)
        masks = segments.masks(config.frames(self.task), held_out, steps, config.egl_device)
        chosen = torch.from_numpy(steps)
        found = []
        for number, row in enumerate(chosen):
            frames = held_out.videos[number, row.to(held_out.videos.device)]
            points = self.trainer.reconstruct(frames, frames).keypoints.cpu().numpy()
            found.append(segments.hits(points, masks[number], config.size))
            if number == 0:
                for step, frame, keypoints in zip(row.tolist(), frames.cpu().numpy(), points, strict=True):
                    path = self.folder / PICTURES / f"{step:03d}.png"
                    pictures.save(path, pictures.with_keypoints(frame, keypoints))
        return segments.summary(np.stack(found), masks)

    def _strip(self) -> None:
        places = evaluation.held_out_places(self.held_out, 1)[:STRIP_ROWS, 0]
        source, target = self.held_out.take(places)
        drawn = self.trainer.reconstruct(source, target)
        columns = (
            source.cpu().numpy(),
            target.cpu().numpy(),
            pictures.unbounded(drawn.images.cpu().numpy()),
            drawn.keypoints.cpu().numpy(),
        )
        pictures.save(self.folder / STRIP, pictures.strip(list(zip(*columns, strict=True))))

    def _write_tensors(self) -> None:
        about = {"task": self.task, "encoder": self.origin.title(self.encoder.name), "input": "RGB in [0, 1]"}
        contents = {
            BATCHNORM: self.trainer.adapted(),
            PRETRAINED: self.trainer.pretrained,
            HEADS: heads_for_storage(self.trainer),
        }
        if self.config.mode == "all":
            trunk = self.trainer.model.pose_net.trunk.state_dict()
            contents[TRUNK] = {name: tensor.detach().cpu().contiguous() for name, tensor in trunk.items()}
        for name, tensors in contents.items():
            atomic.write_bytes(self.folder / name, safetensors.torch.save(tensors, about))


def heads_for_storage(trainer: AdaptationTrainer) -> dict[str, Tensor]:
    """What `AdaptationTrainer.load` needs to draw again: all but the optimiser, convolutions as float16."""
    return {
        name: tensor.half() if tensor.ndim == 4 else tensor
        for name, tensor in trainer.state().items()
        if not name.startswith("optimiser.")
    }
