"""Priors: the mixture against autograd and importance sampling, the learned denoiser against autograd."""

from __future__ import annotations

import pytest
import torch
from flowsweep.trainables.rdps.denoiser import Denoiser, ResidualNetwork
from flowsweep.trainables.rdps.priors import AnyDenoiser, ExactCovariance


def points(count: int, unknowns: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, unknowns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("level", [0.05, 0.7, 6.0])
def test_the_mixtures_denoiser_is_tweedies_formula_on_its_density(mixture, level):
    x = points(20, 6).requires_grad_()
    (score,) = torch.autograd.grad(mixture.log_prob(x, level).sum(), x)
    assert torch.allclose(mixture.denoise(x.detach(), level), x.detach() + level**2 * score, atol=1e-12)


def test_the_mixtures_density_is_that_of_its_components(mixture):
    x = points(5, 6)
    law = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(mixture.weights),
        torch.distributions.MultivariateNormal(mixture.means, mixture.covariances),
    )
    assert torch.allclose(mixture.log_prob(x), law.log_prob(x))


@pytest.mark.parametrize("level", [0.05, 0.7, 6.0])
def test_the_mixtures_jacobian_is_autograds_and_its_covariance_over_the_level(mixture, level):
    x, v = points(7, 6, 1), points(7, 6, 2)
    _, expected = torch.autograd.functional.vjp(lambda z: mixture.denoise(z, level), x, v)
    _, vjp = mixture.denoise_vjp(x, level)
    covariance = mixture.covariance(x, level)
    assert torch.allclose(vjp(v), expected, atol=1e-10)
    assert torch.allclose((covariance @ v.unsqueeze(-1)).squeeze(-1) / level**2, expected, atol=1e-10)
    assert isinstance(mixture, ExactCovariance)


def test_the_mixtures_samples_have_its_moments(mixture):
    drawn = mixture.sample(200_000, torch.Generator().manual_seed(0))
    assert torch.allclose(drawn.mean(0), mixture.weights @ mixture.means, atol=0.02)
    assert float(drawn.var(0).mean()) == pytest.approx(mixture.variance, rel=0.02)


def test_the_mixtures_posterior_equals_importance_sampling(mixture):
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    variance = torch.tensor([0.4, 0.6, 0.5], dtype=torch.float64)
    data = matrix @ mixture.sample(1, generator)[0]
    exact = mixture.posterior(matrix, data, variance)
    drawn = mixture.sample(400_000, generator)
    logs = -((data - drawn @ matrix.T).square() / variance).sum(-1) / 2
    weights = logs.softmax(0)
    mean = weights @ drawn
    spread = (drawn - mean).T @ (weights.unsqueeze(-1) * (drawn - mean))
    exact_mean = exact.weights @ exact.means
    exact_spread = torch.einsum("k,kde->de", exact.weights, exact.covariances)
    away = exact.means - exact_mean
    exact_spread = exact_spread + torch.einsum("k,kd,ke->de", exact.weights, away, away)
    assert torch.allclose(mean, exact_mean, atol=0.03)
    assert torch.allclose(spread, exact_spread, atol=0.03)


def test_infinite_variance_drops_an_observation(mixture):
    matrix, data = points(4, 6, 3), points(1, 4, 4)[0]
    variance = torch.full((4,), 0.3, dtype=torch.float64)
    kept = mixture.posterior(matrix[:3], data[:3], variance[:3])
    variance[3] = float("inf")
    dropped = mixture.posterior(matrix, data, variance)
    assert torch.allclose(kept.means, dropped.means)
    assert torch.allclose(kept.weights, dropped.weights)


@pytest.fixture(scope="module")
def denoiser() -> Denoiser:
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    network = ResidualNetwork(10, 32, 2)
    params = network.init(generators)
    params["out.weight"] = torch.stack([torch.randn(32, 10, generator=g) for g in generators]) / 6
    return Denoiser(network, params, torch.linspace(-1, 1, 10), 0.7)


@pytest.mark.parametrize("level", [0.02, 0.5, 5.0])
def test_the_denoisers_written_out_jacobian_is_autograds(denoiser, level):
    x, v = points(12, 10).float().reshape(2, 6, 10), points(12, 10, 1).float().reshape(2, 6, 10)
    levels = torch.full((1, 1, 1), level)

    def denoise(z: torch.Tensor) -> torch.Tensor:
        return denoiser.denoised(z, levels, denoiser.network(denoiser.params, denoiser.inputs(z, levels)))

    _, expected = torch.autograd.functional.vjp(denoise, x, v)
    denoised, vjp = denoiser.denoise_vjp(x, level)
    assert torch.allclose(denoised, denoise(x), atol=1e-6)
    assert torch.allclose(vjp(v), expected, atol=1e-5)


def test_a_denoiser_keeps_clean_states_and_forgets_drowned_ones(denoiser):
    x = points(4, 10).float().reshape(2, 2, 10)
    assert torch.allclose(denoiser.denoise(x, 1e-4), x, atol=1e-3)
    far = denoiser.denoise(x, 1e4)
    assert torch.allclose(far, denoiser.denoise(x + 1.0, 1e4), atol=1e-2)


def test_any_callable_is_a_prior(mixture):
    foreign = AnyDenoiser(lambda x, sigma: mixture.denoise(x, sigma), mixture.variance, torch.float64)
    x, v = points(3, 6), points(3, 6, 1)
    denoised, vjp = foreign.denoise_vjp(x, 0.5)
    expected, exact = mixture.denoise_vjp(x, 0.5)
    assert torch.allclose(denoised, expected)
    assert torch.allclose(vjp(v), exact(v))
    assert torch.allclose(vjp(2 * v), 2 * exact(v)), "it can be asked twice"
