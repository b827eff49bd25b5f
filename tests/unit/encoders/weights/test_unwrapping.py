"""Checkpoints as people have them: containers and prefixes around the network's own names, or one line that helps."""

import argparse

import pytest
import torch
from safetensors.torch import save_file

from encoders import WeightsInvalid
from encoders.weights.checkpoint import ADAPTED, RESNET_LAYOUTS, TORCHVISION, Layout, holds_layout, load, load_trunk

SMALL = {
    "conv1.weight": torch.arange(12.0).reshape(2, 6),
    "bn1.weight": torch.ones(2),
    "bn1.num_batches_tracked": torch.tensor(7),
    "layer1.0.conv1.weight": torch.full((2, 2), 3.0),
}
OTHER = {name: tensor + 1 for name, tensor in SMALL.items()}
HEAD = {"fc.weight": torch.zeros(3), "fc.bias": torch.zeros(3)}
ADAPTED_NAMES = {f"module.pose_net.{name}": tensor for name, tensor in SMALL.items()}
HAND = {f"main_encoder.{name}": tensor for name, tensor in SMALL.items()} | {"regressor.0.bias": torch.zeros(3)}


def behind(prefix, tensors=SMALL):
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


ACCEPTED = {
    "as it is": SMALL | HEAD,
    **{
        f"prefix {prefix}": behind(prefix, SMALL | HEAD)
        for prefix in ("module.", "_orig_mod.", "model.", "_orig_mod.module.", "module._orig_mod.", "backbone.", "a.b.")
    },
    **{
        f"container {name}": {name: behind(prefix), "epoch": 3, "optimizer": {"state": {0: {"step": torch.zeros(1)}}}}
        for name in ("state_dict", "model", "model_state_dict", "net", "network", "ema", "teacher")
        for prefix in ("", "module.")
    },
    "ImageNet's": {"epoch": 90, "arch": "resnet50", "best_acc1": torch.tensor(76.0), "state_dict": behind("module.")},
    "settings beside": {"state_dict": SMALL, "args": argparse.Namespace(lr=0.1)},
    "containers in containers": {"checkpoint": {"model": behind("model."), "step": 1}},
    "the same twice": {"model": SMALL, "state_dict": {name: tensor.clone() for name, tensor in SMALL.items()}},
    "an averaged model": behind("module.") | {"n_averaged": torch.tensor(5)},
    "adapted": ADAPTED_NAMES,
    "adapted, compiled": behind("_orig_mod.", ADAPTED_NAMES),
    "adapted, inside": {"model": ADAPTED_NAMES},
    "FrankMocap in DataParallel": behind("module.", HAND),
    "FrankMocap inside": {"state_dict": HAND},
}


@pytest.mark.parametrize("suffix", [".pth", ".pth.tar", ".safetensors"])
@pytest.mark.parametrize("name", list(ACCEPTED))
def test_what_is_wrapped_unambiguously_is_unwrapped(tmp_path, name, suffix):
    path, content = tmp_path / f"w{suffix}", ACCEPTED[name]
    if suffix != ".safetensors":
        torch.save(content, path)
    elif all(isinstance(value, torch.Tensor) for value in content.values()):
        save_file({name: tensor.clone() for name, tensor in content.items()}, path)
    else:
        pytest.skip("safetensors holds tensors only")
    state = load_trunk(path, SMALL, RESNET_LAYOUTS)
    assert list(state) == list(SMALL)
    assert all(torch.equal(state[name], SMALL[name]) for name in SMALL)
    assert holds_layout(path, ADAPTED) == name.startswith("adapted")


def test_what_was_left_out_is_said_as_the_file_names_it(tmp_path):
    torch.save({"state_dict": behind("module.", SMALL | HEAD), "epoch": 1}, tmp_path / "w.pth")
    loaded = load(tmp_path / "w.pth", SMALL, (TORCHVISION,), "a network")
    assert loaded.left_out == ("module.fc.weight", "module.fc.bias", "epoch")


def test_a_layout_that_fits_as_it_is_is_taken_even_if_something_else_would_fit_too(tmp_path):
    torch.save({"model": SMALL, "ema": OTHER}, tmp_path / "w.pth")
    loaded = load(tmp_path / "w.pth", SMALL, (Layout("theirs", container="model"), TORCHVISION), "a network")
    assert loaded.layout == "theirs"
    assert torch.equal(loaded.state["conv1.weight"], SMALL["conv1.weight"])


def test_a_layout_with_a_container_is_taken_without_it_too(tmp_path):
    layout = Layout("theirs", "backbone.", container="state_dict", rest=True)
    torch.save(behind("backbone.") | behind("module.head."), tmp_path / "w.pth")
    assert load(tmp_path / "w.pth", SMALL, (layout,), "a network").layout == "theirs"


REFUSED = {
    "two networks": (
        {"model": SMALL, "ema": OTHER},
        r"holds a ResNet-50 2 times, with other numbers: in 'model', 'ema'; save the one you mean: "
        r"torch\.save\(torch\.load\('w\.pth'\)\['ema'\], 'tensors\.pth'\)",
    ),
    "student and teacher": (
        {"student": behind("module."), "teacher": OTHER, "epoch": 1},
        r"2 times, with other numbers: in 'student', 'teacher'",
    ),
    "a head beside": (
        {"state_dict": behind("model.") | {"loss.weight": torch.zeros(3)}},
        r"has a ResNet-50 behind 'model\.' in 'state_dict' and more tensors beside it; keep it alone: torch\.save\("
        r"\{name\[6:\]: t for name, t in torch\.load\('w\.pth'\)\['state_dict'\]\.items\(\)",
    ),
    "two behind prefixes": (
        behind("student.") | behind("teacher.", OTHER),
        r"has a ResNet-50 behind 'student\.' and 'teacher\.' and more tensors beside it; keep the one you mean",
    ),
    "another network": ({"state_dict": {"module.other.weight": torch.zeros(3)}, "epoch": 1}, r"3 missing: conv1\.w"),
    "one tensor short": (
        {"state_dict": {name: tensor for name, tensor in behind("module.").items() if "bn1.weight" not in name}},
        r"read as torchvision layout in 'state_dict' without 'module\.', tensors 1 missing: bn1\.weight",
    ),
    "a wrong shape": (
        behind("module.", SMALL | {"bn1.weight": torch.ones(3)}),
        r"read as torchvision layout without 'module\.', tensors 1 of wrong shape: bn1\.weight",
    ),
    "a whole module": (
        torch.nn.Conv2d(1, 1, 1),
        r"holds a whole pickled object \(torch\.nn\.modules\.conv\.Conv2d\) and not named tensors; where its code can "
        r"be imported and you trust it, run in Python: "
        r"torch\.save\(torch\.load\('w\.pth', weights_only=False\)\.state_dict\(\), 'tensors\.pth'\)",
    ),
    "a whole module inside": (
        {"model": torch.nn.BatchNorm1d(1), "optimizer": {"state": {}}},
        r"\(torch\.nn\.modules\.batchnorm\.BatchNorm1d\) in 'model' and not named .*\['model'\]\.state_dict\(\)",
    ),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_cannot_be_unwrapped_gets_one_line_with_the_remedy(tmp_path, name):
    content, message = REFUSED[name]
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsInvalid, match=message) as caught:
        load_trunk(tmp_path / "w.pth", SMALL, RESNET_LAYOUTS)
    assert str(tmp_path / "w.pth") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["two networks", "a head beside", "two behind prefixes", "a whole module"])
def test_the_remedy_works(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    content, _ = REFUSED[name]
    if name == "a whole module":
        content = torch.nn.Sequential(torch.nn.Linear(2, 2))
    torch.save(content, "w.pth")
    expected = content.state_dict() if name == "a whole module" else SMALL
    with pytest.raises(WeightsInvalid) as caught:
        load(tmp_path / "w.pth", expected, (TORCHVISION,), "it")
    line = str(caught.value)
    remedy = line[line.index("torch.save(") :].split("; expected")[0]
    exec(remedy, {"torch": torch})
    assert load(tmp_path / "tensors.pth", expected, (TORCHVISION,), "it").state.keys() == expected.keys()


def test_a_torchscript_program_is_called_so(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "w.pth")
    with pytest.raises(WeightsInvalid, match=r"holds a TorchScript program .*torch\.jit\.load\('w\.pth'\)\.state_dict"):
        load_trunk(tmp_path / "w.pth", SMALL, RESNET_LAYOUTS)


def test_a_thousand_containers_do_not_take_long(tmp_path):
    torch.save({f"c{i}": behind("module.", {"other.weight": torch.ones(1)}) for i in range(1000)}, tmp_path / "w.pth")
    with pytest.raises(WeightsInvalid, match="missing"):
        load_trunk(tmp_path / "w.pth", SMALL, RESNET_LAYOUTS)
