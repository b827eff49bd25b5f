import pytest
import torch

from benchmark.dapg import GaussianPolicy, inputs
from benchmark.dapg.natural_gradient import fisher_vector_product, surrogate_gradient
from benchmark.dapg.passes import passes_over

ROWS, SHOWN, WIDTH, ACTIONS = 700, 130, 90, 6


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def parts(generator):
    """What the policy observed, and demonstrations."""
    return [torch.randn(rows, WIDTH, generator=generator) for rows in (ROWS, SHOWN)]


def make_policy(hidden, generator):
    policy = GaussianPolicy(WIDTH, ACTIONS, hidden, generator=generator)
    policy.set_transforms(*(torch.rand(size, generator=generator) + 0.5 for size in (WIDTH, WIDTH, ACTIONS, ACTIONS)))
    return policy


def in_blocks(monkeypatch, policy, parts):
    """Passes with inputs that are standardised in several blocks of rows and of columns."""
    monkeypatch.setattr(inputs, "BLOCK_BYTES", 4 * 3 * (ROWS + SHOWN))
    monkeypatch.setattr(inputs, "BLOCK_ROWS", 64)
    passes = passes_over(policy, *parts)
    assert len(list(passes.inputs.column_blocks())) == WIDTH // 3
    assert len(passes.inputs.row_slices) > 10
    return passes


@pytest.mark.parametrize("hidden", [(32,), (32, 32), (32, 20), (24, 32, 24)], ids=str)
def test_blocks_are_the_whole(monkeypatch, hidden, parts, generator):
    policy = make_policy(hidden, generator)
    actions = torch.randn(ROWS + SHOWN, ACTIONS, generator=generator)
    weights = torch.randn(ROWS + SHOWN, generator=generator)
    vector = torch.randn(len(policy.flat_parameters()), generator=generator)

    def results(passes):
        product = fisher_vector_product(passes.first(ROWS), 1e-4)
        return surrogate_gradient(passes, actions, weights), product(vector), product(vector)

    whole = results(passes_over(policy, *parts))
    blocked = results(in_blocks(monkeypatch, policy, parts))
    for one, other in zip(whole, blocked, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-6)
    assert torch.equal(blocked[1], blocked[2])


def test_gradient_is_that_of_automatic_differentiation(parts, generator):
    policy = make_policy((32, 20), generator)
    actions = torch.randn(ROWS + SHOWN, ACTIONS, generator=generator)
    weights = torch.randn(ROWS + SHOWN, generator=generator)
    log_probability = policy.log_probability(torch.cat(parts), actions)
    surrogate = ((log_probability - log_probability.detach()).exp() * weights).mean()
    expected = torch.autograd.grad(surrogate, policy.ordered_parameters())
    gradient = surrogate_gradient(passes_over(policy, *parts), actions, weights)
    torch.testing.assert_close(gradient, torch.cat([part.reshape(-1) for part in expected]), rtol=1e-5, atol=1e-6)


def test_blocks_hold_every_row_and_column_once(monkeypatch, parts, generator):
    policy = make_policy((32, 20), generator)
    passes = in_blocks(monkeypatch, policy, parts)
    expected = policy.standardise(torch.cat(parts))
    rows = torch.cat([block.clone() for _, block in passes.inputs.row_blocks()])
    columns = torch.cat([block.clone() for _, block in passes.inputs.column_blocks()], dim=1)
    first = torch.cat([block.clone() for _, block in passes.first(ROWS).inputs.row_blocks()])
    assert torch.equal(rows, expected)
    assert torch.equal(columns, expected)
    assert torch.equal(first, expected[:ROWS])


def test_observations_are_neither_changed_nor_copied(monkeypatch, parts, generator):
    before = [part.clone() for part in parts]
    policy = make_policy((32, 20), generator)
    passes = in_blocks(monkeypatch, policy, parts)
    fisher_vector_product(passes, 0.0)(policy.flat_parameters())
    assert all(torch.equal(*pair) for pair in zip(before, parts, strict=True))
    assert passes.inputs.memory.numel() < ROWS * WIDTH / 10
