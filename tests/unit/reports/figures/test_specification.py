"""A figure is one specification that registers itself: the page, the names and the list of what is missing follow."""

import re
from functools import partial

import pytest

from benchmark.errors import ConfigError
from reports.build import build
from reports.figures import specification, style
from reports.figures.specification import Drawing


@style.styled
def one_line(runs, *, width=style.COLUMN):
    figure = style.canvas(width, 1.0)
    figure.add_subplot().plot(runs["seed"], runs["return_best"])
    return figure


@pytest.fixture
def registry(monkeypatch):
    """The registered figures, of which a test may add some."""
    specification.figures()
    monkeypatch.setattr(specification, "_REGISTERED", dict(specification._REGISTERED))
    return specification


def best_returns(suite):
    return Drawing(partial(one_line, suite.runs), "Of all runs.")


def register(name="best_returns", prepare=best_returns, section="scores"):
    about = {"title": "Best returns", "caption": "By seed.", "command": "run", "missing": "a run of anybody"}
    specification.figure(name, section=section, **about)(prepare)


def test_a_figure_added_in_one_place_is_on_the_page_and_among_the_names(registry, synthetic, write, tmp_path):
    register()
    made = build(write(synthetic.Run("rrl", "pen", 0)), tmp_path / "out", figures=["best_returns"])
    html = made.page.read_text()
    assert made.drawn == ("Best returns",)
    assert re.search(r'id="scores".*<strong>Best returns\.</strong> By seed\. Of all runs\.', html, re.DOTALL)
    assert [file.name for file in (tmp_path / "out" / "figures").iterdir()] != []
    assert {file.stem for file in (tmp_path / "out" / "figures").iterdir()} == {"best_returns"}


def test_a_figure_without_runs_is_listed_with_its_command(registry, synthetic, write, tmp_path):
    register(prepare=lambda suite: None)
    folder = write(synthetic.Run("rrl", "pen", 0))
    made = build(folder, tmp_path / "out", figures=["best_returns"])
    assert made.missing == ("Best returns",)
    html = made.page.read_text()
    assert "Missing: a run of anybody." in html
    assert f"bench run --preset small --out {folder}" in html


def test_an_unknown_figure_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'fig01_average_score'"):
        build(tmp_path / "nowhere", figures=["fig01_average"])


@pytest.mark.parametrize(("name", "section"), [("costs", "scores"), ("new", "nowhere")])
def test_a_name_that_is_taken_and_a_section_that_does_not_exist_are_refused(registry, name, section):
    with pytest.raises(ValueError, match=f"figure {name}"):
        register(name, section=section)


def test_all_figures_of_the_paper_are_registered_once():
    names = [one.name for one in specification.figures()]
    assert len(names) == len(set(names)) == 26
    numbers = {int(name[3:5]) for name in names if name.startswith("fig")}
    assert numbers == {1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}
    assert all(one.title and one.caption and one.missing for one in specification.figures())
