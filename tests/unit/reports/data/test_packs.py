"""Packs of results: they read as the folders they were made of, and whatever was changed in one is named."""

import io
import json
import zipfile
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pandas
import pyarrow.parquet
import pytest

from benchmark.errors import ConfigError, OutputError, PackError
from benchmark.store import atomic, episodes, pack, packing
from benchmark.store.identity import identity_hash
from reports.build import build
from reports.data import load
from reports.data.collect import NothingToReport, collect
from reports.tables.suite_tables import suite_tables

ELSEWHERE = ["path", "video", "pictures", "episode_table"]


@pytest.fixture
def packed(small_suite, tmp_path):
    """A pack of the small suite."""
    return packing.make([small_suite], tmp_path / "small.pack.zip").path


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_members(path, contents, *, vouched=False):
    """Write a pack of these members; its manifest agrees with them where they are to be vouched for."""
    if vouched:
        manifest = json.loads(contents["manifest.json"])
        manifest["sha256"] = {n: sha256(content).hexdigest() for n, content in contents.items() if n != "manifest.json"}
        manifest["digest"] = identity_hash({name: value for name, value in manifest.items() if name != "digest"})
        contents = contents | {"manifest.json": atomic.json_content(manifest)}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def changed_table(content, change):
    """The content of a Parquet file with its table changed: (frame) -> frame."""
    table = pyarrow.parquet.read_table(io.BytesIO(content))
    frame = change(table.to_pandas())
    buffer = io.BytesIO()
    schema = table.schema if list(frame) == table.schema.names else None
    pyarrow.parquet.write_table(pyarrow.Table.from_pandas(frame, schema=schema, preserve_index=False), buffer)
    return buffer.getvalue()


# Round trip.


def test_a_pack_reads_to_the_records_of_its_folders(small_suite, packed):
    folders, unpacked = load.load_runs(small_suite), load.load_runs(packed)
    assert len(unpacked) == 24
    pandas.testing.assert_frame_equal(folders.drop(columns=ELSEWHERE), unpacked.drop(columns=ELSEWHERE))
    for one, other in zip(folders["episode_table"], unpacked["episode_table"], strict=True):
        pandas.testing.assert_frame_equal(one, other)
    pandas.testing.assert_frame_equal(load.load_curves(folders), load.load_curves(unpacked))
    pandas.testing.assert_frame_equal(load.load_episodes(folders), load.load_episodes(unpacked))


def test_the_tables_of_a_report_are_equal(small_suite, packed):
    tables = []
    for source in (small_suite, packed):
        (suite,) = collect(source).suites
        sections = suite_tables(suite).values()
        tables.append([(table.csv(), table.latex()) for section in sections for table in section.shown])
    assert len(tables[0]) > 3
    assert tables[0] == tables[1]


def test_runs_of_a_pack_stand_beside_those_of_folders(synthetic, packed, write):
    folder = write(synthetic.Run("mvp", "door", 0), synthetic.Run("vc1", "door", 0))
    runs = load.load_runs(folder)
    assert len(runs) == 26
    assert set(runs.loc[runs["used"], "row"]) == {
        "hindex (builtin)",
        "hindex+ema-0.1 (builtin)",
        "mvp",
        "r3m",
        "state",
        "vc1",
    }
    twice = runs[(runs["title"] == "vc1") & (runs["task"] == "door") & (runs["seed"] == 0)]
    assert sorted(twice["used"]) == [False, True]


def test_the_same_runs_give_the_same_bytes_and_little_of_them(small_suite, packed, tmp_path):
    again = packing.make([packed], tmp_path / "again.pack.zip").path
    assert again.read_bytes() == packed.read_bytes()
    assert packed.stat().st_size < 24 * 2_000 + 16_000


def test_metrics_come_back_exactly(small_suite, packed):
    for run in pack.read(packed):
        lines = (small_suite.joinpath(*run.place) / "metrics.jsonl").read_text().splitlines()
        assert run.metrics == [json.loads(line) for line in lines]
        assert all(type(row["iteration"]) is int and type(row["steps_per_second"]) is float for row in run.metrics)


def test_metrics_of_every_kind_come_back(synthetic, write, rewrite, tmp_path):
    folder = write(synthetic.Run("vc1", "door", 0))
    (path,) = load.load_runs(folder)["path"]
    odd = {
        **{"losses": [0.25, 0.125], "counts": [1, 2], "none": None, "mixed": 1, "large": 2**70, "word": "é"},
        **{"nested": {"a.b": [], "c": {}}, "empty": [], "gaps": [0.5, None]},
    }
    rows = [{"iteration": 0, "steps": 0, **odd}, {"iteration": 1, "steps": 10, "mixed": 0.5, "flag": True}]
    rewrite(path / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    (run,) = pack.read(packing.make([folder], tmp_path / "odd.pack.zip").path)
    known = [{name: value for name, value in row.items() if value is not None} for row in rows]
    assert [dict(sorted(row.items())) for row in run.metrics] == [dict(sorted(row.items())) for row in known]
    assert json.dumps(run.metrics[0]["mixed"]) == "1"


def test_runs_with_different_columns_of_episodes_share_a_pack(packed):
    """As runs from before goals were kept and after."""
    older, newer = pack.read(packed)[:2]
    older = replace(older, episodes=older.episodes.select(list(episodes.FIRST_COLUMNS)))
    pack.write(packed, [older, newer])
    again = pack.read(packed)
    assert [run.episodes.schema.names for run in again] == [list(episodes.FIRST_COLUMNS), list(episodes.COLUMNS)]
    assert [run.episodes.to_pylist() for run in again] == [run.episodes.to_pylist() for run in (older, newer)]


def test_only_finished_and_unaltered_runs_are_packed(synthetic, write, tmp_path):
    cells = [("finished", 0), ("crashed", 1), ("altered", 2), ("damaged", 3)]
    folder = write(*(synthetic.Run("vc1", "door", seed, state=state) for state, seed in cells))
    made = packing.make([folder], tmp_path / "out" / "some.pack.zip")
    assert made.runs == 1
    assert [line.rpartition("seed-")[2] for line in made.left_out] == [
        "1: not finished",
        "2: altered after it had finished (episodes.parquet)",
        "3: not finished",
    ]
    assert load.load_runs(made.path)["seed"].tolist() == [0]


def test_packs_and_folders_make_one_pack(synthetic, packed, write, tmp_path):
    folder = write(synthetic.Run("mvp", "door", 0), synthetic.Run("vc1", "door", 0, offset=5.0))
    made = packing.make([packed, folder], tmp_path / "both.pack.zip")
    assert made.runs == 25
    assert made.left_out == [f"{folder / synthetic.Run('vc1', 'door', 0).path}: a second run of one cell"]


def test_packs_that_lie_in_a_folder_of_runs_are_packed_with_it(synthetic, packed, write, tmp_path):
    folder = write(synthetic.Run("mvp", "door", 0))
    assert packed.parent == folder
    made = packing.make([folder], tmp_path.with_name("all.pack.zip"))
    assert (made.runs, made.left_out) == (25, [])


def test_a_pack_is_not_written_over_with_fewer_runs(synthetic, small_suite, tmp_path):
    target = packing.make([small_suite], tmp_path / "kept.pack.zip").path
    before = target.read_bytes()
    folder = synthetic.write_suite(tmp_path / "other", [synthetic.Run("mvp", "door", 0)], sides=False, films=False)
    with pytest.raises(
        OutputError, match=r"kept\.pack\.zip: 24 of its runs would be lost, such as .*name it among RUNS"
    ):
        packing.make([folder], target)
    assert target.read_bytes() == before
    assert packing.make([folder, target], target).runs == 25


def test_a_pack_is_named_after_its_folder(synthetic, write):
    folder = write(synthetic.Run("vc1", "door", 0))
    assert packing.make([folder]).path == folder.with_name(f"{folder.name}.pack.zip")
    with pytest.raises(ConfigError, match=r"give NAME\.pack\.zip"):
        packing.make([folder], folder / "results.zip")


def test_nothing_to_pack_is_told(synthetic, write, tmp_path):
    folder = write(synthetic.Run("vc1", "door", 0, state="crashed"))
    with pytest.raises(OutputError, match=r"no finished run in .*1 left out, such as .*seed-0: not finished"):
        packing.make([folder])
    with pytest.raises(OutputError, match="neither a folder of runs nor a pack"):
        packing.make([tmp_path / "absent"])


# Suites.


def test_packs_of_two_suites_are_never_pooled(synthetic, write, tmp_path):
    folder = tmp_path / "packs"
    for name, suite in (("one", synthetic.SUITE), ("two", synthetic.OTHER_SUITE)):
        runs = [synthetic.Run(encoder, "pen", seed, suite=suite) for encoder in ("vc1", "r3m") for seed in (0, 1)]
        source = synthetic.write_suite(tmp_path / name, runs, sides=False, films=False)
        packing.make([source], folder / f"{name}.pack.zip")
    suites = collect(folder).suites
    assert sorted(suite.name for suite in suites) == sorted([synthetic.SUITE, synthetic.OTHER_SUITE])
    assert [len(suite.runs) for suite in suites] == [4, 4]
    assert all(suite.comparison.seeds.tolist() == [[2], [2]] for suite in suites)


# Damage.


@pytest.mark.parametrize("name", ["runs.json", "episodes.parquet", "metrics.parquet"])
def test_a_changed_number_is_refused_by_the_name_of_its_member(packed, name):
    contents = members(packed)
    if name == "runs.json":
        contents[name] = contents[name].replace(b'"seed":0', b'"seed":9', 1)
    else:
        column = "return" if name == "episodes.parquet" else "steps_per_second"
        contents[name] = changed_table(contents[name], lambda frame: frame.assign(**{column: frame[column] + 1.0}))
    write_members(packed, contents)
    with pytest.raises(PackError, match=f"small.pack.zip: {name} was changed since it was packed"):
        pack.read(packed)
    assert load.load_runs(packed).empty
    assert load.refused_packs(packed) == [(packed, f"{name} was changed since it was packed; {pack.REMEDY}")]
    with pytest.raises(NothingToReport, match=f"{name} was changed"):
        collect(packed)


def test_a_changed_hash_is_refused_by_the_name_of_the_manifest(packed):
    contents = members(packed)
    manifest = json.loads(contents["manifest.json"])
    manifest["sha256"]["runs.json"] = "0" * 64
    write_members(packed, contents | {"manifest.json": atomic.json_content(manifest)})
    with pytest.raises(PackError, match=r"manifest\.json was changed"):
        pack.read(packed)


def test_a_refused_pack_is_a_finding_and_the_rest_is_reported(synthetic, packed, write):
    folder = write(synthetic.Run("mvp", "door", 0))
    contents = members(packed)
    write_members(packed, contents | {"episodes.parquet": contents["episodes.parquet"][:-9] + b"\0" * 9})
    material = collect(folder)
    assert [run for suite in material.suites for run in suite.runs["title"]] == ["mvp"]
    (finding,) = (one for one in material.findings if "packs of results" in one.text)
    assert finding.kind == "unreadable"
    assert finding.items == (f"{packed} (episodes.parquet was changed since it was packed; {pack.REMEDY})",)


def test_every_byte_counts(packed):
    """Flipped bits anywhere are refused, or lie where a zip archive keeps nothing."""
    whole, runs = packed.read_bytes(), load.load_runs(packed)
    generator = np.random.default_rng(0)
    messages = []
    for place in generator.integers(0, len(whole), 60):
        content = bytearray(whole)
        content[place] ^= 1 << int(generator.integers(8))
        packed.write_bytes(bytes(content))
        try:
            pack.read(packed)
        except PackError as error:
            messages.append(str(error))
        else:
            pandas.testing.assert_frame_equal(load.load_runs(packed), runs)
    assert len(messages) > 50
    assert all(len(message.splitlines()) == 1 for message in messages)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: {n: c for n, c in m.items() if n != "metrics.parquet"}, "lacks metrics.parquet"),
        (lambda m: m | {"weights.pkl": b"\x80\x04."}, "holds 'weights.pkl'"),
        (lambda m: m | {"../runs.json": m["runs.json"]}, "holds '../runs.json'"),
        (lambda m: m | {"runs.json": b"[]"}, "runs.json is damaged (not a JSON object)"),
        (lambda m: m | {"runs.json": b'{"runs": NaN}'}, "runs.json is damaged (NaN is not a finite number)"),
        (lambda m: m | {"runs.json": b'{"runs": ' + b"[" * 100_000}, "runs.json is damaged (nested too deeply)"),
        (lambda m: m | {"runs.json": b'{"runs": [{"suite": 1}]}'}, "runs.json is not as its schema says (at runs.0."),
        (lambda m: m | {"runs.json": m["runs.json"].replace(b'"pen"', b'"../pen"')}, "'../pen' cannot name a folder"),
        (lambda m: m | {"runs.json": m["runs.json"].replace(b'"seed":1', b'"seed":0')}, "runs.json has a run twice"),
        (lambda m: m | {"runs.json": b'{"runs": []}'}, "rows of a run that runs.json does not have"),
        (lambda m: m | {"episodes.parquet": b"PAR1"}, "episodes.parquet is damaged"),
        (lambda m: m | {"episodes.parquet": m["metrics.parquet"]}, "episodes.parquet has the wrong columns"),
        (lambda m: m | {"metrics.parquet": changed_table(m["metrics.parquet"], lambda f: f[::-1])}, "does not count"),
        (lambda m: m | {"metrics.parquet": changed_table(m["metrics.parquet"], lambda f: f[["kl"]])}, "is damaged"),
    ],
)
def test_a_pack_of_another_shape_is_refused(packed, change, message):
    write_members(packed, change(members(packed)), vouched=True)
    with pytest.raises(PackError) as caught:
        pack.read(packed)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(packed))
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_no_zip_file_or_a_newer_pack_is_refused(packed, tmp_path):
    contents = members(packed)
    manifest = json.loads(contents["manifest.json"]) | {"version": 2, "made_with": "9.9"}
    write_members(packed, contents | {"manifest.json": json.dumps(manifest).encode()}, vouched=True)
    with pytest.raises(PackError, match=r"version 9\.9, which is newer; update hindex-bench"):
        pack.read(packed)
    packed.write_bytes(b"no archive")
    with pytest.raises(PackError, match="File is not a zip file"):
        pack.read(packed)
    with pytest.raises(PackError, match="No such file"):
        pack.read(tmp_path / "absent.pack.zip")


def test_a_member_that_unpacks_to_too_much_is_refused(packed, monkeypatch):
    monkeypatch.setattr(pack, "LARGEST_MEMBER", 10_000)
    with pytest.raises(PackError, match=r"runs\.json has more than 0 MB"):
        pack.read(packed)


# Adding.


def test_a_pack_is_added_once_and_never_over_another(packed, tmp_path):
    folder = tmp_path / "runs"
    added = packing.add(packed, folder)
    assert packing.add(packed, folder) == added == folder / "small.pack.zip"
    assert len(load.load_runs(folder)) == 24
    added.write_bytes(b"another")
    with pytest.raises(OutputError, match="another pack of this name"):
        packing.add(packed, folder)
    with pytest.raises(PackError, match="not a zip file"):
        packing.add(added, tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


def test_a_pack_under_another_name_is_added_under_one_that_is_found(packed, tmp_path):
    renamed = packed.rename(tmp_path / "download (1).zip")
    assert packing.add(renamed, tmp_path / "runs").name == "download (1).pack.zip"


@pytest.mark.slow
def test_a_report_is_made_from_a_pack_alone(packed):
    report = build(packed, figures=["fig01_average_score"])
    assert report.page == packed.parent / "report" / "report.html"
    assert "24 of 24 runs usable" in report.summary
