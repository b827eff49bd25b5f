"""Cloning by epochs, held to a computation of its own: BatchNorm, network, gradients and Adam in plain numpy."""

import numpy as np
import pytest
import torch

from benchmark.cloning import BatchNormPolicy, Cloning
from benchmark.config import LearnerSettings
from benchmark.dapg import GaussianPolicy
from benchmark.demonstrations.features import FusedPairs, Pairs

COUNT, SEEN, ACTIONS, HIDDEN = 41, 6, 3, (7, 5)


def settings(**values):
    defaults = {"algorithm": "bc", "bc_minibatches": "shuffled", "bc_batch_size": 16, "bc_learning_rate": 3e-3}
    return LearnerSettings(**{**defaults, **values})


@pytest.fixture
def pairs():
    random = np.random.default_rng(1)
    inputs = random.standard_normal((COUNT, SEEN)).astype(np.float32) * 3 + 1
    return FusedPairs(Pairs(inputs, np.tanh(inputs[:, :ACTIONS]), np.array([COUNT])), SEEN)


def policy(seed=0):
    return BatchNormPolicy(SEEN, ACTIONS, HIDDEN, generator=torch.Generator().manual_seed(seed))


class Numpy:
    """The same network and training, written down again in float64."""

    def __init__(self, start, rate):
        names = ["input_norm.weight", "input_norm.bias"]
        names += [f"layers.{layer}.{kind}" for layer in range(len(HIDDEN) + 1) for kind in ("weight", "bias")]
        self.values = {name: start[name].double().numpy().copy() for name in names}
        self.first = {name: np.zeros_like(value) for name, value in self.values.items()}
        self.second = {name: np.zeros_like(value) for name, value in self.values.items()}
        self.mean, self.variance, self.rate, self.steps = np.zeros(SEEN), np.ones(SEEN), rate, 0

    def train(self, inputs, targets):
        value, count = self.values, len(inputs)
        mean, variance = inputs.mean(0), inputs.var(0)
        self.mean = 0.9 * self.mean + 0.1 * mean
        self.variance = 0.9 * self.variance + 0.1 * inputs.var(0, ddof=1)
        normal = (inputs - mean) / np.sqrt(variance + 1e-5)
        fed = [normal * value["input_norm.weight"] + value["input_norm.bias"]]
        for layer in range(len(HIDDEN) + 1):
            out = fed[-1] @ value[f"layers.{layer}.weight"].T + value[f"layers.{layer}.bias"]
            fed.append(np.maximum(out, 0) if layer < len(HIDDEN) else out)
        error = fed[-1] - targets
        back, gradients = 2 * error / error.size, {}
        for layer in reversed(range(len(HIDDEN) + 1)):
            if layer < len(HIDDEN):
                back = back * (fed[layer + 1] > 0)
            gradients[f"layers.{layer}.weight"] = back.T @ fed[layer]
            gradients[f"layers.{layer}.bias"] = back.sum(0)
            back = back @ value[f"layers.{layer}.weight"]
        gradients["input_norm.weight"], gradients["input_norm.bias"] = (back * normal).sum(0), back.sum(0)
        self.steps += 1
        for name, gradient in gradients.items():
            self.first[name] = 0.9 * self.first[name] + 0.1 * gradient
            self.second[name] = 0.999 * self.second[name] + 0.001 * gradient**2
            step = self.first[name] / (1 - 0.9**self.steps)
            value[name] -= self.rate * step / (np.sqrt(self.second[name] / (1 - 0.999**self.steps)) + 1e-8)
        return (error**2).mean() * count

    def act(self, inputs):
        maps = (inputs - self.mean) / np.sqrt(self.variance + 1e-5)
        maps = maps * self.values["input_norm.weight"] + self.values["input_norm.bias"]
        for layer in range(len(HIDDEN) + 1):
            maps = maps @ self.values[f"layers.{layer}.weight"].T + self.values[f"layers.{layer}.bias"]
            maps = np.maximum(maps, 0) if layer < len(HIDDEN) else maps
        return maps


def test_three_epochs_are_those_of_a_computation_of_its_own(pairs):
    trained = policy()
    other = Numpy(trained.state_dict(), 3e-3)
    cloning, order = (
        Cloning(trained, settings(), torch.Generator().manual_seed(5)),
        torch.Generator().manual_seed(5),
    )
    inputs, targets = (values.astype(np.float64) for values in pairs.pairs[:2])
    for _ in range(3):
        rows = torch.randperm(COUNT, generator=order).numpy()
        batches = [rows[:16], rows[16:32], rows[32:]]  # the last one is partial, and kept
        expected = sum(other.train(inputs[batch], targets[batch]) for batch in batches) / COUNT
        assert cloning.epoch(pairs) == pytest.approx(expected, abs=1e-6)
    with torch.no_grad():
        acted = trained.mean(torch.from_numpy(pairs.pairs.observations)).numpy()
    np.testing.assert_allclose(acted, other.act(inputs), atol=2e-5)


def test_the_first_output_is_a_hundredth_of_usual():
    made = policy()
    bound = 0.01 / np.sqrt(HIDDEN[-1])
    for tensor in made.layers[-1].parameters():
        assert 0 < tensor.abs().max() <= bound


def rows_of(cloning, count, epochs=1):
    return [len(rows) for _ in range(epochs) for rows in cloning._minibatches(count)]


@pytest.mark.parametrize(
    ("count", "steps", "sizes"),
    [
        *((40, 0, [16, 16, 8]), (32, 0, [16, 16]), (33, 0, [16, 17]), (5, 0, [5])),
        *((40, 2, [16, 16]), (40, 5, [16, 16, 8, 16, 16])),
    ],
)
def test_minibatches_of_an_epoch(count, steps, sizes):
    cloning = Cloning(policy(), settings(bc_steps_per_epoch=steps), torch.Generator().manual_seed(0))
    assert rows_of(cloning, count) == sizes


def test_a_pass_takes_every_pair_once():
    cloning = Cloning(policy(), settings(), torch.Generator().manual_seed(0))
    rows = torch.cat(list(cloning._minibatches(COUNT)))
    assert sorted(rows.tolist()) == list(range(COUNT))
    assert rows.tolist() != list(range(COUNT))


def test_a_training_goes_on_from_its_tensors_to_the_same_bits(pairs):
    whole = Cloning(policy(), settings(), torch.Generator().manual_seed(2))
    losses = [whole.epoch(pairs) for _ in range(4)]
    half = Cloning(policy(), settings(), torch.Generator().manual_seed(2))
    assert [half.epoch(pairs) for _ in range(2)] == losses[:2]
    state = {name: tensor.clone() for name, tensor in half.state_tensors().items()}
    resumed = Cloning(policy(seed=9), settings(), torch.Generator())
    resumed.load_state_tensors(state)
    resumed.generator.set_state(half.generator.get_state())
    assert [resumed.epoch(pairs) for _ in range(2)] == losses[2:]
    for name, tensor in whole.policy.state_dict().items():
        assert torch.equal(tensor, resumed.policy.state_dict()[name])


def test_tensors_of_another_policy_are_refused(pairs):
    cloning = Cloning(policy(), settings(), torch.Generator())
    cloning.epoch(pairs)
    wrong = dict(cloning.state_tensors())
    del wrong["optimiser.exp_avg.layers.0.bias"]
    with pytest.raises(ValueError, match=r"optimiser\.exp_avg\.layers\.0\.bias is missing"):
        cloning.load_state_tensors(wrong)


def test_the_policy_of_dapg_can_be_cloned_by_epochs_too(pairs):
    gaussian = GaussianPolicy(SEEN, ACTIONS, HIDDEN, generator=torch.Generator().manual_seed(0))
    before = gaussian.log_std.detach().clone()
    cloning = Cloning(gaussian, settings(), torch.Generator().manual_seed(0))
    losses = [cloning.epoch(pairs) for _ in range(20)]
    assert losses[-1] < 0.6 * losses[0]
    assert torch.equal(gaussian.log_std, before)
    cloning.load_state_tensors(cloning.state_tensors())
