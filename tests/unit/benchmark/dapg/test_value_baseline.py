import pytest
import torch

from benchmark.dapg import ValueBaseline


def make_baseline(seed=0, observation_dim=3, **options):
    return ValueBaseline(observation_dim, (8, 8), generator=torch.Generator().manual_seed(seed), **options)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    observations = torch.randn(400, 3, generator=generator)
    steps = torch.arange(100).repeat(4)
    return observations, steps, observations[:, 0] + steps / 100


def fit(baseline, batch, seed=0, epochs=2, batch_size=64):
    generator = torch.Generator().manual_seed(seed)
    return baseline.fit(*batch, epochs=epochs, batch_size=batch_size, generator=generator)


def test_features_are_clipped_observations_and_powers_of_time():
    features = make_baseline().features(torch.tensor([[5.0, -20.0, 300.0]]), torch.tensor([200]))
    torch.testing.assert_close(features, torch.tensor([[0.5, -1.0, 1.0, 0.2, 0.04, 0.008, 0.0016]]))


def test_features_leave_the_observations():
    observations = torch.full((2, 3), 50.0)
    make_baseline().features(observations, torch.arange(2))
    assert torch.equal(observations, torch.full((2, 3), 50.0))


def test_fitting_lowers_the_error(batch):
    baseline = make_baseline()
    before = (baseline.predict(*batch[:2]) - batch[2]).square().mean()
    losses = fit(baseline, batch, epochs=200)
    after = (baseline.predict(*batch[:2]) - batch[2]).square().mean()
    assert losses[-1] < losses[0]
    assert after < 0.2 * before


@pytest.mark.parametrize(("rows", "expected"), [(64, 0), (127, 0), (128, 1), (191, 1), (192, 2), (400, 5)])
def test_an_epoch_drops_the_last_partial_minibatch_and_one_more(batch, rows, expected):
    baseline = make_baseline()
    losses = fit(baseline, [values[:rows] for values in batch], epochs=1)
    state = baseline.state_tensors()
    assert len(losses) == min(expected, 1)
    assert int(state.get("optimiser.0.weight.step", torch.tensor(0))) == expected


def test_predictions_do_not_depend_on_the_blocks():
    generator = torch.Generator().manual_seed(0)
    observations, steps = torch.randn(9000, 3, generator=generator), torch.arange(9000) % 200
    baseline = make_baseline()
    expected = torch.cat(
        [baseline.predict(observations[at : at + 1000], steps[at : at + 1000]) for at in range(0, 9000, 1000)]
    )
    torch.testing.assert_close(baseline.predict(observations, steps), expected)


def test_resumed_fit_is_bit_for_bit_the_uninterrupted_one(batch):
    straight, interrupted, resumed = make_baseline(), make_baseline(), make_baseline(seed=9)
    for baseline in (straight, interrupted):
        fit(baseline, batch, seed=1)
    resumed.load_state_tensors(interrupted.state_tensors())
    for baseline in (straight, resumed):
        fit(baseline, batch, seed=2)
    expected, found = straight.state_tensors(), resumed.state_tensors()
    assert expected.keys() == found.keys()
    assert any(name.startswith("optimiser.") for name in expected)
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())


def test_forgetting_adam_would_show(batch):
    straight, forgetful = make_baseline(), make_baseline()
    for baseline in (straight, forgetful):
        fit(baseline, batch, seed=1)
    network = {name: tensor for name, tensor in forgetful.state_tensors().items() if name.startswith("network.")}
    forgetful.load_state_tensors(network)
    for baseline in (straight, forgetful):
        fit(baseline, batch, seed=2)
    assert not torch.equal(straight.predict(*batch[:2]), forgetful.predict(*batch[:2]))


def test_state_before_any_step_restores_a_fresh_optimiser(batch):
    fresh, used = make_baseline(), make_baseline()
    state = fresh.state_tensors()
    fit(used, batch)
    used.load_state_tensors(state)
    for baseline in (fresh, used):
        fit(baseline, batch, seed=3)
    assert torch.equal(fresh.predict(*batch[:2]), used.predict(*batch[:2]))


def test_state_is_a_copy_both_ways(batch):
    baseline, other = make_baseline(), make_baseline(seed=1)
    fit(baseline, batch)
    state = baseline.state_tensors()
    kept = {name: tensor.clone() for name, tensor in state.items()}
    other.load_state_tensors(state)
    fit(other, batch)
    fit(baseline, batch)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in state.items())


def test_state_of_another_network_is_refused_and_nothing_changes(batch):
    baseline, wider = make_baseline(), make_baseline(observation_dim=4)
    before = baseline.predict(*batch[:2])
    with pytest.raises(ValueError, match=r"network\.0\.weight"):
        baseline.load_state_tensors(wider.state_tensors())
    missing = baseline.state_tensors()
    del missing["network.2.bias"]
    with pytest.raises(ValueError, match=r"network\.2\.bias"):
        baseline.load_state_tensors(missing)
    assert torch.equal(baseline.predict(*batch[:2]), before)
