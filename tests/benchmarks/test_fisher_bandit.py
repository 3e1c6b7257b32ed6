"""The bandits behind the figure of Fisher estimates: closed forms of what a displacement costs, and a quick run."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
import torch

# At the end: some of the scripts there have names that modules elsewhere have too.
sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import fisher_bandit
from fisher_densities import NARROW, WIDE, Density, densities
from fisher_kl import Grid, Move, best_gain, best_shift, shift_gain, shift_kl

torch.set_num_threads(1)

GRID = Grid()
DENSITIES = densities()
GAUSSIAN = DENSITIES["gaussian"]
EACH = pytest.mark.parametrize("density", DENSITIES.values(), ids=DENSITIES)


def vector(*entries: float) -> torch.Tensor:
    return torch.tensor(entries, dtype=torch.float64)


def kl_of(delta, density: Density = GAUSSIAN) -> float:
    """Of the move a -> a + delta(a)."""
    grid = Grid(181, 181)
    return Move(density, delta(grid.actions(density)), grid).kl(1.0)


def test_no_move_costs_nothing():
    assert kl_of(torch.zeros_like) == pytest.approx(0, abs=1e-4)


def test_shifting_a_gaussian_costs_the_closed_form():
    shift = vector(0.2, 0.01)
    expected = 0.5 * (0.2 / WIDE) ** 2 + 0.5 * (0.01 / NARROW) ** 2
    assert shift_kl(GAUSSIAN, shift, GRID) == pytest.approx(expected, rel=1e-6)
    assert kl_of(shift.expand_as) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("change", [0.3, -0.3])
def test_widening_or_narrowing_a_gaussian_costs_the_closed_form(change):
    expected = 0.5 * ((1 + change) ** 2 - 1) - math.log(1 + change)
    assert kl_of(lambda a: a * vector(change, 0)) == pytest.approx(expected, rel=0.01)


def test_bending_a_gaussian_costs_the_closed_form():
    bent = kl_of(lambda a: torch.stack([torch.zeros_like(a[..., 0]), 0.1 * a[..., 0] ** 2], -1))
    assert bent == pytest.approx(0.5 * 0.1**2 * 3 * WIDE**4 / NARROW**2, rel=0.02)


def test_a_move_that_folds_the_plane_costs_what_is_lost():
    """|x| from x: half the plane is left empty, log 2 nats. A blurred edge hides a few of them."""
    folded = kl_of(lambda a: torch.stack([a[..., 0].abs() - a[..., 0], torch.zeros_like(a[..., 1])], -1))
    assert folded == pytest.approx(math.log(2), rel=0.06)
    assert folded < math.log(2)


@EACH
def test_both_computations_agree_on_a_shift_of_any_density(density):
    shift = vector(-0.05, 0.02)
    assert kl_of(shift.expand_as, density) == pytest.approx(shift_kl(density, shift, GRID), rel=0.01)


@EACH
def test_samples_follow_the_density(density):
    """E[-log p] over samples is the entropy that the grid integrates."""
    nodes = -density.log_density(GRID.actions(density))
    entropy = (GRID.weights * nodes).sum().item() / len(density.parts)
    sampled = -density.log_density(density.sample(40_000, seed=3)).mean().item()
    assert sampled == pytest.approx(entropy, abs=0.03)


@EACH
def test_noised_scores_are_the_slope_of_the_noised_density(density):
    time, actions = 0.8, GRID.actions(density).flatten(0, 2)
    weights = GRID.weights.expand(len(density.parts), -1, -1).flatten()
    points = (time * density.sample(20, seed=4) + vector(0.1, -0.1)).requires_grad_()
    square = (points.unsqueeze(1) - time * actions).square().sum(-1)
    log_noised = (weights.log() - 0.5 * square / (1 - time) ** 2).logsumexp(1)
    (slope,) = torch.autograd.grad(log_noised.sum(), points)
    torch.testing.assert_close(density.noised_score(points.detach(), time), slope, rtol=1e-3, atol=1e-3)


def test_on_a_gaussian_the_best_shift_is_the_covariance_times_the_gradient_and_no_policy_gains_more():
    covariance = torch.diag(vector(WIDE**2, NARROW**2))
    optimum = math.sqrt(2 * 0.1 * GAUSSIAN.gradient @ covariance @ GAUSSIAN.gradient)
    gain, direction = best_shift(GAUSSIAN, 0.1, GRID)
    assert gain == pytest.approx(optimum, rel=1e-3)
    assert direction[1] / direction[0] == pytest.approx((NARROW / WIDE) ** 2, rel=0.2)
    assert best_gain(GAUSSIAN, 0.1, GRID) == pytest.approx(optimum, rel=1e-3)


def test_on_two_modes_at_right_angles_no_shift_beats_the_isotropic_but_one_per_mode_is_optimal():
    density = DENSITIES["two_modes"]
    best = best_gain(density, 0.1, GRID)
    isotropic = shift_gain(density, density.gradient, 0.1, GRID)
    condition = (WIDE / NARROW) ** 2
    assert isotropic / best == pytest.approx(2 * math.sqrt(condition) / (condition + 1), rel=0.01)
    assert best_shift(density, 0.1, GRID)[0] == pytest.approx(isotropic, rel=1e-3)
    per_mode = torch.stack([part.factor @ part.factor.T @ density.gradient for part in density.parts])
    move = Move(density, per_mode.view(2, 1, 1, 2).expand(2, 61, 121, 2), GRID)
    assert move.gain(0.1) / best == pytest.approx(1.0, abs=0.01)


def test_trained_flows_gain_where_their_geometry_fits_the_density(tmp_path, capsys):
    picture = tmp_path / "shares.png"
    fisher_bandit.main(["--quick", "--json", "--out", str(picture)])
    found = json.loads(capsys.readouterr().out)
    early, late = range(2)
    assert found["times"] == [0.8, 0.95]

    def share(density: str, scope: str, estimator: str, time: int) -> float:
        return found["densities"][density]["trained"][scope][estimator][0][time]

    isotropic = {name: entry["isotropic"] for name, entry in found["densities"].items()}
    best_shifts = {name: entry["best_shift"] for name, entry in found["densities"].items()}
    # One Gaussian: the mean geometry finds nearly all; v / (1 - t) does so at one time and not at another.
    assert share("gaussian", "state", "gaussian", late) > isotropic["gaussian"] + 0.5
    assert share("gaussian", "state", "velocity", early) > share("gaussian", "state", "velocity", late) + 0.3
    # A local geometry loses to the mean there, and wins where the right direction depends on the action.
    assert share("gaussian", "local", "gaussian", late) < share("gaussian", "state", "gaussian", late) - 0.2
    assert share("two_modes", "state", "gaussian", late) == pytest.approx(isotropic["two_modes"], abs=0.02)
    assert share("two_modes", "local", "gaussian", early) > isotropic["two_modes"] + 0.05
    assert isotropic["curved"] < share("curved", "state", "gaussian", late) <= best_shifts["curved"] + 1e-3
    assert picture.stat().st_size > 10_000
