"""``bench assets`` on the command line."""

import subprocess
import sys
from pathlib import Path

import pytest
import small_pack
import typer
from small_pack import OFFICIAL, REQUIRED, lay_out

import benchmark
from benchmark.cli import assets as assets_cli
from benchmark.cli import mistakes
from tasks.scene import ycb as pack

HOME = Path(benchmark.__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def manifest(tmp_path):
    with small_pack.published(tmp_path) as file:
        yield file


@pytest.fixture
def bench(monkeypatch, capsys):
    """``bench assets ...`` in this process: (exit code, standard output, standard error)."""
    whole = typer.Typer()
    whole.add_typer(assets_cli.app, name="assets")
    monkeypatch.setattr(mistakes, "check_house", lambda: None)

    def call(*arguments):
        given = ["assets", *map(str, arguments)]
        code = mistakes.guarded(lambda: whole(args=given, prog_name="bench", standalone_mode=False), False)
        return code, *capsys.readouterr()

    return call


def test_list_tells_the_state_of_each_pack(bench, cache):
    def ycb_line():
        code, out, err = bench("list")
        builtin, line = out.splitlines()
        assert (code, err) == (0, "")
        assert builtin.startswith("builtin  always there")
        assert line.endswith(f"0.2 MB, {len(pack.textures())} of 2 optional textures; CC BY 4.0; {cache / 'ycb'}")
        return line

    assert "absent, 0 of 8 files; run `bench assets fetch ycb`" in ycb_line()
    lay_out(cache / "ycb", dict(list(OFFICIAL.items())[:3]))
    assert "3 of 8 files; run `bench assets fetch ycb`" in ycb_line()
    lay_out(cache / "ycb", OFFICIAL)
    assert "complete, 8 files" in ycb_line()


def test_fetch_from_a_folder_and_from_the_network(bench, tmp_path, cache):
    given = lay_out(tmp_path / "given", REQUIRED)
    code, out, err = bench("fetch", "ycb", "--from", given)
    assert code == 0
    complete, textures = out.splitlines()
    assert complete == f"ycb: complete in {cache / 'ycb'}; 8 files written, 0 were there already"
    assert "no official texture of 011_banana, 025_mug" in textures
    assert "ycb: 8 files from" in err
    with small_pack.served():
        code, out, err = bench("fetch", "ycb")
    assert code == 0
    assert out == f"ycb: complete in {cache / 'ycb'}; 2 files written, 8 were there already\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("fetch", "ycc"), "unknown asset pack 'ycc'; available: ycb"),
        (("fetch", "builtin"), "unknown asset pack 'builtin'; available: ycb"),
        (("fetch",), "Missing argument"),
        (("fetch", "ycb", "--from", "/nowhere"), "there is no folder /nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(bench, arguments, expected):
    code, out, err = bench(*arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("bench: ")
    assert expected in err


def test_the_commands_load_nothing_heavy_before_they_are_called():
    heavy = {"torch", "gdown", "mujoco", "numpy", "rich.progress", "requests"}
    code = f"import sys, benchmark.cli.assets; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=HOME).returncode == 0
