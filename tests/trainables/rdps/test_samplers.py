"""Samplers: exact where theory is, the published method at an infinite threshold, one chain's own business."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import get_args

import pytest
import torch
from flowsweep.trainables.rdps.config import SamplerName
from flowsweep.trainables.rdps.guidance import Inverse
from flowsweep.trainables.rdps.inner import conjugate_gradients
from flowsweep.trainables.rdps.likelihood import Likelihood
from flowsweep.trainables.rdps.metrics import sliced_wasserstein
from flowsweep.trainables.rdps.operators import MatrixOperator
from flowsweep.trainables.rdps.priors import AnyDenoiser
from flowsweep.trainables.rdps.problems.darcy import DarcyFlow, permeabilities
from flowsweep.trainables.rdps.samplers import sample, unconditional
from flowsweep.trainables.rdps.schedule import Settings, noise_levels

SAMPLERS = get_args(SamplerName)
NOISE, CHAINS = 0.3, 6


def stream(chains: int, unknowns: int, lanes: int = 1, seed: int = 0):
    """Numbers of every chain from its own stream, so that a chain draws the same in any company."""
    generators = [
        [torch.Generator().manual_seed(seed + 100 * p + b) for b in range(chains)] for p in range(lanes)
    ]

    def draw(count: int) -> torch.Tensor:
        drawn = [
            [torch.randn(count, unknowns, generator=g, dtype=torch.float64) for g in lane]
            for lane in generators
        ]
        return torch.stack([torch.stack(lane, 1) for lane in drawn], 1)

    return draw


def settings(sampler: str, **changes) -> Settings:
    usual = {"levels": 20, "langevin_steps": 8, "guidance": 8.0 if sampler == "dps_annealed" else 1.0}
    return Settings(sampler=sampler, **(usual | changes))


@pytest.fixture(scope="module")
def setting(mixture):
    generator = torch.Generator().manual_seed(4)
    matrix = torch.randn(9, 6, generator=generator, dtype=torch.float64) / 6**0.5
    truths = mixture.sample(CHAINS, generator)
    noise = torch.randn(CHAINS, 9, generator=generator, dtype=torch.float64)
    data = truths @ matrix.T + NOISE * noise
    data[:, 2] += 5.0
    return mixture, MatrixOperator(matrix), data.unsqueeze(0)


def run(setting, sampler, likelihood, chains=slice(None), **changes):
    prior, operator, data = setting
    inverse = Inverse(prior, operator, likelihood, NOISE, data[:, chains])
    return sample(inverse, settings(sampler, **changes), stream(data[:, chains].shape[1], 6)).x


@pytest.mark.parametrize("scale", ["annealed", "mad", "fixed"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_an_infinite_threshold_is_the_plain_sampler_bit_for_bit(setting, sampler, scale):
    plain = run(setting, sampler, Likelihood("squared", scale=scale))
    for kind in ("huber", "imq", "cauchy", "welsch", "tukey"):
        assert torch.equal(run(setting, sampler, Likelihood(kind, math.inf, scale)), plain), kind


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_chain_does_not_depend_on_its_neighbours(setting, sampler):
    likelihood = Likelihood("cauchy", 2.4, "mad")
    together = run(setting, sampler, likelihood)
    alone = run(setting, sampler, likelihood, slice(0, 2))
    assert torch.allclose(together[:, :2], alone, atol=1e-9)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_order_of_observations_does_not_matter(setting, sampler):
    prior, operator, data = setting
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    shuffled = (prior, MatrixOperator(operator.matrix[order]), data[..., order])
    likelihood = Likelihood("cauchy", 2.4)
    assert torch.allclose(run(setting, sampler, likelihood), run(shuffled, sampler, likelihood), atol=1e-7)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_lane_is_what_it_would_be_alone(setting, sampler):
    prior, operator, data = setting
    both = data.expand(2, -1, -1)
    thresholds = torch.tensor([1.0, 4.0], dtype=torch.float64).reshape(-1, 1, 1)
    draw = stream(CHAINS, 6, lanes=2)
    inverse = Inverse(prior, operator, Likelihood("cauchy", thresholds), NOISE, both)
    together = sample(inverse, settings(sampler), draw).x
    draw = stream(CHAINS, 6)
    inverse = Inverse(prior, operator, Likelihood("cauchy", thresholds[:1]), NOISE, data)
    assert torch.equal(sample(inverse, settings(sampler), draw).x[0], together[0])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_robust_weights_survive_an_absurd_outlier(setting, sampler):
    prior, operator, data = setting
    wild = data.clone()
    wild[..., 0] += 1e12
    found = run((prior, operator, wild), sampler, Likelihood("tukey", 4.685))
    assert bool(found.isfinite().all())
    assert float(found.abs().max()) < 50


@pytest.mark.parametrize("solver", ["ancestral", "heun"])
@pytest.mark.parametrize("sampler", ["pigdm", "tmpd"])
def test_clean_gaussian_posteriors_are_met(gaussian, sampler, solver):
    prior, operator = gaussian
    generator = torch.Generator().manual_seed(0)
    data = operator.A(prior.sample(1, generator)[0])
    exact = prior.posterior(operator.matrix, data, torch.full((12,), NOISE**2, dtype=torch.float64))
    inverse = Inverse(prior, operator, Likelihood("squared"), NOISE, data.expand(1, 400, -1))
    draw = stream(400, 8, seed=7)
    found = sample(inverse, Settings(sampler=sampler, solver=solver, levels=60), draw).x[0]
    floor = sliced_wasserstein(exact.sample(400, generator), exact.sample(400, generator))
    # TMPD knows the covariance of a Gaussian exactly; PiGDM takes it for a multiple of the identity.
    assert sliced_wasserstein(found, exact.sample(400, generator)) < floor + (
        0.03 if sampler == "tmpd" else 0.1
    )


def test_the_unconditional_process_draws_the_prior(mixture):
    found = unconditional(mixture, Settings(levels=60), stream(1000, 6, seed=3))[0]
    reference = mixture.sample(1000, torch.Generator().manual_seed(1))
    floor = sliced_wasserstein(reference, mixture.sample(1000, torch.Generator().manual_seed(2)))
    assert sliced_wasserstein(found, reference) < 2 * floor


def test_levels_fall_from_the_largest_to_the_smallest():
    levels = noise_levels(10.0, 0.01, 30)
    assert levels[0] == pytest.approx(10.0)
    assert levels[-1] == pytest.approx(0.01)
    assert all(one > other for one, other in pairwise(levels))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_denoiser_that_breaks_is_told_from_a_sampler_that_does(setting, sampler):
    prior, operator, data = setting
    broken = AnyDenoiser(
        lambda x, sigma: prior.denoise(x, sigma) + (torch.nan if sigma < 1 else 0.0),
        prior.variance,
        torch.float64,
    )
    inverse = Inverse(broken, operator, Likelihood("cauchy"), NOISE, data)
    found = sample(inverse, settings(sampler), stream(CHAINS, 6))
    assert bool(found.denoiser_failed.all())
    # Too strong a pull breaks the sampler under a sound denoiser.
    inverse = Inverse(prior, operator, Likelihood("squared"), NOISE, data)
    if sampler == "dps_annealed":
        found = sample(inverse, settings(sampler, guidance=1e200), stream(CHAINS, 6))
        assert not bool(found.x.isfinite().all())
        assert not bool(found.denoiser_failed.any())


def test_calls_of_the_denoiser_are_counted(setting):
    prior, operator, data = setting
    inverse = Inverse(prior, operator, Likelihood("cauchy"), NOISE, data)
    for sampler, per_level in (("dps_annealed", 2), ("tmpd", 2), ("reddiff", 1)):
        found = sample(inverse, settings(sampler), stream(CHAINS, 6))
        assert found.calls == 20 * per_level + (sampler == "reddiff"), sampler


@pytest.mark.parametrize("sampler", ["dps_annealed", "pigdm", "tmpd", "daps", "huber_cg"])
def test_nonlinear_operators_are_taken_at_their_tangent(sampler):
    operator, prior = DarcyFlow(12, 6), permeabilities(12)
    generator = torch.Generator().manual_seed(0)
    truth = prior.sample(1, generator)[0]
    data = operator.A(truth)
    noise = 0.02 * float(data.mean())
    inverse = Inverse(prior, operator, Likelihood("cauchy", 2.4), noise, data.expand(1, 16, -1))
    drawn = sample(inverse, settings(sampler, levels=60, langevin_steps=30), stream(16, 12)).x[0]
    start = float((operator.A(prior.sample(16, generator)) - data).square().mean())
    assert float((operator.A(drawn) - data).square().mean()) < 0.15 * start


def test_conjugate_gradients_solve_each_chains_system():
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(3, 5, 5, generator=generator, dtype=torch.float64)
    systems = root @ root.mT + torch.eye(5, dtype=torch.float64)
    right = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    right[1] = 0
    found = conjugate_gradients(lambda v: (systems @ v.unsqueeze(-1)).squeeze(-1), right)
    assert torch.allclose(found, torch.linalg.solve(systems, right), atol=1e-4)
    assert torch.equal(found[1], torch.zeros(5, dtype=torch.float64))
