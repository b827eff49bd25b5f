"""The example of a paper's figure: short, and it works."""

import subprocess
import sys
from pathlib import Path

import pytest

import benchmark

HOME = Path(benchmark.__file__).resolve().parents[1]
EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "paper_figure.py"


@pytest.mark.slow
def test_the_example_is_short_and_draws(small_suite, tmp_path):
    assert len(EXAMPLE.read_text().splitlines()) < 40
    done = subprocess.run(
        [sys.executable, EXAMPLE, small_suite, tmp_path],
        **{"capture_output": True, "text": True, "timeout": 300, "env": {"PYTHONPATH": str(HOME)}},
    )
    assert done.returncode == 0, done.stderr
    assert {file.name for file in tmp_path.iterdir()} == {
        *("average_score.png", "average_score.pdf", "learning_curves.png", "learning_curves.pdf")
    }
