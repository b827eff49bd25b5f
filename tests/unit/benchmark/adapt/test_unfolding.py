"""A folded encoder in Stages 2 and 3: its statistics are measured once, kept, and gone on with to the bit."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch
from small_runs import Recorder, final, interrupted, tiny_config

from benchmark import training_loop
from benchmark.adapt import data, unfolding
from benchmark.adapt.config import AdaptConfig
from benchmark.adapt.frames import FIRST_SEED, TOGETHER_SEED, AdaptFrames
from benchmark.adapt.training import adapt, adapted_path, is_finished, load_adapted, read_card
from benchmark.errors import FolderError
from benchmark.progress import Silent
from benchmark.rollout.simulators import Simulators
from benchmark.runner.runner import run as run_once
from encoders import build
from encoders.adapt.trunk import NotAdaptable, adaptable
from encoders.ema_batchnorm import attach
from encoders.unfold import folded

TINY = {"size": 64, "batch": 2, "steps": 4, "videos": 3, "held_out": 1, "device": "cpu", "workers": 0, "warm_up": 1}


@pytest.fixture(scope="module", autouse=True)
def rendered_once():
    """Render the frames of the same settings once."""
    videos, render = {}, unfolding.render_videos

    def render_once(settings, workers=0, egl_device=None, on_step=None):
        if settings not in videos:
            videos[settings] = render(settings)
        for _ in range(settings.limit if on_step else 0):
            on_step()
        return videos[settings]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "render_videos", render_once)
        patch.setattr(unfolding, "render_videos", render_once)
        yield


@pytest.fixture(autouse=True)
def no_rendering_in_vain(monkeypatch):
    """Count the measurements."""
    calls, measure = [], unfolding.measure

    def counted(encoder, batches):
        calls.append(encoder.name)
        return measure(encoder, batches)

    monkeypatch.setattr(unfolding, "measure", counted)
    return calls


def adapted(out, progress=None, **options):
    encoder, origin = build("mediapipe_hand", weights="random")
    return adapt(encoder, origin, "pen", out, AdaptConfig(**{**TINY, **options}), progress)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return adapted(tmp_path_factory.mktemp("whole"))


def frames(count=4):
    return np.random.default_rng(0).integers(0, 256, (count, 224, 224, 3), dtype=np.uint8)


# Stage 2.


def test_the_folder_holds_the_statistics_and_the_identity_says_how_they_were_measured(whole):
    statistics = safetensors.torch.load_file(whole / "statistics.safetensors")
    assert len(statistics) == 2 * 47
    assert "statistics.safetensors" in json.loads((whole / "manifest.json").read_text())["sha256"]
    measured = json.loads((whole / "identity.json").read_text())["unfolded"]
    assert measured["frames_each"] == 24
    assert [one["size"] for one in measured["videos"]] == [224]
    assert measured["videos"][0]["seed"] not in (FIRST_SEED, TOGETHER_SEED)
    trained = read_card(whole)["trained"]
    assert (trained["encoder_numbers"], trained["batchnorm_layers"]) == (38_656, 47)
    assert trained["percent_of"] == "the network without its classifier, 2,606,752"
    assert trained["percent"] == pytest.approx(1.483, abs=1e-3)


def test_what_was_learnt_is_put_into_a_folded_encoder(whole):
    (encoder, _), (before, _) = build("mediapipe_hand", weights="random"), build("mediapipe_hand", weights="random")
    load_adapted(encoder, whole)
    assert not folded(encoder)
    stored = safetensors.torch.load_file(whole / "batchnorm.safetensors")
    names = dict(adaptable(encoder).named_parameters())
    assert all(torch.equal(names[name], tensor) for name, tensor in stored.items())
    change = (encoder.encode(frames()) - before.encode(frames())).abs().max()
    assert 1e-4 < float(change) < 1.0


class Stop(Exception):
    """An accident."""


class Accident(Recorder):
    """A progress that fails after so many steps."""

    def __init__(self, steps):
        super().__init__()
        self.left = steps

    def advance(self, steps):
        self.left -= steps
        if self.left < 0:
            raise Stop


def test_a_killed_adaptation_ends_as_if_nothing_had_happened(whole, tmp_path, monkeypatch, no_rendering_in_vain):
    monkeypatch.setattr(training_loop, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(Stop):
        adapted(tmp_path, Accident(100 + 2))
    unfinished = adapted_path(tmp_path, "pen", whole.name)
    assert not is_finished(unfinished)
    assert no_rendering_in_vain == ["mediapipe_hand"]
    resumed = adapted(tmp_path)
    assert no_rendering_in_vain == ["mediapipe_hand"], "the statistics were found"
    for name in ("statistics.safetensors", "batchnorm.safetensors", "heads.safetensors"):
        one, other = (safetensors.torch.load_file(folder / name) for folder in (whole, resumed))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one), name
    assert read_card(resumed)["held_out"]["psnr"] == read_card(whole)["held_out"]["psnr"]


def test_what_cannot_be_adapted_is_refused_before_anything_is_written(tmp_path):
    encoder, origin = build("mediapipe_face", weights="random")
    with pytest.raises(NotAdaptable, match="'mediapipe_face': its last map has stride 64"):
        adapt(encoder, origin, "pen", tmp_path, AdaptConfig(**TINY))
    assert not list(tmp_path.iterdir())


# Stage 3.

MOVING = ("ema.momentum=0.2", "ema.scope=all", "ema.reset=never")


@pytest.fixture(scope="module")
def configured(demonstration_file):
    """Configurations of small runs of the smallest folded encoder: (*overrides, **fields) -> RunConfig."""

    def make(*overrides, **values):
        settings = ("evaluation.every=1", "evaluation.video=false", *overrides)
        options = {"encoder": "mediapipe_face", "weights": "random", "precision": "float32", "backend": "torch"}
        return tiny_config(demonstration_file("pen"), *settings, **(options | values))

    return make


@pytest.fixture(scope="module")
def moved(configured, tmp_path_factory):
    out = tmp_path_factory.mktemp("moved")
    return out, run_once(configured(*MOVING), out)


def recorded(result):
    return json.loads((result.path / "identity.json").read_text())["encoder"]


def test_statistics_move_and_are_kept_beside_the_runs(moved, configured, no_rendering_in_vain):
    out, result = moved
    (path,) = (out / "unfolded" / "pen").iterdir()
    start = safetensors.torch.load_file(path)
    checkpoint = safetensors.torch.load_file(result.path / "checkpoint.safetensors")
    name = "trunk.0.0.norm"
    moved_by = checkpoint[f"ema.{name}.mean"] - start[f"{name}.running_mean"]
    assert (moved_by.abs().amax(2) > 1e-5).all()
    assert sum(key.startswith("ema.") for key in checkpoint) == 2 * 35
    assert recorded(result)["adaptation_sha256"]
    again = run_once(configured(*MOVING, seed=1), out)
    assert no_rendering_in_vain == [], "another seed takes the same statistics"
    assert recorded(again) == recorded(result)


def test_without_a_momentum_nothing_is_unfolded_and_nothing_changes(configured, tmp_path, no_rendering_in_vain):
    result = run_once(configured("learner.iterations=0"), tmp_path)
    assert no_rendering_in_vain == []
    assert not (tmp_path / "unfolded").exists()
    assert recorded(result)["adaptation_sha256"] is None


def test_a_killed_run_ends_the_same(moved, configured, tmp_path, no_rendering_in_vain):
    _, whole_run = moved
    interrupted(configured(*MOVING), tmp_path, Simulators, "step", 30)
    resumed = run_once(configured(*MOVING), tmp_path)
    assert no_rendering_in_vain == ["mediapipe_face"]
    assert final(resumed) == final(whole_run)


def test_damaged_statistics_are_refused_in_one_line(configured, tmp_path):
    run_once(configured(*MOVING, "learner.iterations=0"), tmp_path)
    (path,) = (tmp_path / "unfolded" / "pen").iterdir()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(FolderError, match=r"is damaged \(its content is not .*; delete it to measure") as caught:
        run_once(configured(*MOVING, "learner.iterations=0", seed=1), tmp_path)
    assert "\n" not in str(caught.value)


def test_other_frames_have_another_file(configured, tmp_path):
    for overrides in ((), ("rollout.quality=shadows",)):
        encoder, _ = build("mediapipe_face", weights="random")
        config = configured(*MOVING, *overrides)
        unfolding.unfold_for_run(encoder, config, tmp_path, Silent())
        assert attach(encoder, momentum=0.1).layers
    assert len(list((tmp_path / "unfolded" / "pen").iterdir())) == 2


def test_evenly_spaced_frames_of_each_video_are_measured(monkeypatch):
    videos = torch.arange(4 * 9, dtype=torch.uint8).reshape(4, 9, 1, 1, 1)
    lengths = torch.tensor([9, 5, 1, 9])
    drawn = AdaptFrames(videos, lengths, np.zeros((4, 8, 1), np.float32), [0, 1, 2, 3])
    monkeypatch.setattr(unfolding, "render_videos", lambda *arguments: drawn)
    chosen = unfolding._frames(unfolding.frame_settings("pen", "fast", "builtin", "paper"), 0, None).reshape(4, 24)
    assert [row.min() for row in chosen] == [0, 9, 18, 27]
    assert [row.max() for row in chosen] == [8, 13, 18, 35]
