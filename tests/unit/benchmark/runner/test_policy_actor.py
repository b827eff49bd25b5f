"""A policy as an actor, and the noise it explores with."""

import numpy as np
import pytest
import torch

from benchmark.dapg import GaussianPolicy
from benchmark.runner.policy_actor import PolicyActor, exploration_noise

LOG_STD = [-1.0, 0.0, 0.5]


@pytest.fixture
def policy():
    made = GaussianPolicy(5, 3, (4,), generator=torch.Generator().manual_seed(0))
    made.set_log_std(torch.tensor(LOG_STD))
    return made


@pytest.fixture
def observations():
    return np.random.default_rng(0).standard_normal((2, 5), dtype=np.float32)


def test_without_noise_it_is_the_mean_action(policy, observations):
    actions = PolicyActor(policy)(observations, [6, 2], [1, 3])
    with torch.no_grad():
        expected = policy.mean(torch.from_numpy(observations)).numpy()
    np.testing.assert_array_equal(actions, expected, strict=True)


def test_with_noise_the_spread_times_the_episodes_and_steps_own_noise_is_added(policy, observations):
    noise = np.random.default_rng(1).standard_normal((7, 4, 3), dtype=np.float32)
    added = PolicyActor(policy, noise)(observations, [6, 2], [1, 3]) - PolicyActor(policy)(observations, [6, 2], [1, 3])
    np.testing.assert_allclose(added, np.exp(LOG_STD) * [noise[6, 1], noise[2, 3]], rtol=1e-5, atol=1e-6)


def test_noise_is_standard_normal():
    noise = np.stack(exploration_noise(0, 1, 50, (100, 20)))
    assert noise.dtype == np.float32
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1) < 0.01


def test_noise_depends_on_seed_iteration_and_episode_alone():
    few, many = exploration_noise(3, 2, 2, (10, 4)), exploration_noise(3, 2, 5, (10, 4))
    for one, other in zip(few, many, strict=False):
        np.testing.assert_array_equal(one, other)
    drawn = [*many, *exploration_noise(3, 1, 2, (10, 4)), *exploration_noise(2, 3, 2, (10, 4))]
    assert len({episode.tobytes() for episode in drawn}) == len(drawn)
