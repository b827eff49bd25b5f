"""The page: well formed, self-contained, escaped, sortable; figures as inline SVG that follow its colours."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pandas
import pytest

from reports.build import build
from reports.data.collect import NothingToReport, collect
from reports.data.findings import Finding
from reports.figures import charts
from reports.page import elements, inline_svg, sections
from reports.page.page import Page, Section, render
from reports.tables.table import Table

VOID = {"meta", "link", "br", "hr", "img", "input", "source"}


class PageReader(HTMLParser):
    """Checks that tags close in order; collects ids, addresses and text."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.addresses, self.unbalanced, self.words = [], [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.note(tag, attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.note(tag, attributes)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data):
        self.words.append(data)

    def note(self, tag, attributes):
        found = dict(attributes)
        if "id" in found:
            self.ids.append(found["id"])
        self.addresses += [(tag, name, found[name]) for name in ("src", "href", "poster") if found.get(name)]


def read(html):
    reader = PageReader()
    reader.feed(html)
    reader.close()
    return reader


def check(html):
    """The page's reader, after checking what holds for every page."""
    reader = read(html)
    assert not reader.unbalanced
    assert not reader.open
    assert len(reader.ids) == len(set(reader.ids)), sorted(i for i in set(reader.ids) if reader.ids.count(i) > 1)
    for tag, name, address in reader.addresses:
        assert address.startswith(("data:", "#")) or tag == "a", (tag, name, address[:60])
        if address.startswith("#"):
            assert address[1:] in reader.ids, address
    for used in re.findall(r"url\(#([^)]+)\)", html):
        assert used in reader.ids, used
    assert not re.search(r"@import|url\(\s*['\"]?(https?:|//)", html)
    return reader


def example_page(*bodies):
    made = [Section(f"section-{k}", f"Section {k}", body) for k, body in enumerate(bodies)]
    return render(Page("A title", "A heading", "kicker", "<p>lede</p>", made, "1.0"))


def bars():
    rows = ["hindex", "vc1 (random)", "rrl (builtin)"]
    return pandas.DataFrame({"row": rows, "value": [90.0, 40.0, 55.0], "low": 20.0, "high": 95.0, "synthetic": True})


@pytest.fixture(scope="module")
def report(small_suite, tmp_path_factory):
    return build(small_suite, tmp_path_factory.mktemp("report"))


# --- pieces -------------------------------------------------------------------------------------


def test_text_is_escaped_everywhere():
    nasty = '<script>alert("&")</script>'
    frame = pandas.DataFrame({nasty: [nasty], "n": [1]})
    finding = Finding("unreadable", nasty)
    pieces = [
        elements.table(frame),
        elements.definitions({nasty: ""}),
        elements.linked(nasty),
        sections._finding(finding),
    ]
    for piece in pieces:
        assert "<script" not in piece


def test_a_table_sorts_by_the_number_that_a_cell_begins_with():
    frame = pandas.DataFrame({"task": ["pen", "door", "pour"], "score": ["93.1 ± 2.0", "1,200.5 [3, 4]", "—"]})
    html = elements.table(frame)
    assert re.findall(r'data-value="([^"]+)"', html) == ["93.1", "1200.5"]
    assert html.count('class="empty number"') == 1
    assert '<th scope="col" class="number">score</th>' in html


@pytest.mark.parametrize("cells", [["3f2a", "0912"], ["v1.0", "2"], [True, False]])
def test_a_column_of_names_is_no_column_of_numbers(cells):
    assert 'class="number"' not in elements.table(pandas.DataFrame({"a": ["x", "y"], "b": cells}))


def test_the_best_cells_are_bold():
    frame = pandas.DataFrame({"task": ["pen"], "a": ["1.0"], "b": ["2.0"]})
    table = Table("t", "Numbers.", frame, frame, np.array([[False, False, True]]))
    assert re.findall(r"<strong>([^<]+)</strong>", elements.table_of(table, ["tables/t.csv"])) == ["2.0"]


def test_addresses_in_licences_become_links():
    assert elements.linked("see https://example.org/a, please") == (
        'see <a href="https://example.org/a">https://example.org/a</a>, please'
    )


def test_an_inline_figure_is_labelled_and_follows_the_page():
    svg = inline_svg.inline(charts.score_bars(bars()), "one", "A <title>", "What it shows")
    reader = read(svg)
    assert not reader.unbalanced
    assert not reader.open
    assert 'role="img"' in svg
    assert "<title id='one-title'>A &lt;title&gt;</title>" in svg
    assert all(name.startswith("one-") for name in reader.ids)
    assert "var(--ink)" in svg
    assert "font-family" not in svg
    assert "synthetic" in "".join(reader.words)
    assert len(svg) < 20_000  # hatches are tiles, not hundreds of strokes


def test_two_inline_figures_share_no_id():
    figure = charts.score_bars(bars())
    check(example_page(*(inline_svg.inline(figure, key, "t", "d") for key in ("one", "two"))))


def test_colours_that_drown_in_the_dark_are_lifted():
    lifted = dict(re.findall(r"--c-(\w{6}): (#\w{6});", inline_svg.dark_colours()))
    assert "0053b5" in lifted
    assert "e2b018" not in lifted
    for colour in lifted.values():
        assert inline_svg._contrast(colour, "#15181d") >= 4


# --- the whole page -----------------------------------------------------------------------------


def test_the_page_is_well_formed_and_fetches_nothing(report):
    html = report.page.read_text()
    reader = check(html)
    assert "default-src 'none'" in html
    text = " ".join(reader.words)
    assert "Read this first" in text
    assert "Figure 1: normalised average score" in text
    assert text.lower().count("synthetic") > 5


def test_every_file_that_the_page_links_to_is_there(report):
    links = [a for _, _, a in read(report.page.read_text()).addresses if not a.startswith(("#", "data:", "http"))]
    assert len(links) > 20
    for link in links:
        assert (report.page.parent / link).stat().st_size > 0, link


@pytest.mark.parametrize(("quality", "shown"), [("fast", True), ("shadows", True), ("paper", False), (None, False)])
def test_frames_of_other_qualities_stand_beside_the_papers(synthetic, write, rewrite, quality, shown):
    run = synthetic.Run("vc1", "door", 0)
    folder = write(run)
    path = folder / run.path / "config.json"
    rewrite(path, json.dumps(json.loads(path.read_text()) | {"rollout": {"quality": quality}}))
    (suite,) = collect(folder).suites
    html = sections.settings_section(suite, "settings").body
    assert ('src="data:image/jpeg;base64,' in html) is shown
    assert (f"These runs saw: {quality}." in html) is shown
    assert not read(html).unbalanced


def test_a_figure_without_runs_is_listed_with_a_command_and_never_drawn(report):
    text = report.page.read_text()
    missing = text[text.index('id="not-run-yet"') :]
    assert "Figure 8: without and with Stage 2" in report.missing
    assert "bench ablate adaptation" in missing
    assert "bench probe" in missing
    assert not list(report.page.parent.rglob("fig08*"))


def test_no_number_of_the_report_stands_alone(report):
    folder = report.page.parent
    for name in ("fig01_average_score", "fig04_learning_curves"):
        assert (folder / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert (folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "tables" / "scores-return-best.tex").is_file()


def test_one_suite_can_be_asked_for(synthetic, write, tmp_path):
    runs = [synthetic.Run("rrl", "pen", 0), synthetic.Run("rrl", "pen", 0, suite=synthetic.OTHER_SUITE)]
    folder = write(*runs)
    material = collect(folder, synthetic.OTHER_SUITE)
    assert [suite.name for suite in material.suites] == [synthetic.OTHER_SUITE]
    assert material.others == (synthetic.SUITE,)
    with pytest.raises(NothingToReport, match="no suite 'nonsense'"):
        collect(folder, "nonsense")


@pytest.mark.slow
def test_several_suites_have_parts_and_folders_of_their_own(synthetic, write, tmp_path):
    runs = [
        synthetic.Run("rrl", "pen", s, suite=name) for s in (0, 1) for name in (synthetic.SUITE, synthetic.OTHER_SUITE)
    ]
    made = build(write(*runs), tmp_path / "out")
    check(html := made.page.read_text())
    for name in (synthetic.SUITE, synthetic.OTHER_SUITE):
        assert f"Suite {name}" in html
        assert (tmp_path / "out" / name / "figures" / "success_rates.png").is_file()
    assert "first look, not a result" in html


def test_runs_that_are_all_broken_make_a_page_of_findings(synthetic, write, tmp_path):
    folder = write(synthetic.Run("vc1", "pen", 0, state="damaged"), synthetic.Run("vc1", "pen", 1, state="crashed"))
    (folder / synthetic.SUITE / "pen" / "rrl" / "seed-0").mkdir(parents=True)
    made = build(folder, tmp_path / "out")
    check(html := made.page.read_text())
    assert "cannot be read" in html
    assert "not finished" in html
    assert "Figure 1: normalised average score" in made.missing


@pytest.mark.slow
def test_a_damaged_stage_2_result_is_a_finding(synthetic, write, tmp_path):
    folder = write(synthetic.Run("rrl", "pen", 0))
    synthetic.write_adaptation(folder, "pen")
    (folder / "adapt" / "pen" / "hindex (builtin)" / "batchnorm.safetensors").write_bytes(b"nothing of the kind")
    made = build(folder, tmp_path / "out")
    assert "a Stage 2 result that cannot be read" in made.page.read_text().replace("A Stage", "a Stage")
    assert any(title.startswith("Figure 11") for title in made.missing)
    assert any(title.startswith("Figure 10") for title in made.drawn)


@pytest.mark.slow
def test_a_damaged_picture_is_no_crash(synthetic, tmp_path):
    folder = synthetic.write_suite(tmp_path, [synthetic.Run("rrl", "pen", 0)], sides=False)
    for picture in folder.rglob("frames/*.png"):
        picture.write_bytes(b"nothing of the kind")
    check(build(folder, tmp_path / "out").page.read_text())


# --- films --------------------------------------------------------------------------------------


def test_films_lie_inside_the_page_up_to_a_budget(synthetic, tmp_path):
    runs = [
        synthetic.Run(encoder, task, seed) for encoder in ("vc1", "rrl") for task in ("pen", "door") for seed in (0, 1)
    ]
    folder = synthetic.write_suite(tmp_path, runs, sides=False)
    (suite,) = collect(folder).suites
    chosen, left_out = sections.choose_films(suite.runs, 10**9)
    assert [(run["task"], run["encoder"], run["seed"]) for run in chosen] == [
        ("door", "vc1", 0),
        ("pen", "vc1", 0),
        ("door", "rrl", 0),
        ("pen", "rrl", 0),
    ]
    assert left_out == 0
    budget = sum(run["video"].stat().st_size for run in chosen[:2])
    assert [run["encoder"] for run in sections.choose_films(suite.runs, budget)[0]] == ["vc1", "vc1"]
    body = sections.films_section(suite, "films", budget).body
    assert body.count("data:video/mp4;base64,") == 2
    assert "2 more films are left out" in body


# --- in a browser -------------------------------------------------------------------------------

CLICKS = """
<script>
const button = document.querySelectorAll("table.sortable th button")[1];
const rows = () => [...document.querySelectorAll("table.sortable tbody tr")];
const states = [];
for (let k = 0; k < 2; k++) {
  button.click();
  states.push(rows().map((row) => row.cells[0].textContent).join(" ") + " " + button.parentElement.ariaSort);
}
const filter = document.querySelector(".filter input");
document.body.dataset.result = states.join(" / ");
document.body.dataset.filter = String(Boolean(filter));
</script>
</body>"""


@pytest.fixture(scope="module")
def chromium():
    """Print a page's document after its scripts ran: (path) -> (document, messages)."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    program = next((found for name in names if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium on this machine")

    def dump(path, profile):
        options = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            f"--user-data-dir={profile}",
        ]
        done = subprocess.run(
            [program, *options, "--virtual-time-budget=4000", "--dump-dom", path.as_uri()],
            **{"capture_output": True, "text": True, "timeout": 120},
        )
        if not done.stdout:
            pytest.skip(f"Chromium does not start here: {done.stderr[-200:]}")
        return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    return dump


@pytest.mark.slow
def test_a_click_on_a_heading_sorts_and_says_so(chromium, tmp_path):
    frame = pandas.DataFrame({"task": ["pen", "door", "pour", "mug"], "score": ["9.5 ± 1", "—", "100.0", "20.1"]})
    path = tmp_path / "page.html"
    path.write_text(example_page(elements.table(frame)).replace("</body>", CLICKS))
    document, messages = chromium(path, tmp_path / "profile")
    assert 'data-result="pour mug pen door descending / pen mug pour door ascending"' in document
    assert not messages


@pytest.mark.slow
def test_the_page_runs_without_a_message_on_the_console(chromium, report, tmp_path):
    document, messages = chromium(report.page, tmp_path / "profile")
    assert not messages
    assert 'aria-sort="none"' in document
