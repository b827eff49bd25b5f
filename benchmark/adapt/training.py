"""Stage 2: an encoder adapts to frames of a task, or of several; what comes out is a folder: its BatchNorm and a card.

Source: H-InDex, section 3.2; encoders.md, section 8.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict
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

from .. import memory
from ..device import choose_device
from ..errors import ConfigError, FolderError, OutputError
from ..progress import Progress, Silent
from ..signals import stop_signals
from ..store import atomic
from ..store.identity import identity_changes, same_identity
from ..store.lock import hold
from ..store.training import require_alike, restored, rewind_metrics, write_checkpoint
from . import data, evaluation, pictures, segments
from .card import Adapted, card, heads_in_words, held_out_rows
from .config import AdaptConfig, Position, folder_title, identity, joined
from .folder import (
    BATCHNORM,
    CHECKPOINT,
    CONFIG,
    HEADS,
    IDENTITY,
    METRICS,
    PICTURES,
    PRETRAINED,
    REMEDY,
    STRIP,
    TRUNK,
    adapted_path,
    finish,
    is_finished,
    load_adapted,
    load_checkpoint,
    read_card,
    require_unaltered,
)
from .frames import FrameSettings

__all__ = ["adapt", "adapted_path", "folder_title", "is_finished", "load_adapted", "read_card"]

CHECKPOINT_SECONDS = 60.0
LOG_STEPS = 20
EVALUATIONS = 10
EVALUATION_PAIRS = 4
STRIP_ROWS = 4
CALIBRATION_PAIRS = 16
_CALIBRATION_SEED = 1


@memory.advising("lower --batch, --size or --videos (adaptation.batch and so on in a run), or use another --device")
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
        task: the task's name, or several.
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
    names = (task,) if isinstance(task, str) else tuple(task)
    if not names:
        raise ConfigError("Stage 2: no task is named")
    for name in names:
        tasks.card(name)
    folder = adapted_path(out, joined(names), folder_title(config, origin, encoder.name))
    config = config.resolve(origin)
    wanted = identity(config, encoder.describe(), names)
    with atomic.naming_failures(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with hold(folder):
        atomic.remove_partials(folder)
        require_unaltered(folder)
        if (folder / IDENTITY).exists():
            found = atomic.read_json(folder / IDENTITY, REMEDY)
            if not same_identity(found, wanted):
                changes = "; ".join(identity_changes(found, wanted)[:3])
                raise FolderError(
                    f"{folder} holds another adaptation ({changes}); choose another --out, or move that folder away"
                )
        if is_finished(folder):
            return folder
        atomic.write_json(folder / IDENTITY, wanted)
        atomic.write_json(folder / CONFIG, config.model_dump(mode="json"))
        _Adaptation(encoder, origin, names, folder, config, wanted, progress or Silent()).execute()
    return folder


class _Adaptation:
    """An adaptation in progress."""

    def __init__(
        self,
        encoder: Encoder,
        origin: WeightsOrigin,
        tasks: tuple[str, ...],
        folder: Path,
        config: AdaptConfig,
        identity: dict[str, Any],
        progress: Progress,
    ) -> None:
        self.encoder, self.origin, self.folder = deepcopy(encoder), origin, folder
        self.tasks, self.task = tasks, joined(tasks)
        self.config, self.identity, self.progress = config, identity, progress
        self.device = choose_device(config.device)
        if self.device.type == "cpu" and config.torch_threads:
            torch.set_num_threads(config.torch_threads)
        self.position = Position()
        self.stopped = False

    def execute(self) -> None:
        """Render, train, evaluate, write."""
        config, progress = self.config, self.progress
        settings = [config.frames(task, together=len(self.tasks) > 1) for task in self.tasks]
        memory.require(memory.adaptation_needs(config.size, config.batch, [p.limit * p.videos for p in settings]))
        saved = load_checkpoint(self.folder, self.identity)
        name = self.origin.title(self.encoder.name)
        steps = config.steps + sum(part.limit for part in settings)
        progress.begin(f"Stage 2 · {name} · {self.task} · {config.mode} · {self.device}", steps)
        progress.say(f"first heads: {heads_in_words(config, self.identity['heads_sha256'])}")
        self.parts = [self._render(part) for part in settings]
        self.trainer = self._trainer()
        self._resume(saved)
        with stop_signals(self._stop):
            self._train()
        if self.stopped:
            progress.close()
            raise KeyboardInterrupt
        self._finish()
        progress.end()

    def _render(self, settings: FrameSettings) -> data.TaskFrames:
        config, progress = self.config, self.progress
        progress.stage(f"render frames of {settings.task}")
        part = data.render(
            settings, config.held_out, self.device, config.workers, config.egl_device, lambda: progress.advance(1)
        )
        drawn_by = part.train.device.name if part.train.device else "nothing"
        frames = part.train.frames + part.held_out.frames
        progress.say(f"{settings.task}: {frames} frames of {config.videos} videos, drawn by {drawn_by}")
        return part

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
            steps=config.steps,
            cool_down=round(config.cool_down * config.steps),
        )
        return AdaptationTrainer(
            adaptable(self.encoder),
            settings,
            self.device,
            heads=config.heads_path,
            normalisation=normalisation,
        )

    def _resume(self, saved: tuple[dict[str, Tensor], dict[str, Any]] | None) -> None:
        drawn = data.frames_sha256(self.parts)
        if saved is not None:
            require_alike(saved[0], self.trainer.state(), self.folder / CHECKPOINT)
            self.trainer.load(saved[0])
            self.position = restored(Position(), saved[1], self.folder / CHECKPOINT)
            self.position.sessions += 1
            self.progress.say(f"go on from step {self.position.step}")
            if self.position.frames_sha256 != drawn:
                self.progress.say("another driver draws other frames: not what one uninterrupted adaptation gives")
        elif not self.trainer.calibrated:
            generator = torch.Generator().manual_seed(_CALIBRATION_SEED + self.config.seed)
            self.trainer.calibrate(*data.pairs(self.parts, generator, CALIBRATION_PAIRS))
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
            losses.append(trainer.step(*data.pairs(self.parts, trainer.generator, config.batch)))
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
        with atomic.naming_failures(self.folder / METRICS), (self.folder / METRICS).open("a") as file:
            file.write(json.dumps(row) + "\n")
        self.progress.stage(f"loss {row['loss']:.2f} PSNR {row['psnr']:.1f}")

    def _evaluate(self) -> None:
        found = data.evaluate(self.trainer, self.parts, EVALUATION_PAIRS)
        summary = data.together([*found.values()]).summary()
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
        drawings = data.evaluate(self.trainer, self.parts, evaluation.PAIRS)
        keypoints = {part.task: self._keypoints(part) for part in self.parts}
        whole = held_out_rows(data.together([*drawings.values()]), segments.together([*keypoints.values()]))
        self.progress.say(evaluation.line(whole["psnr"]))
        rates = whole["keypoints_on_hand_or_object"]
        rate, uniform = (rates[name]["mean"] for name in ("keypoints", "uniform_points"))
        self.progress.say(f"keypoints on hand or object: {rate:.1%} (uniformly placed ones {uniform:.1%})")
        self._strip()
        self._write_tensors()
        by_task = {task: held_out_rows(drawings[task], keypoints[task]) for task in self.tasks}
        adapted = Adapted(
            config=self.config,
            encoder=self.encoder.name,
            origin=self.origin,
            parts=self.parts,
            heads_sha256=self.identity["heads_sha256"],
            position=self.position,
            trainer=self.trainer,
            held_out=whole,
            by_task=by_task,
        )
        finish(self.folder, card(adapted), self.identity)
        atomic.remove(self.folder / CHECKPOINT)

    def _keypoints(self, part: data.TaskFrames) -> segments.Hits:
        """Where keypoints lie on a task's held-out frames, as numbers; as pictures, those of the first video."""
        held_out, size = part.held_out, self.config.size
        steps = segments.even_steps(held_out)
        masks = segments.masks(part.settings, held_out, steps, self.config.egl_device)
        chosen = torch.from_numpy(steps)
        prefix = f"{part.task}-" if len(self.parts) > 1 else ""
        found = []
        for number, row in enumerate(chosen):
            frames = held_out.videos[number, row.to(held_out.videos.device)]
            points = self.trainer.reconstruct(frames, frames).keypoints.cpu().numpy()
            found.append(segments.hits(points, masks[number], size))
            if number == 0:
                for step, frame, keypoints in zip(row.tolist(), frames.cpu().numpy(), points, strict=True):
                    path = self.folder / PICTURES / f"{prefix}{step:03d}.png"
                    pictures.save(path, pictures.with_keypoints(frame, keypoints))
        return segments.Hits(np.stack(found), masks)

    def _strip(self) -> None:
        rows: list[Any] = []
        for part in self.parts:
            places = evaluation.held_out_places(part.held_out, 1)[: STRIP_ROWS if len(self.parts) == 1 else 1, 0]
            source, target = part.held_out.take(places)
            drawn = self.trainer.reconstruct(source, target)
            columns = (
                source.cpu().numpy(),
                target.cpu().numpy(),
                pictures.unbounded(drawn.images.cpu().numpy()),
                drawn.keypoints.cpu().numpy(),
            )
            rows += zip(*columns, strict=True)
        pictures.save(self.folder / STRIP, pictures.strip(rows))

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
