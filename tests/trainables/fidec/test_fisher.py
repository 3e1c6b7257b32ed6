"""Closed forms: data N(m, s^2) per entry, V = t^2 s^2 + (1 - t)^2, exact velocity."""

import pytest
import torch
from flowsweep.trainables.fidec.fisher import (
    Fisher,
    Metric,
    eigenvalue_spread,
    fisher_times,
    outer_mean,
    score_at,
    scores_of_samples,
)

MEAN, SD = torch.tensor([0.3, -0.1, 0.0]), torch.tensor([0.05, 0.23, 0.5])
SAMPLES = 200_000


def velocity(states, points, times):
    variance = times**2 * SD**2 + (1 - times) ** 2
    return MEAN + (times * SD**2 - (1 - times)) / variance * (points - times * MEAN)


def diagonal_fisher(time: float, **options) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    normal = lambda: torch.randn(1, SAMPLES, 3, generator=generator)  # noqa: E731
    scores = scores_of_samples(
        velocity, torch.empty(1, SAMPLES, 0), MEAN + SD * normal(), normal(), torch.full((1, SAMPLES, 1), time), **options
    )  # fmt: skip
    return scores[0].square().mean(0)


@pytest.mark.parametrize("time", [0.8, 0.9, 0.95])
def test_the_gaussian_estimator_gives_the_inverse_variance_of_the_marginal(time):
    variance = time**2 * SD**2 + (1 - time) ** 2
    torch.testing.assert_close(diagonal_fisher(time), 1 / variance, rtol=0.02, atol=0)


@pytest.mark.parametrize("time", [0.8, 0.9, 0.95])
def test_the_velocity_estimator_is_u_shaped_in_the_spread_and_sees_the_mean(time):
    variance = time**2 * SD**2 + (1 - time) ** 2
    c = (time * SD**2 - (1 - time)) / variance
    expected = (MEAN**2 + c**2 * variance) / (1 - time) ** 2
    torch.testing.assert_close(diagonal_fisher(time, estimator="velocity"), expected, rtol=0.02, atol=0.02)


def test_the_velocity_estimator_vanishes_at_one_spread():
    time = 1 / (1 + 0.5**2)  # sqrt((1 - t) / t) = 0.5, the third entry, whose mean is zero
    assert diagonal_fisher(time, estimator="velocity")[2] < 1e-3
    assert diagonal_fisher(time)[2] > 1


@pytest.mark.parametrize("time", [0.8, 0.9])
def test_at_clean_samples_tight_directions_look_loose(time):
    variance = time**2 * SD**2 + (1 - time) ** 2
    expected = (SD**2 + (1 - time) ** 2 * MEAN**2) / variance**2
    torch.testing.assert_close(diagonal_fisher(time, point="clean"), expected, rtol=0.02, atol=0)


def test_the_gaussian_score_is_the_derivative_of_the_log_marginal():
    points, time = torch.tensor([[[0.1, 0.2, -0.4]]]), torch.tensor([[[0.7]]])
    expected = -(points - 0.7 * MEAN) / (0.49 * SD**2 + 0.09)
    torch.testing.assert_close(score_at(velocity, points, points, time, "gaussian"), expected)


def test_times_are_spread_below_the_fisher_time_and_kept_inside_the_open_interval():
    uniform = torch.linspace(0, 1, 101)
    times = fisher_times(uniform, 0.9, 0.05)
    assert times.min() == pytest.approx(0.85)
    assert times.max() == pytest.approx(0.9)
    assert fisher_times(uniform, 0.9999, 0.0).max() == pytest.approx(0.999)
    assert fisher_times(uniform, 0.01, 0.0099).min() == pytest.approx(1e-3)


def metric(damping="relative", value=1e-2, normalization="per_state_trace"):
    return Metric(damping, torch.tensor([value]), normalization)


DELTA = torch.tensor([[[0.1, -0.2, 0.05], [0.0, 0.3, 0.1]]])


@pytest.mark.parametrize("size", [1e-2, 1.0, 1e4])
def test_an_isotropic_matrix_of_any_size_gives_the_mean_square_displacement(size):
    isotropic = Fisher(matrix=size * torch.eye(3).expand(1, 2, 3, 3))
    expected = DELTA.square().mean(-1)
    torch.testing.assert_close(metric().penalty(isotropic, DELTA), expected)
    torch.testing.assert_close(metric().penalty(Fisher(), DELTA), expected)


@pytest.mark.parametrize("size", [1e-2, 1.0, 1e4])
@pytest.mark.parametrize(("damping", "value"), [("relative", 0.0), ("relative", 0.3), ("absolute", 0.3)])
def test_a_dataset_isotropic_everywhere_gives_it_too_by_its_own_trace(size, damping, value):
    isotropic = Fisher(matrix=size * torch.eye(3).expand(1, 2, 3, 3))
    measured = Metric(damping, torch.tensor([value]), "dataset_trace", torch.tensor([3 * size]))
    torch.testing.assert_close(measured.penalty(isotropic, DELTA), DELTA.square().mean(-1))


def test_by_the_dataset_s_trace_tight_states_are_dearer_in_proportion():
    tight, loose = torch.diag(torch.tensor([6.0, 2.0])), torch.diag(torch.tensor([1.5, 0.5]))
    both = Fisher(matrix=torch.stack([tight, loose]).unsqueeze(0))
    delta = torch.tensor([[[0.1, 0.2], [0.1, 0.2]]])
    trace = torch.tensor([5.0])  # of 8 and 2
    exact = Metric("relative", torch.tensor([0.0]), "dataset_trace", trace).penalty(both, delta)
    # (6 * .01 + 2 * .04) / 5, and a quarter of it
    torch.testing.assert_close(exact, torch.tensor([[0.028, 0.007]]))
    absolute = Metric("absolute", torch.tensor([0.5]), "dataset_trace", trace).penalty(both, delta)
    # 0.5 * .05 more above, 0.5 * 2 more below
    torch.testing.assert_close(absolute, torch.tensor([[0.165 / 6, 0.06 / 6]]))
    relative = Metric("relative", torch.tensor([0.1]), "dataset_trace", trace).penalty(both, delta)
    # the ridge is 0.4 at the tight state, 0.1 at the loose one, 0.25 on average
    torch.testing.assert_close(relative, torch.tensor([[0.16 / 5.5, 0.04 / 5.5]]))
    by_state = metric(value=0.0).penalty(both, delta)
    torch.testing.assert_close(by_state[0, 0], by_state[0, 1])


def test_the_trace_of_the_dataset_must_be_given():
    with pytest.raises(ValueError, match="needs that trace"):
        metric(normalization="dataset_trace")


def test_the_spread_of_the_metric_counts_the_damping():
    one_directional = Fisher(scores=torch.tensor([[[[3.0, 0.0, 0.0]]]]))
    like = torch.zeros(1, 1, 3)
    assert metric(value=0.0).eigenvalue_spread(one_directional, like).item() == pytest.approx(3.0)
    # eigenvalues 9 + 3, 3, 3 over their mean 6
    assert metric(value=1.0).eigenvalue_spread(one_directional, like).item() == pytest.approx(2.0)
    assert metric("absolute", 3.0).eigenvalue_spread(one_directional, like).item() == pytest.approx(2.0)
    assert metric().eigenvalue_spread(Fisher(), like).item() == pytest.approx(1.0)


def test_scores_and_their_matrix_give_the_same_penalty_and_trace():
    scores = torch.randn(1, 2, 5, 3, generator=torch.Generator().manual_seed(1))
    as_scores, as_matrix = Fisher(scores=scores), Fisher(matrix=outer_mean(scores))
    torch.testing.assert_close(as_scores.quadratic(DELTA), as_matrix.quadratic(DELTA))
    torch.testing.assert_close(as_scores.trace(DELTA), as_matrix.trace(DELTA))
    torch.testing.assert_close(metric().penalty(as_scores, DELTA), metric().penalty(as_matrix, DELTA))


def test_damping_charges_directions_no_score_has_seen():
    blind = Fisher(scores=torch.tensor([[[[10.0, 0.0, 0.0]]]]))
    unseen = torch.tensor([[[0.0, 0.1, 0.0]]])
    assert metric(value=0.0).penalty(blind, unseen).item() == 0
    # mean eigenvalue 100/3, ridge a hundredth of it, over the damped mean eigenvalue and three entries
    assert metric(value=1e-2).penalty(blind, unseen).item() == pytest.approx(0.01 * 0.01 / 1.01 / 3)
    absolute = 1e-3 * 0.01 / (100 / 3 + 1e-3) / 3
    assert metric("absolute", 1e-3).penalty(blind, unseen).item() == pytest.approx(absolute)


def test_the_eigenvalue_spread_is_one_when_isotropic_and_the_action_size_when_one_directional():
    spread = eigenvalue_spread(torch.stack([7 * torch.eye(3), torch.diag(torch.tensor([5.0, 0, 0]))]))
    assert spread.tolist() == pytest.approx([1.0, 3.0])


class TestKullbackLeibler:
    """Second-order forms against exact values, for N(m, s^2) with s = 0.2."""

    sd, c = 0.2, 0.03
    nats = Metric("relative", torch.tensor([0.0]), "none")
    centred = 0.2 * torch.randn(1, SAMPLES, 1, generator=torch.Generator().manual_seed(2))
    scores = -centred / 0.2**2

    def local(self, displacement):
        return self.nats.penalty(Fisher(scores=self.scores.unsqueeze(2)), displacement).mean().item()

    def state_mean(self, displacement):
        matrix = outer_mean(self.scores).unsqueeze(1).expand(1, SAMPLES, 1, 1)
        return self.nats.penalty(Fisher(matrix=matrix), displacement).mean().item()

    def test_a_constant_shift_costs_its_exact_kl(self):
        exact = self.c**2 / (2 * self.sd**2)
        shift = torch.full((1, SAMPLES, 1), self.c)
        assert self.local(shift) == pytest.approx(exact, rel=0.02)
        assert self.state_mean(shift) == pytest.approx(exact, rel=0.02)

    def test_widening_costs_c_squared_of_which_the_forms_see_three_halves_and_one_half(self):
        widening = self.c * self.centred
        assert self.local(widening) == pytest.approx(1.5 * self.c**2, rel=0.03)
        assert self.state_mean(widening) == pytest.approx(0.5 * self.c**2, rel=0.03)
