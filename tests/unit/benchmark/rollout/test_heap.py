"""The memory of a long rollout: what it keeps must not lie between the large buffers that it frees at every step."""

import subprocess
import sys
from pathlib import Path

import pytest

import benchmark

CODE = """
import numpy as np
import torch
from benchmark.rollout.episodes import EpisodeRule, GroupThreads, rollout
from benchmark.rollout.simulators import Simulators
from benchmark.rollout.slots import SceneSettings

def megabytes(key):
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(lines[key].split()[0]) / 1024

def encode(frames, slots):
    images = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    scaled = torch.nn.functional.interpolate((images - 0.5) / 0.5, size=192, mode="bilinear", antialias=True)
    return scaled[:, :, ::32, ::32].reshape(len(frames), -1).numpy().copy()

def act(observations, episodes, steps):
    return np.zeros((len(observations), 24), np.float32)

if __name__ == "__main__":
    with Simulators(SceneSettings("pen", slots=25), workers=2) as simulators:
        def run(horizon):
            threads = GroupThreads(2, lambda: torch.set_num_threads(1))
            rule, horizons = EpisodeRule(1, False), [horizon] * 25
            rollout(simulators, list(range(25)), act, horizons=horizons, rule=rule, encode=encode, threads=threads)
        run(3)
        before = megabytes("VmRSS")
        run(40)
        print(megabytes("VmHWM") - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_rollout_does_not_break_up_the_heap(tmp_path):
    """With an array kept for each step it grew by 640 MB here, and by 6 GB in the 5,000 frames of hammer's clones."""
    script = tmp_path / "rollout.py"
    script.write_text(CODE)
    environment = {"PYTHONPATH": str(Path(benchmark.__file__).parents[1])}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 200
