"""Stage 1: processes render hands, this one trains a ResNet-50 on them; what comes out is a trunk and its card.

The latest images lie in a pool on the training device; a step takes a random batch of it. If rendering is slower than
training, an image is used ``reuse`` times on average; if it is faster, the workers wait.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
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
from ..errors import FolderError, OutputError, SimulationError
from ..progress import Progress, Silent
from ..signals import stop_signals
from ..store import atomic
from ..store.identity import file_hash
from ..store.lock import hold
from ..store.paths import user_path
from ..store.training import read_checkpoint, require_alike, restored, rewind_metrics, write_checkpoint
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
"""The workers may be so many batches ahead of the training before they have to wait."""

CHECKPOINT_SECONDS = 60.0
EVALUATIONS = 20
LOG_STEPS = 20
PROGRESS_UNITS = 1000
"""Parts into which a training limited by time is divided for the progress bar."""


@memory.advising("lower --batch, --size or --held-out, or use another --device")
def pretrain(config: PretrainConfig, out: Path, progress: Progress | None = None) -> dict[str, Any]:
    """Train, or go on with a training, and write weights and card.

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
    with atomic.naming_failures(out):
        out.mkdir(parents=True, exist_ok=True)
    with hold(out):
        atomic.remove_partials(out)
        image = config.size**2 * 3
        memory.require({"--batch": POOL_BATCHES * config.batch * image, "--held-out": config.held_out * image})
        saved = _read_checkpoint(out, config)
        position = Position() if saved is None else restored(Position(), saved[1], out / CHECKPOINT)
        if config.progress(position.step, position.seconds) >= 1.0 and (out / CARD).exists():
            written = atomic.read_json(out / CARD)
            if _is_whole(out, written):
                return written
            progress.say(f"{WEIGHTS} is not what {CARD} says: both are written again from the checkpoint")
        if saved is not None:
            position.session += 1
        rewind_metrics(out / METRICS, position.step)
        written = _train(config, out, progress, position, saved[0] if saved else None)
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
            progress.say(f"resume from step {position.step}")
        capacity = max(SMALLEST_POOL, POOL_BATCHES * config.batch)
        pool = Pool(capacity, config.size, device, config.seed + 1000 * (position.session + 1))
        progress.stage("first images")
        held_out = _first_images(config, workers, pool, position, stop, device)
        if held_out is not None:
            errors = held_out.baseline
            progress.say(
                f"baseline, always the mean pose: {errors.keypoints_mm:.1f} mm, {errors.angles_degrees:.1f} degrees"
            )
            workers.tolerant = True
            training = _Training(config, out, progress, position, trainer, pool, held_out, stop, units, reached)
            try:
                training.train(workers)
            except (SimulationError, TaskError):
                training.checkpoint()
                raise
        for line in workers.lost:
            progress.say(f"continued without a worker: {line}")
        renderer = workers.device
    if stop.is_set() or held_out is None:
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
        baseline: the errors of always saying the mean pose.
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
    """A training in progress, with all that it needs.

    Attributes:
        units: the length of the progress bar.
        shown: how far the progress bar is.
        speed: images per second of the latest steps.
        rate: images per second of this session.
    """

    config: PretrainConfig
    out: Path
    progress: Progress
    position: Position
    trainer: stage1.Trainer
    pool: Pool
    held_out: HeldOut
    stop: Event
    units: int
    shown: int
    speed: float = 0.0
    rate: float = 0.0

    def train(self, workers: ImageWorkers) -> None:
        """Train to the end, or until stopped; write a checkpoint every minute and at the end."""
        config, position = self.config, self.position
        self.progress.stage("train")
        began, before = time.monotonic(), position.seconds
        saved = logged = began
        losses: list[Tensor] = []
        first_seen, first_step = position.images_seen, position.step
        evaluated = int(config.progress(position.step, position.seconds) * EVALUATIONS)
        used = 0
        while not self.stop.is_set():
            done = config.progress(position.step, position.seconds)
            if done >= 1.0:
                break
            self._fetch(workers, used)
            losses.append(self.trainer.step(*self.pool.draw(config.batch), done))
            used += config.batch
            position.step += 1
            position.images_seen += config.batch
            now = time.monotonic()
            position.seconds = before + now - began
            if position.step % LOG_STEPS == 0:
                loss = float(torch.stack(losses).mean())
                losses.clear()
                if not np.isfinite(loss):
                    raise OutputError(f"the loss is {loss} at step {position.step}; start again with another --seed")
                now = time.monotonic()
                position.seconds = before + now - began
                self._log(loss, (now - logged) / LOG_STEPS, done)
                logged = now
                self._tell()
            # The last evaluation is the finished weights' own.
            if (reached := int(done * EVALUATIONS)) > evaluated and reached < EVALUATIONS:
                evaluated = reached
                self._evaluate()
            if now - saved > CHECKPOINT_SECONDS:
                self.checkpoint()
                saved = time.monotonic()
        position.seconds = before + time.monotonic() - began
        self.rate = (position.images_seen - first_seen) / max(time.monotonic() - began, 1e-9)
        if position.step > first_step:
            self.checkpoint()
        self._tell()

    def _fetch(self, workers: ImageWorkers, used: int) -> None:
        """Take what the workers have, unless they are far ahead; wait for them if they are behind."""
        ahead = max(AHEAD_BATCHES * self.config.batch, SMALLEST_POOL)
        while not self.stop.is_set():
            behind = used + self.config.batch > self.pool.received * self.config.reuse
            if not behind and self.pool.received > used + 2 * ahead:
                return
            block = workers.poll(0.5 if behind else 0.0)
            if block is None:
                if behind:
                    continue
                return
            _take(block, self.pool, self.position)
            workers.give_back(block)

    def _evaluate(self) -> stage1.Errors:
        found = stage1.errors(self.trainer.predict(self.held_out.frames), self.held_out.labels)
        row: dict[str, float] = {"step": self.position.step, "seconds": round(self.position.seconds, 1)}
        row |= {name: round(value, 3) for name, value in found._asdict().items()}
        self.position.evaluations.append(row)
        atomic.append_line(self.out / METRICS, json.dumps({"held_out": True, **row}))
        self.progress.say(
            f"step {self.position.step}: {found.keypoints_mm:.1f} mm, {found.angles_degrees:.1f} degrees; "
            f"{self.speed:.0f} images/s, {self.position.images_rendered} rendered"
        )
        return found

    def _log(self, loss: float, seconds: float, done: float) -> None:
        position = self.position
        self.speed = self.config.batch / seconds
        row = {
            "step": position.step,
            "seconds": round(position.seconds, 2),
            "progress": round(done, 4),
            "loss": round(loss, 5),
            "images_per_second": round(self.speed, 1),
            "images_seen": position.images_seen,
            "images_rendered": position.images_rendered,
        }
        with atomic.naming_failures(self.out / METRICS), (self.out / METRICS).open("a") as file:
            file.write(json.dumps(row) + "\n")

    def _tell(self) -> None:
        reached = round(self.units * self.config.progress(self.position.step, self.position.seconds))
        self.progress.advance(reached - self.shown)
        self.shown = reached

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
            errors=self._evaluate(),
            baseline=self.held_out.baseline,
            held_out_sha256=self.held_out.sha256,
            images_per_second=self.rate,
            renderer=renderer,
        )
        written = card(self.config, self.position, outcome, self.trainer.device)
        atomic.write_json(self.out / CARD, written)
        return written


def _read_checkpoint(out: Path, config: PretrainConfig) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    found = read_checkpoint(out / CHECKPOINT)
    if found is None:
        return None
    state, identity, position = found
    if identity != config.identity:
        changed = ", ".join(
            f"{name} {identity.get(name)} there, {value} asked for"
            for name, value in config.identity.items()
            if identity.get(name) != value
        )
        raise FolderError(f"{out} holds another training ({changed}); choose another --out")
    return state, position


def _is_whole(out: Path, written: dict[str, Any]) -> bool:
    """Return whether the weights of a finished training are those of its card."""
    weights = out / WEIGHTS
    return weights.is_file() and file_hash(weights) == written.get("sha256") and (out / HEAD).is_file()
