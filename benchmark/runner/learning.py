"""The learning of a run: clone the demonstrations, improve by DAPG, evaluate on the way.

The checkpoint of every iteration holds all that the next one depends on. Runs that clone alone, epoch by epoch, go on
in `benchmark.runner.imitation`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import numpy as np
from torch import Tensor

from encoders import EncoderError
from encoders.backend import TORCH
from tasks.rendering.qualities import DRAWINGS

from .. import task_files
from ..cloning.trained_parts import part_features
from ..dapg import UpdateReport, clone_behaviour, dapg_update
from ..demonstrations.features import FusedPairs, demonstration_pairs
from ..demonstrations.frames import FramePairs, demonstration_frames
from ..errors import FolderError
from ..rollout.episodes import Array
from ..rollout.simulators import Simulators
from ..store.episodes import CLONED, REMEDY, UNTRAINED
from ..store.identity import identity_hash
from ..store.metrics import spending
from ..store.provenance import package_versions
from ..store.run_folder import CHECKPOINT, RunFolder
from .checkpoint import Learner, new_learner, pack, unpack
from .evaluation import Evaluator
from .identity import frames_version
from .imitation import imitate
from .moving_statistics import Role
from .precision import outcome
from .resume import Committed, resume
from .schedule import BEFORE_EVERYTHING, evaluated_iterations, remaining_episodes
from .work import Work, described

FEATURE_PACKAGES = ("mujoco", "torch", "torchvision", "timm")
"""Packages whose version may change features; a backend and a quality of rendering may add to them."""


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
    progress = context.progress
    committed = resume(folder, evaluated_iterations(config), context.evaluation_seeds(), progress)
    done = committed.iteration if committed else BEFORE_EVERYTHING
    steps = sum(len(episode.actions) for episode in work.demonstrations.episodes)
    steps += int(config.rollout.horizon or 0) * remaining_episodes(config, done)
    progress.begin(f"{work.title} · {config.task} · seed {config.seed}", steps)
    for line in [*work.notes, *outcome(work.choice)]:
        progress.say(line)
    context.statistics.say(progress)
    progress.stage("start simulators")
    with context.simulators(config.task_options()) as simulators:
        if simulators.device is not None:
            context.say_renderer(simulators.device)
        observed = _observe(work, simulators)
        evaluator = Evaluator(context, folder, simulators)
        if config.learner.algorithm == "bc":
            imitate(work, folder, evaluator, observed, committed)
        else:
            assert isinstance(observed, FusedPairs), "what trains on frames can only be cloned"
            _learn_by_dapg(work, folder, evaluator, observed, committed)
    progress.end()


def _learn_by_dapg(
    work: Work, folder: RunFolder, evaluator: Evaluator, pairs: FusedPairs, committed: Committed | None
) -> None:
    config, context = work.context.config, work.context
    learner = new_learner(config.learner, pairs.observation_dim, context.card.action_dim, config.seed, context.device)
    learning = _Learning(work, folder, evaluator, pairs.all_observations(), pairs.pairs.actions, learner)
    if committed:
        learning.restore(committed)
    else:
        learning.clone()
    learning.improve(max(committed.iteration if committed else CLONED, CLONED))


def _observe(work: Work, simulators: Simulators) -> FusedPairs | FramePairs:
    """Return what is cloned, seen in the scene of the demonstrations."""
    context, config = work.context, work.context.config
    context.progress.stage("demonstrations")
    options = config.demonstration_options(context.card)
    if options == config.task_options():
        return _observe_in(work, simulators, options)
    with context.simulators(options) as demonstrated:
        return _observe_in(work, demonstrated, options)


def _observe_in(work: Work, simulators: Simulators, options: dict[str, Any]) -> FusedPairs | FramePairs:
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
        **({"camera": config.observation.camera} if config.observation.camera else {}),
        **context.statistics.made_by(),
    }
    context.statistics.begin(Role.DEMONSTRATIONS)
    raw_shape = context.encoder.raw_shape
    with context.group_threads() as threads:
        replayed: dict[str, Any] = {
            "rule": context.rule,
            "made_by": made_by,
            "clock": context.clock,
            "on_steps": context.progress.advance,
            "on_begin": context.statistics.restart,
            "threads": threads,
        }
        if raw_shape is None:
            pairs = demonstration_pairs(
                work.demonstrations, simulators, context.encode(), privileged=context.privileged, **replayed
            )
            return FusedPairs(pairs, context.features_in_observation, context.fusion)
        encode = context.encode()
        assert encode is not None
        pairs, frames = demonstration_frames(work.demonstrations, simulators, encode, raw_shape, **replayed)
        return FramePairs(pairs, frames, part_features(raw_shape), context.fusion)


@dataclass(frozen=True)
class _Learning:
    """The parts of a run's learning in progress."""

    work: Work
    folder: RunFolder
    evaluator: Evaluator
    observations: Array
    actions: Array
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
            self.observations,
            self.actions,
            epochs=settings.bc_epochs,
            batch_size=settings.bc_batch_size,
            learning_rate=settings.bc_learning_rate,
            generator=self.learner.generator,
        )
        if settings.exploration != 1.0:
            policy.set_log_std(policy.log_std + math.log(settings.exploration))
        seconds = {"clone": perf_counter() - began}
        measured = self._evaluate(CLONED, film=settings.iterations == 0)
        row = {"iteration": CLONED, "steps": 0, "bc_loss": losses, "pairs": len(self.actions), **measured}
        row |= context.costs(seconds)
        row |= {"precision_cosine": work.choice.report.cosine} if work.choice.report else {}
        row["demonstrations"] = described(work.demonstrations)
        self.folder.append_metrics(row)
        context.progress.say(spending(row))
        self._commit(CLONED)

    def improve(self, done: int) -> None:
        """Do DAPG's iterations after `done`, and commit each."""
        context, learner = self.work.context, self.learner
        config, settings, evaluation = context.config, context.config.learner, context.config.evaluation
        iterations, count = int(settings.iterations or 0), int(settings.trajectories_per_iteration or 1)
        demonstrated = (learner.policy.as_tensor(self.observations), learner.policy.as_tensor(self.actions))
        for iteration in range(done + 1, iterations + 1):
            context.progress.stage(f"iteration {iteration}/{iterations}")
            first = config.seed + (iteration - 1) * count
            row, report, seconds = self._update(iteration, [first + k for k in range(count)], demonstrated)
            last = iteration == iterations
            row |= self._evaluate(iteration, film=last) if last or iteration % evaluation.every == 0 else {}
            row |= context.costs(seconds)
            self.folder.append_metrics(row)
            context.progress.say(
                f"iteration {iteration}: training return {report.mean_return:.1f}, "
                f"success {row['train_success']:.0%}, KL {report.kl:.3g}"
            )
            context.progress.say(spending(row))
            learner.guard.record(report, iteration)
            self._commit(iteration)

    def _update(
        self, iteration: int, seeds: Sequence[int], demonstrated: tuple[Tensor, Tensor]
    ) -> tuple[dict[str, Any], UpdateReport, dict[str, float]]:
        """Roll the policy out and update it; the trajectories, as large as all else, are gone on return.

        Returns:
            What the metrics say of it, the update's report, and its seconds.
        """
        context, learner = self.work.context, self.learner
        trajectories = context.roll(self.evaluator.simulators, learner.policy, seeds, noise_of=iteration)
        began = perf_counter()
        report = dapg_update(
            learner.policy,
            learner.baseline,
            trajectories,
            demonstrated,
            settings=context.config.learner,
            iteration=iteration - 1,
            generator=learner.generator,
        )
        seconds = {"update": perf_counter() - began}
        learner.steps += sum(len(trajectory) for trajectory in trajectories)
        row = {"iteration": iteration, "steps": learner.steps, **asdict(report)}
        row["train_success"] = float(np.mean([trajectory.success for trajectory in trajectories]))
        row["unstable"] = sum(trajectory.unstable for trajectory in trajectories)
        return row, report, seconds

    def _evaluate(self, iteration: int, film: bool = False) -> dict[str, float]:
        name = {UNTRAINED: "untrained", CLONED: "cloned"}.get(iteration, f"iteration {iteration}")
        return self.evaluator.evaluate(self.learner.policy, iteration, name, film=film)

    def _commit(self, iteration: int) -> None:
        """Write the checkpoint that ends an iteration."""
        meta = {
            "iteration": iteration,
            "steps": self.learner.steps,
            "guard": self.learner.guard.state(),
            "identity": identity_hash(self.work.identity),
        }
        self.folder.save_checkpoint(pack(self.learner) | self.work.context.statistics.tensors(), meta)
