"""The tables of the reports, from the frames of `reports.analysis` and `reports.data.load`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas

from ..analysis import bootstrap as statistics
from ..analysis import stage2
from ..analysis.background_shift import ALL_SHIFTED
from ..analysis.coverage import Coverage
from ..analysis.probe import clock_scores
from ..analysis.scores import FEW_SEEDS, Comparison, row_order
from ..analysis.success_rules import RULES
from ..data.load import readable
from .table import Table

NOTHING = "—"
MIN_MAX = "†"
DIGITS = 1


def cells_table(comparison: Comparison, what: Literal["scores", "returns"], synthetic: bool = False) -> Table:
    """Return tasks down, encoders across: mean ± standard deviation over seeds; scores are also averaged over tasks."""
    of_success = comparison.measure.startswith("success")
    scored = what == "scores"
    values = comparison.scores if scored else comparison.returns * (100 if of_success else 1)
    means, deviations, seeds = statistics.task_means(values), _deviations(values), comparison.seeds
    rows, data = [], []
    for t, task in enumerate(comparison.tasks):
        mark = f" {MIN_MAX}" if scored and comparison.fallback[t] else ""
        rows.append([task + mark, *(_cell(means[e, t], deviations[e, t], seeds[e, t]) for e in range(len(means)))])
        for e, row in enumerate(comparison.rows):
            numbers = {"mean": means[e, t], "deviation": deviations[e, t], "seeds": seeds[e, t]}
            data.append({"task": task, "row": row, **numbers, "min_max": bool(comparison.fallback[t])})
    best = _best(means.T)
    if scored and rows:
        average, average_best = _averages(values)
        rows.append(["average", *average])
        best = np.vstack([best, average_best])
    what_value, when = comparison.measure.split("_")
    name = f"{what_value} of the {when} evaluation{', in per cent' if of_success and not scored else ''}"
    caption = f"{name.capitalize()}, mean ± standard deviation over seeds."
    if scored:
        caption = (
            f"Normalised score, from the {name}: 100 is the best encoder's mean on a task. Mean ± standard deviation "
            f"over seeds. {MIN_MAX}: the best mean is not positive, so the score is min-max over the encoders."
        )
    return Table(
        f"{what}-{comparison.measure.replace('_', '-')}" if scored else comparison.measure.replace("_", "-"),
        caption,
        pandas.DataFrame(rows, columns=["task", *comparison.rows]),
        pandas.DataFrame(data, columns=["task", "row", "mean", "deviation", "seeds", "min_max"]),
        np.hstack([np.zeros((len(rows), 1), dtype=bool), best]) if rows else None,
        synthetic,
    )


def _averages(scores: statistics.Scores) -> tuple[list[str], npt.NDArray[np.bool_]]:
    """Return averages over tasks as shown, and (1, encoders) which is best; those over fewer tasks cannot be."""
    average, counts = statistics.mean(scores), (~np.isnan(statistics.task_means(scores))).sum(axis=1)
    partial = counts < counts.max()
    pairs = zip(average, counts, strict=True)
    shown = [
        f"{_number(value)} ({count} {'task' if count == 1 else 'tasks'})" if count < counts.max() else _number(value)
        for value, count in pairs
    ]
    return shown, _best(np.where(partial, np.nan, average)[None])


def aggregate_table(aggregates: pandas.DataFrame, synthetic: bool = False) -> Table:
    """Return mean, interquartile mean and optimality gap with intervals corrected for few seeds."""
    rows = []
    for row, group in aggregates.groupby("row", sort=False):
        first = group.iloc[0]
        cells = [_interval(one) for one in group.to_dict("records")]
        seeds = f"{first['seeds']}{' (too few)' if first['seeds'] < FEW_SEEDS else ''}"
        rows.append([row, *cells, f"{first['tasks']}/{first['of_tasks']}", seeds])
    names = list(dict.fromkeys(aggregates["statistic"]))
    kind = aggregates["normaliser"].iloc[0] if len(aggregates) else "fixed"
    held = {"fixed": "held fixed", "resampled": "redrawn with the runs"}[kind]
    caption = (
        "Scores over all tasks with 95 % intervals corrected for few seeds (stratified bootstrap; the plain percentile "
        f"intervals are in the CSV). The normaliser is {held}. Seeds: the fewest of a task; one has no spread."
    )
    shown = pandas.DataFrame(rows, columns=["encoder", *names, "tasks", "seeds"])
    return Table(f"aggregates-{kind}", caption, shown, aggregates, None, synthetic)


def improvement_table(improvements: pandas.DataFrame, synthetic: bool = False) -> Table:
    """Return probability of improvement of encoders over each other, every pair once; the CSV has both directions."""
    rows, seen = [], set()
    for pair in improvements.to_dict("records"):
        if (pair["other"], pair["row"]) not in seen:
            seen.add((pair["row"], pair["other"]))
            rows.append([f"{pair['row']} > {pair['other']}", _interval(pair, 2), str(pair["tasks"])])
    caption = (
        "Probability that a run of the first encoder beats one of the second on the same task, averaged over tasks; "
        "95 % intervals corrected for few seeds. An interval of no width: no redraw changed the order of runs."
    )
    shown = pandas.DataFrame(rows, columns=["pair", "probability", "shared tasks"])
    return Table("improvement", caption, shown, improvements, None, synthetic)


def efficiency_table(efficiency: pandas.DataFrame, success_rate: float, synthetic: bool = False) -> Table:
    """Return area under the learning curve and steps to a success rate."""
    rows = [
        [
            *(line["row"], _number(line["area_score"]), f"{100 * line['reached']:.0f} %"),
            *(_number(line["steps_to_success"], 0), str(line["runs"]), str(line["tasks"])),
        ]
        for line in efficiency.to_dict("records")
    ]
    reached = f"reached {100 * success_rate:.0f} %"
    columns = ["encoder", "area score", reached, "steps to it", "runs", "tasks"]
    caption = (
        "Sample efficiency: area under the learning curve, normalised by task like a score; share of runs that reached "
        f"a success rate of {100 * success_rate:.0f} % in an evaluation, and the median environment steps of those."
    )
    return Table("efficiency", caption, pandas.DataFrame(rows, columns=columns), efficiency, None, synthetic)


def background_table(shift: pandas.DataFrame, synthetic: bool = False) -> Table:
    """Return the paper's Table 3: return under the training background and each shifted one, and the drop."""
    numbers = [name for name in dict.fromkeys(shift["background"]) if name != ALL_SHIFTED]
    numbers.sort(key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name))
    rows = []
    for (task, row), group in shift.groupby(["task", "row"], sort=False):
        by = group.set_index("background")
        mean = by.loc[ALL_SHIFTED]
        returns = [_number(by["return_shifted"].get(name, math.nan)) for name in numbers]
        drop = f"{_number(mean['drop'])} %" if not math.isnan(mean["drop"]) else NOTHING
        own, over = _number(mean["return_own"]), _number(mean["return_shifted"])
        rows.append([task, row, own, *returns, over, drop, str(mean["runs"])])
    columns = ["task", "encoder", "own", *numbers, "shifted, mean", "drop", "runs"]
    caption = (
        "Background shift: return under the background a policy was trained on and under others, from the same initial "
        "states (paired seeds), mean over runs; the drop is of the mean, in per cent of the own."
    )
    return Table("background-shift", caption, pandas.DataFrame(rows, columns=columns), shift, None, synthetic)


def cost_table(costs: pandas.DataFrame, synthetic: bool = False) -> Table:
    """Return frames per second, time and memory by encoder, machine and what computed the features."""
    rows = []
    for line in costs.to_dict("records"):
        total = sum(line["seconds"].values())
        share = f"{100 * line['seconds'].get('encode', 0.0) / total:.0f} %" if total else NOTHING
        memory = [_number(line[name] / 1000, 2) for name in ("memory_mb", "gpu_memory_mb")]
        speed = [_number(line["frames_per_second"]), _number(line["wall_minutes"]), share]
        where = [f"{line['cpu']}, {line['device']}", line["computed"] or NOTHING]
        rows.append([line["row"], *where, *speed, *memory, str(line["runs"])])
    columns = ["encoder", "machine", "computed in", "frames/s", "minutes a run", "encoding", "GB", "GB on GPU", "runs"]
    stages = pandas.DataFrame([{f"seconds_{k}": v for k, v in one.items()} for one in costs["seconds"]])
    data = pandas.concat([costs.drop(columns="seconds"), stages.set_index(costs.index)], axis=1)
    caption = (
        "Cost by encoder: frames per second in rollouts (median over runs), measured time, peak memory, and in which "
        "precision and by which backend its features were computed."
    )
    return Table("costs", caption, pandas.DataFrame(rows, columns=columns), data, None, synthetic)


def selection_table(selection: pandas.DataFrame, synthetic: bool = False) -> Table:
    """Return success by the best evaluation beside what held-out episodes say of the same runs."""
    rows = []
    for line in selection.to_dict("records"):
        judged = [
            f"{_number(line[name])} [{_number(line[f'{name}_low'])}, {_number(line[f'{name}_high'])}]"
            for name in ("held_out_last", "held_out_best")
        ]
        gaps = [_number(line["gap"]), _number(line["expected_gap"])]
        rows.append([line["task"], line["row"], _number(line["best"]), _number(line["last"]), *judged, *gaps])
        rows[-1].append(str(line["seeds"]))
    columns = ["task", "encoder", "best evaluation", "last evaluation", "last, held-out", "best, held-out"]
    columns += ["gap", "gap by chance", "seeds"]
    caption = (
        "Success in per cent. Best evaluation: what protocols report that choose among evaluations, mean over seeds. "
        "Held-out: the last policy, and the one that the evaluations found best, on episodes that chose nothing, with "
        "95 % intervals over episodes. Gap: best evaluation minus best, held-out; by chance: what as many independent "
        "evaluations of a policy of that success would give."
    )
    return Table("selection", caption, pandas.DataFrame(rows, columns=columns), selection, None, synthetic)


def success_rules_table(rates: pandas.DataFrame, synthetic: bool = False) -> Table:
    """Return the success rate of the last evaluation by three rules."""
    rows = [
        [line["task"], line["row"], *(_number(line[name]) for name in RULES), str(line["seeds"])]
        for line in rates.to_dict("records")
    ]
    columns = ["task", "encoder", *RULES.values(), "seeds"]
    caption = (
        "Success of the last evaluation in per cent by three rules that the field uses: the goal on as many steps as "
        "the task's card asks for (this package's rule), the goal at the last step, and a return of at least half of "
        "what the shipped expert gets; mean over seeds."
    )
    return Table("success-rules", caption, pandas.DataFrame(rows, columns=columns), rates, None, synthetic)


def probe_table(probe: pandas.DataFrame, synthetic: bool = False) -> Table:
    """Return what features reveal, by quantity and encoder: R² averaged over the tasks that have the quantity.

    The clock stands beside them where it was recorded: what the time in the episode alone tells. It is the same for
    every encoder that was probed on the same frames.
    """
    known = probe[probe["problem"] == ""]
    numbers = {name: pandas.to_numeric(known[name]) for name in ("r2", "clock_r2")}
    varying = known.assign(**numbers)[~known["constant"].fillna(False).astype(bool)]
    wide = varying.pivot_table(index="quantity", columns="title", values="r2", aggfunc="mean", sort=False)
    over = varying.assign(margin=varying["r2"] - varying["clock_r2"])
    margins = over.pivot_table(index="quantity", columns="title", values="margin", aggfunc="mean", dropna=False)
    margins = margins.reindex(index=wide.index, columns=wide.columns)
    clock = clock_scores(varying).reindex(wide.index)
    rows = [
        [quantity, _number(clock[quantity], 2), *map(_with_margin, line, margins.loc[quantity])]
        for quantity, line in zip(wide.index, wide.to_numpy(), strict=True)
    ]
    best = np.hstack([np.zeros((len(rows), 2), dtype=bool), _best(wide.to_numpy())]) if rows else None
    data = known.drop(columns=["encoder", "path", "problem", "synthetic"])
    data = data.assign(dimensions=[len(names) if isinstance(names, list) else names for names in data["dimensions"]])
    caption = (
        "Linear probe: held-out R² of physical quantities from frozen features, mean over tasks, and in parentheses "
        "the margin over the clock: a regression from the time in the episode alone, whose R² has a column of its own."
    )
    columns = ["quantity", "clock", *wide.columns]
    return Table("probe", caption, pandas.DataFrame(rows, columns=columns), data, best, synthetic)


def stage2_table(numbers: pandas.DataFrame, synthetic: bool = False) -> Table:
    """Tabulate how well Stage 2 reconstructs held-out frames and places keypoints; see `reports.analysis.stage2`."""
    rows = []
    for line in numbers.to_dict("records"):
        cells = [_between(line, name, 2) for name in stage2.PSNR]
        cells += [_between(line, stage2.GAIN, 2), *(_between(line, name, 2) for name in stage2.POINTS)]
        what = f"{line['encoder']}, {line['mode']}{', tasks together' if line['together'] else ''}"
        rows.append([line["task"], what, str(line["steps"]), *cells])
    columns = ["task", "encoder, adapted", "steps", "PSNR", "minus copy", "minus mean image", "minus frozen encoder"]
    columns += ["on hand or object", "uniform", "difference"]
    caption = (
        "Stage 2 on held-out episodes, with 95 % intervals over them: PSNR (dB) of the reconstruction, its difference "
        "to copying the source frame, to the mean image, and to the same training with a frozen encoder (mode none) on "
        "the same episodes; share of keypoints on hand or handled object, and of uniformly placed points."
    )
    return Table("stage2", caption, pandas.DataFrame(rows, columns=columns), numbers, None, synthetic)


def weights_table(runs: pandas.DataFrame) -> Table:
    """Return where each row's weights come from, and what their licence permits."""
    rows, data = [], []
    runs = readable(runs)
    for row in row_order(runs):
        group = runs[runs["row"] == row]
        card, hashes = group["card"].iloc[0], _hashes(group["weights_sha256"])
        adapted = ", ".join(sorted({_adaptation(one) for one in group["adaptation"] if one}))
        kinds = ", ".join(sorted(set(group["weights_kind"]) - {""})) or "not recorded"
        licence, commercial = _licence(kinds, card)
        rows.append([row, card.get("architecture") or NOTHING, kinds, hashes, adapted or NOTHING, licence, commercial])
        about = {"row": row, "kind": kinds, "adaptation": adapted, "licence": licence, "commercial_use": commercial}
        about["sha256"] = " ".join(sorted(set(group["weights_sha256"]) - {""}))
        about["adaptation_sha256"] = " ".join(sorted(set(group["adaptation_sha256"]) - {""}))
        facts = ("architecture", "parameters", "feature_dim", "feature", "citation")
        about |= {name: card.get(name) for name in facts}
        data.append(about | {"deviations": "; ".join(card.get("deviations") or ())})
    columns = ["encoder", "network", "weights", "sha256", "adaptation", "licence", "commercial use"]
    caption = "Weights: where they come from, and their licence as its authors state it. Not legal advice."
    shown = pandas.DataFrame(rows, columns=columns)
    return Table("weights", caption, shown, pandas.DataFrame(data), None, bool(runs["synthetic"].any()))


def coverage_table(coverage: Sequence[Coverage]) -> Table:
    """Return how often the 95 % intervals of a suite's mean hold the truth, by simulation."""
    rows = [
        [one.distribution, str(one.runs), f"{100 * one.plain:.1f} %", f"{100 * one.corrected:.1f} %"]
        for one in coverage
    ]
    cases, tasks = (coverage[0].cases, coverage[0].tasks) if coverage else (0, 0)
    caption = (
        f"Share of {cases} simulated suites of {tasks} tasks whose 95 % interval of the mean held the truth. The plain "
        "percentile bootstrap is too short with few seeds. Simulated, not measured: see coverage.simulate_coverage."
    )
    columns = ["runs of a task", "seeds", "plain", "corrected"]
    data = pandas.DataFrame([vars(one) for one in coverage])
    return Table("coverage", caption, pandas.DataFrame(rows, columns=columns), data)


def one_task_table(coverage: Sequence[Coverage]) -> Table:
    """Return how often the corrected 95 % intervals of a single task hold the truth, by simulation: seeds across."""
    counts = sorted({one.runs for one in coverage})
    cells: dict[tuple[str, int], dict[int, float]] = {}
    for one in coverage:
        cells.setdefault((one.distribution, one.episodes), {})[one.runs] = one.corrected
    rows = [
        [kind, str(episodes), *(f"{100 * shares[count]:.0f} %" for count in counts)]
        for (kind, episodes), shares in cells.items()
    ]
    cases = coverage[0].cases if coverage else 0
    caption = (
        f"Share of {cases} simulated cases in which the corrected 95 % interval of one task held the truth: scores by "
        "task and bands of learning curves cover less than 95 % where seeds are skewed, and least where 15 % of them "
        "collapse to nothing, for no seed drawn may have shown it. Redrawing the episodes too (a hierarchical "
        "bootstrap) makes intervals up to half as long again and does not mend this, so seeds alone are redrawn."
    )
    columns = ["seeds are", "episodes", *(f"{count} seeds" for count in counts)]
    data = pandas.DataFrame([vars(one) for one in coverage])
    return Table("coverage-one-task", caption, pandas.DataFrame(rows, columns=columns), data)


def _deviations(values: statistics.Scores) -> statistics.Scores:
    """Return standard deviation over runs, ddof 1: (E, R, T) -> (E, T), NaN below two runs."""
    counts = (~np.isnan(values)).sum(axis=1)
    squares = (values - statistics.task_means(values)[:, None, :]) ** 2
    variances = statistics.task_means(squares) * counts / np.where(counts > 1, counts - 1, np.nan)
    return np.asarray(np.sqrt(variances))


def _best(means: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Return (rows, columns) which cells hold their row's highest number, where there are two or more."""
    known = ~np.isnan(means)
    highest = np.where(known, means, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    return np.asarray(known & (means == highest) & (known.sum(axis=1, keepdims=True) > 1))


def _cell(mean: float, deviation: float, seeds: int) -> str:
    if math.isnan(mean):
        return NOTHING
    return f"{_number(mean)} (1 seed)" if seeds == 1 else f"{_number(mean)} ± {_number(deviation)}"


def _number(value: float, digits: int = DIGITS) -> str:
    return NOTHING if math.isnan(value) else f"{round(value, digits) + 0.0:.{digits}f}"  # no -0.0


def _with_margin(value: float, margin: float) -> str:
    """Return an R² and by how much it exceeds the clock's."""
    shown = _number(value, 2)
    return shown if math.isnan(margin) else f"{shown} ({round(margin, 2) + 0.0:+.2f})"


def _between(line: dict[Any, Any], name: str, digits: int) -> str:
    value, low, high = (_number(line[f"{name}{end}"], digits) for end in ("", "_low", "_high"))
    return value if value == NOTHING else f"{value} [{low}, {high}]"


def _interval(estimate: dict[Any, Any], digits: int = DIGITS) -> str:
    value = _number(estimate["value"], digits)
    if math.isnan(estimate["corrected_low"]):
        return value
    low, high = (_number(estimate[name], digits) for name in ("corrected_low", "corrected_high"))
    return f"{value} [{low}, {high}]"


def _hashes(column: pandas.Series) -> str:
    hashes = sorted(set(column) - {""})
    return hashes[0][:12] if len(hashes) == 1 else f"{len(hashes)} files" if hashes else NOTHING


def _licence(kind: str, card: dict[str, Any]) -> tuple[str, str]:
    """Return the licence of a row's weights and whether it permits commercial use; cards name that of official ones."""
    if kind in ("random", "none"):
        return NOTHING, NOTHING
    if kind == "builtin":
        return "that of this package", "yes"
    permitted = card.get("commercial_use")
    commercial = "unclear" if permitted is None else "yes" if permitted else "no"
    return card.get("licence") or "not recorded", commercial


def _adaptation(record: dict[str, Any]) -> str:
    return f"{record.get('mode', 'yes')} ({record.get('source', 'own')})"
