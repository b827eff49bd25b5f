"""The linear probe in numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas


def clock_scores(probe: pandas.DataFrame) -> pandas.Series:
    """Return what the time in the episode alone tells of each quantity: R² by quantity, mean over tasks.

    Args:
        probe: columns `quantity`, `task` and `clock_r2`, NaN where it was not recorded.
    """
    by_task = probe.groupby(["quantity", "task"], sort=False)["clock_r2"].mean()
    return by_task.groupby("quantity", sort=False).mean()
