import numpy as np
import pytest
import torch

from benchmark.dapg import GaussianPolicy, clone_behaviour


def make_policy():
    return GaussianPolicy(3, 2, (16, 16), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def demonstrations():
    random = np.random.default_rng(0)
    observations = (random.standard_normal((200, 3)) * [1.0, 5.0, 0.1] + [0.0, 10.0, -1.0]).astype(np.float32)
    actions = np.tanh(observations[:, :2] / [1.0, 10.0]).astype(np.float32)
    return observations, actions


def clone(policy, demonstrations, seed=0, **options):
    return clone_behaviour(policy, *demonstrations, generator=torch.Generator().manual_seed(seed), **options)


def test_loss_falls_well_below_that_of_the_mean_action(demonstrations):
    policy = make_policy()
    losses = clone(policy, demonstrations, epochs=40)
    assert len(losses) == 40
    assert losses[-1] < 0.1 * losses[0]
    with torch.no_grad():
        error = policy.mean(torch.from_numpy(demonstrations[0])).numpy() - demonstrations[1]
    assert np.square(error).mean() < 0.1 * demonstrations[1].var(axis=0).mean()


def test_transforms_and_spread_come_from_the_demonstrations(demonstrations):
    policy = make_policy()
    assert clone(policy, demonstrations, epochs=0) == []
    observations, actions = demonstrations
    for found, expected in [
        (policy.observation_shift, observations.mean(axis=0)),
        (policy.observation_scale, observations.std(axis=0)),
        (policy.action_shift, actions.mean(axis=0)),
        (policy.action_scale, actions.std(axis=0)),
        (policy.log_std.detach(), np.log(actions.std(axis=0) + 1e-12)),
    ]:
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_cloning_leaves_log_std_where_it_was_set(demonstrations):
    policy = make_policy()
    clone(policy, demonstrations, epochs=0)
    before = policy.log_std.detach().clone()
    clone(policy, demonstrations, epochs=2)
    assert torch.equal(policy.log_std, before)


def test_an_action_that_never_moves_is_clamped_not_infinite(demonstrations):
    observations, actions = demonstrations
    policy = make_policy()
    clone(policy, (observations, np.stack([actions[:, 0], np.full(200, 0.5, np.float32)], axis=1)), epochs=1)
    assert policy.log_std[1] == -3.0
    assert torch.isfinite(policy.flat_parameters()).all()


def test_result_depends_on_the_generator_alone(demonstrations):
    first, same, other = make_policy(), make_policy(), make_policy()
    clone(first, demonstrations)
    torch.manual_seed(123)
    clone(same, demonstrations)
    clone(other, demonstrations, seed=1)
    assert torch.equal(first.flat_parameters(), same.flat_parameters())
    assert not torch.equal(first.flat_parameters(), other.flat_parameters())


def test_tensors_do_as_well_as_arrays(demonstrations):
    first, same = make_policy(), make_policy()
    assert clone(first, demonstrations) == clone(same, tuple(map(torch.from_numpy, demonstrations)))


def test_each_epoch_is_told(demonstrations):
    told = []
    losses = clone(make_policy(), demonstrations, epochs=3, on_epoch=lambda epoch, loss: told.append((epoch, loss)))
    assert told == list(enumerate(losses))


def test_fewer_pairs_than_a_minibatch_still_train(demonstrations):
    few = tuple(array[:5] for array in demonstrations)
    losses = clone(make_policy(), few, epochs=60)
    assert losses[-1] < losses[0]


def test_unusable_demonstrations_are_refused(demonstrations):
    observations, actions = demonstrations
    with pytest.raises(ValueError, match="200 observations and 10 actions"):
        clone(make_policy(), (observations, actions[:10]))
    with pytest.raises(ValueError, match="at least one"):
        clone(make_policy(), (observations[:0], actions[:0]))


def test_non_finite_demonstrations_are_refused_before_anything_changes(demonstrations):
    observations, actions = (array.copy() for array in demonstrations)
    actions[17, 1] = np.inf
    policy = make_policy()
    before = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    with pytest.raises(ValueError, match="actions"):
        clone(policy, (observations, actions))
    assert all(torch.equal(tensor, before[name]) for name, tensor in policy.state_dict().items())
