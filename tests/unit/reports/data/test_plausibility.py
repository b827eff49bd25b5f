"""A pack whose hashes are right is still asked whether its numbers can be: forged ones are named."""

import copy
import json
import zipfile
from dataclasses import replace

import jsonschema
import numpy as np
import pyarrow
import pytest

from benchmark.store import pack, packing
from reports.data import pack_schema
from reports.data.plausibility import _goal_faults, check


@pytest.fixture
def packed(synthetic, write, tmp_path):
    """A pack of four runs with shifted backgrounds in one of them."""
    runs = [synthetic.Run(encoder, "pen", seed) for encoder in ("hindex", "vc1") for seed in (0, 1)]
    runs[0] = replace(runs[0], backgrounds=("1",))
    return packing.make([write(*runs)], tmp_path / "small.pack.zip").path


@pytest.fixture
def forge(packed):
    """Write the pack anew with its second run of vc1 changed, all hashes right: (change) -> faults."""

    def forge(change):
        *others, run = pack.read(packed)
        changed = replace(run, files=copy.deepcopy(run.files), metrics=copy.deepcopy(run.metrics))
        pack.write(packed, [*others, change(changed) or changed])
        return [fault.removeprefix("small-builtin-paper-r1/pen/vc1/seed-1: ") for fault in check(packed).faults]

    return forge


def episodes_with(run, column, change):
    """The run with a column of its episodes changed: (numpy array) -> array."""
    table = run.episodes
    field = table.schema.field(column)
    values = pyarrow.array(change(table[column].to_numpy().copy()), field.type)
    return replace(run, episodes=table.set_column(table.schema.get_field_index(column), field, values))


def set_first(value):
    def change(values):
        values[0] = value
        return values

    return change


def test_an_honest_pack_has_no_faults_and_says_what_is_known_of_the_encoders(packed):
    verdict = check(packed)
    assert (verdict.runs, verdict.faults) == (4, ())
    assert verdict.notes == (
        "hindex (builtin): the builtin weights were trained on renderings of this benchmark's hand",
        "hindex (builtin): Stage 2 adapted it to frames of the tasks",
        "hindex (builtin): synthetic, its numbers are invented",
        "vc1: nothing says what it was trained on (`trained_on` in its card)",
        "vc1: synthetic, its numbers are invented",
    )


def test_a_changed_return_does_not_fit_the_metrics(forge):
    last = 59  # of six evaluations on the run's schedule
    (fault,) = forge(lambda run: episodes_with(run, "return", lambda values: values + 100.0 * (values == values[last])))
    assert fault.startswith("the mean return of iteration 20 is ")
    assert "in metrics.jsonl, but" in fault


def test_a_changed_success_does_not_fit_the_metrics(forge):
    rule, *faults = forge(lambda run: episodes_with(run, "success", lambda values: ~values))
    assert rule == "episodes.parquet: success is not at least 21 steps at the goal, as pen counts it"
    assert faults[0].startswith("the mean success of iteration 0 is ")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda run: episodes_with(run, "return", set_first(np.nan)), "a return is not finite"),
        (lambda run: episodes_with(run, "return", set_first(np.inf)), "a return is not finite"),
        (lambda run: episodes_with(run, "iteration", set_first(-5)), "an iteration is below -1"),
        (lambda run: replace(run, episodes=run.episodes[1:]), "9 episodes at iteration -1, but 10 are configured"),
        (lambda run: replace(run, episodes=run.episodes[:0]), "no evaluation"),
        (lambda run: episodes_with(run, "length", set_first(0)), "an episode of 0 or 100 steps"),
        (lambda run: episodes_with(run, "goal_steps", set_first(101)), "more steps at the goal than steps"),
        (
            lambda run: episodes_with(run, "split", set_first("held_out")),
            "1 held-out episodes judge iteration -1, but 10 are configured",
        ),
        (lambda run: run.metrics.pop(), "ends at iteration 19, but 20 are configured"),
        (lambda run: run.metrics.pop(3), "iterations are not 0, 1, 2, ... in order"),
        (lambda run: replace(run, metrics=[]), "iterations are not 0, 1, 2, ... in order"),
        (lambda run: run.metrics[20].pop("evaluation_return"), "do not have the same evaluations (iteration 20)"),
        (lambda run: run.metrics[5].pop("evaluation_success"), "the mean success of iteration 5 is None"),
        (lambda run: run.files["config.json"].update(seed=7), "its seed is seed-1, but its settings are of seed-7"),
        (lambda run: run.files["config.json"].update(task="door"), "its task is pen, but its settings are of door"),
        (lambda run: run.files["config.json"].update(preset="paper"), "its suite is small-builtin-paper-r1, but its "),
        (lambda run: run.files["encoder.json"].update(title="r3m"), "its encoder is vc1, but its settings are of r3m"),
        (lambda run: run.files["identity.json"].update(results_version=2), "but its settings are of small-builtin-"),
        (lambda run: run.files["config.json"].update(adapt="all"), "adapt is none in identity.json, but all in config"),
        (
            lambda run: run.files["encoder.json"]["weights"].update(sha256="0" * 64),
            "identity.json and encoder.json name different weights",
        ),
        (lambda run: run.files.pop("machine.json"), "machine.json: field required"),
        (lambda run: run.files["identity.json"].pop("demonstrations"), "identity.json.demonstrations: field required"),
        (lambda run: run.files["encoder.json"].pop("card"), "encoder.json.card: field required"),
        (lambda run: run.files["identity.json"].update(device="tpu"), "identity.json.device: input should be 'cpu' or"),
        (lambda run: run.files["config.json"]["evaluation"].update(episodes=0), "config.json.evaluation.episodes"),
    ],
)
def test_what_cannot_be_is_named(forge, change, fault):
    found = forge(lambda run: new if isinstance(new := change(run), pack.PackedRun) else None)
    assert any(fault in line for line in found), found


def test_settings_that_differ_within_a_suite_are_named(forge):
    faults = forge(lambda run: run.files["config.json"].update(reward="dense"))
    assert faults == []  # the others do not record it
    faults = forge(lambda run: run.files["config.json"]["evaluation"].update(every=1) or replace(run, files=run.files))
    assert any(
        fault.startswith("evaluation.every is 1, but 5 in small-builtin-paper-r1/pen/hindex") for fault in faults
    )


def test_success_has_to_follow_from_the_steps_at_the_goal(packed):
    table = pack.read(packed)[0].episodes.to_pandas()
    at_goal = table.assign(goal_steps=np.where(table["success"], 21, 20), goal_at_end=False)
    assert list(_goal_faults("pen", at_goal)) == []
    (fault,) = _goal_faults("pen", at_goal.assign(success=True))
    assert fault == "episodes.parquet: success is not at least 21 steps at the goal, as pen counts it"
    assert list(_goal_faults("a task of one's own", at_goal.assign(success=True))) == []
    for impossible in ({"goal_steps": 101}, {"goal_steps": -1}, {"goal_steps": 0, "goal_at_end": True}):
        assert "more steps at the goal than steps" in next(_goal_faults("pen", at_goal.assign(**impossible)))


@pytest.mark.parametrize(
    ("card", "note"),
    [
        (None, "nothing says what it was trained on"),
        ({"trained_on": "Ego4D"}, "unknown whether it was trained on images of this benchmark"),
        (
            {"trained_on": "Ego4D and frames of pen", "saw_benchmark": True},
            "trained on images of this benchmark (Ego4D",
        ),
        ({"trained_on": "ImageNet-1k", "saw_benchmark": False}, ""),
    ],
)
def test_the_card_says_whether_the_training_saw_this_benchmark(packed, card, note):
    runs = pack.read(packed)
    for run in runs:
        run.files["encoder.json"]["card"] = card
    pack.write(packed, runs)
    notes = [line for line in check(packed).notes if line.startswith("vc1: ") and "synthetic" not in line]
    assert len(notes) == bool(note)
    assert all(note in line for line in notes)


def test_nothing_in_a_pack_is_imported(forge, tmp_path):
    """A task or encoder from a file is named in settings; a check must not run that file."""
    trap = tmp_path / "trap.py"
    trap.write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\n")

    def change(run):
        place = f"{trap}:Trap"
        run.files["config.json"].update(task=place, task_file=place, encoder=place)

    assert any("its task is pen, but its settings are of" in fault for fault in forge(change))
    assert not (tmp_path / "sprung").exists()


def test_runs_json_passes_the_published_schema(packed):
    with zipfile.ZipFile(packed) as archive:
        content = json.loads(archive.read("runs.json"))
    schema = pack_schema.json_schema()
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    assert list(validator.iter_errors(content)) == []
    del content["runs"][0]["files"]["identity.json"]["demonstrations"]
    assert [list(error.path)[:4] for error in validator.iter_errors(content)] == [["runs", 0, "files", "identity.json"]]
