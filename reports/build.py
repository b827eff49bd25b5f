"""A folder of runs to a report: the page, its figures and its tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from benchmark.store.atomic import write_bytes
from benchmark.store.paths import user_path
from benchmark.store.provenance import package_version
from benchmark.store.run_folder import check_writable

from .data.collect import Material, Suite, collect
from .data.findings import Finding
from .figures.ablation_specifications import ablation_plates
from .figures.picture_specifications import adaptation_plates, background_plates, probe_plates, task_plates
from .figures.score_specifications import learning_plates, score_plates, spending_plates, statistics_plates
from .figures.specification import Plate
from .page import sections
from .page.elements import identifier
from .page.page import Page, Section, render
from .page.writer import Press, helpers, own_names
from .tables.suite_tables import Shelf, probe_tables, stage2_tables, suite_tables

PAGE = "report.html"

MOST_TOLD = 20
"""Folders of a kind that the summary names one by one."""


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes:
        page: the page's path.
        drawn: titles of the figures.
        lacking: titles of the figures that there are no runs for.
        summary: what was left out and why, a line each, then one paragraph.
    """

    page: Path
    drawn: tuple[str, ...]
    lacking: tuple[str, ...]
    summary: str


def build(folder: Path, out: Path | None = None, suite: str | None = None, *, processes: int = 1) -> Report:
    """Write ``report.html``, ``figures/`` and ``tables/`` from run folders.

    Args:
        folder: of all runs.
        out: where to write; ``report`` in the folder of runs by default.
        suite: the only suite wanted; all by default, each in a part of its own and in folders of its own.
        processes: that draw.

    Raises:
        NothingToReport: there is no run, or none of that suite.
        OutputError: `out` cannot be written.
    """
    folder = user_path(folder)
    material = collect(folder, suite)
    target = user_path(out) if out else folder / "report"
    check_writable(target)
    made: list[tuple[str, Plate]] = []
    findings = list(material.findings)
    names = own_names([suite.name for suite in material.suites])
    with helpers(processes) as pool:
        parts = [
            section
            for suite, name in zip(material.suites, names, strict=True)
            for section in _suite_part(suite, Press(target, name, pool), made, len(names))
        ]
        parts += _shared_part(material, Press(target, "", pool), made, findings)
    findings.sort(key=lambda finding: ("altered", "unreadable", finding.kind).index(finding.kind))  # the rest stays
    missing = sections.not_run_section(made)
    page = Page(
        title=f"H-InDex Bench: {folder.name}",
        heading="Visual representations in dexterous manipulation",
        kicker="H-InDex Bench report",
        lede=_lede(material),
        sections=[sections.findings_section(findings, material), *parts, *([missing] if missing else [])],
        version=package_version(),
    )
    write_bytes(target / PAGE, render(page).encode())
    drawn = tuple(plate.title for _, plate in made if plate.drawn)
    lacking = tuple(plate.title for _, plate in made if not plate.drawn)
    return Report(target / PAGE, drawn, lacking, _summary(material, drawn, lacking, findings))


def _suite_part(suite: Suite, press: Press, made: list[tuple[str, Plate]], of: int) -> list[Section]:
    """The sections of one suite of so many."""
    tables = suite_tables(suite)

    def key(name: str) -> str:
        return identifier(press.below, name) if of > 1 else name

    def themed(name: str, title: str, plates: Sequence[Plate], short: str = "") -> list[Section]:
        made.extend((suite.name if of > 1 else "", plate) for plate in plates)
        shown = press.tables(tables.get(name, Shelf()))  # written first: figures link to them
        body = press.figures(plates) + shown
        return [Section(key(name), title, body, short)] if body else []

    films = sections.films_section(suite, key("films"), sections.FILM_BUDGET // of)
    head = [Section(key("suite"), f"Suite {suite.name}", _suite_lede(suite), suite.name, suite=True)] if of > 1 else []
    return [
        *head,
        sections.scale_section(suite, key("scale")),
        *themed("scores", "Scores", score_plates(suite)),
        *themed("learning", "Learning", learning_plates(suite)),
        *themed("statistics", "How certain this is", statistics_plates(suite), "Certainty"),
        *themed("ablations", "Ablations", ablation_plates(suite)),
        *themed("backgrounds", "Background shift", background_plates(suite)),
        *themed("tasks", "Tasks", task_plates(suite)),
        *([films] if films else []),
        *themed("cost", "Cost", spending_plates(suite)),
        *themed("weights", "Weights", ()),
        sections.runs_section(suite, key("runs")),
    ]


def _shared_part(
    material: Material, press: Press, made: list[tuple[str, Plate]], findings: list[Finding]
) -> list[Section]:
    """What belongs to no suite: probe, Stage 2, encoders, machines."""
    stage2, unreadable = adaptation_plates(material)
    findings += unreadable
    probe = probe_plates(material)
    made += [("", plate) for plate in (*probe, *stage2)]
    seen, drawn = press.tables(probe_tables(material)), press.tables(stage2_tables(material))
    parts = [
        ("probe", "What the encoders see", press.figures(probe) + seen),
        ("stage-2", "Stage 2", press.figures(stage2) + drawn),
    ]
    return [
        *(Section(name, title, body) for name, title, body in parts if body),
        sections.encoders_section(material),
        sections.machines_section(material),
    ]


def _lede(material: Material) -> str:
    names = ", ".join(f"<code>{escape(suite.name)}</code>" for suite in material.suites)
    one = len(material.suites) == 1
    words = f"Everything here is drawn from run folders of {'suite' if one else 'the suites'} {names}."
    words += "" if one else " Suites have settings of their own and are never pooled: each has a part of its own."
    badges = [f"{sum(len(suite.runs) for suite in material.suites)} runs"]
    if one:
        used = material.suites[0].runs[material.suites[0].runs["used"]]
        badges += [_count(used["row"].nunique(), "encoder"), _count(used["task"].nunique(), "task")]
        badges.append(
            _count(used.groupby(["task", "row"])["seed"].nunique().max() if len(used) else 0, "seed", "up to ")
        )
    loud = ["synthetic: numbers invented for tests"] if any(suite.synthetic for suite in material.suites) else []
    loud += ["rehearsal, not a result"] if any(suite.preset == "quickstart" for suite in material.suites) else []
    items = "".join(f'<li class="loud">{escape(badge)}</li>' for badge in loud)
    items += "".join(f"<li>{escape(badge)}</li>" for badge in badges)
    return f'<p class="lede">{words}</p><ul class="badges">{items}</ul>'


def _suite_lede(suite: Suite) -> str:
    used = suite.runs[suite.runs["used"]]
    encoders, tasks = _count(used["row"].nunique(), "encoder"), _count(used["task"].nunique(), "task")
    return f'<p class="lede">{_count(len(suite.runs), "run")}, {encoders}, {tasks}.</p>'


def _count(number: int, noun: str, before: str = "") -> str:
    return f"{before}{number} {noun}{'' if number == 1 else 's'}"


def _summary(material: Material, drawn: Sequence[str], lacking: Sequence[str], findings: Sequence[Finding]) -> str:
    runs = sum(len(suite.runs) for suite in material.suites)
    used = sum(int(suite.runs["used"].sum()) for suite in material.suites)
    suites = ", ".join(suite.name for suite in material.suites)
    words = f"{used} of {_count(runs, 'run')} usable, of {suites}. {_count(len(drawn), 'figure')} drawn"
    words += f", {len(lacking)} not run yet (the page has the commands)" if lacking else ""
    words += f". {_count(len(findings), 'finding')}, first on the page" if findings else ""
    told = [finding for finding in findings if finding.items]
    left_out = [line for one in told for line in (f"{one.text}:", *(f"  {item}" for item in one.lines(MOST_TOLD)))]
    return "\n".join([*left_out, f"{words}."])
