"""The evaluations of a run in progress: roll out the mean action, keep the episodes, and say how it went."""

from __future__ import annotations

from dataclasses import dataclass

from ..cloning import Policy
from ..rollout.simulators import Simulators
from ..store.episodes import SCHEDULE
from ..store.run_folder import RunFolder
from ..store.video import save_film
from .context import RunContext


@dataclass(frozen=True)
class Evaluator:
    """What evaluations need.

    Attributes:
        context: the run's parts.
        folder: held.
        simulators: the slots.
    """

    context: RunContext
    folder: RunFolder
    simulators: Simulators

    def evaluate(
        self,
        policy: Policy,
        iteration: int,
        name: str,
        *,
        film: bool = False,
        split: str = SCHEDULE,
        episodes: int | None = None,
    ) -> dict[str, float]:
        """Run the mean action, store the episodes, and return their means.

        Args:
            policy: whose mean action it is.
            iteration: recorded in the rows.
            name: of the policy, for the line that says how it went.
            film: whether the first episode is kept as a film, if the run keeps any.
            split: of the episodes.
            episodes: how many; the configuration's by default.
        """
        context = self.context
        context.progress.stage("evaluate")
        film = film and context.config.evaluation.video and context.encoder.uses_images
        evaluation = context.evaluate(self.simulators, policy, iteration, split=split, episodes=episodes, film=film)
        self.folder.append_episodes(evaluation.rows)
        if evaluation.frames:
            save_film(self.folder.path, evaluation.frames, evaluation.trajectories[0].goals)
        mean_return, success = evaluation.mean_scores()
        kind = "evaluation" if split == SCHEDULE else f"{len(evaluation.rows)} held-out episodes:"
        context.progress.say(f"{name}: {kind} return {mean_return:.1f}, success {success:.0%}")
        unstable = sum(trajectory.unstable for trajectory in evaluation.trajectories)
        return {"evaluation_return": mean_return, "evaluation_success": success, "evaluation_unstable": unstable}
