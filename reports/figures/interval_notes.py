"""What figures and captions say of their intervals: seeds behind them, and how often they hold the truth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..analysis.coverage import one_task_range

ENOUGH_SEEDS = 3


def interval_note(seeds: Sequence[float], kind: str = "interval") -> str:
    """Return one line on the intervals of a figure, honest about few seeds.

    Args:
        seeds: how many seeds each thing drawn rests on; empty where that is not known.
        kind: what is drawn, ``interval`` or ``band``.

    >>> interval_note([1, 1])
    '1 seed: no interval'
    """
    if not seeds:
        return f"95 % {kind}s"
    fewest, most = int(min(seeds)), int(max(seeds))
    number = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    if most < 2:
        return f"1 seed: no {kind}"
    if fewest < ENOUGH_SEEDS:
        return f"{number} seeds: too few for a trustworthy {kind}"
    return f"95 % {kind}s, {number} seeds"


def one_task_note(note: str, coverage: tuple[float, float] | None) -> str:
    """Return the same for intervals of single tasks, which cover less than they are called.

    Args:
        note: of `interval_note` or `band_note`.
        coverage: lowest and highest simulated coverage; None where there is no interval.

    >>> one_task_note("95 % intervals, 3 seeds", (0.71, 0.95))
    '95 % intervals, 3 seeds; simulated coverage of one task: 71 to 95 %'
    """
    if coverage is None:
        return note
    low, high = (f"{100 * share:.0f}" for share in coverage)
    return f"{note}; simulated coverage of one task: {low} to {high} %"


def mean_note(seeds: Sequence[float]) -> str:
    """Return the same for means that are drawn without intervals.

    >>> mean_note([2, 3]), mean_note([1])
    ('mean over 2 to 3 seeds', '1 seed')
    """
    if not seeds:
        return "mean over seeds"
    fewest, most = int(min(seeds)), int(max(seeds))
    if most < 2:
        return "1 seed"
    return f"mean over {fewest} seeds" if fewest == most else f"mean over {fewest} to {most} seeds"


def band_note(seeds: Sequence[int]) -> str:
    """Return the same for learning curves, whose seeds are drawn one by one where there are too few for a band.

    Args:
        seeds: how many seeds each line rests on.
    """
    if not seeds:
        return ""
    fewest, most = min(seeds), max(seeds)
    if most < 2:
        return "1 seed: no band"
    if most < ENOUGH_SEEDS:
        return f"{most} seeds: each drawn thin, their mean thick, no band"
    band = f"mean of {most} seeds, 95 % band" if fewest == most else f"mean of {fewest} to {most} seeds, 95 % band"
    return band if fewest >= ENOUGH_SEEDS else f"{band} from {ENOUGH_SEEDS} seeds on"


INTERVALS = "Whiskers: 95 % stratified bootstrap over seeds, corrected for few seeds; the normaliser is held fixed."


def one_task_words() -> str:
    """Return what a caption says of the intervals of a single task."""
    low, high = (f"{100 * share:.0f}" for share in one_task_range(3, 5))
    return (
        f"Of one task, 95 % intervals from 3 to 5 seeds cover {low} to {high} % in simulation: what they promise where "
        "seeds are spread normally, less where they are skewed or some collapse; the shares stand under “How certain "
        "this is”."
    )


def intervals(tasks: int) -> str:
    """Return what a caption says of intervals over so many tasks."""
    return INTERVALS if tasks != 1 else f"{INTERVALS} {one_task_words()}"


def one_task_coverage_of(seeds: Iterable[float]) -> tuple[float, float] | None:
    """Return the simulated coverage on one task of intervals of so many seeds each; None where none has enough."""
    enough = [int(count) for count in seeds if count >= ENOUGH_SEEDS]
    return one_task_range(min(enough), max(enough)) if enough else None
