"""The tables of the page by theme, from what was collected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from benchmark.presets import PROTOCOLS

from ..analysis import learning, scores
from ..analysis.coverage import one_task_coverage, suite_coverage
from ..analysis.stage2 import stage2_numbers
from ..data.collect import Material, Suite
from ..data.load import readable
from . import tables
from .table import Table


@dataclass(frozen=True)
class SectionTables:
    """Tables of one section.

    Attributes:
        shown: those to read.
        more: those to open, each below a few words.
    """

    shown: tuple[Table, ...] = ()
    more: tuple[tuple[str, Table], ...] = ()


def suite_tables(suite: Suite) -> Mapping[str, SectionTables]:
    """Return tables of one suite by the section that they stand in; a theme without numbers has none."""
    comparison, synthetic = suite.comparison, suite.synthetic
    found: dict[str, SectionTables] = {}
    success = tables.cells_table(scores.compare(suite.runs, measure="success_best"), "returns", synthetic)
    returns = tables.cells_table(comparison, "returns", synthetic)
    if comparison.rows and not suite.compares:
        found["scores"] = SectionTables((returns, success))
    if suite.compares:
        final = scores.compare(suite.runs, measure="return_last")
        more = (
            (
                "Normalised score of the final evaluation instead of the best",
                tables.cells_table(final, "scores", synthetic),
            ),
            ("Returns", returns),
            ("Success rates", success),
        )
        found["scores"] = SectionTables((tables.cells_table(comparison, "scores", synthetic),), more)
        redrawn = scores.aggregates(comparison, resample_normaliser=True)
        pairs = tables.improvement_table(suite.improvements, synthetic)
        found["statistics"] = SectionTables(
            (tables.aggregate_table(suite.aggregates, synthetic), coverage(len(comparison.tasks)), one_task()),
            (
                ("The same with the normaliser redrawn", tables.aggregate_table(redrawn, synthetic)),
                ("All pairs", pairs),
            ),
        )
    elif comparison.rows and comparison.seeds.max() > 1:
        found["statistics"] = SectionTables((one_task(),))
    speed = learning.learning_speed(suite.curves)
    efficiency = learning.sample_efficiency(speed, comparison.rows)
    if suite.compares and len(efficiency):
        found["learning"] = SectionTables((tables.efficiency_table(efficiency, learning.SUCCESS_RATE, synthetic),))
    if len(suite.background_shift):
        found["backgrounds"] = SectionTables((tables.background_table(suite.background_shift, synthetic),))
    chosen, rules = suite.selection, suite.success_rules
    by_rule = tables.success_rules_table(rules, synthetic)
    if len(chosen):
        selected = tables.selection_table(chosen, synthetic)
        found["protocol"] = SectionTables((selected,), (("Success by three rules", by_rule),))
    elif suite.preset in PROTOCOLS and len(rules):
        found["protocol"] = SectionTables((by_rule,))
    elif len(rules):
        found["protocol"] = SectionTables((), (("Success by three rules", by_rule),))
    costs = learning.costs(suite.runs)
    if len(costs):
        found["cost"] = SectionTables((tables.cost_table(costs, synthetic),))
    if len(readable(suite.runs)):
        found["weights"] = SectionTables((tables.weights_table(suite.runs),))
    return found


def shared_tables(material: Material) -> Mapping[str, SectionTables]:
    """Return tables that belong to no suite by the section that they stand in: of the probe and of Stage 2."""
    found: dict[str, SectionTables] = {}
    probe, numbers = material.probe, stage2_numbers(material.adaptations)
    if len(probe) and (probe["problem"] == "").any():
        found["probe"] = SectionTables((tables.probe_table(probe, bool(probe["synthetic"].any())),))
    if len(numbers):
        synthetic = bool(material.adaptations["synthetic"].any())
        found["stage-2"] = SectionTables((tables.stage2_table(numbers, synthetic),))
    return found


@cache
def coverage(tasks: int) -> Table:
    """Return how often the intervals of suites of so many tasks hold the truth."""
    return tables.coverage_table(suite_coverage(tasks))


@cache
def one_task() -> Table:
    """Return how often those of a single task do."""
    return tables.one_task_table(one_task_coverage())
