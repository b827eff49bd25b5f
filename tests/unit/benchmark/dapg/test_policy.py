import math

import pytest
import torch

from benchmark.dapg import GaussianPolicy
from benchmark.dapg.policy import MIN_LOG_STD, gaussian_kl


def make_policy(observation_dim=3, action_dim=2, hidden=(5, 4), seed=0):
    return GaussianPolicy(observation_dim, action_dim, hidden, generator=torch.Generator().manual_seed(seed))


def test_initialisation_draws_from_its_generator_alone():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = make_policy().flat_parameters()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(make_policy().flat_parameters(), first)
    assert not torch.equal(make_policy(seed=1).flat_parameters(), first)


def test_output_layer_starts_a_hundredth_as_large():
    policy = make_policy(hidden=(64,))
    bound = 1 / math.sqrt(64)
    assert policy.layers[0].weight.abs().max() > 0.5 / math.sqrt(3)
    for parameter in policy.layers[-1].parameters():
        assert 0 < parameter.abs().max() <= 0.01 * bound


def test_log_std_starts_at_zero():
    assert torch.equal(make_policy().log_std, torch.zeros(2))


def test_no_hidden_layer_is_refused():
    with pytest.raises(ValueError, match="hidden"):
        make_policy(hidden=())


def test_flat_vector_is_layers_in_order_then_log_std():
    policy = make_policy()
    policy.set_log_std(torch.tensor([0.25, -0.5]))
    blocks = policy.flat_parameters().split([15, 5, 20, 4, 8, 2, 2])
    for depth, layer in enumerate(policy.layers):
        assert torch.equal(blocks[2 * depth].view(layer.weight.shape), layer.weight)
        assert torch.equal(blocks[2 * depth + 1], layer.bias)
    assert blocks[-1].tolist() == [0.25, -0.5]


def test_flat_vector_is_row_major_as_out_by_in():
    policy = make_policy()
    vector = policy.flat_parameters()
    vector[1] = 7.0
    policy.load_flat_parameters(vector)
    assert policy.layers[0].weight[0, 1] == 7.0


def test_flat_vector_round_trip_and_copy():
    policy, other = make_policy(), make_policy(seed=1)
    vector = policy.flat_parameters()
    other.load_flat_parameters(vector)
    assert torch.equal(other.flat_parameters(), vector)
    vector.zero_()
    assert policy.flat_parameters().abs().max() > 0


def test_flat_vector_of_another_network_is_refused():
    with pytest.raises(ValueError, match=r"\(55,\).*\(56,\)"):
        make_policy().load_flat_parameters(torch.zeros(55))


def test_log_std_is_clamped_from_below_only():
    policy = make_policy()
    vector = policy.flat_parameters()
    vector[-2:] = torch.tensor([-5.0, 4.0])
    policy.load_flat_parameters(vector)
    assert policy.log_std.tolist() == [MIN_LOG_STD, 4.0]
    policy.set_log_std(torch.tensor([-3.5, -2.5]))
    assert policy.log_std.tolist() == [-3.0, -2.5]


def test_mean_standardises_observations_and_scales_actions():
    policy, observations = make_policy(), torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    plain = policy.mean(observations)
    shift, scale = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([0.5, 2.0, 4.0])
    policy.set_transforms(shift, scale, torch.tensor([10.0, 20.0]), torch.tensor([2.0, 3.0]))
    moved = policy.mean(observations * scale + shift)
    torch.testing.assert_close(moved, plain * torch.tensor([2.0, 3.0]) + torch.tensor([10.0, 20.0]))


def test_a_constant_observation_does_not_divide_by_zero():
    policy = make_policy()
    policy.set_transforms(torch.ones(3), torch.zeros(3), torch.zeros(2), torch.ones(2))
    assert torch.isfinite(policy.mean(torch.ones(2, 3))).all()


def test_observations_stay_as_they_were():
    policy, observations = make_policy(), torch.ones(2, 3)
    policy.set_transforms(torch.ones(3), torch.ones(3), torch.zeros(2), torch.ones(2))
    policy.mean(observations)
    assert torch.equal(observations, torch.ones(2, 3))


def test_transforms_are_stored_but_not_trained():
    policy = make_policy()
    trained = {name for name, _ in policy.named_parameters()}
    stored = set(policy.state_dict())
    assert stored - trained == {"observation_shift", "observation_scale", "action_shift", "action_scale"}


def test_log_probability_is_torchs():
    policy = make_policy()
    policy.set_log_std(torch.tensor([0.3, -1.2]))
    observations, actions = torch.randn(2, 9, 3), torch.randn(9, 2)
    theirs = torch.distributions.Normal(policy.mean(observations[0]), policy.log_std.exp())
    expected = theirs.log_prob(actions).sum(dim=1)
    torch.testing.assert_close(policy.log_probability(observations[0], actions), expected)


def test_sample_is_mean_plus_scaled_noise():
    policy, observations = make_policy(), torch.zeros(1, 3)
    policy.set_log_std(torch.tensor([math.log(2.0), math.log(0.5)]))
    noise = torch.tensor([[1.0, -4.0]])
    torch.testing.assert_close(
        policy.sample(observations, noise) - policy.mean(observations), noise * 2.0 ** torch.tensor([1, -1])
    )


def test_kl_is_torchs_and_zero_at_itself():
    generator = torch.Generator().manual_seed(0)
    old, new = torch.randn(2, 7, 2, dtype=torch.float64, generator=generator)
    old_log_std, new_log_std = torch.tensor([[0.2, -0.4], [-0.3, 0.1]], dtype=torch.float64)
    theirs = torch.distributions.kl_divergence(
        torch.distributions.Normal(old, old_log_std.exp()), torch.distributions.Normal(new, new_log_std.exp())
    )
    torch.testing.assert_close(gaussian_kl(old, old_log_std, new, new_log_std), theirs.sum(1).mean(), rtol=1e-6, atol=0)
    assert gaussian_kl(old, old_log_std, old, old_log_std) == 0.0
