"""What happens when updates are not finite: counted, said once, and the end of the run at the third in a row."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ..errors import BenchError
from ..store.metrics import MOST_SKIPPED
from .update import UpdateReport

logger = logging.getLogger(__name__)


class LearningDiverged(BenchError, RuntimeError):
    """Updates were not finite several times in a row."""


class NonFiniteGuard:
    """Counts skipped updates, says the first of a row once, and ends the run at the third.

    Args:
        limit: Skipped updates in a row that end the run.

    Attributes:
        in_a_row: Skipped updates since the last good one.
        total: Skipped updates of the whole run.
    """

    def __init__(self, limit: int = MOST_SKIPPED) -> None:
        """Start with nothing counted."""
        self.limit = limit
        self.in_a_row = 0
        self.total = 0

    def record(self, report: UpdateReport, iteration: int) -> None:
        """Count one update.

        Raises:
            LearningDiverged: If it is the `limit`-th skipped one in a row.
        """
        if not report.skipped:
            self.in_a_row = 0
            return
        self.in_a_row += 1
        self.total += 1
        if self.in_a_row >= self.limit:
            raise LearningDiverged(
                f"iteration {iteration}: {report.reason}, and {self.in_a_row} updates in a row came to nothing; "
                "the last good checkpoint is kept. Lower step_size, or look at that iteration's rewards and features"
            )
        if self.in_a_row == 1:
            logger.warning("iteration %d: %s; update skipped, parameters unchanged", iteration, report.reason)

    def state(self) -> dict[str, int]:
        """Return the counters, for a checkpoint."""
        return {"in_a_row": self.in_a_row, "total": self.total}

    def load_state(self, state: Mapping[str, int]) -> None:
        """Restore the counters."""
        self.in_a_row, self.total = state["in_a_row"], state["total"]
