"""The ranking of encoders, and the reference results that stand beside one's own."""

import pytest
from typer.testing import CliRunner

from benchmark.cli.app import app
from benchmark.store import packing
from reports import leaderboard
from reports.data import collect, load
from reports.data.collect import NothingToReport
from reports.data.reference import packs


@pytest.fixture
def reference(synthetic, tmp_path, monkeypatch):
    """A reference of three encoders on two tasks, as a pack that ships."""
    runs = [synthetic.Run(encoder, task, 0) for encoder in ("vc1", "r3m", "rrl") for task in ("door", "pen")]
    folder = synthetic.write_suite(tmp_path / "theirs", runs, sides=False, films=False)
    pack = packing.make([folder], tmp_path / "reference" / "small.pack.zip").path
    monkeypatch.setattr("reports.data.reference.FOLDER", pack.parent)
    monkeypatch.setattr("reports.leaderboard.FOLDER", pack.parent)
    return pack


@pytest.fixture
def own(synthetic, tmp_path):
    """Write one's own runs: (*runs) -> folder."""
    return lambda *runs: synthetic.write_suite(tmp_path / "own", list(runs), sides=False, films=False)


def test_the_reference_stands_beside_ones_own_runs_on_their_tasks(synthetic, own, reference):
    folder = own(synthetic.Run("hindex", "door", 0), synthetic.Run("vc1", "door", 1))
    suite = collect.collect(folder).suites[0]
    shown = suite.runs[["task", "row", "seed", "reference", "used"]].to_numpy().tolist()
    assert shown == [
        ["door", "hindex (builtin)", 0, False, True],
        ["door", "r3m", 0, True, True],
        ["door", "rrl (random)", 0, True, True],
        ["door", "vc1", 1, False, True],  # one's own runs of vc1 stand for it
    ]
    assert suite.comparison.rows == ("hindex (builtin)", "vc1", "r3m", "rrl (random)")
    alone = collect.collect(folder, reference=False)
    assert len(alone.suites[0].runs) == 2
    assert not [finding for finding in alone.findings if finding.kind == "reference"]


def test_the_page_says_which_rows_are_the_references(synthetic, own, reference):
    found = collect.collect(own(synthetic.Run("hindex", "door", 0))).findings
    said = [finding.text for finding in found if finding.kind == "reference"]
    assert said == [
        "3 runs are the reference results that ship, on the same tasks: r3m, rrl (random), vc1; --no-reference leaves "
        "them out"
    ]


@pytest.mark.parametrize("change", [{"suite": "small-builtin-paper-r2"}, {"task_version": 9}])
def test_the_reference_never_joins_another_suite_or_version(synthetic, own, reference, change):
    runs = collect.collect(own(synthetic.Run("hindex", "door", 0, **change))).suites[0].runs
    assert runs["reference"].tolist() == [False]
    assert runs["used"].all()


def test_the_reference_alone_is_not_doubled(reference):
    assert len(load.load_runs(reference, packs())) == len(load.load_runs(reference)) == 6


def test_encoders_are_ranked_by_mean_success_over_the_tasks(synthetic, own, reference):
    folder = own(*(synthetic.Run("hindex", task, seed) for task in ("door", "pen") for seed in range(2)))
    [board] = leaderboard.rank(folder)
    table = board.table.set_index("row")
    assert table["rank"].tolist() == [1, 2, 3, 4]
    assert list(table["success"]) == sorted(table["success"], reverse=True)
    for row, line in table.iterrows():
        by_task = board.cells[board.cells["row"] == row]["success"]
        assert line["success"] == pytest.approx(by_task.mean())
    runs = load.load_runs(folder)
    mean = runs.groupby("task")["success_last"].mean().mean()
    assert table.loc["hindex (builtin)", "success"] == pytest.approx(100 * mean)
    assert table.loc["hindex (builtin)", ["tasks", "of_tasks", "seeds"]].tolist() == [2, 2, 2]
    assert table.loc["hindex (builtin)", "source"] == "run folders"
    assert table.loc["vc1", "source"] == "small.pack.zip"
    assert table["runs_sha256"].nunique() == 4


def test_a_row_without_all_tasks_or_with_the_state_has_no_rank(synthetic, own, reference):
    folder = own(
        *(synthetic.Run(encoder, task, 0) for encoder in ("hindex", "state") for task in ("door", "pen")),
        synthetic.Run("mvp", "door", 0),
    )
    [board] = leaderboard.rank(folder)
    table = board.table.set_index("row")
    assert table["rank"].isna()[lambda unranked: unranked].index.tolist() == ["state", "mvp"]
    assert table.index[-1] == "mvp", "what lacks a task comes last"
    assert board.shown().set_index("encoder").loc["mvp", "success"].endswith("(1 of 2 tasks)")
    [fewer] = leaderboard.rank(folder, ("door",))
    assert fewer.table.set_index("row").loc["mvp", "rank"] >= 1


def test_the_command_prints_and_writes_the_ranking(synthetic, own, reference, tmp_path):
    folder = own(synthetic.Run("hindex", "door", 0))
    done = CliRunner().invoke(app, ["leaderboard", str(folder), "--out", str(tmp_path / "board")])
    assert done.exit_code == 0, done.output
    assert "hindex (builtin)" in done.output
    page = (tmp_path / "board" / "leaderboard.html").read_text()
    assert "small.pack.zip" in page
    assert "synthetic: numbers invented for tests" in page
    assert len((tmp_path / "board" / "leaderboard.csv").read_text().splitlines()) == 5


def test_without_runs_one_line_says_so(reference, tmp_path):
    with pytest.raises(NothingToReport, match="is neither a folder of runs nor a pack"):
        leaderboard.rank(tmp_path / "nothing")
    with pytest.raises(NothingToReport, match=r"no finished run in .* of hammer"):
        leaderboard.rank(None, ("hammer",))


def test_what_ships_is_ranked_whole():
    """Every pack that ships can be read, and none of its runs is left out."""
    for pack in packs():
        runs = load.load_runs(pack)
        assert not load.refused_packs(pack)
        assert runs["used"].all()
    assert sum(len(board.table) for board in leaderboard.rank()) > 5
