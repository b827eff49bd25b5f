"""Results for the Hugging Face Hub: ``.eval_results`` files of encoders, and the card of a data set that holds packs.

Source: https://huggingface.co/docs/hub/eval-results, https://huggingface.co/docs/hub/datasets-cards.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas


def eval_results(runs: pandas.DataFrame, row: str, dataset: str) -> str:
    """Return an encoder's success rates as YAML of the Hub's ``.eval_results`` format, one entry per suite and task.

    A value is the mean over seeds of the last policy's success rate, in per cent.

    Args:
        runs: of `reports.data.load.load_runs`.
        row: the encoder's row.
        dataset: id on the Hub of the benchmark's data set, ``owner/name``.
    """
    own = runs[runs["used"] & (runs["row"] == row)]
    entries = []
    for (suite, task), cell in own.groupby(["suite", "task"]):
        seeds = ", ".join(map(str, sorted(cell["seed"])))
        notes = f"suite {suite}; {row}; last policy; seeds {seeds}; {int(cell['episodes'].min())} episodes each"
        entries += [
            "- dataset:",
            f"    id: {_text(dataset)}",
            f"    task_id: {_text(f'{task}-success')}",
            f"  value: {100 * cell['success_last'].mean():.2f}",
            f"  notes: {_text(notes)}",
        ]
    return "\n".join(entries) + "\n"


def dataset_card(runs: pandas.DataFrame, packs: list[str]) -> str:
    """Return the README.md of a data set on the Hub that holds packs of results.

    Args:
        runs: of the packs, see `reports.data.load.load_runs`.
        packs: names of their files.
    """
    used, files = runs[runs["used"]], ", ".join(f"`{name}`" for name in packs)
    lines = [
        "---",
        "pretty_name: H-InDex Bench results",
        "tags: [robotics, dexterous-manipulation, benchmark, visual-representations]",
        "task_categories: [robotics]",
        "---",
        "",
        "# H-InDex Bench results",
        "",
        f"Frozen visual encoders on dexterous manipulation tasks: {len(used)} finished runs in {files}.",
        "A pack is a zip file with `episodes.parquet`, `metrics.parquet`, settings, identities and cards;",
        "`bench results check PACK` examines one, `bench report PACK` draws it.",
        "Suites have settings of their own and are never pooled.",
    ]
    if used["synthetic"].any():
        lines += ["", "**Synthetic: the numbers of some runs are invented, for tests.**"]
    for suite, group in used.groupby("suite"):
        table = group.groupby("row").agg(tasks=("task", "nunique"), seeds=("seed", "nunique"), runs=("seed", "size"))
        rates = group.groupby(["row", "task"])["success_last"].mean().groupby("row").mean()
        lines += ["", f"## {suite}", "", "| encoder | tasks | seeds | runs | success, mean over its tasks |"]
        lines += ["|---|---|---|---|---|"]
        lines += [
            f"| {name} | {counts.tasks} | {counts.seeds} | {counts.runs} | {100 * rates[name]:.1f} % |"
            for name, counts in zip(table.index, table.itertuples(), strict=True)
        ]
    return "\n".join(lines) + "\n"


def _text(value: Any) -> str:
    """Return a string as YAML: JSON's strings are YAML's."""
    return json.dumps(str(value))
