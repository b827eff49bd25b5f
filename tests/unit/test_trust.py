"""What is read back, and by whom: nothing that runs code comes in, and CONTRIBUTING.md names every reader."""

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("benchmark", "encoders", "tasks", "reports")
READERS = {
    "Parquet": ("pyarrow.parquet.read_table", "pyarrow.parquet.ParquetFile", "pandas.read_parquet"),
    "CSV": ("pandas.read_csv", "csv.reader", "csv.DictReader"),
    "npz of plain arrays": ("numpy.lib.format.read_array_header_1_0", "numpy.lib.format.read_magic"),
    "pickles of others, without running them": ("pickle",),
    "TensorFlow Lite": ("tflite.Model",),
    "HDF5": ("h5py.File",),
    "zip and tar archives": ("zipfile.ZipFile", "tarfile.open"),
    "Python, where a user names the file": ("exec",),
}
"""Formats besides safetensors and JSON, and the names of the functions that read them."""

RUNS_CODE = {
    *("_pickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "shelve", "numpy.load", "torch.load"),
    *("pandas.read_pickle", "torch.hub", "torch.jit.load", "torch.package", "yaml", "eval"),
}


def names(source):
    """The dotted names in a module's code, imports and their aliases resolved."""
    tree = ast.parse(source)
    known, found = {}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
            known |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        parts = []
        while isinstance(node, ast.Attribute):
            parts.insert(0, node.attr)
            node = node.value
        if isinstance(node, ast.Name):
            found.add(".".join([known.get(node.id, node.id), *parts]))
    return found


@pytest.fixture(scope="module")
def used():
    """Module -> the names in it."""
    paths = [path for package in PRODUCT for path in (ROOT / package).rglob("*.py")]
    return {path.relative_to(ROOT).as_posix(): names(path.read_text()) for path in paths}


def test_every_reader_is_in_the_inventory(used):
    text = (ROOT / "CONTRIBUTING.md").read_text().partition("## Trust")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| (`.+`) \|$", text, re.M)
    listed = {kind: set(re.findall("`([^`]+)`", files)) for kind, files in rows}
    found = {kind: {path for path, here in used.items() if here & set(calls)} for kind, calls in READERS.items()}
    assert listed == found


def test_nothing_that_runs_code_is_read(used):
    starts = tuple(f"{name}." for name in RUNS_CODE)
    assert [(path, name) for path, here in used.items() for name in here if f"{name}.".startswith(starts)] == []


def test_names_are_found_behind_aliases():
    code = "import torch as t, numpy as np\nfrom torch import load as get\nnp.load(x); get(y); t.hub.load(z)\n"
    assert {"numpy.load", "torch.load", "torch.hub.load"} <= names(code)


@pytest.mark.parametrize(
    "code",
    [
        *("import pickle", "import joblib", "from dill import load", "import shelve", "import marshal"),
        *("import numpy as np\n\nnp.load('a')", "import torch\n\ntorch.load('a')"),
        "import pandas\n\npandas.read_pickle('a')",
    ],
)
def test_the_linter_refuses_what_reads_pickles(code):
    ruff = shutil.which("ruff")
    if ruff is None:
        pytest.skip("ruff is not installed; the extra `lint` brings it")
    command = [ruff, "check", "--no-cache", "--select", "TID251", "--stdin-filename", "benchmark/new.py", "-"]
    done = subprocess.run(command, cwd=ROOT, input=f"{code}\n", capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "TID251" in done.stdout
