"""A run that is interrupted anywhere goes on and ends as if nothing had happened."""

import pytest
from small_runs import Recorder, final, interrupted, tiny_config

from benchmark.errors import OutputError
from benchmark.rollout.simulators import Simulators
from benchmark.runner.runner import run
from benchmark.store.run_folder import RunFolder


@pytest.fixture(scope="module")
def uninterrupted(demonstration_file, tmp_path_factory):
    result = run(tiny_config(demonstration_file("pen")), tmp_path_factory.mktemp("uninterrupted"))
    return final(result), RunFolder(result.path)


# Steps of a run: 8 of demonstrations, 6 of the first evaluation, 2 x 6 an iteration, 6 of the last evaluation.
MOMENTS = [
    ("simulators.step", 5, False),  # while the demonstrations are replayed
    ("simulators.step", 12, False),  # in the first evaluation
    ("simulators.step", 20, False),  # in the first iteration
    ("simulators.step", 37, False),  # in the second iteration
    ("simulators.step", 43, False),  # in the last evaluation
    ("append_episodes", 1, True),
    ("append_metrics", 1, False),
    ("append_metrics", 2, True),
    ("append_metrics", 3, True),
    ("save_checkpoint", 1, False),
    ("save_checkpoint", 1, True),
    ("save_checkpoint", 2, False),
    ("save_checkpoint", 3, True),
    ("finish", 1, False),
]


@pytest.mark.parametrize(("where", "count", "after"), MOMENTS)
def test_a_run_ends_the_same_wherever_it_was_interrupted(where, count, after, configured, uninterrupted, tmp_path):
    owner = Simulators if where == "simulators.step" else RunFolder
    interrupted(configured(), tmp_path, owner, where.rpartition(".")[2], count, after)
    progress = Recorder()
    resumed = run(configured(), tmp_path, progress=progress)
    checkpoint, expected = uninterrupted
    assert final(resumed) == checkpoint
    assert not resumed.found
    folder = RunFolder(resumed.path)
    assert folder.altered() == []
    assert [row["iteration"] for row in folder.metrics()] == [0, 1, 2]
    assert folder.episodes().equals(expected.episodes())
    assert [row.get("mean_return") for row in folder.metrics()] == [
        row.get("mean_return") for row in expected.metrics()
    ]
    assert progress.taken == progress.planned


def test_less_than_an_iteration_is_lost(configured, tmp_path):
    interrupted(configured(), tmp_path, RunFolder, "save_checkpoint", at=3)
    progress = Recorder()
    run(configured(), tmp_path, progress=progress)
    assert "resumed after iteration 1" in progress.lines
    assert [stage for stage in progress.stages if stage.startswith("iteration")] == ["iteration 2/2"]


def test_a_damaged_checkpoint_is_one_line(configured, tmp_path):
    interrupted(configured(), tmp_path, RunFolder, "save_checkpoint", at=2)
    checkpoint = next(tmp_path.rglob("checkpoint.safetensors"))
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    with pytest.raises(OutputError, match=r"checkpoint\.safetensors is damaged .*--overwrite"):
        run(configured(), tmp_path)
