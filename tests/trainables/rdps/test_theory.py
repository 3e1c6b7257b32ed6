"""What theory says of outliers, held against exact posteriors and the samplers."""

from __future__ import annotations

import math

import pytest
import torch
from flowsweep.trainables.rdps.guidance import Inverse, dps_annealed, point
from flowsweep.trainables.rdps.likelihood import Likelihood, largest_psi, largest_rho, rho
from flowsweep.trainables.rdps.metrics import influence_slope, sliced_wasserstein
from flowsweep.trainables.rdps.operators import MatrixOperator
from flowsweep.trainables.rdps.samplers import sample
from flowsweep.trainables.rdps.schedule import Settings
from flowsweep.trainables.rdps.truth import gibbs_student_t

NOISE, CHAINS, SWEEPS = 0.3, 300, 40


def draws(chains: int, unknowns: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return lambda count: torch.randn(count, 1, chains, unknowns, generator=generator, dtype=torch.float64)


def sampled(
    prior, operator, data, likelihood, sampler="tmpd", chains=CHAINS, noise=NOISE, **settings
) -> torch.Tensor:
    inverse = Inverse(prior, operator, likelihood, noise, data.expand(1, chains, -1))
    found = sample(
        inverse, Settings(sampler=sampler, levels=40, **settings), draws(chains, operator.unknowns)
    )
    return found.x[0]


@pytest.fixture(scope="module")
def data(gaussian) -> torch.Tensor:
    prior, operator = gaussian
    generator = torch.Generator().manual_seed(11)
    truth = prior.sample(1, generator)[0]
    return operator.A(truth) + NOISE * torch.randn(12, generator=generator, dtype=torch.float64)


def moved(data: torch.Tensor, by: float) -> torch.Tensor:
    changed = data.clone()
    changed[0] += by
    return changed


def slope_in_closed_form(prior, operator) -> float:
    """|Sigma_post a_0| / sy^2: how far the posterior mean goes per unit of the first observation."""
    precision = torch.linalg.inv(prior.covariances[0]) + operator.matrix.T @ operator.matrix / NOISE**2
    return float((torch.linalg.inv(precision) @ operator.matrix[0]).norm()) / NOISE**2


@pytest.mark.parametrize("size", [1.0, 1e2, 1e6])
def test_the_exact_posterior_moves_in_proportion_to_one_observation(gaussian, data, size):
    prior, operator = gaussian
    variance = torch.full((12,), NOISE**2, dtype=torch.float64)
    still, there = (prior.posterior(operator.matrix, y, variance) for y in (data, moved(data, size)))
    shift = float((there.means - still.means).norm())
    assert shift == pytest.approx(size * slope_in_closed_form(prior, operator), rel=1e-6)
    assert torch.allclose(there.covariances, still.covariances), "its spread does not change at all"


def test_the_squared_loss_follows_an_outlier_without_bound(gaussian, data):
    prior, operator = gaussian
    squared = Likelihood("squared")
    still = sampled(prior, operator, data, squared)
    there = {size: sampled(prior, operator, moved(data, size), squared) for size in (1e2, 1e4)}
    assert influence_slope(there, still) == pytest.approx(1.0, abs=1e-3)
    shift = float((there[1e4].mean(0) - still.mean(0)).norm())
    assert shift == pytest.approx(1e4 * slope_in_closed_form(prior, operator), rel=0.02)


@pytest.mark.parametrize("kind", ["cauchy", "welsch", "tukey"])
@pytest.mark.parametrize("sampler", ["dps_annealed", "pigdm", "tmpd", "daps", "huber_cg"])
def test_losses_that_let_go_have_flat_influence(gaussian, data, kind, sampler):
    """Within 5 % from M = 100 on; a Cauchy tail, whose psi falls as 1/M, still pulls by that much there."""
    prior, operator = gaussian
    sizes = (1e3 if kind == "cauchy" else 1e2, 1e4, 1e6)
    likelihood = Likelihood(kind, {"cauchy": 2.5, "welsch": 2.5, "tukey": 5.0}[kind])
    chains = 40 if sampler in ("daps", "huber_cg") else 100
    pull = 8.0 if sampler == "dps_annealed" else 1.0
    kwargs = {"sampler": sampler, "chains": chains, "guidance": pull}
    still = sampled(prior, operator, data, likelihood, **kwargs).mean(0)
    shifts = [
        float((sampled(prior, operator, moved(data, size), likelihood, **kwargs).mean(0) - still).norm())
        for size in sizes
    ]
    assert max(shifts) < 1.05 * min(shifts)
    assert max(shifts) < 2.0


def test_huber_is_bounded_but_does_not_forget(gaussian, data):
    prior, operator = gaussian
    huber = Likelihood("huber", 1.345)
    still, near, far = (sampled(prior, operator, moved(data, size), huber) for size in (0.0, 1e2, 1e6))
    shifts = [float((there.mean(0) - still.mean(0)).norm()) for there in (near, far)]
    assert shifts[1] == pytest.approx(shifts[0], rel=0.05)
    assert shifts[1] > 0.1


def test_gibbs_equals_the_closed_form_where_the_loss_is_nearly_squared(gaussian, data):
    prior, operator = gaussian
    exact = prior.posterior(operator.matrix, data, torch.full((12,), NOISE**2, dtype=torch.float64))
    generator = torch.Generator().manual_seed(0)
    drawn = gibbs_student_t(prior, operator.matrix, data, NOISE, 60.0, 3000, generator, sweeps=20)
    assert sliced_wasserstein(drawn, exact.sample(3000, generator)) < 0.03


def test_gibbs_leaves_the_robust_posterior_invariant(mixture):
    """Against importance sampling, whose weights know the loss directly."""
    generator = torch.Generator().manual_seed(2)
    matrix = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    seen = matrix @ mixture.sample(1, generator)[0]
    seen[0] += 4.0
    drawn = gibbs_student_t(mixture, matrix, seen, 0.6, 2.0, 4000, generator, sweeps=60)
    proposals = mixture.sample(400_000, generator)
    weights = (-rho("cauchy", (proposals @ matrix.T - seen) / 0.6, 2.0).sum(-1)).softmax(0)
    assert torch.allclose(drawn.mean(0), weights @ proposals, atol=0.06)


def test_a_forgotten_outlier_leaves_the_same_loss_without_that_observation(gaussian, data):
    """The limit is the robust posterior of the others, not the Gaussian one."""
    prior, operator = gaussian
    generator = torch.Generator().manual_seed(1)
    far = gibbs_student_t(prior, operator.matrix, moved(data, 1e6), NOISE, 2.5, 1500, generator, SWEEPS)
    rest = operator.matrix[1:]
    dropped = gibbs_student_t(prior, rest, data[1:], NOISE, 2.5, 1500, generator, SWEEPS)
    again = gibbs_student_t(prior, rest, data[1:], NOISE, 2.5, 1500, generator, SWEEPS)
    floor = sliced_wasserstein(dropped, again)
    assert sliced_wasserstein(far, dropped) < 1.5 * floor + 0.005
    with_it = gibbs_student_t(prior, operator.matrix, data, NOISE, 2.5, 1500, generator, SWEEPS)
    assert sliced_wasserstein(far, with_it) > 3 * floor, "dropping it makes a difference that would be seen"


def test_tmpd_with_cauchy_comes_close_to_that_limit(gaussian, data):
    prior, operator = gaussian
    generator = torch.Generator().manual_seed(1)
    exact = gibbs_student_t(prior, operator.matrix[1:], data[1:], NOISE, 2.5, 1000, generator, SWEEPS)
    drawn = sampled(prior, operator, moved(data, 1e4), Likelihood("cauchy", 2.5), chains=1000)
    squared = sampled(prior, operator, moved(data, 1e4), Likelihood("squared"), chains=200)
    assert sliced_wasserstein(drawn, exact) < 0.1
    assert sliced_wasserstein(squared, exact[:200]) > 100


@pytest.mark.parametrize("kind", ["welsch", "tukey"])
def test_a_bounded_loss_moves_the_log_posterior_by_at_most_twice_its_bound(kind):
    """For any state whatever, hence any prior and any operator."""
    residuals = 50 * torch.randn(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for size in (1.0, 1e3, 1e9):
        change = rho(kind, residuals + size, 2.0) - rho(kind, residuals, 2.0)
        assert float(change.abs().max()) <= largest_rho(kind, 2.0) * (1 + 1e-12)
        spread = change.max() - change.min()
        assert float(spread) <= 2 * largest_rho(kind, 2.0)


@pytest.mark.parametrize("kind", ["huber", "imq", "cauchy", "welsch", "tukey"])
def test_no_outlier_pulls_more_than_the_bound(gaussian, data, kind):
    """DPS, annealed: an observation adds at most |J| |a_i| scale_i sup|psi| over the denominator."""
    prior, operator = gaussian
    threshold, level = 2.0, 0.4
    x = torch.randn(1, 50, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    jacobian = prior.covariance(x, level)[0, 0] / level**2
    variance = level**2 * prior.variance / (level**2 + prior.variance)
    scale = (NOISE**2 + variance * float(operator.matrix[0].square().sum())) ** 0.5
    denominator = NOISE**2 + variance * float(operator.norm_squared(x))
    length = float(operator.matrix[0].norm() * torch.linalg.matrix_norm(jacobian, 2))
    bound = length * scale * largest_psi(kind, threshold) / denominator
    pulls = []
    for size in (0.0, 1e1, 1e3, 1e9):
        inverse = Inverse(
            prior, operator, Likelihood(kind, threshold), NOISE, moved(data, size).expand(1, 50, -1)
        )
        pulls.append(dps_annealed(inverse, point(inverse, x, level)))
    for pull in pulls[1:]:
        assert float((pull - pulls[0]).norm(dim=-1).max()) <= 2 * bound


def test_the_fixed_scale_takes_every_early_residual_for_an_outlier(gaussian):
    """Why residuals are measured by their predictive deviation: else samples are the prior's."""
    prior, operator = gaussian
    fine = 0.03
    generator = torch.Generator().manual_seed(0)
    seen = operator.A(prior.sample(1, generator)[0])
    exact = prior.posterior(operator.matrix, seen, torch.full((12,), fine**2, dtype=torch.float64))
    reference = exact.sample(CHAINS, generator)
    away = {
        scale: sliced_wasserstein(
            sampled(
                prior,
                operator,
                seen,
                Likelihood("welsch", 2.5, scale),
                "dps_annealed",
                noise=fine,
                guidance=8.0,
            ),
            reference,
        )
        for scale in ("annealed", "fixed")
    }
    assert away["fixed"] > 1.5 * away["annealed"]


def test_redundant_rows_do_not_make_clean_data_diverge():
    """Steps are bounded by the operator's norm; by row lengths, forty copies of a row would be forty times too far."""
    prior_covariance = torch.eye(4, dtype=torch.float64).unsqueeze(0)
    from flowsweep.trainables.rdps.priors import GaussianMixture

    prior = GaussianMixture(torch.ones(1).double(), torch.zeros(1, 4).double(), prior_covariance)
    operator = MatrixOperator(torch.eye(4, dtype=torch.float64).repeat(40, 1))
    truth = torch.tensor([1.0, -1.0, 0.5, 0.0], dtype=torch.float64)
    for sampler in ("dps_annealed", "daps", "huber_cg"):
        drawn = sampled(prior, operator, operator.A(truth), Likelihood("squared"), sampler, 50, guidance=8.0)
        assert float((drawn.mean(0) - truth).abs().max()) < 0.15, sampler


def test_influence_is_one_for_growth_in_proportion_and_nothing_when_flat():
    still, ones = torch.zeros(5, 3), torch.ones(5, 3)
    assert influence_slope({1e2: 1e2 * ones, 1e4: 1e4 * ones}, still) == pytest.approx(1.0)
    assert influence_slope({1e2: 0.3 * ones, 1e4: 0.3 * ones}, still) == pytest.approx(0.0)
    assert influence_slope({1e2: ones, 1e4: 10 * ones}, still) == pytest.approx(math.log(10) / math.log(100))
