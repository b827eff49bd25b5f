"""What the parts of the method add: Figures 6 to 9."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ..analysis import ablations as variants_of
from ..analysis import scores
from ..analysis.ablations import Variant, Variants, first_comparison, labelled
from ..data.collect import Suite
from .charts import score_bars, task_dots
from .encoder_styles import EncoderStyle, ramp
from .interval_notes import intervals
from .scores import mean_bars
from .specification import Drawing, figure

STAGES = (variants_of.stages,)
MOMENTA = (variants_of.momenta,)
PARAMETERS = (variants_of.adapted_parameters, partial(variants_of.adapted_parameters, still=False))
STAGE_2 = (variants_of.second_stage, partial(variants_of.second_stage, still=False))
STAGE_3 = (variants_of.third_stage,)
"""How each question may be answered, the paper's way first."""

AVERAGE = "Normalised score averaged over the tasks that all variants have; 100 is the best variant of a task."
BY_TASK = "Normalised score by task, mean over seeds; 100 is the better variant of a task."


def _average(ways: Sequence[Variants], suite: Suite) -> Drawing | None:
    """Prepare one bar per variant, averaged over the tasks that all variants have."""
    found = first_comparison(suite.runs, ways)
    if found is None:
        return None
    variants, comparison = found
    bars, tasks = mean_bars(suite, scores.aggregates(comparison)), comparison.tasks
    draw = partial(score_bars, bars, variants=_variant_styles(variants))
    return Drawing(draw, f"{intervals(len(tasks))} Tasks: {', '.join(tasks)}.")


def _by_task(ways: Sequence[Variants], suite: Suite) -> Drawing | None:
    """Prepare one dot per variant and task."""
    found = first_comparison(suite.runs, ways)
    cells = None if found is None else scores.cell_scores(found[1]).assign(synthetic=suite.synthetic)
    if found is None or cells is None or cells.empty:
        return None
    return Drawing(partial(task_dots, cells, label="normalised score", variants=_variant_styles(found[0])))


def _missing(ways: Sequence[Variants], suite: Suite) -> str:
    """Name the variants; those that were run say on which weights."""
    return f"a task with runs of all of: {'; '.join(one.name for one in labelled(suite.runs, ways[-1]()))}"


def _variant_styles(variants: Sequence[Variant]) -> dict[str, EncoderStyle]:
    """Return styles by name: from pale to the full method's colour."""
    return dict(zip((variant.name for variant in variants), ramp(len(variants)), strict=True))


def _register(
    name: str,
    title: str,
    ways: Sequence[Variants],
    ablation: str,
    prepare: Callable[[Sequence[Variants], Suite], Drawing | None],
    caption: str,
) -> None:
    """Register the figure of one ablation, whose runs ``bench ablate`` makes."""
    figure(
        name,
        section="ablations",
        title=title,
        caption=caption,
        command=f"ablate {ablation} --seed 0,1,2",
        missing=partial(_missing, ways),
    )(partial(prepare, ways))


_register("fig06a_stages", "Figure 6a: what each stage adds", STAGES, "stages", _average, AVERAGE)
_register("fig06b_momentum", "Figure 6b: momentum of Stage 3", MOMENTA, "momentum", _average, AVERAGE)
_register("fig06c_parameters", "Figure 6c: parameters that Stage 2 adapts", PARAMETERS, "adaptation", _average, AVERAGE)
_register(
    "fig07_parameters", "Figure 7: parameters that Stage 2 adapts, by task", PARAMETERS, "adaptation", _by_task, BY_TASK
)
_register("fig08_stage2", "Figure 8: without and with Stage 2", STAGE_2, "adaptation", _by_task, BY_TASK)
_register(
    "fig09_stage3",
    "Figure 9: momentum zero or positive in Stage 3",
    STAGE_3,
    "stages",
    _by_task,
    f"{BY_TASK} A task whose own momentum is 0 shows 0.01 where that was run.",
)
