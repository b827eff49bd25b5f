"""The tables of the page by theme, from what was collected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from . import learning, scores, statistics, tables
from .collect import Material, Suite
from .table import Table

COVERED_SEEDS = (2, 3, 5, 10)


def suite_tables(suite: Suite) -> Mapping[str, Sequence[Table]]:
    """Tables of one suite by the section that they stand in; a theme without numbers has none."""
    comparison, synthetic = suite.comparison, suite.synthetic
    found: dict[str, list[Table]] = {"scores": [], "statistics": []}
    if comparison.rows:
        final = scores.compare(suite.runs, measure="return_last")
        success = scores.compare(suite.runs, measure="success_best")
        found["scores"] = [
            tables.cells_table(comparison, "scores", synthetic),
            tables.cells_table(final, "scores", synthetic),
            tables.cells_table(comparison, "returns", synthetic),
            tables.cells_table(success, "returns", synthetic),
        ]
        found["statistics"] = [
            tables.aggregate_table(scores.aggregates(comparison), synthetic),
            tables.aggregate_table(scores.aggregates(comparison, resample_normaliser=True), synthetic),
            tables.improvement_table(scores.improvements(comparison), synthetic),
            coverage(),
        ]
    speed = learning.learning_speed(suite.curves)
    efficiency = learning.sample_efficiency(speed, comparison.rows)
    if len(efficiency):
        found["learning"] = [tables.efficiency_table(efficiency, learning.SUCCESS_RATE, synthetic)]
    if len(suite.shift):
        found["backgrounds"] = [tables.background_table(suite.shift, synthetic)]
    costs = learning.costs(suite.runs)
    if len(costs):
        found["cost"] = [tables.cost_table(costs, synthetic)]
    if (suite.runs["status"] != "unreadable").any():
        found["weights"] = [tables.weights_table(suite.runs)]
    return found


def probe_tables(material: Material) -> Sequence[Table]:
    """The probe's table, where there is a probe."""
    probe = material.probe
    if probe.empty or not (probe["problem"] == "").any():
        return ()
    return (tables.probe_table(probe, bool(probe["synthetic"].any())),)


@cache
def coverage() -> Table:
    """How often the intervals hold the truth, simulated once a process."""
    return tables.coverage_table(statistics.simulate_coverage(runs=COVERED_SEEDS))
