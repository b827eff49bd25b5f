"""Stage 2 from a task to a folder: written whole, found again, gone on with, put into an encoder."""

import json

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from benchmark import training_loop
from benchmark.adapt import data
from benchmark.adapt.config import AdaptConfig, configure, folder_title, identity, joined
from benchmark.adapt.frames import FIRST_SEED, TOGETHER_SEED, AdaptFrames, FrameSettings
from benchmark.adapt.training import adapt, adapted_path, is_finished, load_adapted, read_card
from benchmark.config import configure as run_config
from benchmark.errors import ConfigError, OutputError
from benchmark.presets import PRESETS
from encoders import Encoder, WeightsOrigin
from encoders.adapt import affine, shipped
from encoders.adapt.trunk import NotAdaptable
from encoders.cards import IMAGENET, UNIT
from encoders.errors import WeightsInvalid
from encoders.weights.checkpoint import state_sha256
from tasks.cards import GROUPS

OWN = WeightsOrigin("own", sha256="0" * 64)
TINY = {"size": 64, "batch": 2, "steps": 4, "videos": 3, "held_out": 1, "device": "cpu", "workers": 0, "warm_up": 1}


def small_encoder():
    """A small ResNet that saw ImageNet-normalised images, the same every time."""

    class Small(Encoder):
        feature_dim = 512
        normalisation = IMAGENET

        def __init__(self):
            super().__init__()
            self.trunk = ResNet(BasicBlock, [1, 1, 1, 1])
            self.trunk.fc = nn.Identity()

        def forward(self, images):
            return self.trunk(self.normalise(images))

    Small.name = "small"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = Small().eval().requires_grad_(False)
    encoder.origin = WeightsOrigin("own", sha256=state_sha256(encoder.state_dict()))
    return encoder


def run(out, progress=None, encoder=None, **options):
    encoder = encoder or small_encoder()
    config = AdaptConfig(**{**TINY, **options})
    return adapt(encoder, encoder.origin, "pen", out, config, progress)


@pytest.fixture(scope="module", autouse=True)
def rendered_once():
    """Render the frames of the same settings once: any number of workers gives the same (see test_frames.py)."""
    videos, render = {}, data.render_videos

    def render_once(settings, workers, egl_device, on_step):
        if settings not in videos:
            videos[settings] = render(settings)
        for _ in range(settings.limit):
            on_step()
        return videos[settings]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "render_videos", render_once)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return out, run(out)


def test_the_folder_is_complete(finished):
    out, folder = finished
    title = folder_title(AdaptConfig(**TINY), WeightsOrigin("own"), "small")
    assert folder == adapted_path(out, "pen", title) == out / "adapt" / "pen" / title
    assert is_finished(folder)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    pictures = {name for name in files if name.startswith("keypoints/")}
    assert len(pictures) == 10
    assert files - pictures == {
        *("identity.json", "config.json", "card.json", "manifest.json", "metrics.jsonl", ".lock", "strip.png"),
        *("batchnorm.safetensors", "pretrained.safetensors", "heads.safetensors"),
    }


def test_the_card_says_what_was_done(finished):
    card = read_card(finished[1])
    assert card["trained"]["encoder_numbers"] == affine.count(small_encoder().trunk) == 5760
    assert card["trained"]["batchnorm_layers"] == 12
    assert card["training"]["steps"] == 4
    assert card["data"]["held_out_videos"] == 1
    assert "not VGG-16" in card["perceptual_network"]
    assert "Penn Action" in card["heads"]
    assert set(card["held_out"]["psnr"]["reconstruction"]) == {"mean", "low", "high"}
    assert card["held_out"]["psnr"]["copy_of_the_source"]["mean"] > card["held_out"]["psnr"]["reconstruction"]["mean"]
    assert 0.0 < card["held_out"]["keypoints_on_hand_or_object"]["uniform_points"]["mean"] < 0.5


def test_every_step_left_its_losses(finished):
    rows = [json.loads(line) for line in (finished[1] / "metrics.jsonl").read_text().splitlines()]
    training = [row for row in rows if "loss" in row]
    assert training[-1]["step"] == 4
    assert len(training[-1]["terms"]) == 6
    assert training[-1]["loss"] == pytest.approx(sum(training[-1]["quotients"]), abs=1e-3)
    assert [row["step"] for row in rows if row.get("held_out")] == [1, 2, 3]


def test_the_pictures_show_something(finished):
    strip = np.asarray(Image.open(finished[1] / "strip.png"))
    assert strip.shape == (26 + 224, 4 * 230 - 6, 3)
    first, last = (np.asarray(Image.open(path)) for path in sorted((finished[1] / "keypoints").iterdir())[::9])
    assert first.shape == (224, 224, 3)
    assert (first != last).any()


def test_an_encoder_gets_what_was_learnt(finished):
    encoder = small_encoder()
    before = affine.extract(encoder.trunk)
    pretrained = safetensors.torch.load_file(finished[1] / "pretrained.safetensors")
    assert before.keys() == pretrained.keys()
    assert all(torch.equal(before[name], pretrained[name]) for name in before)
    card = load_adapted(encoder, finished[1])
    assert card["task"] == "pen"
    assert encoder.normalisation == UNIT
    adapted = safetensors.torch.load_file(finished[1] / "batchnorm.safetensors")
    for name, tensor in affine.extract(encoder.trunk).items():
        assert torch.equal(tensor, adapted[name])
        assert not torch.equal(tensor, before[name]), name


def test_the_encoder_that_is_adapted_stays_as_it_is(tmp_path):
    encoder = small_encoder()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    run(tmp_path, encoder=encoder, mode="all", steps=1)
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.state_dict().items())
    assert encoder.normalisation == IMAGENET


def test_a_finished_adaptation_is_found_again(finished):
    out, folder = finished
    before = (folder / "batchnorm.safetensors").stat().st_mtime_ns
    assert run(out) == folder
    assert run(out, workers=2) == folder
    assert (folder / "batchnorm.safetensors").stat().st_mtime_ns == before


def test_other_settings_have_another_folder_and_other_weights_are_refused(finished):
    out, folder = finished
    config = AdaptConfig(**TINY)
    other = config.model_copy(update={"seed": 1})
    assert folder_title(other, WeightsOrigin("own"), "small") != folder.name
    assert folder_title(config.model_copy(update={"workers": 2}), WeightsOrigin("own"), "small") == folder.name
    encoder = small_encoder()
    encoder.origin = WeightsOrigin("own", sha256="0" * 64)
    with pytest.raises(OutputError, match=r"holds another adaptation \(encoder\.weights_sha256"):
        run(out, encoder=encoder)


def test_the_usual_settings_have_the_plain_name():
    assert folder_title(AdaptConfig(), WeightsOrigin("official"), "frankmocap_hand") == "frankmocap_hand"
    builtin = WeightsOrigin("builtin", label="(builtin)")
    assert folder_title(AdaptConfig(), builtin, "frankmocap_hand") == "frankmocap_hand (builtin)"


class Stop(Exception):
    """An accident."""


class Accident:
    """A progress that fails after so many steps."""

    def __init__(self, steps):
        self.left = steps

    def advance(self, steps):
        self.left -= steps
        if self.left < 0:
            raise Stop

    def begin(self, title, steps): ...
    def stage(self, name): ...
    def say(self, line): ...
    def end(self): ...
    def close(self): ...


@pytest.mark.parametrize("mode", ["affine", pytest.param("all", marks=pytest.mark.slow)])
def test_a_killed_adaptation_ends_as_if_nothing_had_happened(tmp_path, monkeypatch, mode):
    whole = run(tmp_path / "whole", mode=mode)
    monkeypatch.setattr(training_loop, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(Stop):
        run(tmp_path / "unlucky", Accident(100 + 2), mode=mode)
    monkeypatch.undo()
    unfinished = adapted_path(tmp_path / "unlucky", "pen", whole.name)
    assert not is_finished(unfinished)
    assert (unfinished / "checkpoint.safetensors").is_file()
    resumed = run(tmp_path / "unlucky", mode=mode)
    names = ["batchnorm.safetensors", "heads.safetensors"] + (["trunk.safetensors"] if mode == "all" else [])
    for name in names:
        one, other = (safetensors.torch.load_file(folder / name) for folder in (whole, resumed))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one), name
    assert read_card(resumed)["training"]["sessions"] == 2
    assert read_card(resumed)["held_out"]["psnr"] == read_card(whole)["held_out"]["psnr"]
    steps = [json.loads(line)["step"] for line in (resumed / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)
    assert not (resumed / "checkpoint.safetensors").exists()


def test_mode_all_leaves_the_whole_trunk(tmp_path):
    folder = run(tmp_path, mode="all", steps=1, warm_up=0)
    encoder = small_encoder()
    load_adapted(encoder, folder)
    stored = safetensors.torch.load_file(folder / "trunk.safetensors")
    assert all(torch.equal(stored[name], tensor) for name, tensor in encoder.trunk.state_dict().items())
    assert not torch.equal(encoder.trunk.conv1.weight, small_encoder().trunk.conv1.weight)


def test_a_loss_that_is_no_number_is_one_line(tmp_path):
    encoder = small_encoder()
    with torch.no_grad():
        encoder.trunk.layer1[0].conv1.weight.fill_(float("nan"))
    with pytest.raises(OutputError, match=r"Stage 2 of pen: the loss is nan at step 4; give a smaller") as error:
        run(tmp_path, encoder=encoder)
    assert "\n" not in str(error.value)


def test_an_encoder_without_batchnorm_is_refused_before_anything_is_written(tmp_path):
    class Plain(Encoder):
        feature_dim = 3

        def forward(self, images):
            return images.mean((2, 3))

    with pytest.raises(NotAdaptable, match="no BatchNorm layer to adapt"):
        adapt(Plain(), WeightsOrigin("own"), "pen", tmp_path, AdaptConfig(**TINY))
    assert not list(tmp_path.iterdir())


def test_without_a_task_nothing_is_written(tmp_path):
    encoder = small_encoder()
    with pytest.raises(ConfigError, match="no task is named"):
        adapt(encoder, encoder.origin, (), tmp_path, AdaptConfig(**TINY))
    assert not list(tmp_path.iterdir())


def test_settings_that_cannot_be_used_are_told_in_one_line():
    for key, value, words in (
        ("size", 100, "should be a multiple of 32"),
        ("mode", "some", "should be 'none', 'affine' or 'all'"),
        ("cool_down", 2, r"should be at most 1\.0"),
    ):
        with pytest.raises(ConfigError, match=f"^setting '{key}': {words}, got "):
            configure(**{key: value})
    with pytest.raises(ConfigError, match=r"^unknown setting 'stepps': did you mean 'steps'\?"):
        configure(overrides=["stepps=3"])
    with pytest.raises(ConfigError, match="none is left to train on"):
        configure(videos=10).resolve(OWN)
    with pytest.raises(ConfigError, match=r"no heads at gone\.pth"):
        configure(heads="gone.pth").resolve(OWN)
    with pytest.raises(ConfigError, match="--heads shipped: these were trained on the Stage 1 that ships"):
        configure(heads="shipped").resolve(OWN)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_adapts_as_its_runs_do(preset):
    config = run_config(preset, task="door", encoder="hindex")
    adaptation = configure(preset)
    assert config.adaptation.model_dump().items() <= adaptation.model_dump().items()
    assert (adaptation.quality, adaptation.objects) == (config.rollout.quality, config.objects)


def test_what_is_decided_on_this_machine_is_part_of_the_identity():
    resolved = AdaptConfig(steps=500).resolve(OWN)
    assert (resolved.perceptual, resolved.heads, resolved.warm_up, resolved.map_rate) == ("stage1", "drawn", 50, 0.02)
    encoder = small_encoder().describe()
    made = identity(resolved, encoder, ("door",))
    assert made["perceptual"] == "stage1"
    assert made["encoder"]["weights_sha256"] == encoder["weights_sha256"]
    assert not {"device", "workers"} & made.keys()
    assert made != identity(resolved, encoder, ("pen",))


def test_an_adaptation_with_official_meshes_has_the_tasks_version_of_these(later_with_ycb):
    encoder = small_encoder().describe()
    for pack, version in (("builtin", 1), ("ycb", 7)):
        made = identity(AdaptConfig(objects=pack).resolve(OWN), encoder, ("pen",))
        assert made["tasks"] == [{"name": "pen", "results_version": version}]


# Several tasks together, and heads that begin the next adaptation.


def test_one_task_or_several_have_one_name():
    assert joined(["door"]) == "door"
    assert joined(["door", "pen"]) == "door+pen"
    assert joined(GROUPS["all"]) == "all"
    assert joined(GROUPS["every"][::-1]) == "every"
    assert joined([*GROUPS["all"], "push-ball"]).count("+") == len(GROUPS["all"])


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    out, encoder = tmp_path_factory.mktemp("together"), small_encoder()
    return adapt(encoder, encoder.origin, ("pen", "door"), out, AdaptConfig(**{**TINY, "mode": "none"}))


def test_several_tasks_are_adapted_to_together(together):
    assert together.parent.name == "pen+door"
    card = read_card(together)
    assert card["tasks"] == ["pen", "door"]
    assert card["data"]["frames_a_video"] == {"pen": 100, "door": 150}
    assert card["data"]["first_seed"] == TOGETHER_SEED
    assert card["held_out"]["by_task"].keys() == {"pen", "door"}
    means = {task: rows["psnr"]["copy_of_the_source"]["mean"] for task, rows in card["held_out"]["by_task"].items()}
    assert card["held_out"]["psnr"]["copy_of_the_source"]["mean"] == pytest.approx(sum(means.values()) / 2)
    assert np.asarray(Image.open(together / "strip.png")).shape == (26 + 2 * 230 - 6, 4 * 230 - 6, 3)
    assert len(list((together / "keypoints").glob("pen-*.png"))) == 10
    before = affine.extract(small_encoder().trunk)
    after = safetensors.torch.load_file(together / "batchnorm.safetensors")
    assert all(torch.equal(before[name], tensor) for name, tensor in after.items())


def test_its_heads_begin_an_adaptation_to_one_of_them(together, tmp_path):
    folder = run(tmp_path, heads=str(together / "heads.safetensors"), steps=1, learning_rate=1e-12, warm_up=None)
    card = read_card(folder)
    assert card["heads"].startswith("of the file heads.safetensors, sha256 ")
    assert (card["training"]["warm_up"], card["training"]["map_rate"]) == (0, 1.0)
    assert card["data"]["first_seed"] == FIRST_SEED
    first, second = (safetensors.torch.load_file(path / "heads.safetensors") for path in (together, folder))
    name = "model.image_renderer.layer1.0.weight"
    assert torch.equal(first[name], second[name])


def test_what_draws_may_be_that_of_heads_over_another_network(together, tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "HEADS", together / "heads.safetensors")
    encoder = small_encoder()
    encoder.trunk.layer4[0].conv2 = nn.Conv2d(512, 96, 3, padding=1, bias=False)
    encoder.trunk.layer4[0].bn2 = nn.BatchNorm2d(96)
    encoder.trunk.layer4[0].downsample = nn.Sequential(nn.Conv2d(256, 96, 1, 2, bias=False), nn.BatchNorm2d(96))
    encoder.eval().requires_grad_(False)
    folder = run(tmp_path, encoder=encoder, heads="renderer", steps=1, learning_rate=1e-12, warm_up=None)
    card = read_card(folder)
    assert card["heads"].startswith("what draws is that of the shipped heads")
    assert (card["training"]["warm_up"], card["training"]["map_rate"]) == (0, 1.0)
    first, second = (safetensors.torch.load_file(path / "heads.safetensors") for path in (together, folder))
    drawing = [name for name in first if name.startswith(("model.image_", "model.pose_encoder."))]
    assert len(drawing) > 100
    # BatchNorm's statistics are kept too; the learning rate moves nothing that half precision shows.
    assert all(torch.allclose(first[name].float(), second[name].float(), atol=1e-6) for name in drawing)
    deconvolution = "model.pose_net.deconv_layers.0.weight"
    assert (first[deconvolution].shape[0], second[deconvolution].shape[0]) == (512, 96)
    fitted = second["model.pose_net.deconv_layers.1.running_var"]
    assert not torch.equal(fitted, torch.ones_like(fitted))


def test_heads_of_another_network_are_refused(together, tmp_path):
    tensors = safetensors.torch.load_file(together / "heads.safetensors")
    del tensors["model.image_renderer.layer1.0.weight"]
    safetensors.torch.save_file(tensors, tmp_path / "torn.safetensors")
    with pytest.raises(WeightsInvalid, match=r"1 missing: image_renderer\.layer1\.0\.weight"):
        run(tmp_path, heads=str(tmp_path / "torn.safetensors"))


def test_heads_that_ship_begin_where_they_fit(monkeypatch, tmp_path):
    origin, path = WeightsOrigin("builtin", sha256="a" * 64, label="(builtin)"), tmp_path / "heads.safetensors"
    monkeypatch.setattr(shipped, "HEADS", path)
    assert AdaptConfig().resolve(origin).heads == "drawn"
    safetensors.torch.save_file({"x": torch.zeros(1)}, path, {shipped.ADAPTED_FROM: "a" * 64})
    resolved = AdaptConfig().resolve(origin)
    assert (resolved.heads, resolved.heads_path, resolved.warm_up, resolved.map_rate) == ("shipped", path, 0, 0.1)
    assert AdaptConfig(heads="drawn").resolve(origin).heads_path is None
    assert AdaptConfig().resolve(OWN).heads == "drawn"


def test_pairs_of_several_tasks_take_turns():
    def part(value):
        videos = torch.full((3, 4, 64, 64, 3), value, dtype=torch.uint8)
        train = AdaptFrames(videos, torch.full((3,), 4), np.zeros((3, 3, 1), np.float32), [0, 1, 2])
        return data.TaskFrames(FrameSettings("pen"), train, train, torch.zeros(64, 64, 3))

    parts = [part(10), part(20), part(30)]
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        source, target = data.pairs(parts, generator, 4)
        assert torch.equal(source, target)
        assert source.shape == (4, 64, 64, 3)
        values = source[:, 0, 0, 0].tolist()
        assert sorted(values[:3]) == [10, 20, 30]
