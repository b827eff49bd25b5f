"""What `tox -e audit` makes of pip-audit's answers."""

import importlib.util
import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "audit.py"


@pytest.fixture
def verdict():
    specification = importlib.util.spec_from_file_location("hindex_bench_audit", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.verdict


SOUND = {"name": "numpy", "version": "2.4.6", "vulns": []}
FLAWED = {"name": "pillow", "version": "10.1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["10.2", "10.3"]}]}
UNKNOWN = {"name": "hindex-bench", "skip_reason": "Dependency not found on PyPI"}
UNRESOLVED = "Traceback\n  ...\nrequests.exceptions.ConnectionError: Failed to resolve 'service'\n"


@pytest.mark.parametrize(
    ("packages", "code", "last"),
    [
        ([SOUND, UNKNOWN], 0, "1 of 2 packages looked up, 0 known flaws"),
        ([SOUND, FLAWED], 1, "2 of 2 packages looked up, 1 known flaws"),
        ([UNKNOWN, UNKNOWN], 0, "skipped: the service knows none of the 2 packages; it is out of reach from here"),
    ],
)
def test_flaws_fail_and_a_silent_service_skips(verdict, packages, code, last):
    found, lines = verdict(json.dumps({"dependencies": packages, "fixes": []}), "")
    assert (found, lines[-1]) == (code, last)
    assert ("pillow 10.1: PYSEC-1, fixed in 10.2, 10.3" in lines) == (code == 1)


def test_a_service_out_of_reach_skips_with_the_reason_and_other_failures_fail(verdict):
    code, (line,) = verdict("", UNRESOLVED)
    assert (code, line) == (
        0,
        "skipped: the service cannot be reached (requests.exceptions.ConnectionError: Failed to resolve 'service')",
    )
    assert verdict("", "No module named pip_audit\n") == (2, ["pip-audit failed: No module named pip_audit"])
