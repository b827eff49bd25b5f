"""The parts of the page: findings, figures by theme, films, encoders and their licences, machines, runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from ..analysis.scores import row_order, task_order
from ..data import settings
from ..data.collect import Material, Suite
from ..data.findings import Finding
from ..data.load import readable
from ..figures.pictures import jpeg, read_picture
from ..figures.specification import PreparedFigure
from . import elements
from .elements import definitions, linked
from .page import ASSETS, Section

if TYPE_CHECKING:
    import pandas

FILM_BUDGET = 24_000_000
"""Bytes of video that a page holds at most."""

POSTER_PIXELS = 160

QUALITIES = (
    "The same moments in every quality of rendering. Frames of “shadows” have a smaller shadow map and no "
    "multisampling; those of “fast” have no shadows and no reflections either, and show a hand with fewer faces."
)

MOST_NAMED = 50
"""Folders that a finding names one by one."""

KINDS = {
    "altered": "altered",
    "unreadable": "cannot be read",
    "unfinished": "not finished",
    "diverged": "diverged",
    "outdated": "earlier results version",
    "duplicate": "duplicates",
    "suites": "suites",
    "weights": "two weights",
    "unstable": "unstable",
    "seeds": "few seeds",
    "missing": "missing",
    "negative": "negative returns",
    "stand-in": "stand-in weights",
    "synthetic": "synthetic",
    "reference": "reference",
}
LOUD = ("altered", "unreadable", "diverged", "outdated", "weights", "stand-in", "synthetic", "negative")


def findings_section(findings: Sequence[Finding], material: Material) -> Section:
    """Return what a reader has to know first, in plain words."""
    rows = [_finding(finding) for finding in findings]
    if material.others:
        left_out = ", ".join(material.others)
        rows.append(_finding(Finding("suites", f"other suites in this folder, not on this page: {left_out}")))
    body = (
        f"<ul>{''.join(rows)}</ul>"
        if rows
        else "<p>Nothing stood out: every run was read, finished and is comparable.</p>"
    )
    return Section("findings", "Read this first", f'<div class="findings">{body}</div>')


def settings_section(suite: Suite, key: str) -> Section:
    """Return what was scaled down: the suite's settings beside the paper's."""
    words = settings.scaled_down(suite)
    notice = f'<div class="notice"><p>{_words(words)}</p></div>' if words else ""
    changed = (
        "<p>Settings differ from the preset's; the hash in the suite's name stands for them.</p>"
        if "+" in suite.name
        else ""
    )
    table = elements.table(
        settings.settings_table(suite), caption="This suite's settings and the paper's, over its tasks."
    )
    return Section(key, "Settings of these runs", notice + changed + table + _qualities(suite), short="Settings")


def _qualities(suite: Suite) -> str:
    """Return frames in every quality side by side, where runs saw others than the paper's; else nothing."""
    rollouts = (run["config"].get("rollout") or {} for run in suite.runs.to_dict("records"))
    qualities = {str(rollout["quality"]) for rollout in rollouts if rollout.get("quality")} - {"paper"}
    if not qualities:
        return ""
    seen = " and ".join(sorted(qualities))
    shown = elements.picture((ASSETS / "qualities.jpg").read_bytes(), f"{QUALITIES} These runs saw: {seen}.")
    return f"<details><summary>How the frames look beside the paper's</summary>{shown}</details>"


def films_section(suite: Suite, key: str, budget: int = FILM_BUDGET) -> Section | None:
    """Return one film per task and encoder; None where no run has one.

    Films are taken by turns over the tasks until the budget is spent; the page says what it left out.
    """
    chosen, left_out = choose_films(suite.runs, budget)
    if not chosen and not left_out:
        return None
    groups: dict[str, list[str]] = {}
    for run in chosen:
        start = run["pictures"].get("start")
        picture = read_picture(start, POSTER_PIXELS) if start is not None else None
        caption = f"{run['row']}, seed {run['seed']}"
        film = elements.film(run["video"], b"" if picture is None else jpeg(picture), caption)
        groups.setdefault(run["task"], []).append(film)
    parts = [
        f'<details><summary>{escape(task)} <span class="muted">({len(films)})</span></summary>'
        f'<div class="films">{"".join(films)}</div></details>'
        for task in task_order(list(groups))
        for films in [groups[task]]
    ]
    words = "The first evaluation episode of the final policy, as the encoder saw it, at a quarter of its speed."
    if left_out:
        words += (
            f" {left_out} more films are left out so that this page has at most {budget / 1e6:.0f} MB of film; each "
            "lies in its run folder as <code>video.mp4</code>."
        )
    return Section(key, "Films by task and encoder", f'<p class="intro">{words}</p>{"".join(parts)}', short="Films")


def choose_films(runs: pandas.DataFrame, budget: int) -> tuple[list[dict[str, Any]], int]:
    """Return the first seed's run with a film of every task and row, within a budget of bytes.

    Returns:
        The runs, and how many films the budget left out.
    """
    filmed = runs[runs["used"] & runs["video"].notna()].sort_values("seed").drop_duplicates(["task", "row"])
    order = {row: number for number, row in enumerate(row_order(filmed))} if len(filmed) else {}
    queues = [
        sorted(group.to_dict("records"), key=lambda run: order[run["row"]]) for _, group in filmed.groupby("task")
    ]
    turns = [queue[k] for k in range(max(map(len, queues), default=0)) for queue in queues if k < len(queue)]
    chosen, spent = [], 0
    for run in turns:
        size = run["video"].stat().st_size
        if spent + size <= budget:
            chosen.append(run)
            spent += size
    return chosen, len(turns) - len(chosen)


def encoders_section(material: Material) -> Section:
    """Return one card per encoder and weights: architecture, origin, licence, citation, as run folders record them."""
    runs = [run for suite in material.suites for run in readable(suite.runs).to_dict("records")]
    shown: dict[tuple[str, str], dict[str, Any]] = {}
    for run in sorted(runs, key=lambda run: (run["variant"] != "", str(run["row"]))):
        shown.setdefault((run["encoder"], run["weights_sha256"] or run["weights_label"]), run)
    cards = "".join(_encoder_card(run) for run in shown.values())
    words = "What each encoder is, where its weights came from and what their licence permits, as the runs recorded it."
    return Section("encoders", "Encoders and licences", f'<p class="intro">{words}</p><div class="cards">{cards}</div>')


def machines_section(material: Material) -> Section:
    """Return where the runs were made: machines and versions."""
    counts: dict[str, int] = {}
    for suite in material.suites:
        for machine in suite.runs["machine"]:
            if machine:
                text = json.dumps(machine, sort_keys=True)
                counts[text] = counts.get(text, 0) + 1
    cards = []
    for text, count in sorted(counts.items(), key=lambda item: -item[1]):
        machine = json.loads(text)
        packages = ", ".join(f"{name} {version}" for name, version in sorted((machine.get("packages") or {}).items()))
        pairs = {
            "runs": str(count),
            "cores": escape(str(machine.get("cpu_count") or "")),
            "system": escape(str(machine.get("platform") or "")),
            "hindex-bench": escape(str(machine.get("version") or "")),
            "commit": f"<code>{escape(str(machine.get('commit')))}</code>" if machine.get("commit") else "",
            "Python": escape(str(machine.get("python") or "")),
            "packages": escape(packages),
        }
        name = escape(str(machine.get("cpu") or "unknown machine"))
        cards.append(f'<div class="card"><h3>{name}</h3>{definitions(pairs)}</div>')
    body = f'<div class="cards">{"".join(cards)}</div>' if cards else "<p>No run records its machine.</p>"
    return Section("machines", "Machines and versions", body, short="Machines")


def runs_section(suite: Suite, key: str) -> Section:
    """Every run folder of a suite."""
    columns = {
        **{"task": "task", "row": "encoder", "seed": "seed", "status": "status", "iteration": "iterations"},
        **{"return_best": "best return", "return_last": "final return", "success_best": "best success (%)"},
        **{"wall_seconds": "minutes", "device": "device"},
    }
    status = suite.runs["status"].where(suite.runs["used"] | (suite.runs["status"] != "finished"), "duplicate")
    frame = suite.runs.assign(
        success_best=100 * suite.runs["success_best"],
        wall_seconds=suite.runs["wall_seconds"] / 60,
        status=status.where(~suite.runs["outdated"] | (suite.runs["status"] != "finished"), "earlier version"),
    )
    table = elements.table(frame[list(columns)].rename(columns=columns), caption="Every run folder of this suite.")
    return Section(
        key, "All runs", f"<details><summary>{len(frame)} run folders</summary>{table}</details>", short="Runs"
    )


def not_run_section(prepared: Sequence[tuple[str, PreparedFigure]]) -> Section | None:
    """Return figures without runs by the command that would make them.

    Args:
        prepared: all of them, each with the name of its suite, empty where there is one suite only or none.
    """
    missing: dict[str, dict[str, list[str]]] = {}
    needs: dict[str, str] = {}
    asked: dict[str, list[str]] = {}
    for suite, one in prepared:
        asked.setdefault(one.title, []).append(suite)
        if not one.drawn:
            missing.setdefault(one.command, {}).setdefault(one.title, []).append(suite)
            needs[one.title] = one.missing
    if not missing:
        return None
    rows = []
    for command, titles in missing.items():
        needed = []
        for title, suites in titles.items():
            where = "" if suites == asked[title] else f" in {', '.join(suites)}"
            needed.append(f"<p><strong>{escape(title)}.</strong> Missing: {escape(needs[title] + where)}.</p>")
        rows.append(f'<li>{"".join(needed)}<pre tabindex="0">{escape(command)}</pre></li>')
    words = "These figures have no runs yet. Each command makes the runs it is listed with."
    body = f'<p class="intro">{words}</p><ul class="todo">{"".join(rows)}</ul>'
    return Section("not-run-yet", "Not run yet", body)


def _finding(finding: Finding) -> str:
    loud = " loud" if finding.kind in LOUD else ""
    text = finding.text[:1].upper() + finding.text[1:]
    items = "".join(f"<li>{escape(item)}</li>" for item in finding.lines(MOST_NAMED))
    named = f':<ul class="named">{items}</ul>' if items else "."
    return (
        f'<li><span class="kind{loud}">{escape(KINDS.get(finding.kind, finding.kind))}</span>'
        f'<div class="text">{escape(text)}{named}</div></li>'
    )


def _encoder_card(run: dict[str, Any]) -> str:
    card = run["card"]
    commercial = {True: "yes", False: "no"}.get(card.get("commercial_use"), "unclear") if card else ""
    adaptation = run["adaptation"]
    changed = ", ".join(str(adaptation[name]) for name in ("mode", "source") if adaptation.get(name))
    parameters = card.get("parameters")
    pairs = {
        "weights": escape(f"{run['weights_kind'] or 'not recorded'}"),
        "sha256": f"<code>{escape(run['weights_sha256'])}</code>" if run["weights_sha256"] else "",
        "network": escape(str(card.get("architecture") or "")),
        "feature": escape(", ".join(str(card[key]) for key in ("feature", "feature_dim") if card.get(key))),
        "parameters": f"{parameters:,}" if isinstance(parameters, int) and parameters else "",
        "Stage 2": escape(changed),
        "licence": linked(str(card.get("licence") or "")),
        "commercial use": commercial,
        "citation": linked(str(card.get("citation") or "")),
        "deviations": linked("; ".join(map(str, card.get("deviations") or ()))),
        "files": _sources(card.get("sources") or ()),
    }
    nothing = "" if card else '<p class="muted">No card: a plug-in, or a run from before cards were recorded.</p>'
    heading = f"{run['encoder']} {run['weights_label']}".rstrip() + run["suffix"]
    return f'<div class="card"><h3>{escape(heading)}</h3>{nothing}{definitions(pairs)}</div>'


def _sources(sources: Sequence[Any]) -> str:
    urls = [str(source["url"]) for source in sources if isinstance(source, dict) and source.get("url")]
    more = f" and {len(urls) - 3} more" if len(urls) > 3 else ""
    return ", ".join(map(linked, urls[:3])) + more


def _words(text: str) -> str:
    """Return escaped words whose backticks mark code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if k % 2 else part for k, part in enumerate(parts))
