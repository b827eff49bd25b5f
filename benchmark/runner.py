"""One run: an encoder on a task with a seed and a configuration, from demonstrations to a run folder.

Prepare (weights, demonstrations, simulators), clone the demonstrations, improve by DAPG, evaluate on the way. The
checkpoint of every iteration holds all that the next one depends on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

import tasks
from encoders import Encoder, WeightsOrigin, build, check_encoder
from tasks.cards import TaskCard
from tasks.demonstrations import Demonstrations
from tasks.render import Device

from . import demonstrations as sources
from .acting import PolicyActor, exploration_noise
from .checkpoint import pack, unpack
from .config import HELD_OUT_SEED, RANDOM_ALLOWED, RunConfig
from .dapg import GaussianPolicy, NonFiniteGuard, ValueBaseline, clone_behaviour, dapg_update
from .doctor import require_gl
from .episodes import OWN_BACKGROUND
from .features import Pairs, demonstration_pairs
from .film import save_film
from .identity import identity_hash
from .machine import choose_device, peak_memory
from .precision import outcome, settle_precision
from .progress import Progress, Silent
from .rollout import Clock, Encode, EpisodeRule, rollout
from .simulators import Frames, SceneSettings, Simulators
from .store import RunFolder, cell_path, check_writable
from .suite import suite_name
from .trajectory import Trajectory
from .versions import RESULTS_VERSION, package_versions

# The encoder's description names the precision that was used.
SPEED_ONLY = ("workers", "egl_device", "precision", "compiled")
UNTRAINED, CLONED = -1, 0
BEFORE_EVERYTHING = UNTRAINED - 1


@dataclass(frozen=True)
class RunResult:
    """What a run came to.

    Attributes:
        path: its folder.
        title: the encoder's name as every table shows it.
        evaluations: iteration (-1 untrained, 0 cloned, then DAPG's) to (mean return, success rate).
        found: whether it had been finished before and was skipped.
    """

    path: Path
    title: str
    evaluations: dict[int, tuple[float, float]]
    found: bool


def run(config: RunConfig, out: Path | str, *, overwrite: bool = False, progress: Progress | None = None) -> RunResult:
    """Do one run, go on with it, or find it done.

    Args:
        config: what to run; numbers left open are taken from the task's card.
        out: the folder of all runs.
        overwrite: begin anew where the folder holds a run already.
        progress: told how it goes.

    Raises:
        BenchError, EncoderError, TaskError: something the user can mend; nothing written is lost.
        LearningDiverged: three updates in a row were not finite.
    """
    return _Run(config, Path(out), progress or Silent()).execute(overwrite)


class _Run:
    """The state of a run in progress."""

    def __init__(self, config: RunConfig, out: Path, progress: Progress) -> None:
        check_writable(out)
        self.card: TaskCard = tasks.card(config.task)
        self.config = config.resolve(self.card)
        self.progress = progress
        self.device = choose_device(config.device)
        torch.set_num_threads(config.torch_threads)
        self.encoder: Encoder
        self.origin: WeightsOrigin
        self.encoder, self.origin = build(
            config.encoder,
            weights=config.weights,
            allow_random=config.preset in RANDOM_ALLOWED,
            task=config.task,
            device=self.device,
        )
        if self.encoder.uses_images:
            require_gl()
        check_encoder(self.encoder)
        self.title = self.origin.title(self.encoder.name)
        self.demonstrations: Demonstrations = sources.gather(self.config)
        self.rule = EpisodeRule(self.card.goal_steps, self.card.time_limit_is_terminal)
        self.clock = Clock()
        scene = self._scene(self.config.demonstration_options(self.card))
        self.gate = settle_precision(self.encoder, self.config, self.demonstrations, scene)
        self.identity = self._identity()
        suite = suite_name(self.config)
        self.folder = RunFolder(cell_path(out, suite, config.task, self.title, config.seed))

    def execute(self, overwrite: bool) -> RunResult:
        with self.folder as folder:
            status = folder.create(self.config.model_dump(mode="json"), self.identity, overwrite=overwrite)
            if status != "finished":
                self._learn()
                folder.finish()
            table = folder.episodes().groupby("iteration")[["return", "success"]].mean()
        evaluations = {int(i): (float(row["return"]), float(row["success"])) for i, row in table.iterrows()}
        return RunResult(folder.path, self.title, evaluations, status == "finished")

    def _identity(self) -> dict[str, Any]:
        """Everything that makes the numbers; speed-only settings are left out."""
        config = self.config.model_dump(mode="json", exclude={*SPEED_ONLY, "device", "encoder", "weights"})
        config["evaluation"].pop("video")
        config["demonstrations"].pop("source")  # the content counts, not where it lay
        return {
            "results_version": RESULTS_VERSION,
            "task_results_version": self.card.results_version,
            "config": config,
            "encoder": self.encoder.describe(),
            "demonstrations": self.demonstrations.content_hash,
            "device": self.device.type,
        }

    def _learn(self) -> None:
        config, folder = self.config, self.folder
        checkpoint = folder.load_checkpoint()
        done = checkpoint[1]["iteration"] if checkpoint else BEFORE_EVERYTHING
        folder.rewind(done)
        self.progress.begin(f"{self.title} · {config.task} · seed {config.seed}", self._planned_steps(done))
        settings = self._scene(config.task_options())
        if self.gate is not None:
            self.progress.say(outcome(self.gate))
        self.progress.stage("start simulators")
        with Simulators(settings, config.workers) as simulators:
            self.simulators = simulators
            if simulators.device is not None:
                self._say_renderer(simulators.device, settings.device)
            self.generator = torch.Generator().manual_seed(config.seed)
            pairs = self._pairs()
            size = pairs.observations.shape[1]
            self.policy = GaussianPolicy(
                size, self.card.action_dim, config.learner.policy_hidden, generator=self.generator
            ).to(self.device)
            self.baseline = ValueBaseline(
                size,
                config.learner.value_hidden,
                learning_rate=config.learner.value_learning_rate,
                weight_decay=config.learner.value_weight_decay,
                generator=self.generator,
                device=self.device,
            )
            self.guard = NonFiniteGuard()
            if checkpoint:
                unpack(checkpoint[0], self.policy, self.baseline, self.generator)
                self.guard.load_state(checkpoint[1]["guard"])
                self.steps = int(checkpoint[1]["steps"])
                self.progress.say(f"resumed after iteration {done}")
            else:
                self._clone(pairs)
            self._improve(pairs, max(done, CLONED))
        self.progress.end()

    def _scene(self, options: dict[str, Any]) -> SceneSettings:
        config = self.config
        return SceneSettings(
            task=config.task,
            options=options,
            slots=config.rollout.slots,
            images=self.encoder.uses_images,
            quality=config.rollout.quality,
            device=config.egl_device if config.egl_device is not None else self.device.index,
        )

    def _say_renderer(self, drawn_by: Device, asked: int | None) -> None:
        """Say what draws, above all when it is not what was asked for."""
        kind = "software rendering on the CPU" if drawn_by.software else "GPU rendering"
        instead = f" (EGL device {asked} cannot be used)" if asked not in (None, drawn_by.number) else ""
        self.progress.say(f"{kind}: {drawn_by.name}, EGL device {drawn_by.number}{instead}")

    def _pairs(self) -> Pairs:
        self.progress.stage("demonstrations")
        options = self.config.demonstration_options(self.card)
        if options != self.config.task_options():
            with Simulators(self._scene(options), self.config.workers) as demonstrated:
                return self._observe_demonstrations(demonstrated, options)
        return self._observe_demonstrations(self.simulators, options)

    def _observe_demonstrations(self, simulators: Simulators, options: dict[str, Any]) -> Pairs:
        device = simulators.device
        made_by = {
            "encoder": self.encoder.describe(),
            "task": [self.card.name, self.card.results_version],
            "scene": options,
            "quality": self.config.rollout.quality,
            "slots": self.config.rollout.slots,
            "threads": self.config.torch_threads,
            "device": str(self.device),
            "renderer": device.name if device else None,
            "versions": package_versions(("mujoco", "torch", "torchvision", "timm")),
        }
        return demonstration_pairs(
            self.demonstrations,
            simulators,
            self._encode,
            rule=self.rule,
            made_by=made_by,
            clock=self.clock,
            on_steps=self.progress.advance,
        )

    @property
    def _encode(self) -> Encode | None:
        if not self.encoder.uses_images:
            return None
        return lambda frames, slots: self.encoder.encode(frames).cpu().numpy()

    def _clone(self, pairs: Pairs) -> None:
        learner = self.config.learner
        if self.config.evaluation.untrained:
            self._evaluate(UNTRAINED)
        self.progress.stage("clone")
        began = perf_counter()
        losses = clone_behaviour(
            self.policy,
            pairs.observations,
            pairs.actions,
            epochs=learner.bc_epochs,
            batch_size=learner.bc_batch_size,
            learning_rate=learner.bc_learning_rate,
            generator=self.generator,
        )
        if learner.exploration != 1.0:
            self.policy.set_log_std(self.policy.log_std + math.log(learner.exploration))
        seconds = {"clone": perf_counter() - began}
        measured = self._evaluate(CLONED, film=learner.iterations == 0)
        self.folder.append_metrics(
            {"iteration": CLONED, "steps": 0, "bc_loss": losses, "pairs": len(pairs.actions), **measured}
            | self._costs(seconds)
            | ({"precision_cosine": self.gate.cosine} if self.gate else {})
            | {"demonstrations": {"content_hash": self.demonstrations.content_hash, **self.demonstrations.metadata}}
        )
        self._save(CLONED, 0)

    def _improve(self, pairs: Pairs, done: int) -> None:
        learner, evaluation = self.config.learner, self.config.evaluation
        iterations, count = int(learner.iterations or 0), int(learner.trajectories_per_iteration or 1)
        demonstrated = (self.policy.receive(pairs.observations), self.policy.receive(pairs.actions))
        for iteration in range(done + 1, iterations + 1):
            self.progress.stage(f"iteration {iteration}/{iterations}")
            first = self.config.seed + (iteration - 1) * count
            trajectories = self._roll([first + k for k in range(count)], noise_of=iteration)
            began = perf_counter()
            report = dapg_update(
                self.policy,
                self.baseline,
                trajectories,
                demonstrated,
                settings=learner,
                iteration=iteration - 1,
                generator=self.generator,
            )
            seconds = {"update": perf_counter() - began}
            last = iteration == iterations
            measured = self._evaluate(iteration, film=last) if last or iteration % evaluation.every == 0 else {}
            self.steps += sum(len(trajectory) for trajectory in trajectories)
            row = {"iteration": iteration, "steps": self.steps, **asdict(report), **measured} | self._costs(seconds)
            row["train_success"] = float(np.mean([trajectory.success for trajectory in trajectories]))
            row["unstable"] = sum(trajectory.unstable for trajectory in trajectories)
            self.folder.append_metrics(row)
            self.progress.say(
                f"iteration {iteration}: training return {report.mean_return:.1f}, "
                f"success {row['train_success']:.0%}, KL {report.kl:.3g}"
            )
            self.guard.record(report, iteration)
            self._save(iteration, self.steps)

    def _evaluate(self, iteration: int, film: bool = False) -> dict[str, float]:
        """Run the mean action on the evaluation's seeds, store the episodes, and return their means."""
        evaluation = self.config.evaluation
        self.progress.stage("evaluate")
        first = HELD_OUT_SEED if evaluation.seeds == "held_out" else self.config.seed
        seeds = [first + k for k in range(evaluation.episodes)]
        frames: list[Frames] = []

        def keep(episode: int, frame: Frames) -> None:
            if episode == 0:
                frames.append(frame.copy())

        wanted = film and evaluation.video and self.encoder.uses_images
        trajectories = self._roll(seeds, noise_of=None, on_frame=keep if wanted else None)
        self.folder.append_episodes(
            {
                "iteration": iteration,
                "background": OWN_BACKGROUND,
                "seed": trajectory.seed,
                "return": float(trajectory.rewards.sum()),
                "success": trajectory.success,
                "length": len(trajectory),
            }
            for trajectory in trajectories
        )
        if frames:
            save_film(self.folder.path, frames, trajectories[0].goals)
        mean_return = float(np.mean([trajectory.rewards.sum() for trajectory in trajectories]))
        success = float(np.mean([trajectory.success for trajectory in trajectories]))
        names = {UNTRAINED: "untrained", CLONED: "cloned"}
        name = names.get(iteration, f"iteration {iteration}")
        self.progress.say(f"{name}: evaluation return {mean_return:.1f}, success {success:.0%}")
        unstable = sum(trajectory.unstable for trajectory in trajectories)
        return {"evaluation_return": mean_return, "evaluation_success": success, "evaluation_unstable": unstable}

    def _roll(self, seeds: Sequence[int], *, noise_of: int | None, on_frame: Any = None) -> list[Trajectory]:
        horizon = int(self.config.rollout.horizon or self.card.horizon)
        noise = None
        if noise_of is not None:
            noise = exploration_noise(self.config.seed, noise_of, len(seeds), (horizon, self.card.action_dim))
        trajectories = rollout(
            self.simulators,
            seeds,
            PolicyActor(self.policy, noise),
            horizons=[horizon] * len(seeds),
            rule=self.rule,
            encode=self._encode,
            clock=self.clock,
            on_steps=self.progress.advance,
            on_frame=on_frame,
        )
        self.progress.advance(horizon * len(seeds) - sum(len(trajectory) for trajectory in trajectories))
        return trajectories

    def _planned_steps(self, done: int) -> int:
        """Control steps that are left, an upper bound: episodes may end early."""
        learner, evaluation = self.config.learner, self.config.evaluation
        horizon, iterations = int(self.config.rollout.horizon or 0), int(learner.iterations or 0)
        due = [i for i in range(1, iterations + 1) if i == iterations or i % evaluation.every == 0]
        due = ([UNTRAINED] if evaluation.untrained else []) + [CLONED] + due
        evaluations = sum(1 for iteration in due if iteration > done)
        rollouts = (iterations - max(done, 0)) * int(learner.trajectories_per_iteration or 0)
        demonstrated = sum(len(episode.actions) for episode in self.demonstrations.episodes)
        return demonstrated + horizon * (evaluations * evaluation.episodes + rollouts)

    def _costs(self, seconds: dict[str, float]) -> dict[str, Any]:
        """Time by stage since the last row, speed and peak memory."""
        clock, self.clock = self.clock, Clock()
        spent = clock.seconds | seconds
        rolling = sum(clock.seconds.values())
        return {"seconds": spent, "steps_per_second": clock.steps / rolling if rolling else None} | peak_memory(
            self.device
        )

    def _save(self, iteration: int, steps: int) -> None:
        self.steps = steps
        meta = {
            "iteration": iteration,
            "steps": steps,
            "guard": self.guard.state(),
            "identity": identity_hash(self.identity),
        }
        self.folder.save_checkpoint(pack(self.policy, self.baseline, self.generator), meta)
