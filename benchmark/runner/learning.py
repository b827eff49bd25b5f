"""The learning of a run: clone the demonstrations, improve by DAPG, evaluate on the way.

The checkpoint of every iteration holds all that the next one depends on.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from encoders import Choice, EncoderError
from encoders.backend import TORCH
from tasks.demonstrations.dataset import Demonstrations
from tasks.rendering.qualities import DRAWINGS

from .. import task_files
from ..config import EvaluationSettings, LearnerSettings
from ..dapg import clone_behaviour, dapg_update
from ..demonstrations.features import Pairs, demonstration_pairs
from ..errors import FolderError
from ..rollout.simulators import Simulators
from ..store.episodes import CLONED, REMEDY, UNTRAINED
from ..store.identity import identity_hash
from ..store.metrics import spending
from ..store.provenance import package_versions
from ..store.run_folder import CHECKPOINT, RunFolder
from ..store.video import save_film
from .checkpoint import Learner, new_learner, pack, unpack
from .context import RunContext
from .identity import frames_version
from .moving_statistics import Role
from .precision import outcome
from .resume import Committed, resume

BEFORE_EVERYTHING = UNTRAINED - 1

FEATURE_PACKAGES = ("mujoco", "torch", "torchvision", "timm")
"""Packages whose version may change features; a backend and a quality of rendering may add to them."""


@dataclass(frozen=True)
class Work:
    """A run, ready to learn.

    Attributes:
        title: The encoder's name as every table shows it.
        record: What the run folder keeps about the encoder.
        identity: What determines the results.
        context: The parts that rollouts need.
        demonstrations: What is cloned.
        choice: How the encoder computes, and how its features compare with those of PyTorch in float32.
        notes: Lines that say what another machine decided when the run was begun.
    """

    title: str
    record: dict[str, Any]
    identity: dict[str, Any]
    context: RunContext
    demonstrations: Demonstrations
    choice: Choice
    notes: list[str] = field(default_factory=list)


def learn(work: Work, folder: RunFolder) -> None:
    """Learn to the end, from the last committed iteration on, and write all but the manifest.

    Args:
        work: The run.
        folder: Held.

    Raises:
        FolderError: What is in the folder is damaged.
        LearningDiverged: Three updates in a row were not finite.
    """
    context, config = work.context, work.context.config
    progress, due = context.progress, evaluated_iterations(config.evaluation, int(config.learner.iterations or 0))
    committed = resume(folder, due, context.evaluation_seeds(), progress)
    done = committed.iteration if committed else BEFORE_EVERYTHING
    steps = sum(len(episode.actions) for episode in work.demonstrations.episodes)
    steps += int(config.rollout.horizon or 0) * remaining_episodes(config.learner, config.evaluation, due, done)
    progress.begin(f"{work.title} · {config.task} · seed {config.seed}", steps)
    for line in [*work.notes, *outcome(work.choice)]:
        progress.say(line)
    context.statistics.say(progress)
    progress.stage("start simulators")
    with context.simulators(config.task_options()) as simulators:
        if simulators.device is not None:
            context.say_renderer(simulators.device)
        pairs = _observe(work, simulators)
        learner = new_learner(
            config.learner, pairs.observations.shape[1], context.card.action_dim, config.seed, context.device
        )
        learning = _Learning(work, folder, simulators, pairs, learner)
        if committed:
            learning.restore(committed)
        else:
            learning.clone()
        learning.improve(max(done, CLONED))
    progress.end()


def evaluated_iterations(evaluation: EvaluationSettings, iterations: int) -> list[int]:
    """Return the iterations that are evaluated, in order: -1 (untrained), 0 (cloned), then DAPG's."""
    due = [i for i in range(1, iterations + 1) if i == iterations or i % evaluation.every == 0]
    return ([UNTRAINED] if evaluation.untrained else []) + [CLONED] + due


def remaining_episodes(learner: LearnerSettings, evaluation: EvaluationSettings, due: list[int], done: int) -> int:
    """Return how many episodes the iterations after `done` take."""
    evaluations = sum(1 for iteration in due if iteration > done)
    iterations = int(learner.iterations or 0) - max(done, 0)
    return evaluations * evaluation.episodes + iterations * int(learner.trajectories_per_iteration or 0)


def _observe(work: Work, simulators: Simulators) -> Pairs:
    """Return what is cloned, seen in the scene of the demonstrations."""
    context, config = work.context, work.context.config
    context.progress.stage("demonstrations")
    options = config.demonstration_options(context.card)
    if options == config.task_options():
        return _observe_in(work, simulators, options)
    with context.simulators(options) as demonstrated:
        return _observe_in(work, demonstrated, options)


def _observe_in(work: Work, simulators: Simulators, options: dict[str, Any]) -> Pairs:
    context, config, renderer = work.context, work.context.config, simulators.device
    libraries = () if context.encoder.backend == TORCH else (context.encoder.backend,)
    encoder = context.encoder.describe()
    made_by = {
        "encoder": encoder,
        "task": [
            *(context.card.name, context.card.results_version_with(config.objects)),
            *task_files.identity(config.task).values(),
        ],
        "scene": options,
        "quality": config.rollout.quality,
        **frames_version(config.rollout.quality, encoder),
        "slots": config.slots,
        "group": config.rollout.group,
        "device": str(context.device),
        "renderer": renderer.name if renderer else None,
        "versions": package_versions((*FEATURE_PACKAGES, *libraries, *DRAWINGS[config.rollout.quality].packages)),
        **context.statistics.made_by(),
    }
    context.statistics.begin(Role.DEMONSTRATIONS)
    with context.group_threads() as threads:
        return demonstration_pairs(
            work.demonstrations,
            simulators,
            context.encode,
            rule=context.rule,
            made_by=made_by,
            clock=context.clock,
            on_steps=context.progress.advance,
            on_begin=context.statistics.restart,
            threads=threads,
        )


@dataclass(frozen=True)
class _Learning:
    """The parts of a run's learning in progress."""

    work: Work
    folder: RunFolder
    simulators: Simulators
    pairs: Pairs
    learner: Learner

    def restore(self, committed: Committed) -> None:
        """Bring the learner back to the last committed iteration."""
        learner, context = self.learner, self.work.context
        try:
            unpack(committed.tensors, learner)
            context.statistics.load(committed.tensors)
        except (ValueError, EncoderError) as error:
            raise FolderError(f"{self.folder.path / CHECKPOINT} does not fit this run ({error}); {REMEDY}") from error
        learner.guard.load_state(committed.guard)
        learner.steps = committed.steps
        context.progress.say(f"resumed after iteration {committed.iteration}")

    def clone(self) -> None:
        """Clone the demonstrations, and evaluate and commit the cloned policy."""
        work, context, policy = self.work, self.work.context, self.learner.policy
        config, settings = context.config, context.config.learner
        if config.evaluation.untrained:
            self._evaluate(UNTRAINED)
        context.progress.stage("clone")
        began = perf_counter()
        losses = clone_behaviour(
            policy,
            self.pairs.observations,
            self.pairs.actions,
            epochs=settings.bc_epochs,
            batch_size=settings.bc_batch_size,
            learning_rate=settings.bc_learning_rate,
            generator=self.learner.generator,
        )
        if settings.exploration != 1.0:
            policy.set_log_std(policy.log_std + math.log(settings.exploration))
        seconds = {"clone": perf_counter() - began}
        measured = self._evaluate(CLONED, film=settings.iterations == 0)
        demonstrations = work.demonstrations
        row = {"iteration": CLONED, "steps": 0, "bc_loss": losses, "pairs": len(self.pairs.actions), **measured}
        row |= context.costs(seconds)
        row |= {"precision_cosine": work.choice.report.cosine} if work.choice.report else {}
        row["demonstrations"] = {"content_hash": demonstrations.content_hash, **demonstrations.metadata}
        self.folder.append_metrics(row)
        context.progress.say(spending(row))
        self._commit(CLONED)

    def improve(self, done: int) -> None:
        """Do DAPG's iterations after `done`, and commit each."""
        context, learner = self.work.context, self.learner
        config, settings, evaluation = context.config, context.config.learner, context.config.evaluation
        iterations, count = int(settings.iterations or 0), int(settings.trajectories_per_iteration or 1)
        demonstrated = (learner.policy.as_tensor(self.pairs.observations), learner.policy.as_tensor(self.pairs.actions))
        for iteration in range(done + 1, iterations + 1):
            context.progress.stage(f"iteration {iteration}/{iterations}")
            first = config.seed + (iteration - 1) * count
            seeds = [first + k for k in range(count)]
            trajectories = context.roll(self.simulators, learner.policy, seeds, noise_of=iteration)
            began = perf_counter()
            report = dapg_update(
                learner.policy,
                learner.baseline,
                trajectories,
                demonstrated,
                settings=settings,
                iteration=iteration - 1,
                generator=learner.generator,
            )
            seconds = {"update": perf_counter() - began}
            last = iteration == iterations
            measured = self._evaluate(iteration, film=last) if last or iteration % evaluation.every == 0 else {}
            learner.steps += sum(len(trajectory) for trajectory in trajectories)
            row = {"iteration": iteration, "steps": learner.steps, **asdict(report), **measured}
            row |= context.costs(seconds)
            row["train_success"] = float(np.mean([trajectory.success for trajectory in trajectories]))
            row["unstable"] = sum(trajectory.unstable for trajectory in trajectories)
            self.folder.append_metrics(row)
            context.progress.say(
                f"iteration {iteration}: training return {report.mean_return:.1f}, "
                f"success {row['train_success']:.0%}, KL {report.kl:.3g}"
            )
            context.progress.say(spending(row))
            learner.guard.record(report, iteration)
            self._commit(iteration)

    def _evaluate(self, iteration: int, film: bool = False) -> dict[str, float]:
        """Run the mean action on the evaluation's seeds, store the episodes, and return their means."""
        context = self.work.context
        context.progress.stage("evaluate")
        film = film and context.config.evaluation.video and context.encoder.uses_images
        evaluation = context.evaluate(self.simulators, self.learner.policy, iteration, film=film)
        self.folder.append_episodes(evaluation.rows)
        if evaluation.frames:
            save_film(self.folder.path, evaluation.frames, evaluation.trajectories[0].goals)
        mean_return, success = evaluation.mean_scores()
        name = {UNTRAINED: "untrained", CLONED: "cloned"}.get(iteration, f"iteration {iteration}")
        context.progress.say(f"{name}: evaluation return {mean_return:.1f}, success {success:.0%}")
        unstable = sum(trajectory.unstable for trajectory in evaluation.trajectories)
        return {"evaluation_return": mean_return, "evaluation_success": success, "evaluation_unstable": unstable}

    def _commit(self, iteration: int) -> None:
        """Write the checkpoint that ends an iteration."""
        meta = {
            "iteration": iteration,
            "steps": self.learner.steps,
            "guard": self.learner.guard.state(),
            "identity": identity_hash(self.work.identity),
        }
        self.folder.save_checkpoint(pack(self.learner) | self.work.context.statistics.tensors(), meta)
