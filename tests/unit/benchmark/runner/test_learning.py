"""What a run learns from, and what happens where nothing can be learned."""

import dataclasses

import numpy as np
import pytest
import safetensors.numpy
from small_runs import HORIZON, TRAJECTORIES, files, final, interrupted

from benchmark.dapg import LearningDiverged
from benchmark.dapg.policy import MIN_LOG_STD
from benchmark.runner import context, learning
from benchmark.runner.runner import run
from benchmark.store.run_folder import RunFolder
from tasks.base import Task
from tasks.demonstrations.dataset import Demonstrations


def spied_updates(monkeypatch):
    """The arguments of every update of a run."""
    calls, original = [], learning.dapg_update

    def spy(policy, baseline, trajectories, demonstrations, **options):
        calls.append((trajectories, demonstrations, options))
        return original(policy, baseline, trajectories, demonstrations, **options)

    monkeypatch.setattr(learning, "dapg_update", spy)
    return calls


def test_trajectory_k_of_iteration_i_has_its_own_seed(configured, tmp_path, monkeypatch):
    calls = spied_updates(monkeypatch)
    run(configured(seed=100), tmp_path)
    seeds = [[trajectory.seed for trajectory in trajectories] for trajectories, _, _ in calls]
    assert seeds == [[100, 101, 102], [103, 104, 105]]
    assert [options["iteration"] for _, _, options in calls] == [0, 1]


def test_the_update_gets_the_demonstrations_as_they_were_cloned(configured, demonstration_file, tmp_path, monkeypatch):
    calls = spied_updates(monkeypatch)
    run(configured(), tmp_path)
    episodes = Demonstrations.load(demonstration_file("pen")).episodes
    for _, (observations, actions), _ in calls:
        np.testing.assert_array_equal(observations, np.concatenate([episode.observations for episode in episodes]))
        np.testing.assert_array_equal(actions, np.concatenate([episode.actions for episode in episodes]))


def test_trajectories_have_noise_of_their_own_and_evaluations_none(configured, tmp_path, monkeypatch):
    noises, original = [], context.PolicyActor
    monkeypatch.setattr(
        context, "PolicyActor", lambda policy, noise=None: noises.append(noise) or original(policy, noise)
    )
    run(configured("evaluation.every=1"), tmp_path)
    assert [noise is None for noise in noises] == [True, False, True, False, True]
    drawn = [episode for noise in noises if noise is not None for episode in noise]
    assert len(drawn) == 2 * TRAJECTORIES
    assert {episode.shape for episode in drawn} == {(HORIZON, 24)}
    assert len({episode.tobytes() for episode in drawn}) == len(drawn)


def test_without_demonstration_weight_it_is_npg(configured, tmp_path):
    plain, npg = run(configured(), tmp_path), run(configured("learner.demonstration_weight=0"), tmp_path)
    rows = RunFolder(npg.path).metrics()
    assert [row["demonstration_weight"] for row in rows[1:]] == [0.0, 0.0]
    assert rows[0]["bc_loss"] == RunFolder(plain.path).metrics()[0]["bc_loss"]
    assert final(npg) != final(plain)


def test_without_iterations_it_is_cloning(configured, tiny_encoder, tmp_path):
    result = run(configured("learner.iterations=0", encoder=tiny_encoder), tmp_path)
    assert sorted(result.evaluations) == [0]
    assert [row["iteration"] for row in RunFolder(result.path).metrics()] == [0]
    assert "video.mp4" in files(result.path)


def test_cloning_learns_the_demonstrations(configured, demonstration_file, tmp_path):
    settings = ("learner.iterations=0", "learner.bc_epochs=200", "learner.bc_learning_rate=0.01")
    losses = RunFolder(run(configured(*settings), tmp_path).path).metrics()[0]["bc_loss"]
    assert losses[-1] < losses[0] / 2


def test_evaluation_takes_the_mean_action(configured, tmp_path):
    """Two evaluations of the same policy are equal: nothing random is left in them."""
    table = RunFolder(run(configured("evaluation.every=1", "learner.step_size=1e-30"), tmp_path).path).episodes()
    returns = table.pivot(index="iteration", columns="seed", values="return")
    np.testing.assert_allclose(returns.loc[1], returns.loc[0], rtol=1e-6)
    np.testing.assert_allclose(returns.loc[2], returns.loc[0], rtol=1e-6)


def test_exploration_scales_the_noise_that_cloning_sets_and_nothing_else(configured, tmp_path):
    ended = []
    for scale in (1.0, 0.5):
        result = run(configured("learner.iterations=0", f"learner.exploration={scale}"), tmp_path)
        ended.append(safetensors.numpy.load_file(result.path / "checkpoint.safetensors"))
    plain, scaled = ended
    name = "policy.log_std"
    expected = np.maximum(plain.pop(name) + np.log(0.5), MIN_LOG_STD)
    assert (expected > MIN_LOG_STD).any()
    np.testing.assert_allclose(scaled.pop(name), expected, rtol=1e-5)
    for tensor, values in plain.items():
        np.testing.assert_array_equal(scaled[tensor], values, err_msg=tensor)


def skipping(monkeypatch, *iterations):
    """Make the updates of some iterations (from 1) come to nothing."""
    original = learning.dapg_update

    def update(policy, baseline, trajectories, demonstrations, *, iteration, **options):
        if iteration + 1 not in iterations:
            return original(policy, baseline, trajectories, demonstrations, iteration=iteration, **options)
        broken = [dataclasses.replace(each, rewards=np.full(len(each), np.nan)) for each in trajectories]
        return original(policy, baseline, broken, demonstrations, iteration=iteration, **options)

    monkeypatch.setattr(learning, "dapg_update", update)


def policy_of(path):
    tensors, meta = RunFolder(path).load_checkpoint()
    return {name: array.tobytes() for name, array in tensors.items() if name.startswith("policy.")}, meta


def test_three_updates_in_a_row_that_come_to_nothing_end_the_run(configured, tmp_path, monkeypatch):
    config = configured("learner.iterations=9", "evaluation.every=9")
    with monkeypatch.context() as patch:
        skipping(patch, 2, 3, 4)
        with pytest.raises(LearningDiverged, match=r"^iteration 4: .*3 updates in a row") as failure:
            run(config, tmp_path)
    assert "last good checkpoint is kept" in str(failure.value)
    path = next(tmp_path.rglob("checkpoint.safetensors")).parent
    assert RunFolder(path).status == "unfinished"
    kept, meta = policy_of(path)
    assert meta["iteration"] == 3
    # The policy is the one of iteration 1.
    shorter = run(configured("learner.iterations=1", "evaluation.every=9"), tmp_path / "shorter")
    assert kept == policy_of(shorter.path)[0]


def test_a_diverged_run_goes_on_once_its_cause_is_gone(configured, tmp_path, monkeypatch):
    config = configured("learner.iterations=5", "evaluation.every=9")
    with monkeypatch.context() as patch:
        skipping(patch, 1, 2, 3)
        with pytest.raises(LearningDiverged):
            run(config, tmp_path)
    rows = RunFolder(run(config, tmp_path).path).metrics()
    assert [row["iteration"] for row in rows] == [0, 1, 2, 3, 4, 5]
    assert [row["skipped"] for row in rows[1:]] == [True, True, False, False, False]


def test_skipped_updates_are_counted_across_a_resume(configured, tmp_path, monkeypatch):
    config = configured("learner.iterations=5", "evaluation.every=9")
    skipping(monkeypatch, 1, 2, 3)
    interrupted(config, tmp_path, RunFolder, "save_checkpoint", at=3, after=True)
    with pytest.raises(LearningDiverged, match=r"^iteration 3"):
        run(config, tmp_path)


def test_one_update_that_comes_to_nothing_is_said_and_survived(configured, tmp_path, monkeypatch, caplog):
    skipping(monkeypatch, 1)
    folder = RunFolder(run(configured(), tmp_path).path)
    rows = folder.metrics()
    assert [row["skipped"] for row in rows[1:]] == [True, False]
    assert "not finite" in rows[1]["reason"]
    assert [record.getMessage() for record in caplog.records if "skipped" in record.getMessage()]
    assert folder.load_checkpoint()[1]["guard"] == {"in_a_row": 0, "total": 1}


def test_episodes_that_broke_down_are_counted(configured, tmp_path, monkeypatch):
    original = Task.step

    def breaking(task, actions, slots=None):
        reading = original(task, actions, slots)
        return reading._replace(unstable=np.ones_like(reading.unstable), terminated=np.ones_like(reading.terminated))

    monkeypatch.setattr(Task, "step", breaking)
    rows = RunFolder(run(configured("learner.iterations=1"), tmp_path).path).metrics()
    (last,) = [row for row in rows if row["iteration"] == 1]
    assert last["unstable"] == configured().learner.trajectories_per_iteration
    assert last["evaluation_unstable"] == configured().evaluation.episodes
