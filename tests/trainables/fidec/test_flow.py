import pytest
import torch
from flowsweep.trainables.fidec.flow import Solver, sample


def gaussian_velocity(mean: torch.Tensor, sd: torch.Tensor):
    """The exact flow from N(0, 1) to N(mean, sd^2), entry by entry."""

    def velocity(states, points, times):
        variance = times**2 * sd**2 + (1 - times) ** 2
        return mean + (times * sd**2 - (1 - times)) / variance * (points - times * mean)

    return velocity


SPREADS = torch.tensor([0.05, 0.1, 0.2, 0.5])


def sampled_spread(solver: Solver) -> torch.Tensor:
    """Standard deviation of samples over the true one. The map from noise is affine here, so two points give it."""
    noise = torch.stack([torch.zeros(4), torch.ones(4)]).unsqueeze(0)
    samples = sample(gaussian_velocity(torch.zeros(4), SPREADS), torch.empty(1, 2, 0), noise, solver)
    return (samples[0, 1] - samples[0, 0]) / SPREADS


@pytest.mark.parametrize(
    ("solver", "expected"),
    [
        (Solver("euler", 10), [0.40, 0.62, 0.77, 0.86]),
        (Solver("midpoint", 5), [0.60, 0.88, 0.99, 1.00]),
    ],
)
def test_a_coarse_solver_narrows_a_gaussian_by_a_known_factor(solver, expected):
    assert solver.evaluations == 10
    torch.testing.assert_close(sampled_spread(solver), torch.tensor(expected), rtol=0, atol=0.011)


@pytest.mark.parametrize("method", ["euler", "midpoint"])
def test_many_small_steps_reproduce_the_gaussian(method):
    torch.testing.assert_close(sampled_spread(Solver(method, 2000)), torch.ones(4), rtol=0.02, atol=0)


def test_samples_have_the_mean_of_the_data():
    mean = torch.tensor([0.3, -0.2, 0.0, 0.7])
    at_zero_noise = sample(
        gaussian_velocity(mean, SPREADS), torch.empty(1, 1, 0), torch.zeros(1, 1, 4), Solver("midpoint", 5)
    )
    torch.testing.assert_close(at_zero_noise[0, 0], mean)
