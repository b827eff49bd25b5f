"""Runs that clone alone, epoch by epoch: what they evaluate, keep, judge and resume."""

from dataclasses import replace

import numpy as np
import pytest
from small_runs import interrupted

from benchmark.config import HELD_OUT_SEED, JUDGED_SEED, configure
from benchmark.dapg import LearningDiverged
from benchmark.demonstrations import features
from benchmark.errors import ConfigError
from benchmark.runner import learning
from benchmark.runner.backgrounds import evaluate_backgrounds
from benchmark.runner.evaluation import Evaluator
from benchmark.runner.protocols import Finished, best_success, judged_best, summary
from benchmark.runner.runner import run
from benchmark.runner.schedule import evaluated_iterations
from benchmark.runner.suite import suite_name
from benchmark.store.episodes import HELD_OUT, SCHEDULE
from benchmark.store.identity import file_hash
from benchmark.store.run_folder import RunFolder

BC = (
    *("learner.algorithm=bc", "learner.iterations=null", "learner.bc_epochs=7", "learner.bc_minibatches=shuffled"),
    *("policy.head=batchnorm_mlp", "evaluation.every=3", "evaluation.held_out_episodes=4"),
)


@pytest.fixture
def cloning(configured):
    return lambda *overrides, **values: configured(*BC, *overrides, **values)


@pytest.mark.parametrize(
    ("epochs", "every", "due"),
    [
        (100, 5, [*range(5, 100, 5), 99]),
        (20, 1, list(range(20))),
        (100, 100, [99]),
        (7, 3, [3, 6]),
        (1, 5, [0]),
    ],
)
def test_evaluations_are_those_of_the_protocols(epochs, every, due):
    settings = ["learner.algorithm=bc", f"learner.bc_epochs={epochs}", f"evaluation.every={every}"]
    assert evaluated_iterations(configure("quickstart", settings, task="pen", encoder="state")) == due


@pytest.mark.parametrize(("preset", "count"), [("cortexbench", 20), ("r3m", 20), ("imitation", 1)])
def test_protocols_evaluate_as_often_as_they_say(preset, count):
    assert len(evaluated_iterations(configure(preset, task="pen", encoder="state"))) == count


def test_a_run_keeps_every_evaluation_and_who_was_judged(cloning, tmp_path):
    result = run(cloning(), tmp_path)
    folder = RunFolder(result.path)
    assert folder.status == "finished"
    assert [row["iteration"] for row in folder.metrics()] == list(range(7))
    assert folder.metrics()[6]["bc_loss"] < folder.metrics()[0]["bc_loss"]
    table = folder.episodes()
    schedule, judged = table[table["split"] == SCHEDULE], table[table["split"] == HELD_OUT]
    assert schedule["iteration"].to_list() == [3, 3, 6, 6]
    assert schedule["seed"].to_list() == [HELD_OUT_SEED, HELD_OUT_SEED + 1] * 2
    best = max((result.evaluations[i][1], result.evaluations[i][0], -i) for i in (3, 6))[2]
    assert set(judged["iteration"]) == {6, -best}
    assert judged[judged["iteration"] == 6]["seed"].to_list() == [JUDGED_SEED + k for k in range(4)]
    assert sorted(result.held_out) == sorted({6, -best})
    assert sorted(result.evaluations) == [3, 6]


def test_goals_are_kept_for_every_rule_of_success(cloning, tmp_path):
    table = RunFolder(run(cloning(), tmp_path).path).episodes()
    assert (table["goal_steps"] <= table["length"]).all()
    assert (table["success"] == (table["goal_steps"] > 20)).all()
    assert table["goal_at_end"].dtype == bool


@pytest.mark.parametrize("at", [1, 2, 3], ids=["first evaluation", "second evaluation", "judging"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_killed_run_goes_on_to_the_same_bits(cloning, tmp_path, at, after):
    config = cloning(encoder="state")
    whole = run(config, tmp_path / "whole")
    interrupted(config, tmp_path / "killed", Evaluator, "evaluate", at, after)
    result = run(config, tmp_path / "killed")
    for name in ("checkpoint.safetensors", "episodes.parquet"):
        assert file_hash(result.path / name) == file_hash(whole.path / name)
    assert run(config, tmp_path / "killed").found


def test_a_policy_from_pixels_acts_on_fused_frames(cloning, tmp_path, monkeypatch):
    fused = cloning("observation.history=3", "observation.fusion=flare", encoder="random", weights="random")
    folder = RunFolder(run(fused, tmp_path).path)
    state, _ = folder.load_checkpoint()
    assert state["policy.input_norm.weight"].shape == (3 * 2048 + 24,)
    seen = []
    imitate = learning.imitate
    monkeypatch.setattr(learning, "imitate", lambda *given: seen.append(given[3]) or imitate(*given))
    monkeypatch.setattr(features, "rollout", None)  # features of single frames are found again
    run(cloning(encoder="random", weights="random"), tmp_path)
    assert seen[0].observation_dim == 2048 + 24


def test_the_blind_control_is_cloned_and_judged_on_the_joints_alone(cloning, tmp_path):
    fused = cloning("observation.history=3", "observation.fusion=flare", encoder="blind")
    result = run(fused, tmp_path)
    state, _ = RunFolder(result.path).load_checkpoint()
    assert state["policy.input_norm.weight"].shape == (24,), "the joints of the pen's hand, without the pen"
    assert result.evaluations[6] != run(cloning(encoder="state"), tmp_path).evaluations[6]


def test_evaluations_can_begin_where_demonstrations_do(cloning, tmp_path):
    table = RunFolder(run(cloning("evaluation.seeds=demonstrations"), tmp_path).path).episodes()
    assert table[table["split"] == SCHEDULE]["seed"].to_list() == [0, 1, 0, 1]
    with pytest.raises(ConfigError, match=r"evaluation\.episodes=3 begin as demonstrations do, but there are 2"):
        run(cloning("evaluation.seeds=demonstrations", "evaluation.episodes=3"), tmp_path)


def test_finished_policies_are_tried_under_other_backgrounds(cloning, tmp_path):
    config = cloning("evaluation.seeds=demonstrations", "rollout.slots=2", encoder="random", weights="random")
    path = run(config, tmp_path).path
    (shift,) = evaluate_backgrounds(path, [3])
    assert (shift.background, shift.episodes) == (3, 2)
    table = RunFolder(path).episodes()
    assert table[table["background"] == "3"]["seed"].to_list() == [0, 1]
    with pytest.raises(ConfigError, match="begin as demonstrations do"):
        evaluate_backgrounds(path, [4], episodes=9)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (["policy.head=batchnorm_mlp"], r"policy\.head=batchnorm_mlp can only be cloned"),
        (["learner.algorithm=bc", "learner.iterations=3"], r"learner\.iterations is of DAPG"),
        (["observation.history=3"], "fusion 'concat' or 'flare' takes a history of 2 frames"),
        (["observation.fusion=flare"], "fusion 'concat' or 'flare' takes a history of 2 frames"),
        (["learner.bc_minibatches=shuffled"], r"set learner\.algorithm=bc with them"),
        (["evaluation.held_out_episodes=5"], r"set learner\.algorithm=bc with it"),
    ],
)
def test_settings_that_contradict_each_other_are_one_line(settings, line):
    with pytest.raises(ConfigError, match=line):
        configure("small", settings, task="pen", encoder="state")


def test_new_settings_at_their_defaults_make_no_other_suite():
    assert suite_name(configure("quickstart", task="door", encoder="state")).startswith("quickstart-builtin-paper-r")
    assert "+" not in suite_name(configure("cortexbench", task="pen", encoder="state"))


def finished(task, seed, best, last, held_out, preset="cortexbench", settings=()):
    from benchmark.runner.runner import RunResult

    config = configure(preset, settings, task=task, encoder="random", seed=seed)
    evaluations = {5: (10.0, best), 99: (9.0, last)}
    judged = {99: held_out[0], 5: held_out[1]}
    return Finished(config, RunResult(None, "random", evaluations, False, "", judged))


def test_the_line_of_a_protocol_has_its_number_and_the_honest_one():
    runs = [
        finished("pen", 100, 0.5, 0.1, ([True] + [False] * 9, [True] * 3 + [False] * 7)),
        finished("pen", 200, 0.3, 0.1, ([True] + [False] * 9, [True] * 3 + [False] * 7)),
        finished("relocate", 100, 0.1, 0.0, ([False] * 10, [False] * 10)),
        finished("relocate", 200, 0.1, 0.0, ([False] * 10, [False] * 10)),
    ]
    assert best_success(runs[0].result) == 0.5
    (line,) = summary(runs)
    start = "cortexbench · random: success 25.0 % (best of 2 evaluations; pen 40.0, relocate 10.0; 2 seeds); "
    assert line.startswith(f"{start}on held-out episodes: last policy 5.0 % [")
    assert "chosen by the evaluations 15.0 % [" in line


def test_tasks_with_fewer_seeds_count_as_much_and_lose_no_episode():
    judged = ([True] * 4, [True] * 4)
    runs = [finished("pen", seed, 0.5, 0.5, judged) for seed in (100, 200)]
    runs.append(finished("relocate", 100, 0.5, 0.5, ([False] * 4, [False] * 4)))
    assert "last policy 50.0 % [" in summary(runs)[0]


def test_an_untrained_policy_is_never_the_chosen_one(cloning, tmp_path):
    result = run(cloning("evaluation.untrained=true"), tmp_path)
    assert sorted(result.evaluations) == [-1, 3, 6]
    rated = replace(result, evaluations=result.evaluations | {-1: (1e9, 1.0)})
    assert best_success(rated) < 1.0
    assert judged_best(rated)


def test_a_loss_that_is_not_finite_ends_the_run(cloning, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.runner.imitation.Cloning.epoch", lambda *_: float("nan"))
    with pytest.raises(LearningDiverged, match="the loss of cloning is not finite after epoch 0"):
        run(cloning(), tmp_path)


def test_other_tasks_or_settings_are_only_like_the_protocol():
    judged = ([True], [True])
    assert summary([finished("door", 100, 1.0, 1.0, judged)])[0].startswith("cortexbench-like")
    changed = finished("pen", 100, 1.0, 1.0, judged, settings=["learner.bc_epochs=50"])
    assert summary([changed])[0].startswith("cortexbench-like")
    assert summary([finished("pen", 100, 1.0, 1.0, judged)])[0].startswith("cortexbench ·")


def test_a_preset_that_is_no_protocol_has_no_line():
    config = configure("small", task="pen", encoder="state")
    assert summary([Finished(config, finished("pen", 1, 1.0, 1.0, ([], [])).result)]) == []


def test_held_out_successes_are_those_of_the_episodes(cloning, tmp_path):
    result = run(cloning(), tmp_path)
    table = RunFolder(result.path).episodes()
    for iteration, successes in result.held_out.items():
        rows = table[(table["split"] == HELD_OUT) & (table["iteration"] == iteration)]
        assert np.array_equal(rows["success"], successes)
