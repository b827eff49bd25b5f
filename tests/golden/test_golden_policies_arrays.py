"""The authors' policies as arrays: the expert's formula, and how their actions stand to the recorded demonstrations."""

from pathlib import Path

import numpy as np
import pytest

from tasks.experts import Expert

GOLDEN = Path(__file__).parents[3] / "shared" / "golden"

pytestmark = pytest.mark.skipif(not (GOLDEN / "policies.npz").exists(), reason="golden data not present")

NAMES = ["hammer-v0", "door-v0", "pen-v0", "pour", "place_inside", "relocate-mug", "relocate-sugar_box"]


def arrays(name):
    with np.load(GOLDEN / "policies.npz") as file:
        return {key.split("|")[1]: file[key] for key in file.files if key.split("|")[0] == name}


def demonstrations(name):
    with np.load(GOLDEN / f"demos_{name.removesuffix('-v0')}.npz") as file:
        return np.float64(file["obs"]), np.float64(file["action"])


def independent_mean(p, observations):
    p = {key: np.float64(value) for key, value in p.items()}
    hidden = (observations - p["in_shift"]) / (p["in_scale"] + 1e-8)
    hidden = np.tanh(np.einsum("nd,hd->nh", hidden, p["W0"]) + p["b0"])
    hidden = np.tanh(np.einsum("nd,hd->nh", hidden, p["W1"]) + p["b1"])
    return p["out_shift"] + p["out_scale"] * (np.einsum("nd,hd->nh", hidden, p["W2"]) + p["b2"])


@pytest.mark.parametrize("name", NAMES)
def test_the_formula(name):
    p = arrays(name)
    expert = Expert.from_arrays(p)
    assert (expert.observation_dim, expert.action_dim) == (int(p["n"]), int(p["m"]))
    observations, _ = demonstrations(name)
    np.testing.assert_allclose(expert.mean(observations), independent_mean(p, observations), rtol=1e-9, atol=1e-11)
    noise = np.random.default_rng(0).standard_normal((len(observations), expert.action_dim))
    expected = independent_mean(p, observations) + np.exp(p["log_std"]) * noise
    np.testing.assert_allclose(expert.sample(observations, noise), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "door-v0"])
def test_recorded_actions_are_the_mean_and_normal_noise(name):
    """All but the door file, which is human, were recorded from these policies with noise."""
    expert = Expert.from_arrays(arrays(name))
    observations, actions = demonstrations(name)
    noise = (actions - expert.mean(observations)) / np.exp(expert.log_std)
    # Whitened noise of thousands of steps: mean 0, deviation 1, no tail.
    bound = 5 / np.sqrt(len(noise))
    assert np.abs(noise.mean(0)).max() < bound
    assert np.abs(noise.std(0) - 1).max() < bound
    assert np.abs(noise).max() < 6.5


def test_half_precision_moves_actions_little(tmp_path):
    expert = Expert.from_arrays(arrays("pen-v0"))
    observations, _ = demonstrations("pen-v0")
    stored = expert.save(tmp_path / "pen.safetensors", {}, "half")
    assert np.abs(stored.mean(observations) - expert.mean(observations)).max() < 0.05
    assert (tmp_path / "pen.safetensors").stat().st_size < 30_000
