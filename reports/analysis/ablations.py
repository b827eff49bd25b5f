"""Which runs make an ablation of the paper, and how its variants compare (Figures 6 to 9)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.runner.ablations import MOMENTA

from .scores import Comparison, compare

if TYPE_CHECKING:
    import pandas

Select = Callable[["pandas.DataFrame"], "pandas.Series"]


@dataclass(frozen=True)
class Variant:
    """One bar of an ablation.

    Attributes:
        name: what it is called there.
        select: marks its runs in a table of runs.
    """

    name: str
    select: Select


def stages() -> tuple[Variant, ...]:
    """Figure 6a: what each stage adds."""
    return (
        Variant("no stage (rrl)", lambda runs: (runs["encoder"] == "rrl") & (runs["variant"] == "")),
        Variant("stage 1", lambda runs: (runs["encoder"] == "frankmocap_hand") & (runs["variant"] == "")),
        Variant("stages 1, 2", lambda runs: _hindex(runs) & (runs["ema_momentum"] == 0)),
        Variant("stages 1, 2, 3", lambda runs: (runs["encoder"] == "hindex") & (runs["variant"] == "")),
    )


def momenta() -> tuple[Variant, ...]:
    """Figure 6b: the momentum of Stage 3."""
    return tuple(Variant(f"momentum {m:g}", _with_momentum(m)) for m in MOMENTA)


def adapted_parameters(*, still: bool = True) -> tuple[Variant, ...]:
    """Return figures 6c and 7: Stage 2 on all parameters, or on BatchNorm's affine ones alone.

    Args:
        still: without Stage 3, as `bench ablate adaptation` runs them; else with each task's own momentum.
    """
    return (
        Variant("all parameters", _adapted("adapt-all", still)),
        Variant("affine parameters", _adapted("", still)),
    )


def second_stage(*, still: bool = True) -> tuple[Variant, ...]:
    """Figure 8: Stage 2, without or with; `still` as for `adapted_parameters`."""
    return (
        Variant("without Stage 2", _adapted("adapt-none", still)),
        Variant("with Stage 2", _adapted("", still)),
    )


def third_stage() -> tuple[Variant, ...]:
    """Figure 9: Stage 3, momentum zero or positive: the task's own where that is positive, else 0.01."""
    return (
        Variant("momentum = 0", lambda runs: _hindex(runs) & (runs["ema_momentum"] == 0)),
        Variant("momentum > 0", _positive_momentum),
    )


def ablation(runs: pandas.DataFrame, variants: tuple[Variant, ...]) -> pandas.DataFrame | None:
    """Return the runs of an ablation, on the tasks that all variants have; `row` becomes the variant's name.

    Args:
        runs: of one suite, see `load_runs`. Of several rows of one encoder, those on the weights that most
            runs have are taken.
        variants: in order.

    Returns:
        A table of runs, a run twice where it stands for two variants; None where a variant has no run or none on a task
        shared with the others.
    """
    import pandas

    used = runs[runs["used"]]
    parts = []
    for variant in variants:
        chosen = _commonest_weights(used[variant.select(used)]).sort_values("variant", kind="stable")
        parts.append(chosen.drop_duplicates(["task", "seed"]).assign(row=variant.name))
    shared = set.intersection(*(set(part["task"]) for part in parts))
    if not shared:
        return None
    together = pandas.concat(parts, ignore_index=True)
    return together[together["task"].isin(shared)].reset_index(drop=True)


def labelled(runs: pandas.DataFrame, variants: tuple[Variant, ...]) -> tuple[Variant, ...]:
    """Return the variants, named with their weights where these are not official, such as ``stage 1 (builtin)``."""
    used = runs[runs["used"]]
    named = []
    for variant in variants:
        labels = _commonest_weights(used[variant.select(used)])["weights_label"]
        named.append(Variant(f"{variant.name} {labels.iloc[0] if len(labels) else ''}".rstrip(), variant.select))
    return tuple(named)


Variants = Callable[[], tuple[Variant, ...]]


def first_comparison(runs: pandas.DataFrame, ways: Sequence[Variants]) -> tuple[tuple[Variant, ...], Comparison] | None:
    """Compare the variants of the first of several ways to answer a question that there are runs for, else None."""
    for variants in ways:
        chosen = labelled(runs, variants())
        comparison = compare_variants(runs, chosen)
        if comparison is not None:
            return chosen, comparison
    return None


def compare_variants(runs: pandas.DataFrame, variants: tuple[Variant, ...]) -> Comparison | None:
    """Score the variants of an ablation against each other; None where there are no runs for it."""
    chosen = ablation(runs, variants)
    return None if chosen is None else compare(chosen, [variant.name for variant in variants])


def _hindex(runs: pandas.DataFrame) -> pandas.Series:
    """Return Hindex with its own Stage 2, whatever its momentum."""
    return (runs["encoder"] == "hindex") & ~runs["variant"].str.contains("adapt")


def _adapted(tag: str, still: bool) -> Select:
    """Select runs of hindex with this tag for Stage 2, none for its own, with Stage 3 as its card has it or without."""

    def select(runs: pandas.DataFrame) -> pandas.Series:
        tags = runs["variant"].map(lambda variant: {part for part in variant.split("+") if part})
        adapted = tags.map(lambda found: {part for part in found if part.startswith("adapt")} == ({tag} - {""}))
        moving = (
            runs["ema_momentum"] == 0 if still else tags.map(lambda found: not any("ema" in part for part in found))
        )
        return (runs["encoder"] == "hindex") & adapted.astype(bool) & moving.astype(bool)

    return select


def _with_momentum(momentum: float) -> Select:
    return lambda runs: _hindex(runs) & (runs["ema_momentum"] == momentum)


def _positive_momentum(runs: pandas.DataFrame) -> pandas.Series:
    own = (runs["encoder"] == "hindex") & (runs["variant"] == "") & (runs["ema_momentum"] > 0)
    instead = _hindex(runs) & (runs["ema_momentum"] == 0.01) & ~runs["task"].isin(runs.loc[own, "task"])
    return own | instead


def _commonest_weights(runs: pandas.DataFrame) -> pandas.DataFrame:
    if runs.empty:
        return runs
    labels = runs["weights_label"].value_counts()
    label = max(labels.index, key=lambda name: (labels[name], name))
    return runs[runs["weights_label"] == label]
