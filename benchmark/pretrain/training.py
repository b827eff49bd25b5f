"""Stage 1: processes render hands, this one trains a ResNet-50 on them; what comes out is a trunk and its card.

The latest images lie in a pool on the training device; a step takes a random batch of it. If rendering is slower than
training, an image is used ``reuse`` times on average; if it is faster, the workers wait.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from encoders.pretrain import training as stage1
from encoders.weights.checkpoint import RESNET_LAYOUTS, load_trunk, state_sha256
from tasks.errors import TaskError
from tasks.rendering.render import Device

from .. import memory
from ..device import choose_device
from ..errors import OutputError, SimulationError
from ..progress import Progress, Silent
from ..signals import stop_signals
from ..store import atomic
from ..store.identity import file_hash
from ..store.paths import user_path
from ..store.training import held, load_checkpoint, require_alike, rewind_metrics, write_checkpoint
from ..training_loop import train
from .card import NOT, TITLE, Outcome, card
from .config import Position, PretrainConfig
from .image_pool import Pool
from .workers import LABEL_DIM, ImageBlock, ImageSettings, ImageWorkers

CHECKPOINT, METRICS, WEIGHTS, HEAD, CARD = (
    "checkpoint.safetensors",
    "metrics.jsonl",
    "stage1.safetensors",
    "head.safetensors",
    "card.json",
)
POOL_BATCHES = 32
SMALLEST_POOL = 512
AHEAD_BATCHES = 8
"""How many batches the workers may be ahead of the training before they have to wait."""

EVALUATIONS = 20
PROGRESS_UNITS = 1000
"""Parts into which a training limited by time is divided for the progress bar."""


@memory.advising("lower batch, size or held_out with --set, or use another --device")
def pretrain(config: PretrainConfig, out: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Train, or resume a training, and write weights and card.

    Args:
        config: what to train.
        out: the folder; a checkpoint in it is continued.
        progress: receives progress updates.

    Returns:
        The card.

    Raises:
        BenchError, TaskError: something the user can mend.
        KeyboardInterrupt: stopped by a signal, after a checkpoint was written.
    """
    out, progress = user_path(out), progress or Silent()
    config.progress(0, 0.0)  # its length is refused before anything is written
    with held(out):
        image = config.size**2 * 3
        memory.require({"batch": POOL_BATCHES * config.batch * image, "held_out": config.held_out * image})
        state, position = load_checkpoint(out / CHECKPOINT, config.identity, Position())
        if config.progress(position.step, position.seconds) >= 1.0 and (out / CARD).exists():
            written = atomic.read_json(out / CARD)
            if _is_whole(out, written):
                return written
            progress.say(f"{WEIGHTS} is not what {CARD} says: both are written again from the checkpoint")
        if state is not None:
            position.session += 1
        rewind_metrics(out / METRICS, position.step)
        written = _train(config, out, progress, position, state)
        progress.end()
        return written


def _train(
    config: PretrainConfig, out: Path, progress: Progress, position: Position, state: dict[str, Tensor] | None
) -> dict[str, Any]:
    """Train from a position on, and return the card.

    Args:
        config: what to train.
        out: the folder.
        progress: receives progress updates.
        position: where to begin; moved along.
        state: the tensors of the checkpoint at the position; None at the start.

    Raises:
        KeyboardInterrupt: stopped by a signal, after a checkpoint was written.
    """
    device, stop = choose_device(config.device), Event()
    if device.type == "cuda":
        torch.set_num_threads(1)
    units = config.steps if config.steps and not config.minutes else PROGRESS_UNITS
    progress.begin(f"Stage 1 · {config.size} px · batch {config.batch} · {device}", units)
    reached = round(units * config.progress(position.step, position.seconds))
    progress.advance(reached)
    progress.stage("start workers")
    settings = ImageSettings(config.size, config.seed, position.session, config.held_out, config.egl_device)
    with stop_signals(stop.set), ImageWorkers(settings, config.processes) as workers:
        progress.say(f"{config.processes} workers render on {workers.device.name} ({workers.device.number})")
        trainer = _trainer(config, workers, device, position.session)
        if state is not None:
            require_alike(state, trainer.state(), out / CHECKPOINT)
            trainer.load(state)
            progress.say(f"resumed from step {position.step}")
        capacity = max(SMALLEST_POOL, POOL_BATCHES * config.batch)
        pool = Pool(capacity, config.size, device, config.seed + 1000 * (position.session + 1))
        progress.stage("first images")
        held_out = _first_images(config, workers, pool, position, stop, device)
        if held_out is None:
            progress.close()
            raise KeyboardInterrupt
        errors = held_out.baseline
        progress.say(
            f"baseline, always the mean pose: {errors.keypoints_mm:.1f} mm, {errors.angles_degrees:.1f} degrees"
        )
        workers.tolerant = True
        training = _Training(
            config,
            out,
            progress,
            position,
            trainer,
            pool,
            workers,
            held_out,
            stop,
            units=units,
            shown=reached,
            began=replace(position),
            evaluated=int(config.progress(position.step, position.seconds) * EVALUATIONS),
        )
        progress.stage("train")
        try:
            train(training, stop)
        except (SimulationError, TaskError):
            training.checkpoint()
            raise
        for line in workers.lost:
            progress.say(f"continued without a worker: {line}")
        renderer = workers.device
    if stop.is_set():
        progress.close()
        raise KeyboardInterrupt
    return training.finish(renderer)


def _trainer(config: PretrainConfig, workers: ImageWorkers, device: torch.device, session: int) -> stage1.Trainer:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        network = stage1.HandPoseNetwork(workers.joint_ranges)
    return stage1.Trainer(network, device, config.seed + session, config.compile)


class HeldOut(NamedTuple):
    """The images for evaluation.

    Attributes:
        frames: (n, size, size, 3) uint8, on the device that trains.
        labels: on the CPU.
        sha256: of the frames.
        baseline: the errors of always predicting the mean pose.
    """

    frames: Tensor
    labels: stage1.Labels
    sha256: str
    baseline: stage1.Errors


def _first_images(
    config: PretrainConfig, workers: ImageWorkers, pool: Pool, position: Position, stop: Event, device: torch.device
) -> HeldOut | None:
    """Collect the held-out images, and enough others to begin with; None if stopped before."""
    frames = np.empty((config.held_out, config.size, config.size, 3), np.uint8)
    labels = np.empty((config.held_out, LABEL_DIM), np.float32)
    missing = config.held_out
    needed = min(pool.capacity, max(AHEAD_BATCHES * config.batch, SMALLEST_POOL))
    while missing or pool.received < needed:
        if stop.is_set():
            return None
        block = workers.poll(1.0)
        if block is None:
            continue
        if block.held_out is not None:
            place = slice(block.held_out, block.held_out + len(block.images))
            frames[place], labels[place] = block.images, block.labels
            missing -= len(block.images)
        else:
            _take(block, pool, position)
        workers.give_back(block)
    tensor, split = torch.from_numpy(frames), stage1.Labels.split(torch.from_numpy(labels))
    baseline = stage1.mean_pose_errors(split, stage1.Labels.split(pool.labels()))
    return HeldOut(tensor.to(device), split, state_sha256({"images": tensor}), baseline)


def _take(block: ImageBlock, pool: Pool, position: Position) -> None:
    pool.add(block)
    position.images_rendered += len(block.images)


@dataclass
class _Training:
    """A training in progress, as `benchmark.training_loop.train` drives it.

    Attributes:
        units: the length of the progress bar.
        shown: how far the progress bar is.
        began: the position at the start of this session.
        evaluated: how many of the evaluations are behind.
        used: images trained on in this session, repetitions counted.
        done: the share of the training before the last step.
        speed: images per second of the latest steps.
        since_log: losses since the last line of the metrics.
    """

    config: PretrainConfig
    out: Path
    progress: Progress
    position: Position
    trainer: stage1.Trainer
    pool: Pool
    workers: ImageWorkers
    held_out: HeldOut
    stop: Event
    units: int
    shown: int
    began: Position
    evaluated: int
    used: int = 0
    done: float = 0.0
    speed: float = 0.0
    since_log: list[Tensor] = field(default_factory=list)

    def finished(self) -> bool:
        """Return whether the training is as long as it should be."""
        return self.config.progress(self.position.step, self.position.seconds) >= 1.0

    def step(self) -> None:
        """Train on one batch, as soon as the workers have drawn enough for it."""
        config, position = self.config, self.position
        self.done = config.progress(position.step, position.seconds)
        self._fetch()
        self.since_log.append(self.trainer.step(*self.pool.draw(config.batch), self.done))
        self.used += config.batch
        position.step += 1
        position.images_seen += config.batch

    def losses(self) -> dict[str, Any]:
        """Return the mean loss since the last line, which is then forgotten."""
        loss = float(torch.stack(self.since_log).mean())
        self.since_log.clear()
        if not np.isfinite(loss):
            raise OutputError(f"the loss is {loss} at step {self.position.step}; start again with another --seed")
        return {"progress": round(self.done, 4), "loss": round(loss, 5)}

    def log(self, losses: dict[str, Any], steps_per_second: float) -> None:
        """Write a line of the metrics."""
        position = self.position
        self.speed = self.config.batch * steps_per_second
        row = {
            "step": position.step,
            "seconds": round(position.seconds, 2),
            **losses,
            "images_per_second": round(self.speed, 1),
            "images_seen": position.images_seen,
            "images_rendered": position.images_rendered,
        }
        atomic.append_line(self.out / METRICS, json.dumps(row))
        reached = round(self.units * self.config.progress(position.step, position.seconds))
        self.progress.advance(reached - self.shown)
        self.shown = reached

    def evaluation_due(self) -> bool:
        """Return whether a twentieth of the training is complete; the end is evaluated by `finish`."""
        return self.evaluated < int(self.done * EVALUATIONS) < EVALUATIONS

    def evaluate(self) -> None:
        """Measure the errors on the held-out images, and write them."""
        self.evaluated = int(self.done * EVALUATIONS)
        self._measure()

    def _measure(self) -> stage1.Errors:
        errors = stage1.errors(self.trainer.predict(self.held_out.frames), self.held_out.labels)
        row: dict[str, float] = {"step": self.position.step, "seconds": round(self.position.seconds, 1)}
        row |= {name: round(value, 3) for name, value in errors._asdict().items()}
        self.position.evaluations.append(row)
        atomic.append_line(self.out / METRICS, json.dumps({"held_out": True, **row}))
        self.progress.say(
            f"step {self.position.step}: {errors.keypoints_mm:.1f} mm, {errors.angles_degrees:.1f} degrees; "
            f"{self.speed:.0f} images/s, {self.position.images_rendered} rendered"
        )
        return errors

    def _fetch(self) -> None:
        """Take what the workers have, unless they are far ahead; wait for them if they are behind."""
        ahead = max(AHEAD_BATCHES * self.config.batch, SMALLEST_POOL)
        while not self.stop.is_set():
            behind = self.used + self.config.batch > self.pool.received * self.config.reuse
            if not behind and self.pool.received > self.used + 2 * ahead:
                return
            block = self.workers.poll(0.5 if behind else 0.0)
            if block is None:
                if behind:
                    continue
                return
            _take(block, self.pool, self.position)
            self.workers.give_back(block)

    def checkpoint(self) -> None:
        """Write all that a later session needs."""
        write_checkpoint(self.out / CHECKPOINT, self.trainer.state(), self.config.identity, asdict(self.position))

    def finish(self, renderer: Device) -> dict[str, Any]:
        """Write the weights, evaluate what was written, and write the card."""
        self.progress.stage("finish")
        network = self.trainer.network
        trunk = stage1.trunk_for_storage(network)
        weights, head = self.out / WEIGHTS, self.out / HEAD
        about = {"title": TITLE, "normalisation": "imagenet", "licence": "MIT", "note": NOT}
        atomic.write_bytes(weights, safetensors.torch.save(trunk, about))
        rest = {name: value.detach().cpu().contiguous() for name, value in network.head.state_dict().items()}
        atomic.write_bytes(head, safetensors.torch.save(rest, {"title": f"{TITLE}, head", "predicts": "hand pose"}))
        expected = {name: value.cpu() for name, value in network.trunk.state_dict().items()}
        network.trunk.load_state_dict(load_trunk(weights, expected, RESNET_LAYOUTS))
        outcome = Outcome(
            weights=WEIGHTS,
            sha256=file_hash(weights),
            errors=self._measure(),
            baseline=self.held_out.baseline,
            held_out_sha256=self.held_out.sha256,
            images_per_second=(self.position.images_seen - self.began.images_seen)
            / max(self.position.seconds - self.began.seconds, 1e-9),
            renderer=renderer,
        )
        written = card(self.config, self.position, outcome, self.trainer.device)
        atomic.write_json(self.out / CARD, written)
        return written


def _is_whole(out: Path, written: dict[str, Any]) -> bool:
    """Return whether the weights of a finished training are those of its card."""
    weights = out / WEIGHTS
    return weights.is_file() and file_hash(weights) == written.get("sha256") and (out / HEAD).is_file()
