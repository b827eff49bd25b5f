"""What the tests of the run folder share: a configuration, an identity, an episode, and a writer in another process."""

import subprocess
import sys
from pathlib import Path

import benchmark

CONFIG = {"workers": 2, "learner": {"step_size": 0.05}}
IDENTITY = {"task": "door", "learner": {"step_size": 0.05, "gae_lambda": 0.97}, "versions": {"torch": "2.13.0"}}
IMPORT_FROM = Path(benchmark.__file__).parents[1]


def episode(iteration, value=1.0, background="default"):
    return {
        "iteration": iteration,
        "background": background,
        "seed": 7,
        "return": value,
        "success": value > 0,
        "length": 25,
        "goal_steps": 12 if value > 0 else 0,
        "goal_at_end": value > 0,
        "split": "schedule",
    }


def start(code, *arguments):
    """Run code in a process of its own that imports this checkout."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=IMPORT_FROM, stdout=subprocess.PIPE, text=True)
