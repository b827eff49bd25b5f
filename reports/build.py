"""A folder of runs to a report: the page, its figures and its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from benchmark.store.atomic import write_bytes
from benchmark.store.paths import user_path
from benchmark.store.provenance import package_version
from benchmark.store.run_folder import check_writable

from .data.collect import Material, Suite, collect
from .data.findings import Finding
from .figures import specification
from .figures.specification import SHARED_SECTIONS, SUITE_SECTIONS, PreparedFigure
from .page import sections
from .page.elements import identifier
from .page.page import Page, Section, render
from .page.writer import Writer, drawing_processes, folder_names
from .tables.suite_tables import SectionTables, shared_tables, suite_tables

PAGE = "report.html"

MOST_LISTED = 20
"""Folders of a kind that the summary names one by one."""


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes:
        page: the page's path.
        drawn: titles of the figures.
        missing: titles of the figures without runs.
        summary: what was left out and why, one line each, then one paragraph.
    """

    page: Path
    drawn: tuple[str, ...]
    missing: tuple[str, ...]
    summary: str


def build(
    folder: Path,
    out: Path | None = None,
    suite: str | None = None,
    *,
    figures: Sequence[str] = (),
    processes: int = 1,
    reference: bool = True,
) -> Report:
    """Write ``report.html``, ``figures/`` and ``tables/`` from run folders and packs of results.

    Args:
        folder: of all runs, packs beside them included; or one pack.
        out: where to write; by default ``report`` in the folder of runs, or beside the pack.
        suite: the only suite wanted; all by default, each in a part of its own and in folders of its own.
        figures: names of the only figures to draw; all by default.
        processes: that draw.
        reference: whether the reference results that ship are drawn beside runs of the same suite and tasks.

    Raises:
        ConfigError: a figure has another name.
        NothingToReport: there is no run, or none of that suite.
        OutputError: `out` cannot be written.
    """
    for name in figures:
        specification.find(name)
    folder = user_path(folder)
    material = collect(folder, suite, reference=reference)
    target = user_path(out) if out else (folder.parent if folder.is_file() else folder) / "report"
    check_writable(target)
    findings = sorted(  # the rest stays in order
        material.findings, key=lambda finding: ("altered", "unreadable", finding.kind).index(finding.kind)
    )
    names = folder_names([suite.name for suite in material.suites])
    with drawing_processes(processes) as pool:
        contents = [
            _Part(Writer(target, name, pool), figures, suite.name if len(names) > 1 else "")
            for suite, name in zip(material.suites, names, strict=True)
        ]
        shared = _Part(Writer(target, "", pool), figures)
        parts = [
            section
            for suite, part in zip(material.suites, contents, strict=True)
            for section in _suite_sections(suite, part, len(names))
        ]
        parts += _shared_sections(material, shared)
    prepared = [one for part in (*contents, shared) for one in part.prepared]
    not_run = sections.not_run_section(prepared)
    page = Page(
        title=f"H-InDex Bench: {folder.name}",
        heading="Visual representations in dexterous manipulation",
        kicker="H-InDex Bench report",
        lede=_lede(material),
        sections=[sections.findings_section(findings, material), *parts, *([not_run] if not_run else [])],
        version=package_version(),
    )
    write_bytes(target / PAGE, render(page).encode())
    drawn = tuple(one.title for _, one in prepared if one.drawn)
    missing = tuple(one.title for _, one in prepared if not one.drawn)
    return Report(target / PAGE, drawn, missing, _summary(material, drawn, missing, findings))


@dataclass
class _Part:
    """The figures and tables of one suite, or of no suite, as they are written.

    Attributes:
        writer: of the files.
        wanted: names of the only figures to draw; all where it is empty.
        suite: its name, where there are several.
        prepared: the figures so far, drawn or not, each with the name of the suite.
    """

    writer: Writer
    wanted: Sequence[str]
    suite: str = ""
    prepared: list[tuple[str, PreparedFigure]] = field(default_factory=list)

    def body(self, section: str, source: Suite | Material, tables: Mapping[str, SectionTables]) -> str:
        """Write the figures and tables of a section; return its HTML, empty where there is nothing to show."""
        chosen = [one.of(source) for one in specification.figures_of(section, self.wanted)]
        self.prepared += [(self.suite, one) for one in chosen]
        shown = self.writer.tables(tables.get(section, SectionTables()))  # written first: figures link to them
        return self.writer.figures(chosen) + shown


def _suite_sections(suite: Suite, part: _Part, of: int) -> list[Section]:
    """Return the sections of one suite of so many."""
    tables = suite_tables(suite)

    def key(name: str) -> str:
        return identifier(part.writer.below, name) if of > 1 else name

    found = []
    if of > 1:
        found.append(Section(key("suite"), f"Suite {suite.name}", _suite_lede(suite), suite.name, suite=True))
    found.append(sections.settings_section(suite, key("settings")))
    for name, (title, short) in SUITE_SECTIONS.items():
        if body := part.body(name, suite, tables):
            found.append(Section(key(name), title, body, short))
        if name == "tasks" and (films := sections.films_section(suite, key("films"), sections.FILM_BUDGET // of)):
            found.append(films)
    return [*found, sections.runs_section(suite, key("runs"))]


def _shared_sections(material: Material, part: _Part) -> list[Section]:
    """Return the sections that belong to no suite: probe, Stage 2, encoders, machines."""
    tables = shared_tables(material)
    bodies = {name: part.body(name, material, tables) for name in SHARED_SECTIONS}
    return [
        *(Section(name, SHARED_SECTIONS[name][0], body) for name, body in bodies.items() if body),
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
    loud += ["first look, not a result"] if any(suite.preset == "quickstart" for suite in material.suites) else []
    items = "".join(f'<li class="loud">{escape(badge)}</li>' for badge in loud)
    items += "".join(f"<li>{escape(badge)}</li>" for badge in badges)
    return f'<p class="lede">{words}</p><ul class="badges">{items}</ul>'


def _suite_lede(suite: Suite) -> str:
    used = suite.runs[suite.runs["used"]]
    encoders, tasks = _count(used["row"].nunique(), "encoder"), _count(used["task"].nunique(), "task")
    return f'<p class="lede">{_count(len(suite.runs), "run")}, {encoders}, {tasks}.</p>'


def _count(number: int, noun: str, before: str = "") -> str:
    return f"{before}{number} {noun}{'' if number == 1 else 's'}"


def _summary(material: Material, drawn: Sequence[str], missing: Sequence[str], findings: Sequence[Finding]) -> str:
    runs = sum(len(suite.runs) for suite in material.suites)
    used = sum(int(suite.runs["used"].sum()) for suite in material.suites)
    suites = ", ".join(suite.name for suite in material.suites)
    words = f"{used} of {_count(runs, 'run')} usable, of {suites}. {_count(len(drawn), 'figure')} drawn"
    words += f", {len(missing)} not run yet (the page has the commands)" if missing else ""
    words += f". {_count(len(findings), 'finding')}, first on the page" if findings else ""
    listed = [finding for finding in findings if finding.items]
    left_out = [line for one in listed for line in (f"{one.text}:", *(f"  {item}" for item in one.lines(MOST_LISTED)))]
    return "\n".join([*left_out, f"{words}."])
