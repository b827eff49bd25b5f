"""A whole run, small: the folder it writes, what makes it the same or another one, how it goes on, how it fails."""

import dataclasses
import json
import math
from collections import Counter
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import safetensors.numpy
import torch

import benchmark
from benchmark.config import HELD_OUT_SEED, configure
from benchmark.dapg import LearningDiverged
from benchmark.dapg.policy import MIN_LOG_STD
from benchmark.demonstrations.features import cache_path
from benchmark.errors import OutputError
from benchmark.runner import context, learning
from benchmark.runner.runner import run
from benchmark.store.identity import file_hash
from benchmark.store.run_folder import RunFolder
from encoders.errors import EncoderError, WeightsMissing
from tasks.base import Task
from tasks.demonstrations.dataset import Demonstrations

HORIZON, TRAJECTORIES, EPISODES = 6, 3, 2
TINY = (
    "demonstrations.episodes=2",
    f"rollout.horizon={HORIZON}",
    "rollout.slots=2",
    "reward=dense",  # the sparse one would be zero throughout, and hide what the value baseline does
    "learner.policy_hidden=[8]",
    "learner.value_hidden=[8]",
    "learner.value_batch_size=4",
    "learner.bc_batch_size=8",
    "learner.iterations=2",
    f"learner.trajectories_per_iteration={TRAJECTORIES}",
    f"evaluation.episodes={EPISODES}",
)


@pytest.fixture
def configured(demonstration_file):
    """Configurations of small runs: (*overrides, **fields) -> RunConfig."""

    def make(*overrides, task="pen", encoder="state", demonstrations=None, **values):
        source = f"demonstrations.source={demonstrations or demonstration_file(task)}"
        options = {"torch_threads": 1, "workers": 0} | values
        return configure("quickstart", [source, *TINY, *overrides], task=task, encoder=encoder, **options)

    return make


def files(folder):
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return found - {".lock"}


def final(result):
    """What a run ended with, bit for bit."""
    return file_hash(result.path / "checkpoint.safetensors")


ALWAYS = {
    "config.json",
    "encoder.json",
    "identity.json",
    "machine.json",
    "metrics.jsonl",
    "episodes.parquet",
    "checkpoint.safetensors",
    "checkpoint.json",
    "manifest.json",
}


class Interruption(BaseException):
    """What stands for a kill in a process that has to live on."""


class Recorder:
    """A progress that keeps what it is told."""

    def __init__(self):
        self.planned = self.taken = 0
        self.lines, self.stages, self.ends = [], [], 0

    def begin(self, title, steps):
        self.title, self.planned = title, steps

    def stage(self, name):
        self.stages.append(name)

    def advance(self, steps):
        self.taken += steps

    def say(self, line):
        self.lines.append(line)

    def end(self):
        self.ends += 1

    def close(self):
        pass


# The folder.


def test_a_run_leaves_a_complete_folder(configured, tmp_path):
    result = run(configured(), tmp_path)
    assert files(result.path) == ALWAYS
    assert result.path.relative_to(tmp_path).parts[1:] == ("pen", "state", "seed-0")
    assert not result.found
    folder = RunFolder(result.path)
    assert folder.status == "finished"
    assert folder.altered() == []


def test_the_resolved_configuration_is_in_the_folder(configured, tmp_path):
    config = configured("learner.step_size=0.02")
    found = RunFolder(run(config, tmp_path).path).config
    assert found["learner"]["step_size"] == 0.02
    assert found["learner"]["bc_epochs"] == 5
    assert found["preset"] == "quickstart"
    assert benchmark.RunConfig.model_validate(found).rollout.horizon == HORIZON


def test_metrics_have_a_row_an_iteration(configured, tmp_path):
    rows = RunFolder(run(configured(), tmp_path).path).metrics()
    assert [row["iteration"] for row in rows] == [0, 1, 2]
    assert [row["steps"] for row in rows] == [0, TRAJECTORIES * HORIZON, 2 * TRAJECTORIES * HORIZON]
    assert len(rows[0]["bc_loss"]) == 5
    for row in rows:
        assert {"physics", "draw", "encode", "act", "wait"} <= row["seconds"].keys()
        assert row["memory_mb"] > 10
        assert row["steps_per_second"] > 0
    for row in rows[1:]:
        learned = {"mean_return", "kl", "step", "gradient_norm", "value_loss", "train_success", "demonstration_weight"}
        assert all(math.isfinite(row[name]) for name in learned)
        assert row["kl"] > 0
        assert not row["skipped"]
    assert [row["demonstration_weight"] for row in rows[1:]] == pytest.approx([0.01, 0.01 * 0.95])


def test_episodes_have_a_row_an_evaluation_episode(configured, tmp_path):
    result = run(configured("evaluation.untrained=true", "evaluation.every=1"), tmp_path)
    table = RunFolder(result.path).episodes()
    assert Counter(table["iteration"]) == {-1: EPISODES, 0: EPISODES, 1: EPISODES, 2: EPISODES}
    assert set(table["background"]) == {"default"}
    assert table["seed"].tolist() == [HELD_OUT_SEED, HELD_OUT_SEED + 1] * 4
    assert table["length"].tolist() == [HORIZON] * 8
    means = table.groupby("iteration")["return"].mean()
    assert {number: scores[0] for number, scores in result.evaluations.items()} == pytest.approx(means.to_dict())
    metrics = {row["iteration"]: row["evaluation_return"] for row in RunFolder(result.path).metrics()}
    assert metrics == pytest.approx({number: means[number] for number in (0, 1, 2)})


def test_the_last_iteration_is_evaluated_whatever_the_period(configured, tmp_path):
    result = run(configured("evaluation.every=5", "learner.iterations=3"), tmp_path)
    assert sorted(result.evaluations) == [0, 3]


def test_the_papers_evaluation_repeats_the_first_training_resets(configured, tmp_path):
    result = run(configured("evaluation.seeds=training", seed=40), tmp_path)
    assert set(RunFolder(result.path).episodes()["seed"]) == {40, 41}


def test_a_run_from_pixels_is_filmed(configured, tiny_encoder, tmp_path):
    result = run(configured(encoder=tiny_encoder), tmp_path)
    assert result.title == "tiny"
    assert files(result.path) >= ALWAYS | {"video.mp4", "frames/start.png", "frames/strip.png"}
    assert len(imageio.imread(result.path / "video.mp4", plugin="FFMPEG")) == HORIZON
    tensors, _ = RunFolder(result.path).load_checkpoint()
    assert tensors["policy.observation_shift"].shape == (12 + 24,)
    assert RunFolder(result.path).metrics()[1]["seconds"]["encode"] > 0


def test_no_film_is_made_where_none_is_wanted(configured, tiny_encoder, tmp_path):
    result = run(configured("evaluation.video=false", "learner.iterations=0", encoder=tiny_encoder), tmp_path)
    assert files(result.path) == ALWAYS


def test_door_runs_from_pixels_too(configured, tiny_encoder, tmp_path):
    result = run(configured("learner.iterations=1", task="door", encoder=tiny_encoder), tmp_path)
    assert sorted(result.evaluations) == [0, 1]


# The same run, or another.


def test_a_finished_run_is_found_and_not_touched(configured, tmp_path):
    first = run(configured(), tmp_path)
    before = {name: (first.path / name).stat().st_mtime_ns for name in files(first.path)}
    again = run(configured(), tmp_path)
    assert again.found
    assert dataclasses.replace(again, found=False) == first
    assert {name: (again.path / name).stat().st_mtime_ns for name in files(again.path)} == before


def test_the_same_seed_gives_the_same_bits(configured, tmp_path):
    one, other = run(configured(), tmp_path / "one"), run(configured(), tmp_path / "other")
    assert final(one) == final(other)
    assert one.evaluations == other.evaluations


def test_the_global_generators_do_not_matter(configured, tmp_path):
    one = run(configured(), tmp_path / "one")
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002 - the point is that nobody uses it
    assert final(run(configured(), tmp_path / "other")) == final(one)


def test_seeds_differ(configured, tmp_path):
    one, other = run(configured(seed=0), tmp_path), run(configured(seed=1), tmp_path)
    assert one.path.parent == other.path.parent
    assert final(one) != final(other)
    assert one.evaluations != other.evaluations


def test_workers_change_no_bit_and_find_the_run_finished(configured, tiny_encoder, tmp_path):
    alone = run(configured(encoder=tiny_encoder), tmp_path / "alone")
    for workers in (1, 2):
        together = run(configured(encoder=tiny_encoder, workers=workers), tmp_path / str(workers))
        assert final(together) == final(alone), workers
        assert files(together.path) == files(alone.path)
    assert run(configured(encoder=tiny_encoder, workers=2), tmp_path / "alone").found


def test_another_identity_is_refused_and_named(configured, tmp_path):
    result = run(configured(), tmp_path)
    before = final(result)
    with pytest.raises(OutputError, match=r"\(config\.torch_threads 1 -> 2\): .* give --set torch_threads=1;"):
        run(configured(torch_threads=2), tmp_path)
    assert final(result) == before


def test_other_demonstrations_of_the_same_name_are_another_identity(configured, demonstration_file, tmp_path):
    path = tmp_path / "mine.npz"
    Demonstrations.load(demonstration_file("pen")).save(path)
    run(configured(demonstrations=path), tmp_path)
    Demonstrations.load(demonstration_file("pen", 3, 5)).save(path)
    with pytest.raises(OutputError, match=r"another identity \(demonstrations "):
        run(configured(demonstrations=path), tmp_path)


def test_an_edited_plugin_is_another_identity(configured, tiny_encoder, tmp_path):
    plugin = tmp_path / "mine.py"
    source = Path(tiny_encoder.removesuffix(":Tiny")).read_text().replace('"tiny"', '"edited"')
    plugin.write_text(source)
    run(configured("learner.iterations=0", encoder=f"{plugin}:Tiny"), tmp_path)
    plugin.write_text(source + "\n# another thought\n")
    with pytest.raises(OutputError, match=r"another identity \(encoder\.plugin_sha256"):
        run(configured("learner.iterations=0", encoder=f"{plugin}:Tiny"), tmp_path)


def test_the_results_version_of_a_task_with_official_meshes_is_another_identity_with_them_alone(
    configured, tmp_path, later_with_ycb
):
    for objects, version in (("builtin", 1), ("ycb", 7)):
        result = run(configured("learner.iterations=0", objects=objects), tmp_path)
        assert RunFolder(result.path).identity["task_results_version"] == version
    identity = result.path / "identity.json"
    identity.write_text(json.dumps(RunFolder(result.path).identity | {"task_results_version": 6}))
    RunFolder(result.path).finish()
    with pytest.raises(OutputError, match=r"another identity \(task_results_version 6 -> 7\)"):
        run(configured("learner.iterations=0", objects="ycb"), tmp_path)


def test_overwrite_begins_anew(configured, tmp_path):
    first = run(configured(), tmp_path)
    (first.path / "notes.txt").write_text("mine")
    again = run(configured(torch_threads=2), tmp_path, overwrite=True)
    assert again.path == first.path
    assert not again.found
    assert files(again.path) == ALWAYS
    assert RunFolder(again.path).identity["config"]["torch_threads"] == 2


def test_demonstration_features_are_shared_between_seeds(configured, tiny_encoder, tmp_path, cache):
    for seed in (0, 1):
        run(configured("learner.iterations=0", encoder=tiny_encoder, seed=seed), tmp_path)
    assert len(list((cache / "features").iterdir())) == 1


class Undrawn:
    """Simulators that are never asked for anything."""

    device = None

    def __init__(self, settings, workers):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


def test_demonstration_features_are_named_by_what_makes_them(configured, tiny_encoder, tmp_path, monkeypatch):
    asked = []

    def ask(demonstrations, simulators, encode, **options):
        asked.append(cache_path(demonstrations, options["made_by"]))
        raise Interruption

    monkeypatch.setattr(learning, "demonstration_pairs", ask)
    monkeypatch.setattr(context, "Simulators", Undrawn)
    monkeypatch.setattr(context, "require_gl", lambda: None)
    changes = [
        (),
        ("rollout.quality=paper",),
        ("rollout.slots=1",),
        ("physics=native",),
        ("demonstrations.episodes=1",),
    ]
    configs = [configured(*change, encoder=tiny_encoder) for change in changes]
    configs += [configured(encoder=tiny_encoder, torch_threads=2), configured(encoder="random")]
    same = [configured("learner.gamma=0.9", "evaluation.every=1", encoder=tiny_encoder, seed=5, egl_device=0)]
    for config in configs + same:
        with pytest.raises(Interruption):
            run(config, tmp_path, overwrite=True)
    assert len(set(asked[: len(configs)])) == len(configs)
    assert asked[-1] == asked[0]


# What is learned from.


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


# Going on.


def interrupt(monkeypatch, owner, name, at, after=False):
    """Make the `at`-th call of a method end the run, before or after it did its work."""
    original, calls = getattr(owner, name), []

    def wrapped(*arguments, **options):
        calls.append(1)
        if len(calls) == at and not after:
            raise Interruption
        result = original(*arguments, **options)
        if len(calls) == at:
            raise Interruption
        return result

    monkeypatch.setattr(owner, name, wrapped)


@pytest.fixture(scope="module")
def uninterrupted(demonstration_file, tmp_path_factory):
    source = f"demonstrations.source={demonstration_file('pen')}"
    config = configure("quickstart", [source, *TINY], task="pen", encoder="state", torch_threads=1, workers=0)
    result = run(config, tmp_path_factory.mktemp("uninterrupted"))
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
def test_a_run_ends_the_same_wherever_it_was_interrupted(
    where, count, after, configured, uninterrupted, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        owner = context.Simulators if where == "simulators.step" else RunFolder
        interrupt(patch, owner, where.rpartition(".")[2], count, after)
        with pytest.raises(Interruption):
            run(configured(), tmp_path)
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


def test_less_than_an_iteration_is_lost(configured, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch, RunFolder, "save_checkpoint", at=3)
        with pytest.raises(Interruption):
            run(configured(), tmp_path)
    progress = Recorder()
    run(configured(), tmp_path, progress=progress)
    assert "resumed after iteration 1" in progress.lines
    assert [stage for stage in progress.stages if stage.startswith("iteration")] == ["iteration 2/2"]


def test_a_damaged_checkpoint_is_one_line(configured, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch, RunFolder, "save_checkpoint", at=2)
        with pytest.raises(Interruption):
            run(configured(), tmp_path)
    checkpoint = next(tmp_path.rglob("checkpoint.safetensors"))
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    with pytest.raises(OutputError, match=r"checkpoint\.safetensors is damaged .*--overwrite"):
        run(configured(), tmp_path)


# Going wrong.


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
    with monkeypatch.context() as patch:
        interrupt(patch, RunFolder, "save_checkpoint", at=3, after=True)
        with pytest.raises(Interruption):
            run(config, tmp_path)
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


@pytest.mark.parametrize(
    ("name", "body", "expected"),
    [
        (
            "misshapen",
            "images.mean((2, 3))",
            r"forward returned shape \(3, 3\) for 3 images, not \(3, 12\); set feature_dim = 3",
        ),
        ("infinite", "images.mean((2, 3)).repeat(1, 4) / 0", r"values are NaN or infinite"),
        ("raising", "images.mean(1).nope", r"forward failed .*AttributeError"),
    ],
)
def test_a_broken_encoder_stops_the_run_before_any_work(name, body, expected, configured, tmp_path):
    plugin = tmp_path / "broken.py"
    plugin.write_text(
        f'from encoders import Encoder\nclass Broken(Encoder, name="{name}"):\n    feature_dim = 12\n'
        "    def __init__(self, weights=None):\n        super().__init__()\n"
        f"    def forward(self, images):\n        return {body}\n"
    )
    with pytest.raises(EncoderError, match=expected):
        run(configured(encoder=f"{plugin}:Broken"), tmp_path / "out")
    assert not any((tmp_path / "out").iterdir())


def test_weights_that_are_not_there_stop_the_run(configured, tmp_path):
    with pytest.raises(WeightsMissing, match=r"--weights /nowhere\.pt: no such file"):
        run(configured(encoder="hindex", weights="/nowhere.pt"), tmp_path)


def test_no_opengl_is_said_before_any_work(configured, tiny_encoder, tmp_path, monkeypatch):
    from benchmark import doctor
    from benchmark.errors import GraphicsError

    monkeypatch.setattr(doctor, "graphics", lambda: doctor.Graphics(problem="no driver"))
    with pytest.raises(GraphicsError, match="apt-get install libegl1 libgl1-mesa-dri"):
        run(configured(encoder=tiny_encoder), tmp_path)
    assert run(configured("learner.iterations=0"), tmp_path).evaluations, "state observations need no OpenGL"


# What it says.


@pytest.mark.parametrize(
    "overrides", [(), ("evaluation.untrained=true", "evaluation.every=1"), ("learner.iterations=0",)]
)
def test_the_announced_steps_are_the_steps_taken(overrides, configured, tmp_path):
    progress = Recorder()
    run(configured(*overrides), tmp_path, progress=progress)
    assert progress.taken == progress.planned
    assert progress.ends == 1


def test_progress_names_the_run_its_stages_and_its_scores(configured, tmp_path):
    progress = Recorder()
    run(configured(), tmp_path, progress=progress)
    assert progress.title == "state · pen · seed 0"
    assert [stage for stage in progress.stages if stage != "evaluate"] == [
        "start simulators",
        "demonstrations",
        "clone",
        "iteration 1/2",
        "iteration 2/2",
    ]
    said = "\n".join(progress.lines)
    assert "cloned: evaluation return" in said
    assert "iteration 2: training return" in said


def test_a_found_run_says_nothing(configured, tmp_path):
    run(configured(), tmp_path)
    progress = Recorder()
    run(configured(), tmp_path, progress=progress)
    assert progress.stages == progress.lines == []


def test_the_package_exports_the_runner():
    assert benchmark.run is run
    assert benchmark.configure is configure
    with pytest.raises(AttributeError, match="no attribute 'walk'"):
        _ = benchmark.walk


# The real network.


@pytest.mark.slow
def test_a_resnet_with_random_weights_is_called_so(configured, tmp_path):
    config = configured("learner.iterations=1", encoder="hindex", weights="random")
    result = run(config, tmp_path)
    assert result.title == "hindex (random)"
    assert result.path.parent.name == "hindex (random)"
    tensors, _ = RunFolder(result.path).load_checkpoint()
    assert tensors["policy.observation_shift"].shape == (2048 + 24,)
    identity = json.loads((result.path / "identity.json").read_text())
    assert identity["encoder"]["weights"] == "random"
    assert len(identity["encoder"]["weights_sha256"]) == 64
    assert final(
        run(configured("learner.iterations=1", encoder="hindex", weights="random", workers=2), tmp_path / "two")
    ) == final(result)


def test_random_weights_are_for_the_rehearsal_only(demonstration_file, tmp_path):
    source = f"demonstrations.source={demonstration_file('pen')}"
    with pytest.raises(WeightsMissing, match=r"bench weights fetch|--weights random"):
        run(configure("small", [source], task="pen", encoder="rrl"), tmp_path)


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
