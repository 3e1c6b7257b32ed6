"""The family of losses: derivatives, bounds, identities, scales, blocks."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from flowsweep.trainables.rdps.config import Kind
from flowsweep.trainables.rdps.likelihood import (
    EFFICIENT_THRESHOLD,
    Likelihood,
    largest_psi,
    largest_rho,
    psi,
    rho,
    student_t,
    weight,
)

KINDS = get_args(Kind)
BOUNDED = [kind for kind in KINDS if kind != "squared"]
LETTING_GO = ("cauchy", "imq_squared", "welsch", "tukey")
# An even number of points, so that none lies on the kinks of huber (at c) and none at zero.
U = torch.linspace(-12, 12, 4_002, dtype=torch.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_psi_is_the_derivative_of_rho(kind):
    u = U.clone().requires_grad_()
    (slope,) = torch.autograd.grad(rho(kind, u, 2.3).sum(), u)
    assert torch.allclose(psi(kind, U, 2.3), slope, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_psi_over_u_and_lie_between_nothing_and_one(kind):
    found = weight(kind, U, 2.3)
    assert torch.allclose(found, psi(kind, U, 2.3) / U, atol=1e-14)
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    assert float(weight(kind, torch.zeros(1), 2.3)) == 1


@pytest.mark.parametrize("kind", BOUNDED)
def test_the_bound_of_psi_is_attained_and_not_passed(kind):
    u = torch.cat([torch.linspace(0, 30, 300_001, dtype=torch.float64), torch.tensor([1e8]).double()])
    assert float(psi(kind, u, 1.7).max()) == pytest.approx(largest_psi(kind, 1.7), rel=1e-6)


@pytest.mark.parametrize("kind", ["welsch", "tukey"])
def test_the_bound_of_rho_is_attained_where_there_is_one(kind):
    assert float(rho(kind, torch.tensor(1e9).double(), 1.7)) == pytest.approx(largest_rho(kind, 1.7))


def test_only_welsch_and_tukey_bound_rho():
    assert [kind for kind in KINDS if math.isfinite(largest_rho(kind, 2.0))] == ["welsch", "tukey"]


@pytest.mark.parametrize("kind", BOUNDED)
def test_only_losses_that_let_go_forget_a_far_residual(kind):
    far = float(psi(kind, torch.tensor(1e9).double(), 2.0))
    assert (far < 1e-6) == (kind in LETTING_GO)


def test_the_squared_multiquadric_is_the_cauchy_loss():
    assert torch.equal(rho("imq_squared", U, 2.1), rho("cauchy", U, 2.1))
    assert torch.equal(weight("imq_squared", U, 2.1), weight("imq", U, 2.1).square()) or torch.allclose(
        weight("imq_squared", U, 2.1), weight("imq", U, 2.1).square(), rtol=1e-14
    )


@pytest.mark.parametrize("threshold", [1.5, 2.4, 6.0])
def test_the_cauchy_loss_is_student_t_noise(threshold):
    noise = 0.3
    freedom, scale = student_t(threshold, noise)
    residuals = torch.linspace(-4, 4, 101, dtype=torch.float64)
    law = torch.distributions.StudentT(*torch.tensor([freedom, 0.0, scale], dtype=torch.float64))
    difference = -law.log_prob(residuals) - rho("cauchy", residuals / noise, threshold)
    assert float(difference.std()) < 1e-12


def test_no_student_t_noise_belongs_to_a_threshold_of_one():
    with pytest.raises(ValueError, match="above 1"):
        student_t(1.0, 0.1)


@pytest.mark.parametrize("kind", BOUNDED)
def test_an_infinite_threshold_gives_weights_of_exactly_one(kind):
    assert torch.equal(weight(kind, U, math.inf), torch.ones_like(U))


@pytest.mark.parametrize("kind", list(EFFICIENT_THRESHOLD))
def test_default_thresholds_keep_95_percent_efficiency(kind):
    # Of the location estimate under normal noise: (E psi')^2 / E psi^2.
    u = torch.linspace(-9, 9, 200_001, dtype=torch.float64)
    density = torch.exp(-u.square() / 2) / math.sqrt(2 * math.pi)
    value = psi(kind, u, EFFICIENT_THRESHOLD[kind])
    (slope,) = torch.gradient(value, spacing=(u,))
    step = float(u[1] - u[0])
    efficiency = float((slope * density).sum() * step) ** 2 / float((value.square() * density).sum() * step)
    assert efficiency == pytest.approx(0.95, abs=0.012)


def test_weights_carry_no_gradient():
    residual = torch.tensor([[0.5, 3.0]], requires_grad=True)
    likelihood = Likelihood("cauchy", 2.0)
    loss = (likelihood.weights(residual, torch.ones(1)) * residual.square() / 2).sum()
    (slope,) = torch.autograd.grad(loss, residual)
    assert torch.allclose(slope, psi("cauchy", residual.detach(), 2.0))


def test_the_annealed_scale_adds_what_is_not_known_yet():
    likelihood = Likelihood(scale="annealed")
    found = likelihood.residual_scale(torch.zeros(2, 3), 0.3, torch.tensor([0.0, 0.4, 1.6]))
    assert torch.allclose(found, torch.tensor([0.3, 0.5, (0.09 + 2.56) ** 0.5]))


def test_the_mad_scale_is_each_chains_own_and_never_below_the_noise():
    residual = torch.tensor([[1.0, -1.0, 100.0], [0.001, 0.0, -0.001]])
    found = Likelihood(scale="mad").residual_scale(residual, 0.1, 5.0)
    assert torch.allclose(found, torch.tensor([[1.4826], [0.1]]))


def test_the_mad_scale_estimates_a_standard_deviation():
    drawn = 3 * torch.randn(1, 100_001, generator=torch.Generator().manual_seed(0))
    assert float(Likelihood(scale="mad").residual_scale(drawn, 0.0, 0.0)) == pytest.approx(3, rel=0.02)


def test_blocks_share_the_weight_of_their_root_mean_square():
    residual = torch.tensor([[3.0, 4.0, 0.0, 0.0, 6.0]])
    found = Likelihood("cauchy", 2.0, block=2).weights(residual, torch.ones(1))
    alone = weight("cauchy", torch.tensor([12.5**0.5, 0.0, 6.0]), 2.0)
    assert torch.allclose(found, alone[torch.tensor([0, 0, 1, 1, 2])].unsqueeze(0))


def test_blocks_of_one_are_elementwise():
    residual = torch.randn(4, 7, generator=torch.Generator().manual_seed(1))
    elementwise = Likelihood("welsch", 1.5).weights(residual, torch.ones(1))
    assert torch.allclose(elementwise, Likelihood("welsch", 1.5, block=1)._of_blocks(residual), atol=1e-7)
