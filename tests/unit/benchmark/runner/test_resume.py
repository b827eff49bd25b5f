"""Going on with an unfinished run: rows and checkpoint that do not belong together, and folders of earlier versions."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import safetensors.numpy

from benchmark.config import configure
from benchmark.errors import FolderError
from benchmark.runner.resume import inspect
from benchmark.runner.runner import run
from benchmark.store import episodes
from benchmark.store.identity import file_hash
from benchmark.store.run_folder import RunFolder

BEFORE = Path(__file__).parents[3] / "data" / "run-folders-fa7125c"
"""Two runs as git fa7125c wrote them: seed 0 is finished, seed 1 was killed in iteration 2 of 3, after its episodes."""


class Killed(BaseException):
    """What ends a run in the middle."""


@pytest.fixture
def before(tmp_path):
    """A copy of the run folders of earlier versions."""
    return shutil.copytree(BEFORE / "runs", tmp_path / "before")


def configured(seed, **values):
    """The configuration of these runs."""
    settings = [
        *(f"demonstrations.source={BEFORE / 'pen.npz'}", "demonstrations.episodes=2", "rollout.slots=1"),
        *("rollout.horizon=8", "learner.iterations=3", "learner.trajectories_per_iteration=2"),
        *("learner.policy_hidden=[8]", "learner.value_hidden=[8]", "learner.value_batch_size=8"),
        *("evaluation.episodes=2", "evaluation.every=1", "evaluation.untrained=true"),
    ]
    options = {"torch_threads": 1, "workers": 0, "device": "cpu"} | values
    return configure("quickstart", settings, task="pen", encoder="state", seed=seed, **options)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The same runs by this version: seeds 1 and 2, killed in iteration 2 after its episodes; seed 1 to its end."""
    out = tmp_path_factory.mktemp("killed")
    append = RunFolder.append_episodes

    def die(self, rows):
        append(self, rows)
        if rows[0]["iteration"] == 2:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "append_episodes", die)
        for seed in (1, 2):
            with pytest.raises(Killed):
                run(configured(seed), out / "runs")
    whole = shutil.copytree(out / "runs", out / "whole")
    return out / "runs", RunFolder(run(configured(1), whole).path)


@pytest.fixture
def runs(killed, tmp_path):
    """A copy of the killed runs."""
    return shutil.copytree(killed[0], tmp_path / "runs")


def place(runs, seed):
    (folder,) = Path(runs).glob(f"*/pen/state/seed-{seed}")
    return folder


def lines(folder):
    return (folder / "metrics.jsonl").read_text().splitlines(keepends=True)


def rewrite_lines(folder, change):
    (folder / "metrics.jsonl").write_text("".join(change(lines(folder))))


def rewrite_episodes(folder, change):
    table = episodes.read(folder / "episodes.parquet")
    rows = change(table.to_pylist())
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=table.schema), folder / "episodes.parquet")


def lost(rows):
    return rows[:1] + rows[2:]


def lost_first(rows):
    return rows[1:]


def doubled(rows):
    return rows[:2] + rows[1:]


def exchanged(rows):
    return [rows[1], rows[0], *rows[2:]]


def emptied(rows):
    return []


def raised(row):
    return row | {"return": row["return"] + 1000}


def forge(path, change):
    """Change tensors or meta of a checkpoint and leave out its digest, as checkpoints were before they had one."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    meta = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["meta"])
    tensors = dict(safetensors.numpy.load(content))
    change(tensors, meta)
    path.write_bytes(safetensors.numpy.save(tensors, metadata={"meta": json.dumps(meta)}))


def refused(runs, seed=1, files=("metrics.jsonl", "episodes.parquet", "checkpoint.safetensors", "identity.json")):
    """Return the line that a resumed run is refused with; these files are not changed."""
    folder = place(runs, seed)
    there = [folder / name for name in files if (folder / name).exists()]
    content = [path.read_bytes() for path in there]
    with pytest.raises(FolderError) as refusal:
        run(configured(seed), runs)
    assert [path.read_bytes() for path in there] == content
    line = str(refusal.value)
    assert "\n" not in line
    assert line.index("restore it from a copy") < line.index("--overwrite")
    return line


def assert_alike(one, other):
    assert file_hash(one.path / "checkpoint.safetensors") == file_hash(other.path / "checkpoint.safetensors")
    assert one.episodes().equals(other.episodes())
    assert one.altered() == other.altered() == []


def test_a_killed_run_goes_on_to_the_same_bits(killed, runs):
    assert_alike(RunFolder(run(configured(1), runs).path), killed[1])


@pytest.mark.parametrize("change", [lost, lost_first, doubled, exchanged, emptied])
def test_committed_metrics_that_are_lost_doubled_or_exchanged_are_noticed(runs, change):
    rewrite_lines(place(runs, 1), change)
    assert "metrics.jsonl is damaged: " in refused(runs)
    with pytest.raises(FolderError, match="metrics"):
        inspect(RunFolder(place(runs, 1)))


def test_committed_metrics_whose_numbers_changed_are_noticed(runs):
    rewrite_lines(place(runs, 1), lambda rows: [rows[0].replace('"steps": 0', '"steps": 1'), *rows[1:]])
    assert "metrics.jsonl is damaged: committed lines have changed" in refused(runs)


def test_committed_costs_that_changed_are_noticed(runs):
    rewrite_lines(place(runs, 1), lambda rows: [rows[0].replace('"memory_mb": ', '"memory_mb": 1'), *rows[1:]])
    assert "metrics.jsonl is damaged: committed lines do not belong to checkpoint.json" in refused(runs)


@pytest.mark.parametrize("content", [None, "", "[", "[]", "{}", '{"iteration": 0, "guard": 1}'])
def test_what_is_written_for_people_alone_may_be_lost(killed, runs, content):
    path = place(runs, 1) / "checkpoint.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    assert_alike(RunFolder(run(configured(1), runs).path), killed[1])


@pytest.mark.parametrize("change", [lost, lost_first, doubled, exchanged, emptied])
def test_committed_episodes_that_are_lost_doubled_or_exchanged_are_noticed(runs, change):
    rewrite_episodes(place(runs, 1), change)
    assert "episodes.parquet is damaged: " in refused(runs)


@pytest.mark.parametrize(
    "change", [raised, lambda row: row | {"success": not row["success"]}, lambda row: row | {"length": 1}]
)
def test_committed_episodes_whose_numbers_changed_are_noticed(runs, change):
    rewrite_episodes(place(runs, 1), lambda rows: [change(rows[0]), *rows[1:]])
    assert "episodes.parquet is damaged: committed episodes have changed" in refused(runs)
    with pytest.raises(FolderError, match="committed episodes have changed"):
        inspect(RunFolder(place(runs, 1)))


def test_rows_that_no_checkpoint_committed_may_be_anything(killed, runs):
    rewrite_episodes(place(runs, 1), lambda rows: [*rows[:-2], raised(rows[-1])])
    with (place(runs, 1) / "metrics.jsonl").open("a") as file:
        file.write('{"iteration": 2, "steps": 99}\n{"iteration": 3, "ste')
    assert_alike(RunFolder(run(configured(1), runs).path), killed[1])


def test_the_checkpoint_of_another_seed_is_refused(runs):
    for name in ("checkpoint.safetensors", "checkpoint.json"):
        shutil.copy(place(runs, 2) / name, place(runs, 1) / name)
    assert "is the checkpoint of another run" in refused(runs)


def test_a_lost_checkpoint_is_named_and_its_iterations_are_not_thrown_away(runs):
    (place(runs, 1) / "checkpoint.safetensors").unlink()
    assert "checkpoint.safetensors is missing, although metrics.jsonl reaches iteration 1" in refused(runs)


@pytest.mark.parametrize("iteration", [0, 2, 3, 9, -5, "1", None, True])
def test_another_counter_is_noticed_without_a_digest_too(runs, iteration):
    forge(place(runs, 1) / "checkpoint.safetensors", lambda tensors, meta: meta.update(iteration=iteration))
    rewrite_lines(place(runs, 1), lambda rows: rows)
    if iteration == 0:  # an earlier checkpoint is a good one: the run goes back to it
        return
    refused(runs)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("generator"),
        lambda tensors: tensors.pop(min(name for name in tensors if name.startswith("policy."))),
        lambda tensors: tensors.pop(min(name for name in tensors if name.startswith("baseline."))),
        lambda tensors: tensors.update(more=np.zeros(1)) or tensors.update({"policy.more": np.zeros(1)}),
        lambda tensors: tensors.update({"generator": np.zeros(5056, np.uint8)}),
        lambda tensors: tensors.update({"generator": np.zeros(3, np.uint8)}),
        lambda tensors: tensors.update({"policy.log_std": tensors["policy.log_std"].astype(np.float64)}),
        lambda tensors: tensors.update({"policy.log_std": np.zeros(3, np.float32)}),
    ],
)
def test_tensors_of_another_learner_are_one_line_without_a_digest_too(runs, change):
    forge(place(runs, 1) / "checkpoint.safetensors", lambda tensors, meta: change(tensors))
    assert "checkpoint.safetensors does not fit this run (" in refused(runs, files=["checkpoint.safetensors"])


@pytest.mark.parametrize("name", ["iteration", "steps", "guard", "identity"])
def test_a_checkpoint_that_does_not_say_whose_or_how_far_it_is_is_one_line(runs, name):
    forge(place(runs, 1) / "checkpoint.safetensors", lambda tensors, meta: meta.pop(name))
    assert "checkpoint.safetensors does not say " in refused(runs)


def test_a_finished_run_without_its_manifest_is_checked_before_it_counts_as_finished(killed, tmp_path):
    runs = shutil.copytree(killed[1].path.parents[3], tmp_path / "whole")
    (place(runs, 1) / "manifest.json").unlink()
    rewrite_episodes(place(runs, 1), lambda rows: [*rows[:-1], raised(rows[-1])])
    assert "committed episodes have changed" in refused(runs)
    shutil.copy(killed[1].path / "episodes.parquet", place(runs, 1))
    rewrite_episodes(place(runs, 1), lambda rows: [*rows, rows[-1] | {"background": "3"}])
    assert_alike(RunFolder(run(configured(1), runs).path), killed[1])
