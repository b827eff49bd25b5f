"""The background shift: what a finished policy loses when only the appearance of the scene changes.

Source: H-InDex, Figure 12 and Table 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmark.store.episodes import OWN_BACKGROUND

if TYPE_CHECKING:
    import pandas

PLACE = ["suite", "task", "row", "seed", "iteration"]
COLUMNS = (
    *("suite", "task", "row", "background", "runs", "episodes", "return_own", "return_shifted", "drop"),
    *("drop_deviation", "success_own", "success_shifted"),
)
OWN = (OWN_BACKGROUND, "0")
"""Names of the training scene: `bench eval` writes its number where it runs more episodes there."""

ALL_SHIFTED = "mean"
"""Stands for the mean over all shifted backgrounds in column `background`."""


def paired_episodes(episodes: pandas.DataFrame) -> pandas.DataFrame:
    """Pair episodes under a shifted background with those of the same run and seed under its own.

    Only initial states that both have are kept. Episodes that `bench eval` ran under the run's own background count as
    its own; those of the training's last evaluation go first.

    Args:
        episodes: of `reports.data.load.load_episodes`.

    Columns: `PLACE`, `episode_seed`, `background`, `return_own`, `return_shifted`, `success_own`, `success_shifted`.
    """
    used = episodes[episodes["used"].astype(bool)]
    own = used[used["background"].isin(OWN)]
    own = own.sort_values("background", key=lambda names: names != OWN_BACKGROUND, kind="stable")
    own = own.drop_duplicates([*PLACE, "episode_seed"])
    shifted = used[~used["background"].isin(OWN)]
    keys = [*PLACE, "episode_seed"]
    values = ["return", "success"]
    return shifted[[*keys, "background", *values]].merge(
        own[[*keys, *values]], on=keys, suffixes=("_shifted", "_own"), validate="many_to_one"
    )


def background_shift(episodes: pandas.DataFrame) -> pandas.DataFrame:
    """Return returns under the own background and each shifted one: one row per task, encoder and background.

    Columns: `suite`, `task`, `row`, `background` (``mean``: over all shifted ones), `runs`, `episodes` (pairs),
    `return_own`, `return_shifted` (means over runs of their means), `drop` (in per cent of `return_own`; NaN where that
    is not positive), `drop_deviation` (standard deviation over runs), `success_own`, `success_shifted`.
    """
    import pandas

    pairs = paired_episodes(episodes)
    if pairs.empty:
        return pandas.DataFrame(columns=list(COLUMNS))
    pairs = pandas.concat([pairs, pairs.assign(background=ALL_SHIFTED)], ignore_index=True)
    cell = ["suite", "task", "row", "background"]
    values = ["return_own", "return_shifted", "success_own", "success_shifted"]
    runs = pairs.groupby([*cell, "seed"])[values].mean()
    positive = runs["return_own"].where(runs["return_own"] > 0)
    runs["drop_of_run"] = 100 * (runs["return_own"] - runs["return_shifted"]) / positive
    table = runs.groupby(cell)[values].mean()
    table["runs"] = runs.groupby(cell).size()
    table["episodes"] = pairs.groupby(cell).size()
    own = table["return_own"].where(table["return_own"] > 0)
    table["drop"] = 100 * (table["return_own"] - table["return_shifted"]) / own
    table["drop_deviation"] = runs.groupby(cell)["drop_of_run"].std()
    ordered = table.reset_index()
    ordered["place"] = ordered["background"].map(_place)
    return ordered.sort_values(["suite", "task", "row", "place"], ignore_index=True)[list(COLUMNS)]


def _place(background: str) -> float:
    return float(background) if background.isdigit() else float("inf")
