"""The background shift: what is left of a trained policy's return under other looks of the scene (Figure 12, Table 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmark.episodes import OWN_BACKGROUND

from . import statistics

if TYPE_CHECKING:
    import pandas

COLUMNS = ("task", "row", "background", "return", "own_return", "value", "low", "high", "seeds")


def background_shift(episodes: pandas.DataFrame) -> pandas.DataFrame:
    """Return under every background, and per cent of it that is kept.

    Args:
        episodes: of one suite, see `reports.load.load_episodes`; only evaluations on shifted backgrounds are used, with
            the training scene's at the same iteration and on the same initial states where there are some.

    Returns:
        Columns `task`, `row`, `background`, `return`, `own_return` (means over seeds), `value` (per cent kept; NaN where
        the training scene's return is not positive), `low`, `high` (95 %, corrected for few seeds, the training scene's
        return held fixed; NaN with one seed) and `seeds`.
    """
    import pandas

    used = episodes[episodes["used"]] if len(episodes) else episodes
    rows = []
    for (task, row), group in used.groupby(["task", "row"], sort=False):
        returns = _returns(group)
        if returns is None:
            continue
        own = float(returns[OWN_BACKGROUND].mean())
        shifted = returns.drop(columns=OWN_BACKGROUND)
        kept = 100 * shifted.to_numpy(float) / own if own > 0 else np.full(shifted.shape, np.nan)
        estimate = statistics.bootstrap([kept], statistics.task_means, repetitions=1000)
        for k, name in enumerate(shifted.columns):
            interval = (estimate.corrected_low[k], estimate.corrected_high[k]) if len(returns) > 1 else (np.nan, np.nan)
            mean = float(shifted[name].mean())
            rows.append((task, row, name, mean, own, float(estimate.value[k]), *map(float, interval), len(returns)))
    return pandas.DataFrame(rows, columns=list(COLUMNS))


def _returns(group: pandas.DataFrame) -> pandas.DataFrame | None:
    """Mean return by seed (rows) and background (columns, in their order) at the last iteration that has shifted ones."""
    shifted = group[group["background"] != OWN_BACKGROUND]
    last = shifted.groupby("seed")["iteration"].transform("max")
    shifted = shifted[shifted["iteration"] == last]
    own = group[group["background"] == OWN_BACKGROUND].merge(shifted[["seed", "iteration"]].drop_duplicates())
    paired = own.merge(shifted[["seed", "iteration", "episode_seed"]].drop_duplicates())
    own = paired if len(paired) else own
    if shifted.empty or own.empty:
        return None
    names = sorted(shifted["background"].unique(), key=lambda name: (len(name), name))
    means = shifted.pivot_table(index="seed", columns="background", values="return")[names]
    means[OWN_BACKGROUND] = own.groupby("seed")["return"].mean()
    return means.dropna()
