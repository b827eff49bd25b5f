"""The rows of a run folder: metrics and episodes, damage to them, and going back."""

import math
import os

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from folder_cases import CONFIG, IDENTITY, episode

from benchmark.errors import FolderError, OutputError
from benchmark.store import episodes


def test_metrics_become_plain_json(folder):
    folder.append_metrics(
        {"iteration": np.int64(3), "kl": np.float32(0.5), "loss": math.nan, "seconds": {"render": np.inf}, "x": (1, 2)}
    )
    assert folder.metrics() == [{"iteration": 3, "kl": 0.5, "loss": None, "seconds": {"render": None}, "x": [1, 2]}]


def test_metrics_need_an_iteration(folder):
    with pytest.raises(KeyError):
        folder.append_metrics({"kl": 0.1})


def test_truncation_drops_later_rows_and_a_torn_line(folder):
    for iteration in range(4):
        folder.append_metrics({"iteration": iteration})
    with (folder.path / "metrics.jsonl").open("a") as file:
        file.write('{"iteration": 4, "retu')
    assert [row["iteration"] for row in folder.metrics()] == [0, 1, 2, 3]
    folder.truncate_metrics(1)
    folder.append_metrics({"iteration": 2, "again": True})
    assert folder.metrics() == [{"iteration": 0}, {"iteration": 1}, {"iteration": 2, "again": True}]


def test_damage_inside_the_metrics_is_said(folder):
    folder.append_metrics({"iteration": 0})
    with (folder.path / "metrics.jsonl").open("a") as file:
        file.write("rubbish\n")
    with pytest.raises(OutputError, match=r"metrics\.jsonl is damaged"):
        folder.metrics()


@pytest.mark.parametrize(
    "line",
    [
        *(b"[1]", b"1", b'"text"', b"{}", b"[" * 100_000, b"\xff\xfe", b"\0\0"),
        *(b'{"iteration": "1"}', b'{"iteration": true}'),
        *(b'{"iteration": 1, "kl": NaN}', b'{"iteration": 1, "kl": Infinity}'),
    ],
)
def test_a_line_that_is_no_row_is_one_clear_line(folder, line):
    folder.append_metrics({"iteration": 0})
    with (folder.path / "metrics.jsonl").open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(FolderError, match=r"metrics\.jsonl is damaged \(line 2: ") as refusal:
        folder.metrics()
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "name", ["config.json", "identity.json", "metrics.jsonl", "episodes.parquet", "checkpoint.safetensors"]
)
@pytest.mark.parametrize("kind", ["folder", "pipe", "unreadable"])
def test_what_is_no_readable_file_is_one_clear_line(folder, name, kind):
    path = folder.path / name
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/proc/self/mem")  # unreadable for root too
    reads = {
        "config.json": lambda: folder.config,
        "identity.json": lambda: folder.identity,
        "metrics.jsonl": folder.metrics,
        "episodes.parquet": folder.episodes,
        "checkpoint.safetensors": folder.load_checkpoint,
    }
    with pytest.raises(FolderError, match=rf"cannot read .*{name}: ") as refusal:
        reads[name]()
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"a": NaN}', b"[" * 100_000, b"\xff\xfe{}", b'{"a": ' * 100_000]
)
def test_json_that_is_no_object_is_one_clear_line(folder, content):
    (folder.path / "identity.json").write_bytes(content)
    with pytest.raises(FolderError, match=r"identity\.json is damaged \(.*\); restore it from a copy") as refusal:
        folder.create(CONFIG, IDENTITY)
    assert "\n" not in str(refusal.value)


def parquet(columns):
    buffer = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table(columns), buffer)
    return buffer.getvalue().to_pybytes()


GOOD_EPISODE = {name: [value] for name, value in episode(0).items()}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PAR1",
        b"PAR1 these are no episodes PAR1",
        parquet({"iteration": [0]}),
        parquet(GOOD_EPISODE | {"return": ["a lot"]}),
        parquet(GOOD_EPISODE | {"return": pyarrow.array([None], pyarrow.float64())}),
        parquet(GOOD_EPISODE | {"more": [1]}),
        parquet(dict(reversed(GOOD_EPISODE.items()))),
        parquet(GOOD_EPISODE)[:-20],
    ],
)
def test_damaged_episodes_are_one_clear_line(folder, content):
    (folder.path / "episodes.parquet").write_bytes(content)
    with pytest.raises(
        FolderError, match=r"episodes\.parquet (is damaged|has the wrong columns|lacks values)"
    ) as refusal:
        folder.episodes()
    assert "\n" not in str(refusal.value)


def test_episodes_round_trip_and_truncate(folder):
    assert folder.episodes().empty
    folder.append_episodes([episode(0, -1.5), episode(0, 2.5)])
    folder.append_episodes([episode(np.int64(1), np.float64(3.0), "night")])
    frame = folder.episodes()
    assert list(frame.columns) == list(episodes.COLUMNS)
    assert frame["return"].tolist() == [-1.5, 2.5, 3.0]
    assert frame["success"].tolist() == [False, True, True]
    assert frame["background"].tolist() == ["default", "default", "night"]
    folder.rewind(0)
    assert folder.episodes()["return"].tolist() == [-1.5, 2.5]
    folder.rewind(-1)
    assert folder.episodes().empty


def test_a_file_from_before_goals_were_kept_is_read_and_keeps_its_columns(folder):
    old = {name: value for name, value in episode(0, 2.5).items() if name in episodes.FIRST_COLUMNS}
    table = pyarrow.Table.from_pylist([old])
    types = {name: pyarrow.type_for_alias(kind) for name, kind in episodes.FIRST_COLUMNS.items()}
    schema = pyarrow.schema([pyarrow.field(name, kind, nullable=False) for name, kind in types.items()])
    pyarrow.parquet.write_table(table.cast(schema), folder.path / "episodes.parquet")
    before = episodes.digest(episodes.read(folder.path / "episodes.parquet"))
    folder.append_episodes([episode(1, 3.0)])
    assert list(folder.episodes().columns) == list(episodes.FIRST_COLUMNS)
    assert episodes.own_evaluations(folder.episodes())["return"].to_list() == [2.5, 3.0]
    assert episodes.judged(folder.episodes()).empty
    folder.rewind(0)
    assert episodes.digest(episodes.read(folder.path / "episodes.parquet")) == before


def test_episodes_that_judge_are_no_evaluations_of_the_schedule(folder):
    folder.append_episodes([episode(0, 1.0), episode(0, 9.0) | {"split": episodes.HELD_OUT}])
    assert episodes.own_evaluations(folder.episodes())["return"].to_list() == [1.0]
    assert episodes.judged(folder.episodes())["return"].to_list() == [9.0]
    folder.rewind(0)
    assert folder.episodes()["return"].to_list() == [1.0]


def test_episodes_have_exactly_the_columns(folder):
    with pytest.raises(ValueError, match="columns"):
        folder.append_episodes([{"iteration": 0}])


def test_rewind_of_a_run_without_rows_is_nothing(folder):
    folder.rewind(-1)
    assert not (folder.path / "metrics.jsonl").exists()
