"""What ships of Stage 2, made of finished adaptations."""

import json
import sys

import pytest
import safetensors
import safetensors.torch
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from benchmark.adapt import ship as adapt_ship
from benchmark.adapt.ship import ship
from benchmark.adapt.unfolding import write_statistics
from benchmark.errors import OutputError
from encoders import build
from encoders.adapt import affine, shipped
from encoders.adapt.files import load_heads
from encoders.adapt.model import KeypointModel
from encoders.adapt.packed import unpack
from encoders.adapt.trunk import adaptable
from encoders.unfold import measure, unfold

WEIGHTS = "b" * 64


def held_out(copy=0.4, mean=0.3, points=0.02):
    """Return a card's results on held-out frames, given the lower ends of their intervals."""
    over_copy, over_mean, over_uniform = ({"mean": x + 0.5, "low": x, "high": x + 1.0} for x in (copy, mean, points))
    return {
        "psnr": {"reconstruction_minus_copy": over_copy, "reconstruction_minus_mean_image": over_mean},
        "keypoints_on_hand_or_object": {"difference": over_uniform},
    }


@pytest.fixture
def model():
    trunk = ResNet(BasicBlock, [1, 1, 1, 1]).eval()
    trunk.fc = nn.Identity()
    return KeypointModel(trunk)


@pytest.fixture
def finished(tmp_path, model, monkeypatch):
    """Writes what a finished adaptation leaves; the package's folder is an empty one."""
    builtin = tmp_path / "builtin"
    (builtin / "adapted").mkdir(parents=True)
    monkeypatch.setattr(shipped, "HEADS", builtin / "heads.safetensors")
    monkeypatch.setattr(shipped, "FOLDER", builtin / "adapted")

    def write(tasks, mode, weights="builtin", **gains):
        folder = tmp_path / "runs"
        folder.mkdir()
        card = {
            "name": "Stage 2",
            "task": "+".join(tasks),
            "tasks": tasks,
            "encoder": {"name": "frankmocap_hand", "weights": weights, "weights_sha256": WEIGHTS},
            "trained": {"mode": mode},
            "held_out": held_out(**gains),
        }
        (folder / "card.json").write_text(json.dumps(card))
        safetensors.torch.save_file(affine.extract(model.pose_net.trunk), folder / "batchnorm.safetensors")
        state = {f"model.{name}": tensor.half() if tensor.ndim == 4 else tensor for name, tensor in heads(model)}
        state |= {
            "model.pose_net.trunk.bn1.weight": torch.ones(64),
            "loss.means": torch.ones(6),
            "steps": torch.tensor(3),
        }
        safetensors.torch.save_file(state, folder / "heads.safetensors")
        return folder

    return write


def heads(model):
    return [item for item in model.state_dict().items() if not item[0].startswith("pose_net.trunk.")]


def test_scales_and_offsets_of_a_task(finished, model):
    path = ship(finished(["pen"], "affine"))
    assert path == shipped.path("pen")
    assert shipped.fits(path, WEIGHTS)
    assert not shipped.fits(path, "c" * 64)
    tensors = safetensors.torch.load_file(path)
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert tensors.keys() == affine.affine_parameters(model.pose_net.trunk).keys()
    card = json.loads(path.with_suffix(".json").read_text())
    assert (card["task"], card["stored"]) == ("pen", "half precision")


def test_heads_of_several_tasks(finished, model):
    path = ship(finished(["pen", "door"], "none"))
    assert shipped.fits(path, WEIGHTS)
    names = {name.removeprefix("model.") for name in safetensors.torch.load_file(path)}
    assert not {name for name in names if name.startswith(("pose_net.trunk.", "pose_net.sup_", "loss"))}
    before = dict(heads(model))
    other = KeypointModel(model.pose_net.trunk)
    load_heads(other, path)
    for name, tensor in other.state_dict().items():
        if name in names:
            assert torch.allclose(tensor.float(), before[name].float(), atol=1e-3), name
    assert {"image_renderer.layer4.6.weight", "pose_net.deconv_layers.0.weight"} <= names


def test_batchnorm_that_was_folded_is_packed_under_the_licence_of_its_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path / "adapted")
    folder = tmp_path / "runs"
    folder.mkdir()
    encoder, _ = build("mediapipe_hand", weights="random")
    statistics = measure(encoder, [torch.randint(0, 256, (1, 224, 224, 3), dtype=torch.uint8).numpy()])
    write_statistics(folder / "statistics.safetensors", statistics)
    unfold(encoder, statistics)
    learnt = affine.extract(adaptable(encoder))
    name = "network.0.0.norm.bias"
    learnt[name] = learnt[name] + 0.25
    safetensors.torch.save_file(learnt, folder / "batchnorm.safetensors")
    card = {
        "name": "Stage 2",
        "task": "pen",
        "tasks": ["pen"],
        "encoder": {"name": "mediapipe_hand", "weights": "official", "weights_sha256": WEIGHTS},
        "trained": {"mode": "affine"},
        "held_out": held_out(),
    }
    (folder / "card.json").write_text(json.dumps(card))
    path = ship(folder)
    assert path == shipped.path("pen", "mediapipe_hand")
    assert shipped.fits(path, WEIGHTS)
    with safetensors.safe_open(path, "pt") as opened:
        assert opened.metadata()["licence"] == "Apache-2.0"
    assert path.stat().st_size < 160_000
    other, _ = build("mediapipe_hand", weights="random")
    unpack(other, safetensors.torch.load_file(path))
    found = affine.extract(adaptable(other))
    assert all(torch.allclose(found[key], tensor, atol=1e-3) for key, tensor in learnt.items())
    torch.testing.assert_close(found[name], learnt[name])


@pytest.mark.parametrize(
    ("tasks", "mode", "weights"),
    [
        (["pen"], "affine", "random"),
        (["pen"], "affine", "official"),
        (["pen"], "all", "builtin"),
        (["pen", "door"], "affine", "builtin"),
    ],
)
def test_what_does_not_belong_there_is_refused(finished, tasks, mode, weights):
    with pytest.raises(OutputError, match=f"Stage 2 of {weights} weights in mode {mode}; what ships is of"):
        ship(finished(tasks, mode, weights))
    assert not shipped.HEADS.exists()
    assert not list(shipped.FOLDER.iterdir())


@pytest.mark.parametrize(
    ("gains", "what"),
    [
        ({"copy": -0.1}, r"\+0.4 \[-0.1, 0.9\] dB of PSNR over the source frame"),
        ({"mean": -0.07}, r"\+0.43 \[-0.07, 0.93\] dB of PSNR over the mean image"),
        ({"points": 0.0}, r"\+0.5 \[0, 1\] keypoints on hand or object over uniform points"),
    ],
)
def test_what_learned_nothing_does_not_ship(finished, gains, what):
    with pytest.raises(OutputError, match=f"{what}.*; what ships has its 95 % interval above 0"):
        ship(finished(["pen"], "affine", **gains))
    assert not list(shipped.FOLDER.iterdir())


def test_an_unfinished_one_is_told_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["adapt_ship", str(tmp_path / "gone")])
    with pytest.raises(SystemExit, match=r"^bench: .*gone"):
        adapt_ship.main()
