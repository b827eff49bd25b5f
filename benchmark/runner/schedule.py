"""When a run evaluates, and how many episodes that takes."""

from __future__ import annotations

from ..config import RunConfig
from ..store.episodes import CLONED, UNTRAINED

BEFORE_EVERYTHING = UNTRAINED - 1


def evaluated_iterations(config: RunConfig) -> list[int]:
    """Return the iterations that are evaluated, in order.

    Those of DAPG are -1 (untrained), 0 (cloned), then every ``evaluation.every`` and the last. Where iterations are
    epochs of cloning, they are every ``evaluation.every``, counted from 0 but without a 0 that comes too early, and the
    last: 5, 10, ..., 95, 99 for every 5 of 100.

    Args:
        config: of a resolved configuration.
    """
    evaluation, learner = config.evaluation, config.learner
    every, untrained = evaluation.every, [UNTRAINED] if evaluation.untrained else []
    if learner.algorithm == "bc":
        last = learner.bc_epochs - 1
        return untrained + [i for i in range(last + 1) if i == last or (i % every == 0 and i + 1 >= every)]
    last = int(learner.iterations or 0)
    return [*untrained, CLONED, *(i for i in range(1, last + 1) if i == last or i % every == 0)]


def remaining_episodes(config: RunConfig, done: int) -> int:
    """Return how many episodes are left after iteration `done`, at most.

    Args:
        config: of a resolved configuration.
        done: the last committed iteration, or `BEFORE_EVERYTHING`.
    """
    evaluation, learner = config.evaluation, config.learner
    evaluations = sum(1 for iteration in evaluated_iterations(config) if iteration > done)
    iterations = int(learner.iterations or 0) - max(done, 0)
    trained = 0 if learner.algorithm == "bc" else iterations * int(learner.trajectories_per_iteration or 0)
    return evaluations * evaluation.episodes + trained + 2 * evaluation.held_out_episodes
