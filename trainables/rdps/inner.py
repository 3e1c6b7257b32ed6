"""Samplers that fit data apart from the reverse process: DAPS, Huber-CG and RED-diff.

Legend: P lanes, B chains, D unknowns, M observations; s noise level, sy noise of the data, w robust weights,
v = s^2 v0 / (s^2 + v0) what a prior of variance v0 leaves unknown per entry.

DAPS (Zhang et al., arXiv 2407.01521) and the reweighted solver of arXiv 2605.09477 follow the probability flow to a
guess of x0, fit the guess to the data under the prior N(guess, v), and put the noise of the next level back. RED-diff
(Mardani et al., arXiv 2305.04391) descends on one state, noised and denoised at every level in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from .guidance import Inverse, weigh
from .operators import Operator
from .products import apply
from .schedule import Draw, Settings, noise_levels

CG_ITERATIONS = 20
CG_TOLERANCE = 1e-5
"""Residual over right-hand side below which a chain's solution is left alone."""


def daps(inverse: Inverse, settings: Settings, draw: Draw) -> torch.Tensor:
    """Decoupled annealing: the fit is a short Langevin chain per level."""
    fit = _langevin_of_matrix if inverse.operator.linear else _langevin
    return _decoupled(inverse, settings, draw, fit)


def huber_cg(inverse: Inverse, settings: Settings, draw: Draw) -> torch.Tensor:
    """The fit is a reweighted least squares solution by conjugate gradients; nothing to tune but the threshold."""
    return _decoupled(inverse, settings, draw, _reweighted_cg)


Fit = Callable[[Inverse, Settings, torch.Tensor, float, Draw], torch.Tensor]


def _decoupled(inverse: Inverse, settings: Settings, draw: Draw, fit: Fit) -> torch.Tensor:
    schedule = noise_levels(settings.sigma_max, settings.sigma_min, settings.levels)
    x = settings.sigma_max * draw(1)[0]
    for level, following in zip(schedule, [*schedule[1:], 0.0], strict=True):
        guess = _flow_to_the_end(inverse, settings, x, level)
        x = fit(inverse, settings, guess, inverse.unknown_variance(level), draw)
        if following > 0:
            x = x + following * draw(1)[0]
    return x


def _flow_to_the_end(inverse: Inverse, settings: Settings, x: torch.Tensor, level: float) -> torch.Tensor:
    """x0 by Euler steps on the prior's probability flow."""
    steps = settings.ode_steps if level > settings.sigma_min else 1
    schedule = noise_levels(level, settings.sigma_min, steps)
    for here, there in zip(schedule, [*schedule[1:], 0.0], strict=True):
        denoised = inverse.prior.denoise(x, here)
        x = denoised + there / here * (x - denoised)
    return x


def _slope(inverse: Inverse, x: torch.Tensor, guess: torch.Tensor, variance: float) -> torch.Tensor:
    """Gradient of loss / sy^2 + |x - guess|^2 / (2 v), [P, B, D]."""
    residual = inverse.operator.A(x) - inverse.data
    weights = weigh(inverse, residual, guess, variance)
    pull = inverse.operator.A_vjp(x, weights * residual) / inverse.noise_variance
    return pull + (x - guess) / variance


def _langevin(
    inverse: Inverse, settings: Settings, guess: torch.Tensor, variance: float, draw: Draw
) -> torch.Tensor:
    """Langevin steps as long as the operator's norm at the guess allows."""
    curvature = inverse.operator.norm_squared(guess) / inverse.noise_variance + 1 / variance
    size = settings.langevin_step / curvature
    x = guess
    for noise in draw(settings.langevin_steps):
        x = x - size * _slope(inverse, x, guess, variance) + (2 * size).sqrt() * noise
    return x


def _langevin_of_matrix(
    inverse: Inverse, settings: Settings, guess: torch.Tensor, variance: float, draw: Draw
) -> torch.Tensor:
    """The same in the metric of the squared loss, A'A / sy^2 + I / v, so that narrow directions set no pace.

    Weights are at most 1, so the metric bounds the curvature of every loss of the family. With the squared loss the
    step is an autoregression whose stationary law is the posterior itself, whatever its length.
    """
    values, vectors = _eigen(inverse.operator.jacobian(guess))
    metric = 1 / (values / inverse.noise_variance + 1 / variance)  # [P, 1, D] or [D], in the eigenbasis
    step = torch.as_tensor(settings.langevin_step, dtype=guess.dtype, device=guess.device)
    spread = (2 * step - step.square()).sqrt()
    x = guess
    for noise in draw(settings.langevin_steps):  # in the eigenbasis: as good as any other normal numbers
        slope = apply(_slope(inverse, x, guess, variance), vectors)
        x = x + apply(spread * metric.sqrt() * noise - step * metric * slope, vectors.T)
    return x


def _eigen(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Eigenvalues [D] and vectors [D, D] of A'A."""
    values, vectors = torch.linalg.eigh(matrix.mT @ matrix)
    return values.clamp(min=0.0), vectors


def _reweighted_cg(
    inverse: Inverse, settings: Settings, guess: torch.Tensor, variance: float, draw: Draw
) -> torch.Tensor:
    """argmin over x of sum w r^2 / sy^2 + |x - guess|^2 / v, the weights taken anew at every solution."""
    x, operator = guess, inverse.operator
    ridge = inverse.noise_variance / variance
    start = operator.A(guess) - inverse.data
    residual, spread = start, variance
    matrix = operator.jacobian(guess)
    rows = matrix if matrix.dim() == 4 else None
    for _ in range(inverse.likelihood.passes):
        weights = weigh(inverse, residual, guess, spread)

        system = partial(_system, operator, rows, weights, ridge)
        shift = conjugate_gradients(system, -_back(operator, rows, weights * start))
        x, residual, spread = guess + shift, start + _forth(operator, rows, shift), 0.0
    return x


def _system(
    operator: Operator, rows: torch.Tensor | None, weights: torch.Tensor, ridge: torch.Tensor, v: torch.Tensor
) -> torch.Tensor:
    return _back(operator, rows, weights * _forth(operator, rows, v)) + ridge * v


def _forth(operator: Operator, rows: torch.Tensor | None, v: torch.Tensor) -> torch.Tensor:
    return operator.A(v) if rows is None else (rows @ v.unsqueeze(-1)).squeeze(-1)


def _back(operator: Operator, rows: torch.Tensor | None, r: torch.Tensor) -> torch.Tensor:
    return operator.A_vjp(r, r) if rows is None else (rows.mT @ r.unsqueeze(-1)).squeeze(-1)


def conjugate_gradients(
    system: Callable[[torch.Tensor], torch.Tensor], right: torch.Tensor, iterations: int = CG_ITERATIONS
) -> torch.Tensor:
    """Solve a positive definite system per chain, [P, B, D]; a chain that has converged is left alone."""
    solution, left, direction = torch.zeros_like(right), right, right
    size = left.square().sum(-1, keepdim=True)
    enough = CG_TOLERANCE**2 * size
    for _ in range(iterations):
        image = system(direction)
        open_ = size > enough
        bend = (direction * image).sum(-1, keepdim=True)
        length = torch.where(open_, size / bend, 0.0)
        solution, left = solution + length * direction, left - length * image
        following = left.square().sum(-1, keepdim=True)
        direction = left + torch.where(open_, following / size, 0.0) * direction
        size = following
    return solution


def reddiff(inverse: Inverse, settings: Settings, draw: Draw) -> torch.Tensor:
    """Adam on one state; at every level the data pull by A'(w r), the prior by lambda s (predicted - drawn noise)."""
    schedule = noise_levels(settings.sigma_max, settings.sigma_min, settings.levels)
    state = inverse.prior.denoise(settings.sigma_max * draw(1)[0], settings.sigma_max)
    first, second = torch.zeros_like(state), torch.zeros_like(state)
    for turn, level in enumerate(schedule, 1):
        noise = draw(1)[0]
        noisy = state + level * noise
        predicted = (noisy - inverse.prior.denoise(noisy, level)) / level
        residual = inverse.operator.A(state) - inverse.data
        weights = weigh(inverse, residual, state, inverse.unknown_variance(level))
        slope = inverse.operator.A_vjp(state, weights * residual)
        slope = slope + settings.regularization * level * (predicted - noise)
        first, second = 0.9 * first + 0.1 * slope, 0.99 * second + 0.01 * slope.square()
        mean, square = first / (1 - 0.9**turn), second / (1 - 0.99**turn)
        state = state - settings.learning_rate * mean / (square.sqrt() + 1e-8)
    return state
