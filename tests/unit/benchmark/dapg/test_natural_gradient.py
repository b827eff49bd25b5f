import numpy as np
import pytest
import torch

from benchmark.dapg import GaussianPolicy
from benchmark.dapg.natural_gradient import conjugate_gradient, fisher_vector_product, surrogate_gradient
from benchmark.dapg.passes import passes_over
from benchmark.dapg.policy import gaussian_kl


@pytest.fixture
def policy():
    generator = torch.Generator().manual_seed(0)
    policy = GaussianPolicy(3, 2, (5, 4), generator=generator).double()
    policy.load_flat_parameters(torch.randn(56, dtype=torch.float64, generator=generator))
    policy.set_transforms(*(torch.rand(size, generator=generator) + 0.5 for size in (3, 3, 2, 2)))
    policy.set_log_std(torch.tensor([-2.9, -0.3]))
    return policy


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(40, size, dtype=torch.float64, generator=generator) for size in (3, 2)]


def flat(tensors):
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def kl_hessian(policy, observations):
    """The whole matrix (P, P), by double backward."""
    parameters = policy.ordered_parameters()
    mean = policy.mean(observations)
    kl = gaussian_kl(mean.detach(), policy.log_std.detach(), mean, policy.log_std)
    slope = flat(torch.autograd.grad(kl, parameters, create_graph=True))
    return torch.stack([flat(torch.autograd.grad(entry, parameters, retain_graph=True)) for entry in slope])


def test_product_is_the_explicit_hessian_times_the_vector(policy, batch):
    matrix = kl_hessian(policy, batch[0])
    product = fisher_vector_product(passes_over(policy, batch[0]), damping=0.0)
    columns = torch.stack([product(unit) for unit in torch.eye(56, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(columns, matrix, rtol=1e-10, atol=1e-12)


def test_product_keeps_the_1e_8_of_the_released_kl(policy, batch):
    # A millionth of the log-std block; ten steps of the solver make a tenth of the whole step of it.
    variance = (2 * policy.log_std.detach()).exp()
    expected = 4 * variance * (2 * variance - 1e-8) / (2 * variance + 1e-8) ** 2
    unit = torch.zeros(56, dtype=torch.float64)
    unit[54:] = 1.0
    product = fisher_vector_product(passes_over(policy, batch[0]), damping=0.0)(unit)
    torch.testing.assert_close(product[54:], expected, rtol=1e-12, atol=0)
    assert (product[54:] - 2).abs().max() > 1e-6


def test_product_is_the_fisher_matrix_of_the_log_density(policy, batch):
    # E[score scoreᵀ] over actions: 2 for log-std, 1/std² through the mean's Jacobian.
    jacobian = torch.stack(
        [
            torch.stack(
                [flat(torch.autograd.grad(entry, policy.layers.parameters(), retain_graph=True)) for entry in row]
            )
            for row in policy.mean(batch[0])
        ]
    )
    precision = (-2 * policy.log_std.detach()).exp()
    expected = torch.einsum("nap,a,naq->pq", jacobian, precision, jacobian) / len(batch[0])
    product = fisher_vector_product(passes_over(policy, batch[0]), damping=0.0)
    found = torch.stack([product(unit) for unit in torch.eye(56, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(found[:54, :54], expected, rtol=1e-5, atol=1e-12)
    torch.testing.assert_close(found[54:, 54:], 2 * torch.eye(2, dtype=torch.float64), rtol=1e-5, atol=1e-12)
    assert found[:54, 54:].abs().max() == 0.0


def test_damping_is_added_once(policy, batch):
    vector = torch.randn(56, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    plain, damped = (fisher_vector_product(passes_over(policy, batch[0]), damping)(vector) for damping in (0.0, 0.25))
    torch.testing.assert_close(damped - plain, 0.25 * vector)


def test_product_leaves_no_trace(policy, batch):
    before = policy.flat_parameters()
    product = fisher_vector_product(passes_over(policy, batch[0]), damping=0.0)
    first = product(before)
    assert torch.equal(product(before), first)
    assert not first.requires_grad
    assert torch.equal(policy.flat_parameters(), before)
    assert all(parameter.grad is None for parameter in policy.parameters())


def test_surrogate_gradient_is_the_finite_difference(policy, batch):
    observations, actions = batch
    weights = torch.linspace(-1, 1, 40, dtype=torch.float64)
    gradient = surrogate_gradient(passes_over(policy, observations), actions, weights)
    old = policy.log_probability(observations, actions).detach()
    at = policy.flat_parameters()

    def surrogate(parameters):
        policy.load_flat_parameters(parameters)
        return ((policy.log_probability(observations, actions) - old).exp() * weights).mean().detach()

    for entry in (0, 16, 30, 50, 54, 55):
        unit = torch.zeros(56, dtype=torch.float64)
        unit[entry] = 1e-6
        slope = (surrogate(at + unit) - surrogate(at - unit)) / 2e-6
        assert gradient[entry].item() == pytest.approx(slope.item(), rel=1e-4, abs=1e-6)


def positive_matrix(size, seed=0):
    root = np.random.default_rng(seed).standard_normal((size, size))
    return root @ root.T + np.eye(size)


def test_conjugate_gradient_solves_in_as_many_steps_as_unknowns():
    matrix, target = positive_matrix(6), np.arange(1.0, 7.0)
    result = conjugate_gradient(matrix.dot, target, iterations=12, tolerance=1e-20)
    np.testing.assert_allclose(result.solution, np.linalg.solve(matrix, target), rtol=1e-8)
    assert 6 <= result.iterations <= 8


def test_conjugate_gradient_obeys_its_limit_and_its_tolerance():
    matrix, target = positive_matrix(6), np.arange(1.0, 7.0)
    assert conjugate_gradient(matrix.dot, target, iterations=2, tolerance=0.0).iterations == 2
    loose = conjugate_gradient(matrix.dot, target, iterations=12, tolerance=1e3)
    assert loose.iterations == 1
    residual = target - matrix @ loose.solution
    assert loose.squared_residual == pytest.approx(residual @ residual)


def test_conjugate_gradient_leaves_its_target():
    target = np.ones(4)
    conjugate_gradient(positive_matrix(4).dot, target, iterations=3, tolerance=0.0)
    np.testing.assert_array_equal(target, np.ones(4))


def test_nothing_to_solve_is_zero():
    result = conjugate_gradient(positive_matrix(4).dot, np.zeros(4), iterations=10, tolerance=1e-10)
    np.testing.assert_array_equal(result.solution, np.zeros(4))
    assert result.iterations == 0


@pytest.mark.parametrize("product", [lambda vector: vector * np.nan, lambda vector: vector * 0.0])
def test_a_broken_product_shows(product):
    result = conjugate_gradient(product, np.ones(4, np.float32), iterations=10, tolerance=1e-10)
    assert not np.isfinite(result.solution).any()
    assert result.iterations == 1
