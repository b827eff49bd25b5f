"""What importing the packages costs and touches, in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "torchvision", "mujoco"}
CODE = """
import json, sys
for name in sys.argv[1:]:
    __import__(name)
print(json.dumps(sorted(sys.modules)))
"""


def modules_after_importing(*names):
    import benchmark

    root = Path(benchmark.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", CODE, *names], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def test_importing_the_packages_loads_neither_torch_nor_mujoco():
    assert not modules_after_importing("benchmark", "encoders", "tasks") & HEAVY


@pytest.mark.parametrize("module", ["store.run_folder", "store.runs", "doctor", "store.provenance", "errors"])
def test_the_run_folder_and_the_doctor_need_no_torch(module):
    assert not modules_after_importing(f"benchmark.{module}") & (HEAVY | {"pandas", "pyarrow"})
