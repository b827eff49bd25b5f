"""A whole run, small: the folder it writes, what it says, and what stops it before any work."""

import json
import math
from collections import Counter

import imageio.v3 as imageio
import pytest
from small_runs import EPISODES, HORIZON, TRAJECTORIES, Recorder, files, final

import benchmark
from benchmark.config import HELD_OUT_SEED, configure
from benchmark.runner.runner import run
from benchmark.store.run_folder import RunFolder
from encoders.errors import EncoderError, WeightsMissing

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


def test_random_weights_are_for_quickstart_only(demonstration_file, tmp_path):
    source = f"demonstrations.source={demonstration_file('pen')}"
    with pytest.raises(WeightsMissing, match=r"bench weights fetch|--weights random"):
        run(configure("small", [source], task="pen", encoder="rrl"), tmp_path)


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
