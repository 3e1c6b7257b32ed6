"""The energy and the estimate of its score against what theory says of them."""

import pytest
import torch
from flowsweep.trainables.algd.learner import pulled_back
from flowsweep.trainables.algd.losses import Energy, energy_values, lagrangian_part, landscape
from flowsweep.trainables.algd.score import clipped_score, estimated_score
from flowsweep.trainables.safe_rl.critics import Critics, upper_bound, upper_bound_slope, values_and_slopes
from flowsweep.trainables.streams import Streams

ONE = torch.ones(1, dtype=torch.float64)
KINDS = pytest.mark.parametrize("kind", ["augmented", "lagrangian", "penalty"])
SIZES = pytest.mark.parametrize(("hidden", "rows"), [((16, 12), 7), ((96, 96), 256)], ids=["small", "large"])


def part(violation, multiplier, rho, kind="augmented"):
    value, effective = lagrangian_part(
        torch.tensor([[violation]], dtype=torch.float64), multiplier * ONE, rho * ONE, kind
    )
    return float(value), float(effective)


@pytest.mark.parametrize("violation", [-3.0, -0.6, -0.4, 0.0, 0.7, 4.0])
@pytest.mark.parametrize("rho", [0.1, 1.0, 5.0])
def test_the_augmented_part_is_rockafellar_s(violation, rho):
    value, effective = part(violation, 0.5, rho)
    expected = (max(0.0, 0.5 + rho * violation) ** 2 - 0.25) / (2 * rho)
    assert value == pytest.approx(expected, abs=1e-12)
    assert effective == pytest.approx(max(0.0, 0.5 + rho * violation))


@KINDS
def test_lambda_eff_is_the_derivative_in_the_violation(kind):
    g = torch.linspace(-2, 2, 41, dtype=torch.float64)[None].requires_grad_()
    value, effective = lagrangian_part(g, 0.7 * ONE, 1.3 * ONE, kind)
    (slope,) = torch.autograd.grad(value.sum(), g)
    torch.testing.assert_close(slope, effective)


def test_curvature_is_rho_grad_g_grad_g_more_where_the_constraint_binds_and_nothing_elsewhere():
    """Hess L_A = -Hess q + lambda_eff Hess g + rho grad g grad g^T."""
    matrix = torch.tensor([[1.0, 0.3], [0.3, 2.0]], dtype=torch.float64)

    def g(a):
        return 0.5 * a @ matrix @ a - 1.0

    def energy(a):
        value, _ = lagrangian_part(g(a).view(1, 1), 0.4 * ONE, 2.0 * ONE, "augmented")
        return value.squeeze() + (a[0] ** 3 - a[1])

    for place, binds in (([1.2, 0.8], True), ([0.1, 0.1], False)):
        a = torch.tensor(place, dtype=torch.float64)
        effective = float((0.4 + 2.0 * g(a)).clamp_min(0))
        assert (effective > 0) == binds
        slope = matrix @ a
        expected = torch.diag(torch.tensor([6 * a[0], 0.0], dtype=torch.float64))
        if binds:
            expected = expected + effective * matrix + 2.0 * torch.outer(slope, slope)
        torch.testing.assert_close(torch.autograd.functional.hessian(energy, a), expected)


@pytest.mark.parametrize(("multiplier", "violation"), [(0.8, 0.0), (0.0, -0.5), (0.0, 0.0)])
@pytest.mark.parametrize("rho", [0.1, 1.0, 10.0])
def test_the_optimum_stays_where_it_is(multiplier, violation, rho):
    """At complementary slackness value and derivative equal the plain Lagrangian's, whatever rho."""
    assert part(violation, multiplier, rho) == pytest.approx(part(violation, multiplier, rho, "lagrangian"))


def test_with_rho_towards_zero_the_plain_lagrangian_is_recovered():
    assert part(0.7, 2.0, 1e-6)[0] == pytest.approx(part(0.7, 2.0, 1e-6, "lagrangian")[0], abs=1e-5)


def critics_at(hidden, rows, members=4):
    torch.manual_seed(0)
    critics = Critics.of(5, hidden, members)
    draws = Streams([0, 1], "init").generators
    reward, cost = critics.reward.init(draws), critics.cost.init(draws)
    for params in (reward, cost):
        for name in params:
            params[name] = params[name] + 0.05 * torch.randn_like(params[name])
    return critics, reward, cost, torch.randn(2, rows, 5)


@SIZES
def test_slopes_of_critics_equal_those_of_autograd(hidden, rows):
    critics, reward, cost, inputs = critics_at(hidden, rows)
    for network, params in ((critics.reward, reward), (critics.cost, cost)):
        found = values_and_slopes(network, params, inputs, actions=2)
        traced = inputs.clone().requires_grad_()
        values = network(params, traced).squeeze(-1)
        torch.testing.assert_close(found.values, values.detach(), rtol=1e-4, atol=1e-5)
        for member in range(values.shape[1]):
            one = network(params, traced).squeeze(-1)[:, member]
            (slope,) = torch.autograd.grad(one.sum(), traced)
            # Rounding may put a unit on the other side of its kink.
            close = torch.isclose(found.slopes[:, member], slope[..., -2:], rtol=1e-3, atol=1e-5)
            assert float(close.float().mean()) > 0.99


@pytest.mark.parametrize("members", [1, 2, 5])
def test_the_upper_bound_is_mean_and_deviations_and_its_slope_is_autograd_s(members):
    critics, _, cost, inputs = critics_at((16, 12), 7, members)
    margin = torch.tensor([0.5, 2.0])
    traced = inputs.clone().requires_grad_()
    values = critics.cost(cost, traced).squeeze(-1)
    bound = upper_bound(values, margin)
    if members > 1:
        expected = values.mean(1) + margin[:, None] * values.std(1)
        torch.testing.assert_close(bound, expected)
    (slope,) = torch.autograd.grad(bound.sum(), traced)
    found = upper_bound_slope(values_and_slopes(critics.cost, cost, inputs, 2), margin)
    torch.testing.assert_close(found, slope[..., -2:], rtol=1e-4, atol=1e-5)


@KINDS
def test_the_slope_of_the_energy_equals_that_of_autograd_through_every_critic(kind):
    critics, reward, cost, inputs = critics_at((16, 12), 40)
    pair = lambda a, b: torch.tensor([a, b])  # noqa: E731
    energy = Energy(
        kind, pair(0.4, 1.0), pair(0.5, 2.0), pair(0.0, 1.0), pair(0.2, 0.1), pair(2.0, 1.0), pair(0.2, 1.0)
    )
    seen = landscape(critics, reward, cost, inputs, 2, energy)
    traced = inputs.clone().requires_grad_()
    q = critics.reward(reward, traced).squeeze(-1).amin(1)
    bound = upper_bound(critics.cost(cost, traced).squeeze(-1), energy.margin)
    value = lagrangian_part(energy.violation(bound), energy.multiplier, energy.rho, kind)[0]
    value = value - q / energy.q_scale[:, None]
    (slope,) = torch.autograd.grad(value.sum(), traced)
    torch.testing.assert_close(seen.slope, slope[..., -2:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(seen.value, value.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        energy_values(critics, reward, cost, inputs, energy), value.detach(), rtol=1e-4, atol=1e-5
    )


def gaussian_score(estimator, sigma, deviation, samples, rows=2000):
    """Estimates at points drawn from the noised Gaussian, and the exact scores there; [rows, 2]."""
    draw = torch.Generator().manual_seed(0)
    points = (sigma**2 + deviation**2) ** 0.5 * torch.randn(1, rows, 2, generator=draw)
    offsets = torch.randn(1, samples, rows, 2, generator=draw)
    tried = points.unsqueeze(1) + sigma * offsets
    energies = tried.square().sum(-1) / (2 * deviation**2)
    slopes = tried / deviation**2
    noise = torch.full((1, rows), sigma)
    found = estimated_score(offsets, energies, slopes, noise, torch.ones(1), estimator)
    return found[0], -points[0] / (sigma**2 + deviation**2)


def relative_error(estimator, sigma, deviation, samples):
    found, exact = gaussian_score(estimator, sigma, deviation, samples)
    return float(((found - exact).square().mean() / exact.square().mean()).sqrt())


@pytest.mark.parametrize("estimator", ["gradient", "noise", "blend"])
@pytest.mark.parametrize(("sigma", "deviation"), [(0.3, 0.3), (1.0, 0.5), (0.1, 0.3)])
def test_with_many_samples_every_estimator_finds_the_score_of_a_gaussian(estimator, sigma, deviation):
    many = relative_error(estimator, sigma, deviation, 1024)
    assert many < 0.4
    assert many < 0.3 * relative_error(estimator, sigma, deviation, 16)


@pytest.mark.parametrize("samples", [4, 16])
def test_gradients_fail_where_noise_is_large_and_places_where_it_is_small_and_the_blend_nowhere(samples):
    """A narrow density under large noise, and a wide one under small noise."""
    names = ("gradient", "noise", "blend")
    large = {name: relative_error(name, 1.0, 0.1, samples) for name in names}
    small = {name: relative_error(name, 0.1, 1.0, samples) for name in names}
    assert large["gradient"] > 20
    assert large["noise"] < 1
    assert large["blend"] < 0.05 * large["gradient"]
    assert small["noise"] > 2
    assert small["gradient"] < 0.1
    assert small["blend"] < 0.05 * small["noise"]


@pytest.mark.parametrize(("sigma", "deviation"), [(1.0, 0.3), (1.0, 0.5), (0.3, 0.3)])
def test_in_between_the_blend_is_better_than_either(sigma, deviation):
    error = {name: relative_error(name, sigma, deviation, 16) for name in ("gradient", "noise", "blend")}
    assert error["blend"] < min(error["gradient"], error["noise"])


def test_clipped_scores_move_an_action_no_further_than_allowed_at_any_level():
    score = torch.tensor([[[30.0, 40.0], [0.3, 0.4]]])
    sigma = torch.tensor([[0.1, 1.0]])
    clipped = clipped_score(score, sigma, torch.tensor([2.0]))
    torch.testing.assert_close(clipped[0, 0], torch.tensor([12.0, 16.0]))
    torch.testing.assert_close(clipped[0, 1], score[0, 1])


def test_a_flat_energy_pulled_back_to_the_latent_action_is_a_uniform_action():
    """Its density is that of x = artanh(a) for uniform a, and its gradient autograd's."""
    latent = torch.linspace(-3, 3, 61, dtype=torch.float64).view(1, 61, 1, 1)
    squashed = latent.tanh()
    zero = torch.zeros(1, 61, 1, dtype=torch.float64)
    energies, slopes = pulled_back(zero, torch.zeros_like(squashed), latent, squashed, 0.5 * ONE)
    density = (-energies / 0.5).exp().squeeze()
    torch.testing.assert_close(density, (1 - squashed.square()).squeeze())
    traced = latent.clone().requires_grad_()
    again, _ = pulled_back(zero, torch.zeros_like(squashed), traced, traced.tanh(), 0.5 * ONE)
    (slope,) = torch.autograd.grad(again.sum(), traced)
    torch.testing.assert_close(slopes, slope)
