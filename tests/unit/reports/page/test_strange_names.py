"""Names as folders can have them: a report shows them as they are, and none of them does anything."""

import re
import shutil
from html import unescape
from html.parser import HTMLParser
from urllib.parse import unquote

import pandas
import pytest
from matplotlib.text import Text

from reports.build import build
from reports.data import load
from reports.data.records import clean
from reports.figures import charts, specification, style
from reports.page import elements, writer
from reports.tables import table

STRANGE = {
    "mathtext": "$x^{$ $\\frac{1}{0}$",
    "script": "<script>alert(1)<script>",
    "attribute": '" onload="alert(1)',
    "latex": "\\input{secret} 100% & #1 _x_ ~ ^",
    "formula": "=cmd|' C calc'!A0",
    "underscore": "_hidden",
    "newline": "a\nb\x1b[31m",
    "bidi": "abc\u202edef",
    "colour": '#b91b06 url(#x) id="y"',
    "long": "very_long_name_" * 15,
    "task": "task",
    "undecodable": "caf\udce9",
    "percent": "%s {0} $title ${heading}",
    "emoji": "🦾 手",
}


def attributes(html):
    """The names of all attributes in a page, as a browser reads it."""
    names = set()

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            names.update(name for name, _ in attrs)

    Reader().feed(html)
    return names


def scores(names):
    return pandas.DataFrame({"row": names, "value": 50.0, "low": 20.0, "high": 95.0, "seeds": 3, "task": "pen"})


@pytest.mark.parametrize("name", [clean(name) for name in STRANGE.values()])
def test_a_strange_name_is_drawn_as_it_is(name):
    frame = scores([name, "vc1"])
    for figure in (charts.score_bars(frame), charts.task_dots(frame)):
        shown = {text.get_text().replace("\n", "") for text in figure.findobj(Text)}
        wanted = {style.row_label(name).replace("\n", ""), style.short(name), f"\N{HAIR SPACE}{name}"}
        assert wanted & shown, shown
        assert figure.get_figwidth() == style.COLUMN
        axes = figure.axes[0].get_position()
        assert axes.width > 0.3  # room is left for what is drawn


def test_cleaning_makes_what_is_not_printable_visible():
    assert clean("a\nb\x1b[31m") == "a\\nb\\x1b[31m"
    assert clean("abc\u202edef\udce9") == "abc\\u202edef\\udce9"
    assert clean("x" * 3000) == "x" * 2000 + "…"
    assert clean("hindex+ema-0.01 (builtin)") == "hindex+ema-0.01 (builtin)"


def test_a_spreadsheet_runs_nothing():
    names = ["=1+1", "+1", "-1", "@x", "vc1"]
    made = table.Table("t", "Words.", pandas.DataFrame(), pandas.DataFrame({"row": names, "value": [-1.0] * 5}))
    lines = made.csv().splitlines()
    assert lines[1:] == ["'=1+1,-1.0", "'+1,-1.0", "'-1,-1.0", "'@x,-1.0", "vc1,-1.0"]


def test_latex_sets_every_letter():
    shown = pandas.DataFrame([["[x] <|> \\input{y}", "$1$ & 2 % #"], ["*", "~^_"]], columns=["row", "{}"])
    made = table.Table("t", "100 %", shown, shown)
    body = made.latex()
    assert r"{}[x] \textless{}\textbar{}\textgreater{} \textbackslash{}input\{y\} & \$1\$ \& 2 \% \#" in body
    assert "\n{}* & " in body


def test_a_column_called_like_another_is_shown():
    frame = pandas.DataFrame([["pen", "1.0", "2.0"]], columns=["task", "task", "task"])
    assert elements.table(frame).count("</td>") == 2


def test_a_link_leads_to_a_file_only():
    assert 'href="javascript%3Aalert%281%29%22/a.csv"' in elements.file_links(['javascript:alert(1)"/a.csv'])


def test_folders_and_ids_of_suites_are_unlike_each_other():
    names = writer.folder_names(["a.b", "a-b", "figures", "../x", "手", "足", "small-ycb-paper-r2"])
    assert len({elements.identifier(name) for name in names}) == len(names)
    assert names[-1] == "small-ycb-paper-r2"
    assert not [name for name in names if "/" in name or name.startswith(".") or name in writer.RESERVED]


def test_a_command_on_the_page_runs_what_it_says(synthetic, write):
    from reports.data.collect import collect

    folder = write(synthetic.Run("vc1", "pen", 0, suite="small; touch stolen"))
    (suite,) = collect(folder).suites
    assert "--preset 'small; touch stolen'" in specification.find("success_rates").of(suite).command


@pytest.mark.slow
def test_a_page_of_strange_names_is_whole_and_does_nothing(synthetic, tmp_path):
    source = synthetic.write_suite(tmp_path / "source", [synthetic.Run("vc1", "pen", s) for s in (0, 1)], sides=False)
    folder = tmp_path / "<i>$runs$"
    for suite in (synthetic.SUITE, "<b>suite<b> $x^{$"):
        for task in ("pen", "<b>task $y_{$\n"):
            for name in STRANGE.values():
                shutil.copytree(source / synthetic.SUITE / "pen" / "vc1", folder / suite / task / name)
    runs = load.load_runs(folder)
    assert runs["used"].all()
    assert {"<b>task $y_{$\\n", "pen"} == set(runs["task"])
    made = build(folder, tmp_path / "out")
    html = made.page.read_bytes().decode()
    assert html.count("<script") == 1
    assert "<i>" not in html
    assert "<b>" not in html
    assert not attributes(html) & {"onload"}
    text = unescape(html)
    for name in STRANGE.values():
        assert clean(name) in text
    links = re.findall(r'href="([^"#]+\.(?:csv|png|pdf))"', html)
    assert links
    for link in links:
        assert (made.page.parent / unquote(link)).is_file()
