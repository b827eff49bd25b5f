"""One run: an encoder on a task with a seed and a configuration, from demonstrations to a run folder.

Prepare (weights, demonstrations, simulators), clone the demonstrations, improve by DAPG, evaluate on the way. The
checkpoint of every iteration holds all that the next one depends on.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from encoders import EncoderError, GateReport
from encoders.errors import PrecisionRefused
from tasks.demonstrations.dataset import Demonstrations
from tasks.rendering.qualities import DRAWINGS

from .. import memory
from ..config import RunConfig
from ..dapg import GaussianPolicy, NonFiniteGuard, ValueBaseline, clone_behaviour, dapg_update
from ..demonstrations import sources
from ..demonstrations.features import Pairs, demonstration_pairs
from ..errors import FolderError
from ..marks import IDENTITY, without
from ..progress import Progress, Silent
from ..rollout.simulators import Simulators
from ..store.episodes import CLONED, REMEDY, UNTRAINED, own_evaluations
from ..store.identity import identity_hash
from ..store.paths import user_path
from ..store.provenance import RESULTS_VERSION, package_versions
from ..store.run_folder import CHECKPOINT, RunFolder
from ..store.video import save_film
from .checkpoint import pack, unpack
from .context import Session, mean_scores
from .moving_statistics import Role
from .precision import outcome, settle_precision
from .recorded import Recorded, recorded
from .resume import Committed, resume

BEFORE_EVERYTHING = UNTRAINED - 1

FEATURE_PACKAGES = ("mujoco", "torch", "torchvision", "timm")
"""Packages whose version may change features."""


@dataclass(frozen=True)
class RunResult:
    """What a run came to.

    Attributes:
        path: its folder.
        title: the encoder's name as every table shows it.
        evaluations: iteration (-1 untrained, 0 cloned, then DAPG's) to (mean return, success rate).
        found: whether it had been finished before and was skipped.
        weights_label: ``(builtin)`` or ``(random)``, as in the title; empty for official weights.
    """

    path: Path
    title: str
    evaluations: dict[int, tuple[float, float]]
    found: bool
    weights_label: str = ""


@memory.advising(memory.RUN_ADVICE)
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
    return _Run(config, user_path(out), progress or Silent(), overwrite).execute()


class _Run:
    """The state of a run in progress."""

    def __init__(self, config: RunConfig, out: Path, progress: Progress, overwrite: bool) -> None:
        self.session, self.progress, self.overwrite = Session(config, out, progress), progress, overwrite
        self.folder = RunFolder(self.session.path)
        self.recorded = Recorded() if overwrite else recorded(self.folder, config)
        self.finished = self.folder.status == "finished" and not overwrite
        self.taken_over = self._take_over(config, out)
        self.config, self.card, self.device = self.session.config, self.session.card, self.session.device
        self.demonstrations: Demonstrations = sources.gather(self.config)
        self.gate = None if self.finished else self._settle_precision()
        self.session.attach_statistics()
        self.identity = self._identity()

    def execute(self) -> RunResult:
        with self.folder as folder:
            config = self.config.model_dump(mode="json")
            status = folder.create(config, self.identity, self.session.record, overwrite=self.overwrite)
            if status != "finished":
                self._learn()
                folder.finish()
            table = own_evaluations(folder.episodes())
        evaluations = {int(i): (float(row["return"]), float(row["success"])) for i, row in table.iterrows()}
        return RunResult(
            folder.path, self.session.title, evaluations, status == "finished", self.session.record["weights"]["label"]
        )

    def _take_over(self, config: RunConfig, out: Path) -> list[str]:
        """Use what another machine decided for this run; return lines that say so."""
        said, session = [], self.session
        threads, device = self.recorded.torch_threads, self.recorded.device
        if device == "cpu" and session.device.type != "cpu":
            said.append("goes on with --device cpu, as the run was begun")
            self.session = session = Session(config.model_copy(update={"device": "cpu"}), out, self.progress)
        elif device == "cuda" and session.device.type == "cpu" and not self.finished:
            raise FolderError(
                f"{session.path} was begun with --device cuda, and torch sees no GPU here: go on with it where there "
                "is one, or choose another --out"
            )
        if threads is not None and threads != session.config.torch_threads:
            usual = session.config.torch_threads
            said.append(f"goes on with torch_threads={threads}, as the run was begun (this machine would take {usual})")
            session.use_threads(threads)
        return said

    def _settle_precision(self) -> GateReport | None:
        """Choose the encoder's precision, that of the run where it was begun with another one."""
        encoder, begun = self.session.encoder, self.recorded.precision
        scene = self.session.scene(self.config.demonstration_options(self.card))
        gate = settle_precision(encoder, self.config, self.demonstrations, scene)
        if begun in (None, encoder.precision):
            return gate
        self.taken_over.append(
            f"goes on in {begun}, as the run was begun (this machine would take {encoder.precision})"
        )
        config = self.config.model_copy(update={"precision": begun})
        try:
            return settle_precision(encoder, config, self.demonstrations, scene)
        except PrecisionRefused as error:
            raise FolderError(
                f"{self.folder.path} was begun in {begun}, which cannot be had here ({error}): go on with it where it "
                "was begun, or choose another --out"
            ) from error

    def _identity(self) -> dict[str, Any]:
        """Everything that makes the numbers; speed-only settings are left out."""
        config = self.config.model_dump(mode="json", exclude=without(RunConfig, IDENTITY))
        encoder, device = self.session.encoder.describe(), self.device.type
        if self.finished:  # what the machine decided then is no reason to do the run again
            encoder["precision"] = self.recorded.precision or encoder["precision"]
            device = self.recorded.device or device
        return {
            "results_version": RESULTS_VERSION,
            "task_results_version": self.card.results_version_with(self.config.objects),
            **self.session.frames_version,
            "config": config,
            "encoder": encoder,
            "demonstrations": self.demonstrations.content_hash,
            "device": device,
        }

    def _learn(self) -> None:
        config, folder, session = self.config, self.folder, self.session
        committed = resume(folder, self._due(), session.evaluation_seeds(), self.progress)
        done = committed.iteration if committed else BEFORE_EVERYTHING
        self.progress.begin(f"{session.title} · {config.task} · seed {config.seed}", self._planned_steps(done))
        for line in self.taken_over:
            self.progress.say(line)
        if self.gate is not None:
            self.progress.say(outcome(self.gate))
        session.streams.say(self.progress)
        self.progress.stage("start simulators")
        with session.simulators(config.task_options()) as simulators:
            self.simulators = simulators
            if simulators.device is not None:
                session.say_renderer(simulators.device)
            self.generator = torch.Generator().manual_seed(config.seed)
            pairs = self._pairs()
            self._make_learner(pairs.observations.shape[1])
            if committed:
                self._restore(committed)
            else:
                self._clone(pairs)
            self._improve(pairs, max(done, CLONED))
        self.progress.end()

    def _make_learner(self, size: int) -> None:
        learner = self.config.learner
        self.policy = GaussianPolicy(size, self.card.action_dim, learner.policy_hidden, generator=self.generator).to(
            self.device
        )
        self.baseline = ValueBaseline(
            size,
            learner.value_hidden,
            learning_rate=learner.value_learning_rate,
            weight_decay=learner.value_weight_decay,
            generator=self.generator,
            device=self.device,
        )
        self.guard = NonFiniteGuard()

    def _restore(self, committed: Committed) -> None:
        try:
            unpack(committed.tensors, self.policy, self.baseline, self.generator)
            self.session.streams.load(committed.tensors)
        except (ValueError, EncoderError) as error:
            raise FolderError(f"{self.folder.path / CHECKPOINT} does not fit this run ({error}); {REMEDY}") from error
        self.guard.load_state(committed.guard)
        self.steps = committed.steps
        self.progress.say(f"resumed after iteration {committed.iteration}")

    def _pairs(self) -> Pairs:
        self.progress.stage("demonstrations")
        options = self.config.demonstration_options(self.card)
        if options != self.config.task_options():
            with self.session.simulators(options) as demonstrated:
                return self._observe_demonstrations(demonstrated, options)
        return self._observe_demonstrations(self.simulators, options)

    def _observe_demonstrations(self, simulators: Simulators, options: dict[str, Any]) -> Pairs:
        device, session = simulators.device, self.session
        made_by = {
            "encoder": session.encoder.describe(),
            "task": [self.card.name, self.card.results_version_with(self.config.objects)],
            "scene": options,
            "quality": self.config.rollout.quality,
            **session.frames_version,
            "slots": self.config.slots,
            "threads": self.config.torch_threads,
            "device": str(self.device),
            "renderer": device.name if device else None,
            "versions": package_versions(FEATURE_PACKAGES + DRAWINGS[self.config.rollout.quality].packages),
            **session.streams.made_by(),
        }
        session.streams.begin(Role.DEMONSTRATIONS)
        return demonstration_pairs(
            self.demonstrations,
            simulators,
            session.encode,
            rule=session.rule,
            made_by=made_by,
            clock=session.clock,
            on_steps=self.progress.advance,
            on_begin=session.streams.restart,
        )

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
            | self.session.costs(seconds)
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
            trajectories = self.session.roll(
                self.simulators, self.policy, [first + k for k in range(count)], noise_of=iteration
            )
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
            row = {"iteration": iteration, "steps": self.steps, **asdict(report), **measured} | self.session.costs(
                seconds
            )
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
        self.progress.stage("evaluate")
        wanted = film and self.config.evaluation.video and self.session.encoder.uses_images
        found = self.session.evaluate(self.simulators, self.policy, iteration, film=wanted)
        self.folder.append_episodes(found.rows)
        if found.frames:
            save_film(self.folder.path, found.frames, found.trajectories[0].goals)
        mean_return, success = mean_scores(found)
        name = {UNTRAINED: "untrained", CLONED: "cloned"}.get(iteration, f"iteration {iteration}")
        self.progress.say(f"{name}: evaluation return {mean_return:.1f}, success {success:.0%}")
        unstable = sum(trajectory.unstable for trajectory in found.trajectories)
        return {"evaluation_return": mean_return, "evaluation_success": success, "evaluation_unstable": unstable}

    def _due(self) -> list[int]:
        """Return the iterations that are evaluated."""
        evaluation, iterations = self.config.evaluation, int(self.config.learner.iterations or 0)
        due = [i for i in range(1, iterations + 1) if i == iterations or i % evaluation.every == 0]
        return ([UNTRAINED] if evaluation.untrained else []) + [CLONED] + due

    def _planned_steps(self, done: int) -> int:
        """Control steps that are left, an upper bound: episodes may end early."""
        learner, evaluation = self.config.learner, self.config.evaluation
        horizon, iterations = int(self.config.rollout.horizon or 0), int(learner.iterations or 0)
        evaluations = sum(1 for iteration in self._due() if iteration > done)
        rollouts = (iterations - max(done, 0)) * int(learner.trajectories_per_iteration or 0)
        demonstrated = sum(len(episode.actions) for episode in self.demonstrations.episodes)
        return demonstrated + horizon * (evaluations * evaluation.episodes + rollouts)

    def _save(self, iteration: int, steps: int) -> None:
        self.steps = steps
        meta = {
            "iteration": iteration,
            "steps": steps,
            "guard": self.guard.state(),
            "identity": identity_hash(self.identity),
        }
        learner = pack(self.policy, self.baseline, self.generator)
        self.folder.save_checkpoint(learner | self.session.streams.tensors(), meta)
