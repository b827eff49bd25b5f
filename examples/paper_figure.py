"""Two figures of the paper from a folder of runs, in a few lines: ``python examples/paper_figure.py RUNS OUT``.

In a notebook the last expression of a cell, such as ``learning_curves(curves)``, shows the figure.
"""

import sys
from pathlib import Path

from reports.analysis import scores
from reports.data import load
from reports.figures import style
from reports.figures.charts import score_bars
from reports.figures.curves import learning_curves


def main(folder: Path, out: Path) -> None:
    runs = load.load_runs(folder)
    suite = load.suites(runs)[0]  # suites are never pooled: take the largest
    runs = runs[runs["suite"] == suite]

    means = scores.aggregates(scores.compare(runs)).query("statistic == 'mean'")
    bars = means.assign(low=means["corrected_low"], high=means["corrected_high"])
    bars = bars.merge(runs[["row", "encoder", "weights_label"]].drop_duplicates("row"))  # colour, and pale or not
    bars["synthetic"] = runs["synthetic"].any()  # invented numbers say so on every figure

    out.mkdir(parents=True, exist_ok=True)
    style.save(score_bars(bars), out, "average_score")  # PNG and PDF, one column wide
    style.save(learning_curves(load.load_curves(runs), width=style.PAGE), out, "learning_curves")
    print(f"{suite}: average_score and learning_curves in {out}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).expanduser(), Path(sys.argv[2]).expanduser())
