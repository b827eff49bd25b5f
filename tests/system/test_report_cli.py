"""``bench report`` as a user runs it, on synthetic run folders."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve()


@pytest.fixture
def runs(synthetic, tmp_path):
    made = [
        synthetic.Run(encoder, task, seed)
        for encoder in ("hindex", "rrl")
        for task in ("pen", "door")
        for seed in (0, 1)
    ]
    made += [
        synthetic.Run("vc1", "pen", 0, state="damaged"),
        synthetic.Run("vc1", "door", 0, state="altered"),
        synthetic.Run("rrl", "pen", 0, suite=synthetic.OTHER_SUITE),
    ]
    return synthetic.write_suite(tmp_path / "runs", made, sides=False)


@pytest.mark.slow
def test_a_report_is_made_and_summed_up(bench, runs, synthetic):
    done = bench("report", "runs", "--suite", synthetic.SUITE)
    assert done.returncode == 0, done.stderr
    page = runs / "report" / "report.html"
    where, altered, first, unreadable, second, summary = done.stdout.strip().splitlines()
    assert Path(where) == page.resolve()
    assert altered.startswith("altered since they finished")
    assert first.endswith("door/vc1/seed-0 (episodes.parquet)")
    assert unreadable.startswith("run folders that cannot be read")
    assert "pen/vc1/seed-0 (episodes.parquet" in second
    assert "8 of 10 runs usable" in summary
    assert "not run yet" in summary
    assert "cannot be read" in page.read_text()
    assert (runs / "report" / "figures" / "fig01_average_score.pdf").is_file()
    assert (runs / "report" / "tables" / "scores-return-best.csv").is_file()

    again = bench("report", "runs", "--out", "elsewhere")  # the report in the folder of runs is no run
    assert again.returncode == 0, again.stderr
    assert (runs.parent / "elsewhere" / synthetic.OTHER_SUITE / "figures").is_dir()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("nowhere",), "no run folders in nowhere"),
        (("runs", "--suite", "nonsense"), "no suite 'nonsense' in runs; available: "),
    ],
)
def test_a_mistake_is_told_in_one_line(bench, runs, arguments, complaint):
    done = bench("report", *arguments)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert complaint in done.stderr


HELP = """
import sys
from benchmark.cli.app import main
sys.argv = ["bench", "report", "--help"]
try:
    main()
except SystemExit:
    pass
print("matplotlib" in sys.modules, "pandas" in sys.modules)
"""


def test_help_loads_neither_matplotlib_nor_pandas():
    done = subprocess.run(
        [sys.executable, "-c", HELP], cwd=HERE.parents[2], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.strip().splitlines()[-1] == "False False", done.stdout + done.stderr
