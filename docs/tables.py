"""Write the tables of these pages from the cards that ship and the registered figures, so that they cannot differ.

``python docs/tables.py`` rewrites whatever stands between ``<!-- table NAME -->`` and ``<!-- end of table NAME -->`` in
the pages beside it; ``--check`` changes nothing and exits with 1 where a page differs.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

PAGES = Path(__file__).resolve().parent
ROOT = PAGES.parent
EXPERTS = ROOT / "tasks" / "experts"
ADAPTED = ROOT / "encoders" / "builtin" / "adapted"

REFERENCE = ROOT / "reports" / "reference"
COMPARED = ("door", "pen", "relocate-mug")
PUBLISHED = ("pen", "relocate")
VARIED = ("blind", "vc1 (random)", "random", "mediapipe_hand")
HAND = "mediapipe_hand"
FEWEST_TASKS = 3
STAGES = {
    HAND: "neither",
    "hindex_mini+adapted-own": "Stage 2",
    f"{HAND}+ema-0.01": "Stage 3",
    "hindex_mini+adapted-own+ema-0.01": "both",
}

BLOCK = re.compile(r"(<!-- table (\w+) -->\n).*?(<!-- end of table \2 -->)", re.DOTALL)
NOT_MEASURED = ""
NORMAL_95 = 1.959963984540054

Card = Mapping[str, Any]


def experts_table() -> str:
    """Return the experts' scores: one row per card in ``tasks/experts/``."""
    heading = (
        *("task", "episodes", "success, mean action", "return", "success, with noise", "the authors', mean action"),
        *("ours on official meshes, mean action", "DAPG iterations", "control steps"),
    )
    rows = []
    for card in _cards(EXPERTS):
        scores = card["evaluation"]
        authors, official = scores.get("authors_mean_action"), scores.get("mean_action_ycb")
        rows.append(
            (
                card["task"],
                str(scores["mean_action"]["episodes"]),
                _success(scores["mean_action"]),
                _return(scores["mean_action"]),
                f"{scores['stochastic']['success']:.2f}",
                f"{authors['success']:.2f}, {authors['return']:.0f}" if authors else NOT_MEASURED,
                f"{official['success']:.2f}, {official['return']:.0f}" if official else NOT_MEASURED,
                str(card["iterations_done"]),
                f"{card['environment_steps']:,}",
            )
        )
    return _markdown(heading, rows)


def stage2_table() -> str:
    """Return how well adapted encoders draw held-out frames: one row per card in ``encoders/builtin/adapted/``."""
    return _stage2_of(ADAPTED)


def stage2_mini_table() -> str:
    """Return the same of the adaptations of ``mediapipe_hand`` that ship."""
    return _stage2_of(ADAPTED / "mediapipe_hand")


def _stage2_of(folder: Path) -> str:
    heading = ("task", "PSNR", "minus copy", "minus mean image", "on hand or object", "uniform", "difference")
    rows = []
    for card in _cards(folder):
        psnr, points = card["held_out"]["psnr"], card["held_out"]["keypoints_on_hand_or_object"]
        rows.append(
            (
                card["task"],
                _interval(psnr["reconstruction"]),
                _interval(psnr["reconstruction_minus_copy"]),
                _interval(psnr["reconstruction_minus_mean_image"]),
                f"{points['keypoints']['mean']:.3f}",
                f"{points['uniform_points']['mean']:.3f}",
                _interval(points["difference"]),
            )
        )
    return _markdown(heading, rows)


def figures_table() -> str:
    """Return the figures of the report: one row per registered specification."""
    from reports.figures.specification import figures

    rows = [(f"`{one.name}`", one.title, f"`bench {one.command}`") for one in figures()]
    return _markdown(("figure", "shows", "runs it needs"), rows)


def comparison_table() -> str:
    """Return the success of cloned policies: encoders down, tasks across, from the pack in ``reports/reference/``."""
    return _successes_of(COMPARED)


def floor_table() -> str:
    """Return the same on the two tasks of CortexBench and R3M, for the encoders that ran on both."""
    return _successes_of(PUBLISHED, whole=True)


def varied_table() -> str:
    """Return the success on pen of what is varied one thing at a time: no encoder, a random one, a trained one."""
    scores = _successes()
    return _markdown(("encoder", "pen"), [(row, _rate(scores.get((row, "pen")))) for row in VARIED])


def study_table() -> str:
    """Return the success of cloned policies: tasks down, the encoders that have them all across, the best first."""
    from reports.analysis.leaderboard import ranking
    from reports.data.load import load_runs

    runs = load_runs(REFERENCE / "imitation.pack.zip")
    means, cells = ranking(runs)
    whole = means[means["tasks"] == means["of_tasks"]].to_dict("records")
    scores = _successes()
    lines = [
        (task, *(_rate(scores[one["row"], task], seeds=False) for one in whole))
        for task in dict.fromkeys(cells["task"])
    ]
    lines.append(("mean", *(f"{one['success']:.0f}" for one in whole)))
    return _markdown(("task", *(one["row"] for one in whole)), lines)


def study_pairs_table() -> str:
    """Return how the hand network compares with every other row on the tasks and seeds that both have.

    Intervals are Student's over tasks: what is sampled is which tasks were asked, and the seeds' noise is part of it.
    """
    from reports.analysis.bootstrap import probability_of_improvement
    from reports.analysis.paired import differences, pair
    from reports.data.load import load_runs

    runs = load_runs(REFERENCE / "imitation.pack.zip")
    others = [row for row in dict.fromkeys(runs["row"]) if not row.startswith((HAND, "hindex_mini"))]
    rows = []
    for other in others:
        (paired,) = pair(runs, runs, HAND, other, "success_last")
        by_task = 100 * differences(paired)["difference"].to_numpy(float)
        if len(by_task) < FEWEST_TASKS:
            continue
        better = [
            float(probability_of_improvement(paired.first[:, [task]], paired.second[:, [task]]))
            for task in range(len(paired.tasks))
        ]
        counts = f"{(by_task > 0).sum()} / {(by_task == 0).sum()} / {(by_task < 0).sum()}"
        numbers = _over_tasks(by_task, "+.0f"), _over_tasks(better, ".2f", bounds=(0.0, 1.0))
        rows.append((float(np.mean(by_task)), (other, str(len(by_task)), str(sum(paired.pairs)), counts, *numbers)))
    heading = ("against", "tasks", "pairs", "better / equal / worse", "difference", "probability of improvement")
    return _markdown(heading, [row for _, row in sorted(rows, reverse=True)])


def study_stages_table() -> str:
    """Return what Stages 2 and 3 add to the hand network on the compared tasks."""
    scores = _successes()
    rows = []
    for row, stages in STAGES.items():
        cells = [scores.get((row, task)) for task in COMPARED]
        mean = _mean(cells)
        rows.append((stages, *map(_rate, cells), NOT_MEASURED if mean is None else f"{100 * mean:.0f}"))
    return _markdown(("stages", *COMPARED, "average"), rows)


def selection_table() -> str:
    """Return what choosing the best evaluation adds, from the pack of CortexBench's protocol."""
    from reports.analysis.selection import selection
    from reports.data.load import load_runs

    heading = ("task", "encoder", "seeds", "best evaluation", "last")
    heading += ("last, held out", "chosen, held out", "gap", "expected")
    rows = []
    for row in selection(load_runs(REFERENCE / "cortexbench.pack.zip")).to_dict("records"):
        judged = [
            f"{row[name]:.1f} [{row[f'{name}_low']:.1f}, {row[f'{name}_high']:.1f}]"
            for name in ("held_out_last", "held_out_best")
        ]
        means = [f"{row[name]:.1f}" for name in ("best", "last", "gap", "expected_gap")]
        rows.append((row["task"], row["row"], str(row["seeds"]), *means[:2], *judged, *means[2:]))
    return _markdown(heading, sorted(rows))


def _successes_of(tasks: Sequence[str], *, whole: bool = False) -> str:
    """Return success by encoder and task; whole leaves out encoders that lack a task."""
    scores = _successes()
    rows = list(dict.fromkeys(row for row, _ in scores))
    needed = all if whole else any
    rows = [row for row in rows if needed((row, task) in scores for task in tasks)]
    shown = {row: [_rate(scores.get((row, task))) for task in tasks] for row in rows}
    means = {row: _mean([scores.get((row, task)) for task in tasks]) for row in rows}
    rows.sort(key=lambda row: -1.0 if means[row] is None else means[row], reverse=True)
    averages = {row: NOT_MEASURED if means[row] is None else f"{100 * means[row]:.0f}" for row in rows}
    return _markdown(("encoder", *tasks, "average"), [(row, *shown[row], averages[row]) for row in rows])


@cache
def _successes() -> dict[tuple[str, str], list[list[bool]]]:
    """Return the successes of the last evaluation's episodes, one list per seed, by encoder and task."""
    from benchmark.store.episodes import scheduled
    from reports.data.load import load_runs

    found: dict[tuple[str, str], list[list[bool]]] = {}
    runs = load_runs(REFERENCE / "imitation.pack.zip")  # one suite: others are never pooled with it
    for run in runs[runs["used"]].to_dict("records"):
        table = scheduled(run["episode_table"])
        last = table[(table["iteration"] == table["iteration"].max()) & (table["background"] == "default")]
        found.setdefault((run["row"], run["task"]), []).append(last["success"].to_list())
    return found


def _rate(runs: Sequence[Sequence[bool]] | None, *, seeds: bool = True) -> str:
    """Return a success rate in per cent with its interval over episodes, and the rates of the seeds."""
    if runs is None:
        return NOT_MEASURED
    episodes = [success for run in runs for success in run]
    low, high = wilson(sum(episodes), len(episodes))
    each = ", ".join(f"{100 * sum(run) / len(run):.0f}" for run in runs)
    rate = f"{100 * sum(episodes) / len(episodes):.0f} [{100 * low:.0f}, {100 * high:.0f}]"
    return f"{rate} ({each})" if seeds else rate


def _mean(cells: Sequence[Sequence[Sequence[bool]] | None]) -> float | None:
    """Return the mean success over tasks; None where a task is missing."""
    if any(cell is None for cell in cells):
        return None
    return sum(sum(map(sum, cell)) / sum(map(len, cell)) for cell in cells if cell) / len(cells)


TABLES: Mapping[str, Callable[[], str]] = {
    "experts": experts_table,
    "stage2": stage2_table,
    "stage2_mini": stage2_mini_table,
    "figures": figures_table,
    "comparison": comparison_table,
    "floor": floor_table,
    "varied": varied_table,
    "selection": selection_table,
    "study": study_table,
    "study_pairs": study_pairs_table,
    "study_stages": study_stages_table,
}


def renewed(page: str) -> str:
    """Return a page's text with every table made again.

    Raises:
        KeyError: a block names a table that is not in `TABLES`.
    """
    return BLOCK.sub(lambda found: found[1] + TABLES[found[2]]() + found[3], page)


def wilson(successes: int, episodes: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a success rate."""
    rate, square = successes / episodes, NORMAL_95**2 / episodes
    centre = rate + square / 2
    half = math.sqrt(square * rate * (1 - rate) + square**2 / 4)
    return (centre - half) / (1 + square), (centre + half) / (1 + square)


def main(arguments: list[str] | None = None) -> int:
    """Rewrite the pages, or with ``--check`` say which of them differ from their sources."""
    parser = argparse.ArgumentParser(description="Write the tables of docs/*.md from their sources.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 where a page differs")
    check = parser.parse_args(arguments).check
    differ = False
    for path in sorted(PAGES.glob("*.md")):
        before = path.read_text(encoding="utf-8")
        after = renewed(before)
        if after == before:
            continue
        differ = True
        if check:
            sys.stderr.write(f"{path.name}: a table differs from its source; run `python docs/tables.py`\n")
        else:
            path.write_text(after, encoding="utf-8")
    return int(check and differ)


def _cards(folder: Path) -> list[Card]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


def _success(scores: Card) -> str:
    low, high = wilson(round(scores["success"] * scores["episodes"]), scores["episodes"])
    return f"{scores['success']:.2f} [{low:.2f}, {high:.2f}]"


def _return(scores: Card) -> str:
    return f"{scores['return']:.0f} ± {scores['return_std']:.0f}"


def _over_tasks(values: Sequence[float], form: str, bounds: tuple[float, float] = (-100.0, 100.0)) -> str:
    """Return a mean over tasks with Student's 95 % interval."""
    from scipy import stats

    mean = float(np.mean(values))
    half = float(stats.t.isf(0.025, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values)))
    low, high = (min(max(end, bounds[0]), bounds[1]) for end in (mean - half, mean + half))
    return f"{mean:{form}} [{low:{form}}, {high:{form}}]"


def _interval(value: Mapping[str, float]) -> str:
    return f"{value['mean']:.2f} [{value['low']:.2f}, {value['high']:.2f}]"


def _markdown(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |\n" for row in (heading, *rows)]
    return "".join((lines[0], "|---" * len(heading) + "|\n", *lines[1:]))


if __name__ == "__main__":
    sys.exit(main())
