"""Damage at seeded places in run folders: a report names the folder, and the rest is reported as before."""

import json
import os
import random
import shutil

import pytest

from benchmark.errors import FolderError
from benchmark.store import manifest
from benchmark.store.identity import identity_hash
from benchmark.store.run_folder import RunFolder
from reports.data import load
from reports.data.collect import collect
from reports.data.findings import problems
from reports.figures.specification import SHARED_SECTIONS, figures
from reports.tables.suite_tables import shared_tables, suite_tables

JSON_FILES = ("config.json", "identity.json", "encoder.json", "machine.json", "metrics.jsonl")
FILES = (*JSON_FILES, "episodes.parquet", "manifest.json", "frames/start.png", "frames/strip.png", "video.mp4")
DEEP = "[" * 100_000 + "]" * 100_000
STRANGE = [
    *("null", "true", "-1", "0", "1e308", "1e999", "-1e999", "NaN", "9" * 400, "1.5", "[]", "{}", "[[[]]]", '""'),
    *('"text"', '"$x^{$"', '"a\\nb"', '"<script>alert(1)</script>"', '"\\ud800"', '"\\\\input{x}"', '"=1+1"', DEEP),
    f'"{"long " * 2000}"',
]
"""What stands in a JSON file where something else should."""


@pytest.fixture(scope="module")
def pristine(synthetic, tmp_path_factory):
    """Two encoders on two tasks with backgrounds and pictures, a probe and a Stage 2 result; not to be changed."""
    runs = [
        synthetic.Run(encoder, task, seed) for encoder in ("vc1", "r3m") for task in ("pen", "door") for seed in (0, 1)
    ]
    runs.append(synthetic.Run("hindex", "pen", 0, backgrounds=("1", "2")))
    folder = synthetic.write_suite(tmp_path_factory.mktemp("pristine"), runs, sides=False)
    synthetic.write_probe(folder, "vc1", "pen")
    synthetic.write_adaptation(folder, "pen")
    return folder


@pytest.fixture(scope="module")
def victim(synthetic):
    return synthetic.Run("vc1", "pen", 1).path


def flip(content, generator):
    place = generator.randrange(len(content))
    return content[:place] + bytes([content[place] ^ (1 << generator.randrange(8))]) + content[place + 1 :]


def cut(content, generator):
    return content[: generator.randrange(len(content))]


def splice(content, generator):
    place = generator.randrange(len(content))
    return content[:place] + generator.randbytes(generator.randrange(1, 64)) + content[place:]


def misplace(content, generator):
    """A value of another kind somewhere in a JSON file, or in one line of several; bytes elsewhere."""
    try:
        lines = content.decode().splitlines()
        whole = content[:1] == b"{" and len(lines) > 1 and lines[0] == "{"
        number = 0 if whole else generator.randrange(len(lines))
        value = json.loads(content if whole else lines[number])
    except ValueError:
        return splice(content, generator)
    marker = "\x00here\x00"
    text = json.dumps(replaced(value, marker, generator)).replace(json.dumps(marker), generator.choice(STRANGE))
    return (
        text.encode()
        if whole
        else "".join(f"{line}\n" for line in [*lines[:number], text, *lines[number + 1 :]]).encode()
    )


def replaced(value, marker, generator):
    """The JSON value with the marker at a random place of it."""
    if isinstance(value, (dict, list)) and value and generator.random() < 0.85:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        chosen = generator.choice(keys)
        changed = value.copy()
        changed[chosen] = replaced(value[chosen], marker, generator)
        return changed
    return marker


def damage(path, kind, generator):
    """Damage one file: its bytes, its values, or what stands in its place."""
    if kind == "gone":
        path.unlink()
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind == "pipe":
        path.unlink()
        os.mkfifo(path)
    elif kind == "empty":
        path.write_bytes(b"")
    else:
        path.write_bytes(
            {"flip": flip, "cut": cut, "splice": splice, "value": misplace}[kind](path.read_bytes(), generator)
        )


def bless(folder):
    """Make the manifest agree with whatever is there, as if the run had finished like that."""
    names = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()]
    try:
        facts = {"identity": identity_hash(RunFolder(folder).identity)}
    except FolderError:
        facts = {"identity": None}
    manifest.write(folder, [name for name in names if name not in ("manifest.json", ".lock")], facts)


def report_without_drawing(folder):
    """Everything of a report but the drawing; the runs and the findings."""
    material = collect(folder)
    for suite in material.suites:
        suite_tables(suite)
    for one in figures():
        for source in (material,) if one.section in SHARED_SECTIONS else material.suites:
            one.of(source)
    for tables in shared_tables(material).values():
        for table in tables.shown:
            table.csv(), table.latex()
    return material


KINDS = ("flip", "cut", "splice", "value", "gone", "folder", "pipe", "empty")
STATES = ("finished", "unfinished", "blessed")


@pytest.fixture
def damaged(pristine, victim, tmp_path):
    """Damage a copy of the suite from a seed: (seed, state) -> (folder of all, the damaged run, the file's name)."""

    def damaged(seed, state, kind=None):
        generator = random.Random(seed)
        folder = tmp_path / f"{seed}-{state}"
        shutil.copytree(pristine, folder)
        there = folder / victim
        name = generator.choice(JSON_FILES if kind == "value" else FILES)
        if state == "unfinished":
            (there / "manifest.json").unlink()
            name = "metrics.jsonl" if name == "manifest.json" else name
        damage(there / name, kind or generator.choice(KINDS), generator)
        if state == "blessed" and name != "manifest.json":
            bless(there)
        return folder, there, name

    return damaged


def check(runs, findings, there, name, state):
    """All other runs have their numbers; the damaged one is named."""
    others = runs[runs["path"] != there]
    assert others["used"].all()
    assert others["return_best"].notna().all()
    (run,) = runs[runs["path"] == there].to_dict("records")
    if state == "finished" and name != "manifest.json":
        assert run["status"] == "altered"
        assert findings[0].kind == "altered"
        assert findings[0].items == (f"{there} ({name})",)
    if run["status"] == "unreadable":
        assert not run["used"]
        assert [one.items for one in findings if one.kind == "unreadable"] == [(f"{there} ({run['problem']})",)]


@pytest.mark.parametrize("state", STATES)
def test_damage_anywhere_costs_one_run_which_is_named(damaged, state):
    for seed in range(6):
        folder, there, name = damaged(seed, state)
        runs = load.load_runs(folder)
        check(runs, problems(runs), there, name, state)
        load.load_curves(runs), load.load_episodes(runs)


@pytest.mark.parametrize("state", ["unfinished", "blessed"])
def test_a_value_of_another_kind_costs_one_run_which_is_named(damaged, state):
    for seed in range(100, 110):
        folder, there, name = damaged(seed, state, "value")
        runs = load.load_runs(folder)
        check(runs, problems(runs), there, name, state)


@pytest.mark.slow
@pytest.mark.parametrize("state", ["unfinished", "blessed"])
def test_what_passes_the_reader_passes_the_rest_of_the_report(damaged, state):
    """Damage that no manifest tells, through every score, table and figure."""
    for seed in range(1000, 1030):
        folder, there, name = damaged(seed, state)
        material = report_without_drawing(folder)
        check(material.suites[0].runs, material.findings, there, name, state)
        shutil.rmtree(folder)
