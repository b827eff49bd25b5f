"""Everything that a page is made of, read once: runs by suite, curves, episodes, probes, adaptations, findings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.errors import BenchError

from ..analysis import background_shift, scores, selection, success_rules
from ..analysis.stage2 import FROZEN
from . import load
from .batchnorm import first_affine_values
from .findings import Finding, problems, reference_rows, refused_places
from .reading import find
from .reference import packs

if TYPE_CHECKING:
    import pandas


PARTS = ["encoder", "weights_label"]
"""What a row's name is made of, as far as its style depends on it."""


class NothingToReport(BenchError):
    """There are no runs where a report was asked for, or not of the suite that was named."""


@dataclass(frozen=True)
class Suite:
    """Runs that may be compared.

    Attributes:
        name: of the suite.
        runs: one row per run folder, see `reports.data.load.load_runs`.
        folder: of all runs, as the user gave it; commands name it.
        published: the paper's own values, see ``published.csv``.
    """

    name: str
    runs: pandas.DataFrame
    folder: Path
    published: pandas.DataFrame

    @cached_property
    def curves(self) -> pandas.DataFrame:
        """One row per evaluation."""
        return load.load_curves(self.runs)

    @cached_property
    def episodes(self) -> pandas.DataFrame:
        """One row per episode of the runs whose policies were tried on shifted backgrounds."""
        return load.load_episodes(self.runs[self.runs["used"] & (self.runs["backgrounds"].map(len) > 0)])

    @cached_property
    def background_shift(self) -> pandas.DataFrame:
        """Drops in return under shifted backgrounds; see `reports.analysis.background_shift.background_shift`."""
        return background_shift.background_shift(self.episodes)

    @cached_property
    def selection(self) -> pandas.DataFrame:
        """What choosing the best evaluation reports, and what held-out episodes say; see `reports.analysis`."""
        return selection.selection(self.runs)

    @cached_property
    def success_rules(self) -> pandas.DataFrame:
        """Success by three rules; see `reports.analysis.success_rules.success_rules`."""
        return success_rules.success_rules(self.runs)

    @cached_property
    def parts(self) -> pandas.DataFrame:
        """`PARTS` by row."""
        return self.runs.drop_duplicates("row").set_index("row")[PARTS]

    def labelled(self, table: pandas.DataFrame) -> pandas.DataFrame:
        """Return a table that has a column `row` with the row's `PARTS`, and whether numbers are `synthetic`."""
        return table.join(self.parts, on="row").assign(synthetic=self.synthetic)

    @cached_property
    def comparison(self) -> scores.Comparison:
        """The main encoders by best-so-far return."""
        return scores.compare(self.runs)

    @property
    def compares(self) -> bool:
        """Whether there are two encoders to compare: one alone would be measured against itself."""
        return len(self.comparison.rows) > 1 and bool((self.comparison.scores == self.comparison.scores).any())

    @cached_property
    def aggregates(self) -> pandas.DataFrame:
        """Mean, interquartile mean and optimality gap of the main encoders."""
        return scores.aggregates(self.comparison)

    @cached_property
    def improvements(self) -> pandas.DataFrame:
        """Probabilities that one row beats another; see `reports.analysis.scores.improvements`."""
        return scores.improvements(self.comparison)

    @property
    def synthetic(self) -> bool:
        """Whether any run of it is invented."""
        return bool(self.runs["synthetic"].any())

    @property
    def preset(self) -> str:
        """The preset of its runs."""
        return self.name.split("-")[0]


@dataclass(frozen=True)
class Material:
    """What was found below a folder of runs.

    Attributes:
        folder: as the user gave it.
        suites: those asked for, the largest first.
        probe: see `reports.data.load.load_probe`.
        adaptations: see `reports.data.load.load_adaptations`.
        affine_values: BatchNorm's parameters, see `reports.data.batchnorm.first_affine_values`; None without any.
        findings: what a reader has to know first.
        others: names of suites that were left out.
    """

    folder: Path
    suites: tuple[Suite, ...]
    probe: pandas.DataFrame
    adaptations: pandas.DataFrame
    affine_values: pandas.DataFrame | None
    findings: tuple[Finding, ...]
    others: tuple[str, ...]

    @property
    def adapted(self) -> pandas.DataFrame:
        """The readable adaptations that changed the encoder, not the heads alone."""
        return _adapted(self.adaptations)


def _adapted(adaptations: pandas.DataFrame) -> pandas.DataFrame:
    if adaptations.empty:
        return adaptations
    modes = adaptations["card"].map(lambda card: card.get("trained", {}).get("mode") if isinstance(card, dict) else "")
    return adaptations[(adaptations["problem"] == "") & (modes != FROZEN)]


def collect(folder: Path, suite: str | None = None, *, reference: bool = True) -> Material:
    """Read all runs below a folder, in run folders and packs of results.

    Args:
        folder: of all runs, or a pack.
        suite: the only one wanted; all by default, each apart.
        reference: whether the reference results that ship stand beside them, see `reports.data.reference.beside`.

    Raises:
        NothingToReport: there is no run, or none of that suite.
    """
    runs = load.load_runs(folder, packs() if reference else ()) if folder.exists() else None
    refused = load.refused_packs(folder) if folder.exists() else []
    if runs is None or runs.empty:
        if refused:
            raise NothingToReport("{}: {}".format(*refused[0]))
        raise NothingToReport(f"no run folders in {folder}; make some: `bench run --encoder hindex --out {folder}`")
    names = load.suites(runs)
    if suite is not None and suite not in names:
        raise NothingToReport(f"no suite '{suite}' in {folder}; available: {', '.join(names)}")
    wanted = [suite] if suite is not None else names
    published = load.load_published()
    chosen = runs[runs["suite"].isin(wanted)]
    probe, adaptations = load.load_probe(folder), load.load_adaptations(folder)
    values, unreadable = first_affine_values(_adapted(adaptations))
    return Material(
        folder,
        tuple(
            Suite(name, chosen[chosen["suite"] == name].reset_index(drop=True), folder, published) for name in wanted
        ),
        probe,
        adaptations,
        values,
        (
            *problems(chosen[~chosen["reference"]], probe, adaptations),
            *reference_rows(chosen),
            *refused_places(find(folder).refused, "folders that cannot be searched for runs"),
            *refused_places(refused, "packs of results that cannot be used and are left out"),
            *unreadable,
        ),
        tuple(name for name in names if name not in wanted),
    )
