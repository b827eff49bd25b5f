"""One update of the released learner on fixed trajectories, repeated by ours."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.dapg import GaussianPolicy, LearnerSettings, ValueBaseline, dapg_update
from benchmark.trajectory import Trajectory, discounted_returns, generalized_advantages

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden" / "dapg_update.npz"
PRECISIONS = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


@pytest.fixture(scope="module")
def golden():
    if not GOLDEN.is_file():
        pytest.skip(f"{GOLDEN} is not there: the recorded data live beside the checkout")
    with np.load(GOLDEN, allow_pickle=False) as arrays:
        recorded = {name: arrays[name] for name in arrays.files}
    recorded["meta"] = json.loads(str(recorded["meta"]))
    return recorded


@pytest.fixture
def trajectories(golden):
    count, length = golden["rewards"].shape
    observations = golden["observations"].reshape(count, length, -1)
    actions = golden["actions"].reshape(count, length, -1)
    return [
        Trajectory(
            observations=observations[index],
            actions=actions[index],
            rewards=golden["rewards"][index],
            goals=np.zeros(length, dtype=bool),
            terminal=bool(golden["terminated"][index]),
            seed=index,
            success=False,
        )
        for index in range(count)
    ]


def recorded_policy(golden, dtype):
    meta = golden["meta"]
    policy = GaussianPolicy(meta["n"], meta["m"], tuple(meta["hid"]), generator=torch.Generator()).to(dtype)
    transforms = (golden[name] for name in ("obs_mean", "obs_std", "act_mean", "act_std"))
    policy.set_transforms(*(torch.from_numpy(array) for array in transforms))
    policy.load_flat_parameters(torch.from_numpy(golden["params_before"]).to(dtype))
    return policy


def recorded_baseline(golden, dtype):
    baseline = ValueBaseline(golden["meta"]["n"], generator=torch.Generator(), dtype=dtype)
    vector = torch.from_numpy(golden["baseline_params"]).to(dtype)
    torch.nn.utils.vector_to_parameters(vector, baseline.network.parameters())
    return baseline


def recorded_settings(meta):
    return LearnerSettings(
        step_size=meta["step"],
        gamma=meta["gamma"],
        gae_lambda=meta["gae_lambda"],
        demonstration_weight=meta["lam0"],
        demonstration_decay=meta["lam1"],
        fisher_damping=meta["damping"],
        conjugate_gradient_iterations=meta["cg_iters"],
    )


def relative(difference, change):
    return float(np.linalg.norm(difference) / np.linalg.norm(change))


def test_returns_and_advantages(golden):
    meta = golden["meta"]
    for index, rewards in enumerate(golden["rewards"]):
        returns = discounted_returns(rewards, meta["gamma"])
        advantages = generalized_advantages(
            rewards, golden["baseline"][index], bool(golden["terminated"][index]), meta["gamma"], meta["gae_lambda"]
        )
        np.testing.assert_allclose(returns, golden["returns"][index], rtol=0, atol=1e-6)
        np.testing.assert_allclose(advantages, golden["advantages"][index], rtol=0, atol=1e-6)


def test_both_kinds_of_end_are_recorded(golden):
    assert golden["terminated"].any() and not golden["terminated"].all()


@PRECISIONS
def test_value_predictions(golden, dtype):
    count, length = golden["baseline"].shape
    steps = torch.arange(length).repeat(count)
    observations = torch.from_numpy(golden["observations"]).to(dtype)
    values = recorded_baseline(golden, dtype).predict(observations, steps)
    np.testing.assert_allclose(values.numpy(), golden["baseline"].ravel(), rtol=0, atol=1e-6)


@PRECISIONS
def test_update(golden, trajectories, dtype, record_property):
    meta = golden["meta"]
    policy = recorded_policy(golden, dtype)
    report = dapg_update(
        policy,
        recorded_baseline(golden, dtype),
        trajectories,
        (golden["demo_observations"], golden["demo_actions"]),
        settings=recorded_settings(meta),
        iteration=meta["it"],
        generator=torch.Generator().manual_seed(0),
    )
    before, after = (golden[name].astype(np.float64) for name in ("params_before", "params_after"))
    change, found = after - before, policy.flat_parameters().double().numpy() - before
    sizes = [parameter.numel() for parameter in policy.ordered_parameters()]
    figures = {"whole": relative(found - change, change)}
    start = 0
    for block, size in enumerate(sizes):
        rows = slice(start, start + size)
        figures[f"block {block}"] = relative(found[rows] - change[rows], change[rows])
        start += size
    record_property("relative_difference", figures)
    record_property("kl", report.kl)

    assert not report.skipped
    assert max(figures.values()) < 1e-4, figures
    assert report.kl == pytest.approx(meta["kl"], rel=1e-4)
