"""Stage 1: processes render hands, this one trains a ResNet-50 on them; what comes out is a trunk and its card.

The latest images lie in a pool on the training device; a step takes a random batch of it. If rendering is slower than
training, an image is used ``reuse`` times on average; if it is faster, the workers wait.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

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
        progress: told how it goes.

    Returns:
        The card.

    Raises:
        BenchError, TaskError: something the user can mend.
        KeyboardInterrupt: stopped by a signal, after a checkpoint was written.
    """
    out = user_path(out)
    with atomic.naming_failures(out):
        out.mkdir(parents=True, exist_ok=True)
    with hold(out):
        atomic.remove_partials(out)
        return _Training(config, out, progress or Silent()).execute()


class _Training:
    """A training in progress."""

    def __init__(self, config: PretrainConfig, out: Path, progress: Progress) -> None:
        self.config, self.out, self.progress = config, out, progress
        self.device = choose_device(config.device)
        if self.device.type == "cuda":
            torch.set_num_threads(1)
        self.position = Position()
        self.stopped = False
        self.speed = 0.0

    def execute(self) -> dict[str, Any]:
        config = self.config
        image = config.size**2 * 3
        memory.require({"--batch": POOL_BATCHES * config.batch * image, "--held-out": config.held_out * image})
        saved = self._read_checkpoint()
        if saved is not None:
            self.position = restored(Position(), saved[1], self.out / CHECKPOINT)
            if config.progress(self.position.step, self.position.seconds) >= 1.0 and (self.out / CARD).exists():
                written = atomic.read_json(self.out / CARD)
                if _is_whole(self.out, written):
                    return written
                self.progress.say(f"{WEIGHTS} is not what {CARD} says: both are written again from the checkpoint")
            self.position.session += 1
        rewind_metrics(self.out / METRICS, self.position.step)
        settings = ImageSettings(config.size, config.seed, self.position.session, config.held_out, config.egl_device)
        self._units = config.steps if config.steps and not config.minutes else PROGRESS_UNITS
        self.progress.begin(f"Stage 1 · {config.size} px · batch {config.batch} · {self.device}", self._units)
        self._told = 0
        self._tell()
        self.progress.stage("start workers")
        with stop_signals(self._stop), ImageWorkers(settings, config.processes) as workers:
            self.renderer: Device = workers.device
            self.progress.say(f"{config.processes} workers render on {self.renderer.name} ({self.renderer.number})")
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(config.seed)
                network = stage1.HandPoseNetwork(workers.joint_ranges)
            self.trainer = stage1.Trainer(network, self.device, config.seed + self.position.session, config.compile)
            if saved is not None:
                require_alike(saved[0], self.trainer.state(), self.out / CHECKPOINT)
                self.trainer.load(saved[0])
                self.progress.say(f"go on from step {self.position.step}")
            capacity = max(SMALLEST_POOL, POOL_BATCHES * config.batch)
            self.pool = Pool(capacity, config.size, self.device, config.seed + 1000 * (self.position.session + 1))
            self.progress.stage("first images")
            self._first_images(workers)
            self._baseline()
            workers.tolerant = True
            try:
                self._train(workers)
            except (SimulationError, TaskError):
                self._checkpoint()
                raise
            for line in workers.lost:
                self.progress.say(f"went on without a worker: {line}")
        if self.stopped:
            self.progress.close()
            raise KeyboardInterrupt
        written = self._finish()
        self.progress.end()
        return written

    def _first_images(self, workers: ImageWorkers) -> None:
        """The held-out images, and enough others to begin with."""
        config = self.config
        self.held_out = np.empty((config.held_out, config.size, config.size, 3), np.uint8)
        labels = np.empty((config.held_out, LABEL_DIM), np.float32)
        missing = config.held_out
        wanted = min(self.pool.capacity, max(AHEAD_BATCHES * config.batch, SMALLEST_POOL))
        while (missing or self.pool.received < wanted) and not self.stopped:
            block = workers.poll(1.0)
            if block is None:
                continue
            if block.held_out is not None:
                place = slice(block.held_out, block.held_out + len(block.images))
                self.held_out[place], labels[place] = block.images, block.labels
                missing -= len(block.images)
            else:
                self._take(block)
            workers.give_back(block)
        self.held_out_labels = stage1.Labels.split(torch.from_numpy(labels))
        self.held_out_sha256 = state_sha256({"images": torch.from_numpy(self.held_out)})

    def _take(self, block: ImageBlock) -> None:
        self.pool.add(block)
        self.position.images_rendered += len(block.images)

    def _baseline(self) -> None:
        if self.stopped:
            return
        reference = stage1.Labels.split(self.pool.labels())
        self.baseline = stage1.mean_pose_errors(self.held_out_labels, reference)
        self.progress.say(
            f"always the mean pose: {self.baseline.keypoints_mm:.1f} mm, {self.baseline.angles_degrees:.1f} degrees"
        )

    def _train(self, workers: ImageWorkers) -> None:
        config, position = self.config, self.position
        self.progress.stage("train")
        frames = torch.from_numpy(self.held_out)
        self._frames = frames.to(self.device)
        began, before = time.monotonic(), position.seconds
        saved = logged = began
        losses: list[Tensor] = []
        first_seen, first_step = position.images_seen, position.step
        evaluated = int(config.progress(position.step, position.seconds) * EVALUATIONS)
        used = 0
        while not self.stopped:
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
                self._checkpoint()
                saved = time.monotonic()
        position.seconds = before + time.monotonic() - began
        self.rate = (position.images_seen - first_seen) / max(time.monotonic() - began, 1e-9)
        if position.step > first_step:
            self._checkpoint()
        self._tell()

    def _fetch(self, workers: ImageWorkers, used: int) -> None:
        """Take what the workers have, unless they are far ahead; wait for them if they are behind."""
        ahead = max(AHEAD_BATCHES * self.config.batch, SMALLEST_POOL)
        while not self.stopped:
            behind = used + self.config.batch > self.pool.received * self.config.reuse
            if not behind and self.pool.received > used + 2 * ahead:
                return
            block = workers.poll(0.5 if behind else 0.0)
            if block is None:
                if behind:
                    continue
                return
            self._take(block)
            workers.give_back(block)

    def _evaluate(self) -> stage1.Errors:
        found = stage1.errors(self.trainer.predict(self._frames), self.held_out_labels)
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
        reached = round(self._units * self.config.progress(self.position.step, self.position.seconds))
        self.progress.advance(reached - self._told)
        self._told = reached

    def _stop(self) -> None:
        self.stopped = True

    # Files.

    def _checkpoint(self) -> None:
        write_checkpoint(self.out / CHECKPOINT, self.trainer.state(), self.config.identity, asdict(self.position))

    def _read_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        found = read_checkpoint(self.out / CHECKPOINT)
        if found is None:
            return None
        state, identity, position = found
        if identity != self.config.identity:
            changed = ", ".join(
                f"{name} {identity.get(name)} there, {value} asked for"
                for name, value in self.config.identity.items()
                if identity.get(name) != value
            )
            raise FolderError(f"{self.out} holds another training ({changed}); choose another --out")
        return state, position

    def _finish(self) -> dict[str, Any]:
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
            baseline=self.baseline,
            held_out_sha256=self.held_out_sha256,
            images_per_second=self.rate,
            renderer=self.renderer,
        )
        written = card(self.config, self.position, outcome, self.device)
        atomic.write_json(self.out / CARD, written)
        return written


def _is_whole(out: Path, written: dict[str, Any]) -> bool:
    """Whether the weights of a finished training are those of its card."""
    weights = out / WEIGHTS
    return weights.is_file() and file_hash(weights) == written.get("sha256") and (out / HEAD).is_file()
