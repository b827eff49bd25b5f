"""The learning of a run that clones alone: epoch by epoch, evaluated on the way, judged at the end.

An iteration is an epoch, counted from 0. The checkpoint after every evaluation holds all that the next epoch depends
on, and the policy that the evaluations found best so far.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from encoders import EncoderError

from ..cloning import Cloning, Policy
from ..dapg import GaussianPolicy, LearningDiverged, NonFiniteGuard
from ..dapg.bc import fit_transforms
from ..demonstrations.features import FusedPairs
from ..demonstrations.frames import FramePairs
from ..errors import FolderError
from ..store.episodes import HELD_OUT, REMEDY, UNTRAINED
from ..store.identity import identity_hash
from ..store.metrics import spending
from ..store.run_folder import CHECKPOINT, RunFolder
from .checkpoint import new_policy
from .evaluation import Evaluator
from .resume import Committed
from .schedule import evaluated_iterations
from .work import Work, described

Arrays = Mapping[str, npt.NDArray[Any]]

BEST, BEST_POLICY, GENERATOR = "best", "best_policy.", "generator"


@dataclass
class Best:
    """The best policy so far by the success of its evaluation, then by its return; the earliest of equals.

    Attributes:
        epoch: after which it was evaluated; -1 before any.
        success: rate.
        mean_return: of the evaluation.
        state: the policy's tensors.
    """

    epoch: int
    success: float
    mean_return: float
    state: dict[str, torch.Tensor]

    def offer(self, epoch: int, measured: Mapping[str, float], policy: Policy) -> None:
        """Keep a policy if it is better."""
        success, mean_return = measured["evaluation_success"], measured["evaluation_return"]
        if self.epoch < 0 or (success, mean_return) > (self.success, self.mean_return):
            self.epoch, self.success, self.mean_return = epoch, success, mean_return
            self.state = {name: tensor.detach().clone() for name, tensor in policy.state_dict().items()}

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays of a checkpoint."""
        state = {BEST_POLICY + name: tensor.cpu().numpy() for name, tensor in self.state.items()}
        return {BEST: np.array([self.epoch, self.success, self.mean_return], np.float64), **state}

    def load(self, arrays: Arrays) -> None:
        """Restore what `arrays` returned.

        Raises:
            LookupError, ValueError: They are not those of such a policy.
        """
        epoch, self.success, self.mean_return = arrays[BEST].tolist()
        self.epoch = int(epoch)
        self.state = {name: torch.from_numpy(arrays[BEST_POLICY + name]) for name in self.state}


def imitate(
    work: Work, folder: RunFolder, evaluator: Evaluator, pairs: FusedPairs | FramePairs, committed: Committed | None
) -> None:
    """Clone the demonstrations to the last epoch, and judge the policies.

    Args:
        work: the run.
        folder: held.
        evaluator: runs the evaluations.
        pairs: what is cloned.
        committed: where to go on; None to begin.

    Raises:
        FolderError: the committed state does not fit.
        LearningDiverged: the loss is not finite.
    """
    context, config = work.context, work.context.config
    generator = torch.Generator().manual_seed(config.seed)
    sizes = pairs.observation_dim, context.card.action_dim
    policy = new_policy(config, *sizes, generator, context.encoder.raw_shape).to(context.device)
    if isinstance(policy, GaussianPolicy) and isinstance(pairs, FusedPairs):
        fit_transforms(
            policy, *(policy.as_tensor(values) for values in (pairs.all_observations(), pairs.pairs.actions))
        )
    best = Best(UNTRAINED, 0.0, 0.0, {name: tensor.detach().clone() for name, tensor in policy.state_dict().items()})
    imitation = _Imitation(work, folder, evaluator, pairs, policy, Cloning(policy, config.learner, generator), best)
    if committed:
        imitation.restore(committed)
    elif config.evaluation.untrained:
        evaluator.evaluate(policy.eval(), UNTRAINED, "untrained")
    imitation.clone(committed.iteration if committed else UNTRAINED)
    if config.evaluation.held_out_episodes:
        imitation.judge()


@dataclass(frozen=True)
class _Imitation:
    """The parts of a run that clones, in progress."""

    work: Work
    folder: RunFolder
    evaluator: Evaluator
    pairs: FusedPairs | FramePairs
    policy: Policy
    cloning: Cloning
    best: Best

    def restore(self, committed: Committed) -> None:
        """Go back to the last committed epoch."""
        tensors = {
            name: torch.from_numpy(array)
            for name, array in committed.tensors.items()
            if name.startswith(("policy.", "optimiser."))
        }
        context = self.work.context
        try:
            self.cloning.load_state_tensors(tensors)
            self.cloning.generator.set_state(torch.from_numpy(committed.tensors[GENERATOR]))
            self.best.load(committed.tensors)
            context.statistics.load(committed.tensors)
        except (LookupError, ValueError, RuntimeError, EncoderError) as error:
            raise FolderError(f"{self.folder.path / CHECKPOINT} does not fit this run ({error}); {REMEDY}") from error
        self.policy.eval()
        context.progress.say(f"resumed after epoch {committed.iteration}")

    def clone(self, done: int) -> None:
        """Do the epochs after `done`; evaluate and commit those that are due."""
        context, config = self.work.context, self.work.context.config
        last, due = config.learner.bc_epochs - 1, set(evaluated_iterations(config))
        context.progress.stage("clone")
        rows: list[dict[str, Any]] = []
        for epoch in range(done + 1, last + 1):
            began = perf_counter()
            loss = self.cloning.epoch(self.pairs)
            if not np.isfinite(loss):
                raise LearningDiverged(
                    f"{self.folder.path}: the loss of cloning is not finite after epoch {epoch}; lower "
                    "learner.bc_learning_rate, or look at the demonstrations"
                )
            seconds = {"clone": perf_counter() - began}
            rows.append({"iteration": epoch, "steps": 0, "bc_loss": [loss], "seconds": seconds})
            if epoch in due:
                rows[-1] |= self._evaluate(epoch, film=epoch == last)
                rows[-1] |= context.costs(seconds)
                self._commit(epoch, rows)
                rows = []
                context.progress.stage("clone")

    def judge(self) -> None:
        """Judge the last policy, and the best one, by held-out episodes."""
        config = self.work.context.config
        last, episodes = config.learner.bc_epochs - 1, config.evaluation.held_out_episodes
        self.evaluator.evaluate(self.policy, last, f"epoch {last}", split=HELD_OUT, episodes=episodes)
        if self.best.epoch != last:
            chosen = copy.deepcopy(self.policy)
            chosen.load_state_dict(self.best.state)
            name = f"epoch {self.best.epoch}, the best of the evaluations"
            self.evaluator.evaluate(chosen, self.best.epoch, name, split=HELD_OUT, episodes=episodes)

    def _evaluate(self, epoch: int, film: bool) -> dict[str, float]:
        measured = self.evaluator.evaluate(self.policy, epoch, f"epoch {epoch}", film=film)
        self.best.offer(epoch, measured, self.policy)
        return measured

    def _commit(self, epoch: int, rows: list[dict[str, Any]]) -> None:
        """Write the metrics since the last commit, and the checkpoint."""
        work, context = self.work, self.work.context
        if rows[0]["iteration"] == 0:
            rows[0] |= {"pairs": len(self.pairs), "demonstrations": described(work.demonstrations)}
            rows[0] |= {"precision_cosine": work.choice.report.cosine} if work.choice.report else {}
        for row in rows:
            self.folder.append_metrics(row)
        context.progress.say(spending(rows[-1]))
        tensors = {name: tensor.detach().cpu().numpy() for name, tensor in self.cloning.state_tensors().items()}
        tensors |= self.best.arrays() | {GENERATOR: self.cloning.generator.get_state().numpy()}
        meta = {
            "iteration": epoch,
            "steps": 0,
            "guard": NonFiniteGuard().state(),
            "identity": identity_hash(work.identity),
        }
        self.folder.save_checkpoint(tensors | context.statistics.tensors(), meta)
