"""``bench adapt`` as a user types it."""

import json
import os
import signal
import time

import pytest
import safetensors.torch
import torch

from benchmark.cli.app import main

SMALL = """
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from encoders import Encoder


class Small(Encoder, name="small"):
    feature_dim = 512

    def __init__(self, weights=None):
        super().__init__()
        self.trunk = ResNet(BasicBlock, [1, 1, 1, 1])
        self.trunk.fc = nn.Identity()

    def forward(self, images):
        return self.trunk(images)
"""


@pytest.fixture
def options(tmp_path):
    (tmp_path / "small.py").write_text(SMALL)
    return [
        *("adapt", "--encoder", "small.py:Small", "--task", "pen", "--workers", 1, "--device", "cpu"),
        *("--set", "size=64", "--set", "batch=2", "--set", "videos=3", "--set", "held_out=1"),
    ]


def test_a_task_is_adapted_to_and_found_again(bench, options, tmp_path, monkeypatch, capsys):
    first = bench(*options, "--set", "steps=3")
    assert first.returncode == 0, first.stderr
    assert "held-out PSNR" in first.stdout
    assert "5760 numbers" in first.stdout
    assert "held-out PSNR (dB): reconstruction" in first.stderr
    assert "first heads: random" in first.stderr
    again = bench(*options, "--set", "steps=3")
    assert again.stdout == first.stdout
    assert "held-out PSNR (dB)" not in again.stderr
    (card,) = (tmp_path / "runs" / "adapt" / "pen").glob("*/card.json")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HINDEX_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.argv", ["bench", *map(str, options), "--set", "steps=3"])
    for damage in ("{}", '{"trained": 3}', "[]", "{", "[" * 100_000):
        card.write_text(damage)
        with pytest.raises(SystemExit) as refused:
            main()
        said = capsys.readouterr()
        assert (refused.value.code, said.out) == (2, "")
        assert said.err.startswith("bench: ")
        assert said.err.count("\n") == 1
        assert "card.json" in said.err


def penn_joint(path, trunk):
    """Write a file as TTP's authors do: their names, all numbers random."""
    from encoders.adapt.model import KeypointModel

    state = KeypointModel(trunk).state_dict()
    torch.save({name.replace("pose_net.trunk.", "pose_net."): tensor for name, tensor in state.items()}, path)
    assert "pose_net.mh_attn.decoder.layers.0.self_attn.in_proj_weight" in torch.load(path)
    return len(state)


def test_the_authors_heads_begin_an_adaptation(bench, options, tmp_path):
    from torchvision.models.resnet import BasicBlock, ResNet

    trunk = ResNet(BasicBlock, [1, 1, 1, 1])
    trunk.fc = torch.nn.Identity()
    penn_joint(tmp_path / "penn_joint.pth", trunk)
    done = bench(*options, "--set", "steps=1", "--heads", "penn_joint.pth")
    assert done.returncode == 0, done.stderr
    assert "first heads: trained on Penn Action" in done.stderr
    (heads,) = (tmp_path / "runs" / "adapt" / "pen").glob("*/heads.safetensors")
    names = set(safetensors.torch.load_file(heads))
    assert "model.pose_net.mh_attn.decoder.norm.bias" in names


@pytest.mark.slow
def test_the_authors_heads_of_a_resnet50_begin_an_adaptation(bench, tmp_path):
    from torchvision.models import resnet50

    trunk = resnet50(weights=None)
    trunk.fc = torch.nn.Identity()
    assert penn_joint(tmp_path / "penn_joint.pth", trunk) == 507
    sizes = ("size=64", "batch=2", "steps=1", "videos=3", "held_out=1")
    options = ("--encoder", "rrl", "--weights", "random", "--task", "pen", "--heads", "penn_joint.pth", "--workers", 1)
    done = bench("adapt", *options, "--device", "cpu", *(part for size in sizes for part in ("--set", size)))
    assert done.returncode == 0, done.stderr
    assert "first heads: trained on Penn Action" in done.stderr


def test_an_encoder_without_batchnorm_is_refused_in_one_line(bench):
    done = bench("adapt", "--encoder", "mvp", "--weights", "random", "--task", "door")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        "bench: encoder 'mvp': has no BatchNorm layer to adapt; Stage 2 takes"
    )
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_adaptation_goes_on(bench, start, options, tmp_path, kill):
    """SIGTERM leaves a checkpoint of the step in hand, SIGKILL that of the last minute, here none: it begins anew."""
    whole = bench(*options, "--set", "steps=40", "--out", "whole")
    assert whole.returncode == 0, whole.stderr
    process = start(*options, "--set", "steps=40", "--out", "unlucky")
    deadline = time.monotonic() + 240.0
    while not list(tmp_path.glob("unlucky/adapt/pen/*/metrics.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, kill)
    assert process.wait(timeout=60) == (-9 if kill == signal.SIGKILL else 143)
    done = bench(*options, "--set", "steps=40", "--out", "unlucky")
    assert done.returncode == 0, done.stderr
    (one,), (other,) = (list(tmp_path.glob(f"{out}/adapt/pen/*")) for out in ("whole", "unlucky"))
    first, second = (safetensors.torch.load_file(folder / "batchnorm.safetensors") for folder in (one, other))
    assert all(torch.equal(first[name], second[name]) for name in first)
    sessions = json.loads((other / "card.json").read_text())["training"]["sessions"]
    assert sessions == (1 if kill == signal.SIGKILL else 2)
