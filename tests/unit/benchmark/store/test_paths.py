"""``~`` is a home folder wherever a user writes a path."""

import typing
from pathlib import Path

import pytest
import typer

from benchmark.cli import app as cli
from benchmark.cli.options import Out
from benchmark.errors import ConfigError
from benchmark.probe.probe import cell_path
from benchmark.runner.backgrounds import run_folders
from benchmark.store import run_folder as store
from benchmark.store.paths import user_path
from encoders.weights.cache import cache_dir
from tasks.demonstrations.dataset import Demonstrations
from tasks.errors import DemonstrationError, ExpertError
from tasks.experts import Expert
from tasks.scene import ycb


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def path_parameters():
    """Every parameter of every command that is a path: (its name, how typer reads it)."""
    pending = [("bench", cli.app)]
    found = {}
    while pending:
        name, app = pending.pop()
        pending += [(f"{name} {group.name}", group.typer_instance) for group in app.registered_groups]
        for command in app.registered_commands:
            hints = typing.get_type_hints(command.callback, include_extras=True)
            for parameter, hint in hints.items():
                kind, *how = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint,)
                if Path in (kind, *typing.get_args(kind)):
                    found[f"{name} {command.name or command.callback.__name__} {parameter}"] = how
    return found


def test_every_path_of_the_command_line_is_expanded():
    found = path_parameters()
    plain = [name for name, how in found.items() if not how or how[0].parser is not user_path]
    assert plain == []
    assert {"bench run out", "bench report runs", "bench report out", "bench weights import file"} <= found.keys()
    assert len(found) >= 17


def test_a_path_is_expanded_as_typer_reads_it(home):
    read = []
    app = typer.Typer()

    @app.command()
    def command(runs: Out = Path("runs")):
        read.append(runs)

    for arguments in (["--runs=~/runs"], []):
        app(arguments, standalone_mode=False)
    assert read == [home / "runs", Path("runs")]


def test_functions_that_users_call_expand_it_too(home):
    assert store.cell_path("~/runs", "suite", "door", "rrl", 0).is_relative_to(home)
    assert store.RunFolder("~/runs").path == home / "runs"
    assert cell_path("~/runs", "rrl", "door").is_relative_to(home)
    store.check_writable("~/runs")
    assert (home / "runs").is_dir()
    with pytest.raises(store.OutputError, match=f"{home}/nowhere is no folder"):
        run_folders("~/nowhere")
    with pytest.raises(DemonstrationError, match=f"{home}/demos"):
        Demonstrations.load("~/demos.npz")
    with pytest.raises(ExpertError, match=f"{home}/expert"):
        Expert.load("~/expert.safetensors")
    assert not Path("~").exists()


def test_the_cache_is_expanded(home, monkeypatch):
    monkeypatch.setenv("HINDEX_BENCH_CACHE", "~/cache")
    assert cache_dir() == home / "cache"
    assert ycb.cache_folder() == home / "cache" / "ycb"


def test_a_home_that_nobody_has_is_refused_in_one_line():
    with pytest.raises(ConfigError, match=r"~nobody-here/runs: there is no home folder ~nobody-here .* \./~nobody"):
        user_path("~nobody-here/runs")
    assert user_path(user_path("./~nobody-here")) == Path.cwd() / "~nobody-here"
