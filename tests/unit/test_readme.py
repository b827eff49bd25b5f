"""The README's two commands: what they are, and that CI runs the second."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GUARD = "python3 benchmark/doctor.py && "


def commands():
    readme = (ROOT / "README.md").read_text()
    blocks = re.findall(r"^```bash\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)
    return [block.strip() for block in blocks[:2]]


def test_both_commands_are_one_line_and_look_for_opengl_before_installing_anything():
    for command in commands():
        assert "\n" not in command
        assert command.startswith(GUARD)


def test_first_command_runs_the_main_job():
    main_job = ".venv/bin/bench run --encoder hindex --task all --preset quickstart --out runs"
    assert commands()[0].endswith(main_job)


def test_continuous_integration_runs_the_second_command():
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert lines[-1] == commands()[1]


def test_debian_packages_are_the_same_everywhere():
    doctor = (ROOT / "benchmark" / "doctor.py").read_text()
    packages = re.search(r'^DEBIAN_PACKAGES = "(.*)"$', doctor, re.MULTILINE)[1]
    assert packages in (ROOT / "README.md").read_text()
    assert packages in (ROOT / ".ci" / "run").read_text()
