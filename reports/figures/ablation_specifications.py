"""The plates of one suite's ablations: Figures 6 to 9."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ..analysis import scores
from ..analysis.scores import Comparison
from ..data.collect import Suite
from . import ablations
from .ablations import Variant, cell_scores, compare_variants, labelled, variant_looks
from .score_specifications import command, intervals, mean_bars
from .scores import score_bars, task_dots
from .specification import Plate

Variants = Callable[[], tuple[Variant, ...]]


STAGES = (ablations.stages,)
MOMENTA = (ablations.momenta,)
PARAMETERS = (ablations.adapted_parameters, partial(ablations.adapted_parameters, still=False))
STAGE_2 = (ablations.second_stage, partial(ablations.second_stage, still=False))
STAGE_3 = (ablations.third_stage,)
"""How each question may be answered, the paper's way first."""


def ablation_plates(suite: Suite) -> list[Plate]:
    """All plates on what the parts of the method add."""
    parameters, by_task = "parameters that Stage 2 adapts", "parameters that Stage 2 adapts, by task"
    return [
        _averages(suite, "fig06a_stages", "Figure 6a: what each stage adds", STAGES, "stages"),
        _averages(suite, "fig06b_momentum", "Figure 6b: momentum of Stage 3", MOMENTA, "momentum"),
        _averages(suite, "fig06c_parameters", f"Figure 6c: {parameters}", PARAMETERS, "adaptation"),
        _by_task(suite, "fig07_parameters", f"Figure 7: {by_task}", PARAMETERS, "adaptation"),
        _by_task(suite, "fig08_stage2", "Figure 8: without and with Stage 2", STAGE_2, "adaptation"),
        _by_task(suite, "fig09_stage3", "Figure 9: momentum zero or positive in Stage 3", STAGE_3, "stages"),
    ]


def _averages(suite: Suite, key: str, title: str, variants: Sequence[Variants], name: str) -> Plate:
    chosen, comparison = _compared(suite, variants)
    bars = None if comparison is None else mean_bars(suite, scores.aggregates(comparison))
    return Plate(
        key,
        title,
        "Normalised score averaged over the tasks that all variants have; 100 is the best variant of a task. "
        f"{intervals(0 if comparison is None else len(comparison.tasks))} {_tasks(comparison)}",
        None if bars is None else partial(score_bars, bars, variants=variant_looks(chosen)),
        command(suite, f"ablate {name} --seed 0,1,2"),
        _lacking(chosen),
    )


def _by_task(suite: Suite, key: str, title: str, variants: Sequence[Variants], name: str) -> Plate:
    chosen, comparison = _compared(suite, variants)
    cells = None if comparison is None else cell_scores(comparison).assign(synthetic=suite.synthetic)
    more = " A task whose own momentum is 0 shows 0.01 where that was run." if variants is STAGE_3 else ""
    return Plate(
        key,
        title,
        f"Normalised score by task, mean over seeds; 100 is the better variant of a task.{more}",
        partial(task_dots, cells, label="normalised score", variants=variant_looks(chosen))
        if cells is not None and len(cells)
        else None,
        command(suite, f"ablate {name} --seed 0,1,2"),
        _lacking(chosen),
    )


def _compared(suite: Suite, questions: Sequence[Variants]) -> tuple[tuple[Variant, ...], Comparison | None]:
    """The first of several ways to answer a question that there are runs for."""
    for variants in questions:
        chosen = labelled(suite.runs, variants())
        comparison = compare_variants(suite.runs, chosen)
        if comparison is not None:
            break
    return chosen, comparison


def _tasks(comparison: object) -> str:
    tasks = getattr(comparison, "tasks", ())
    return f"Tasks: {', '.join(tasks)}." if tasks else ""


def _lacking(variants: tuple[Variant, ...]) -> str:
    return "no task with runs of all of: " + "; ".join(variant.name for variant in variants)
