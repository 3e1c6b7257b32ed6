"""Monte-Carlo estimates of the score of a noised Boltzmann density, from a few actions around the noised one.

The target is grad log (exp(-U / beta) convolved with N(0, sigma^2)) at x. With x_j = x + sigma z_j and self-normalised
weights w_j = softmax_j(-U(x_j) / beta) (equation 20):

    gradient   -1/beta sum_j w_j grad U(x_j)        exact where the energy is flat; wild where sigma is large
    noise      (sum_j w_j x_j - x) / sigma^2        exact where sigma is large; wild where it is small
    blend      c gradient + (1 - c) noise

For a Gaussian density of deviation s, c = s^2 / (s^2 + sigma^2) would make the blend exact for any weights, but s is
not known. How even the weights are tells the same: c = (n_eff - 1) / (N - 1) with n_eff = 1 / sum w^2 is 1 where the
energy is flat across sigma, and 0 where one sample has all the weight. It errs little at either end and in between.

Legend: P lanes, N samples, B batch, A action size.
"""

from __future__ import annotations

from typing import Literal

import torch

Estimator = Literal["gradient", "noise", "blend"]


def estimated_score(
    offsets: torch.Tensor,
    energies: torch.Tensor,
    slopes: torch.Tensor,
    sigma: torch.Tensor,
    beta: torch.Tensor,
    estimator: Estimator,
) -> torch.Tensor:
    """phi* [P, B, A].

    Args:
        offsets: [P, N, B, A] standard normal z_j.
        energies: [P, N, B] U(x_j).
        slopes: [P, N, B, A] grad U(x_j).
        sigma: [P, B].
        beta: [P].
        estimator: which.
    """
    temperature = beta.view(-1, 1, 1)
    weights = torch.softmax(-energies / temperature, 1).unsqueeze(-1)
    by_gradient = -(weights * slopes).sum(1) / temperature
    if estimator == "gradient":
        return by_gradient
    by_noise = (weights * offsets).sum(1) / sigma.unsqueeze(-1)
    if estimator == "noise":
        return by_noise
    share = evenness(weights)
    return share * by_gradient + (1 - share) * by_noise


def evenness(weights: torch.Tensor) -> torch.Tensor:
    """(n_eff - 1) / (N - 1) of weights [P, N, B, 1]; [P, B, 1]. One sample lies nowhere in particular: its slope counts."""
    samples = weights.shape[1]
    if samples == 1:
        return torch.ones_like(weights[:, 0])
    return (1 / weights.square().sum(1) - 1) / (samples - 1)


def clipped_score(score: torch.Tensor, sigma: torch.Tensor, limit: torch.Tensor) -> torch.Tensor:
    """Scores no longer than limit / sigma: at every level they move an action by as much at most.

    Args:
        score: [P, B, A]; sigma: [P, B]; limit: [P].
    """
    size = score.norm(dim=-1, keepdim=True) * sigma.unsqueeze(-1)
    bound = limit.view(-1, 1, 1)
    return score * (bound / torch.maximum(size, bound))
