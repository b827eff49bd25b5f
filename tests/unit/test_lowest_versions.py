"""The lower bounds of pyproject.toml, which `tox -e lowest` installs."""

import configparser
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests" / "lowest_versions.py"

packaging = pytest.importorskip("packaging")
from packaging.requirements import Requirement  # noqa: E402
from packaging.version import Version  # noqa: E402


def written(tmp_path, *arguments):
    file = tmp_path / "made" / "requirements.txt"
    subprocess.run([sys.executable, SCRIPT, *arguments, file], check=True)
    return [Requirement(line) for line in file.read_text().splitlines()]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib came with 3.11")
def test_every_dependency_has_one_lower_bound_that_is_not_above_what_is_installed(tmp_path):
    pins = written(tmp_path)
    assert {"torch", "numpy", "pytest"} < {pin.name for pin in pins}
    for pin in pins:
        (bound,) = pin.specifier
        assert bound.operator == "=="
        assert Version(bound.version) <= Version(version(pin.name)), pin.name


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib came with 3.11")
def test_a_requirement_can_be_left_out(tmp_path):
    names = {one.name for one in written(tmp_path, "--without", "MuJoCo")}
    assert "mujoco" not in names
    assert {"gymnasium", "pytest"} < names


def test_mujoco_4_is_tried_in_a_fresh_environment_and_never_as_4_0_0():
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    lane = tox["testenv:mujoco4"]
    assert lane["recreate"] == "true"
    assert "--upgrade" not in lane["commands_pre"]
    assert '"mujoco>=4.0.1,<5"' in lane["commands_pre"]
