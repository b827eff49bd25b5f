"""Stage 1 from images to card: it ends, goes on where it was killed, and refuses what does not fit."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from benchmark.errors import ConfigError, OutputError
from benchmark.overrides import parse
from benchmark.pretrain import training as module
from benchmark.pretrain.config import PretrainConfig
from benchmark.pretrain.preview import preview
from benchmark.pretrain.training import pretrain
from benchmark.pretrain.workers import BLOCK, ImageSettings, ImageWorkers

SMALL = {"size": 32, "batch": 4, "held_out": 8, "workers": 1, "device": "cpu"}
ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A training of two steps that was then made longer."""
    out = tmp_path_factory.mktemp("stage1")
    first = pretrain(PretrainConfig(steps=2, **SMALL), out)
    return out, first, pretrain(PretrainConfig(steps=3, **SMALL), out)


def test_the_card_says_what_was_done(finished):
    out, first, card = finished
    assert (out / card["file"]).is_file()
    assert card == json.loads((out / "card.json").read_text())
    assert first["training"]["steps"] == 2
    assert card["training"]["steps"] == 3
    assert card["training"]["sessions"] == 2
    assert card["training"]["images_seen"] == 12
    assert card["held_out"]["always_the_mean_pose"]["keypoints_mm"] > 50
    assert "Not FrankMocap" in card["what_it_is_not"]


def test_held_out_images_are_the_same_in_every_session(finished):
    _, first, card = finished
    assert first["data"]["held_out_sha256"] == card["data"]["held_out_sha256"]


def test_a_finished_training_is_left_alone(finished):
    out, _, card = finished
    before = (out / "stage1.safetensors").stat().st_mtime_ns
    assert pretrain(PretrainConfig(steps=3, **SMALL), out) == card
    assert (out / "stage1.safetensors").stat().st_mtime_ns == before


def test_another_training_is_refused(finished):
    with pytest.raises(OutputError, match=r"of another training \(seed 0 -> 1\)"):
        pretrain(PretrainConfig(steps=3, seed=1, **SMALL), finished[0])


def test_metrics_that_no_checkpoint_committed_are_dropped(finished):
    rows = [json.loads(line) for line in (finished[0] / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == sorted(row["step"] for row in rows)
    assert rows[-1]["step"] == 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "setting 'steps': should be at least 1, got 0"),
        ({"steps": 1, "reuse": 0.5}, "setting 'reuse': should be at least 1"),
        ({"steps": 1, "workers": 0}, "setting 'workers': should be at least 1"),
    ],
)
def test_impossible_trainings_are_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        parse(PretrainConfig, wrong)


def test_a_training_without_a_length_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ConfigError, match="--minutes M"):
        pretrain(PretrainConfig(), tmp_path / "stage1")
    assert not list(tmp_path.iterdir())


def test_progress_is_the_larger_share_of_steps_and_time():
    config = PretrainConfig(steps=100, minutes=1)
    assert config.progress(50, 15.0) == 0.5
    assert config.progress(10, 45.0) == 0.75
    assert config.progress(10, 90.0) == 1.0


def test_workers_draw_other_images_and_a_lost_one_is_no_end():
    with ImageWorkers(ImageSettings(32, held_out=3), 2) as workers:
        seen = []
        while len(seen) < 4:
            block = workers.poll(1.0)
            if block is not None:
                seen.append((block.worker, block.held_out, block.images.copy()))
                workers.give_back(block)
        assert [len(images) for _, held_out, images in seen if held_out == 0] == [3]
        pictures = np.concatenate([images for _, _, images in seen])
        assert len({picture.tobytes() for picture in pictures}) == len(pictures)
        workers.tolerant = True
        workers._workers[0].process.kill()
        after = []
        while len(after) < 2:
            block = workers.poll(1.0)
            if block is not None:
                workers.give_back(block)
                if workers.lost:
                    after.append((block.worker, len(block.images)))
        assert len(workers.lost) == 1
        assert (1, BLOCK) in after


@pytest.mark.slow
def test_a_stopped_training_leaves_a_checkpoint_and_no_workers(tmp_path):
    options = {**SMALL, "minutes": 1}
    code = (
        "import pathlib\n"
        "from benchmark.pretrain.training import pretrain\n"
        "from benchmark.pretrain.config import PretrainConfig\n"
        "if __name__ == '__main__':\n"
        f"    pretrain(PretrainConfig(**{options!r}), pathlib.Path({str(tmp_path)!r}))\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, str(script)], env=environment, stderr=subprocess.PIPE)
    metrics = tmp_path / module.METRICS
    deadline = time.monotonic() + 60
    while not metrics.is_file() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, complaint = process.communicate(timeout=30)
    assert b"KeyboardInterrupt" in complaint
    assert (tmp_path / module.CHECKPOINT).is_file()
    assert not (tmp_path / module.CARD).exists()


def test_the_preview_is_a_picture(tmp_path):
    preview(tmp_path / "sheet.png", 32, 0)
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
