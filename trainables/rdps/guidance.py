"""The likelihood's pull on a denoised state: DPS, PiGDM and TMPD, each with robust weights where it reads a residual.

Legend: P lanes, B chains, D unknowns, M observations; s noise level, sy noise of the data, J the denoiser's Jacobian,
r = A(D(x, s)) - y, w robust weights, v = s^2 v0 / (s^2 + v0) what a prior of variance v0 leaves unknown per entry.

    DPS, unit length     J' A'(w r) / ||sqrt(w) r||                       Chung et al., arXiv 2209.14687
    DPS, annealed        J' A'(w r) / (sy^2 + v ||A||^2)
    PiGDM                J' A'(v A A' + sy^2 / w)^-1 r                    Song et al., ICLR 2023
    TMPD                 J' A'(A C A' + sy^2 / w)^-1 r,  C = s^2 J        Boys et al., arXiv 2310.06721

Weights of 1 give the published methods. Every quantity is one chain's own: no norm runs over the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .likelihood import Likelihood
from .operators import Operator
from .priors import ExactCovariance, Prior, Vjp
from .products import apply


@dataclass(frozen=True)
class Inverse:
    """One inverse problem as a sampler is given it; which observations are outliers is no part of it.

    Attributes:
        prior, operator, likelihood: as they are.
        noise: standard deviation the sampler assumes, a number or [P, 1, 1].
        data: [P, B, M].
    """

    prior: Prior
    operator: Operator
    likelihood: Likelihood
    noise: torch.Tensor | float
    data: torch.Tensor

    @property
    def noise_variance(self) -> torch.Tensor:
        """sy^2, in the data's precision."""
        return torch.as_tensor(self.noise, dtype=self.data.dtype, device=self.data.device).square()

    def unknown_variance(self, level: float) -> float:
        """v at this level."""
        return level**2 * self.prior.variance / (level**2 + self.prior.variance)


@dataclass(frozen=True)
class Point:
    """A state, what the denoiser makes of it, and how far that is from the data.

    Attributes:
        x, denoised: [P, B, D].
        vjp: product with J'.
        residual: [P, B, M].
        weights: [P, B, M].
    """

    x: torch.Tensor
    level: float
    denoised: torch.Tensor
    vjp: Vjp
    residual: torch.Tensor
    weights: torch.Tensor


def point(inverse: Inverse, x: torch.Tensor, level: float) -> Point:
    """Denoise, and weigh the residuals by the likelihood's rule."""
    denoised, vjp = inverse.prior.denoise_vjp(x, level)
    residual = inverse.operator.A(denoised) - inverse.data
    weights = weigh(inverse, residual, denoised, inverse.unknown_variance(level))
    return Point(x, level, denoised, vjp, residual, weights)


def weigh(inverse: Inverse, residual: torch.Tensor, at: torch.Tensor, variance: float) -> torch.Tensor:
    """Robust weights of residuals of a state that is known up to ``variance`` per entry, [P, B, M]."""
    predictive: torch.Tensor | float = 0.0
    if inverse.likelihood.scale == "annealed" and variance:
        predictive = (variance * inverse.operator.row_norms_squared(at)).sqrt()
    scale = inverse.likelihood.residual_scale(residual, inverse.noise, predictive)
    return inverse.likelihood.weights(residual, scale)


def dps_norm(inverse: Inverse, at: Point) -> torch.Tensor:
    """The step of DPS for guidance 1, [P, B, D]: its length does not depend on how large residuals are."""
    length = torch.linalg.vector_norm(at.weights.sqrt() * at.residual, dim=-1, keepdim=True)
    tiny = torch.finfo(length.dtype).tiny
    return -at.vjp(inverse.operator.A_vjp(at.denoised, at.weights * at.residual)) / length.clamp(min=tiny)


def dps_annealed(inverse: Inverse, at: Point) -> torch.Tensor:
    """A score [P, B, D]; the operator's norm bounds what any direction can ask for."""
    bound = inverse.noise_variance + inverse.unknown_variance(at.level) * inverse.operator.norm_squared(
        at.denoised
    )
    return -at.vjp(inverse.operator.A_vjp(at.denoised, at.weights * at.residual)) / bound


def pigdm(inverse: Inverse, at: Point) -> torch.Tensor:
    """A score [P, B, D], the state's uncertainty taken as the same in every direction."""
    matrix = inverse.operator.jacobian(at.denoised)
    variance = inverse.unknown_variance(at.level)
    if matrix.shape[-1] < matrix.shape[-2]:
        precision = torch.full_like(at.x, 1 / variance)
        shift = reweighted_by_state(inverse, at, matrix, precision)
        return -at.vjp(shift / variance)
    return -at.vjp(reweighted_by_data(inverse, at, matrix, variance * matrix @ matrix.mT))


def tmpd(inverse: Inverse, at: Point) -> torch.Tensor:
    """A score [P, B, D], the state's covariance s^2 J taken whole where the prior knows it, else by its row sums.

    Row sums are section 3 of the TMPD paper: C is replaced by the diagonal of s^2 J' 1.
    """
    matrix = inverse.operator.jacobian(at.denoised)
    if isinstance(inverse.prior, ExactCovariance):
        covariance = inverse.prior.covariance(at.x, at.level)
        return -at.vjp(reweighted_by_data(inverse, at, matrix, matrix @ covariance @ matrix.mT))
    least = 1e-3 * inverse.unknown_variance(at.level)
    diagonal = (at.level**2 * at.vjp(torch.ones_like(at.x))).clamp(min=least)
    if matrix.shape[-1] < matrix.shape[-2]:
        return -at.vjp(reweighted_by_state(inverse, at, matrix, 1 / diagonal) / diagonal)
    return -at.vjp(reweighted_by_data(inverse, at, matrix, (matrix * diagonal.unsqueeze(-2)) @ matrix.mT))


def reweighted_by_data(
    inverse: Inverse, at: Point, matrix: torch.Tensor, spread: torch.Tensor
) -> torch.Tensor:
    """A'(S + sy^2 / w)^-1 r by iteratively reweighted least squares, solved among the observations.

    Each pass solves, and weighs anew by what the solution leaves of the residual. Multiplied by sqrt(w) from both
    sides, the system stays well conditioned where weights vanish.

    Args:
        matrix: A, [M, D] or [P, B, M, D].
        spread: S, predictive covariance of the observations, [..., M, M].
    """
    weights, size = at.weights, spread.shape[-1]
    identity = torch.eye(size, dtype=spread.dtype, device=spread.device)
    noise = inverse.noise_variance.unsqueeze(-1)
    for turn in range(inverse.likelihood.passes):
        root = weights.sqrt()
        system = root.unsqueeze(-1) * spread * root.unsqueeze(-2) + noise * identity
        solved = root * _solve(system, root * at.residual)
        if turn + 1 < inverse.likelihood.passes:
            left = at.residual - _matvec(spread, solved)
            weights = weigh(inverse, left, at.denoised, 0.0)
    return _matvec(matrix.mT, solved)


def reweighted_by_state(
    inverse: Inverse, at: Point, matrix: torch.Tensor, precision: torch.Tensor
) -> torch.Tensor:
    """The same shift times the state's covariance, solved among the unknowns, of which there are fewer.

    Args:
        matrix: A, [M, D] or [P, B, M, D].
        precision: [P, B, D], one over the state's variances.
    """
    weights, noise = at.weights, inverse.noise_variance
    for turn in range(inverse.likelihood.passes):
        rows = matrix * weights.unsqueeze(-1)
        system = matrix.mT @ rows + torch.diag_embed(noise * precision)
        shift = _solve(system, _matvec(rows.mT, at.residual))
        if turn + 1 < inverse.likelihood.passes:
            weights = weigh(inverse, at.residual - _matvec(matrix, shift), at.denoised, 0.0)
    return shift


def _matvec(matrix: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    if matrix.dim() == 2:
        return apply(vector, matrix.mT)
    return (matrix @ vector.unsqueeze(-1)).squeeze(-1)


def _solve(system: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """system^-1 right for positive definite systems; NaN for a chain whose system is not, the others unharmed."""
    factor, failed = torch.linalg.cholesky_ex(system)
    solved = torch.cholesky_solve(right.unsqueeze(-1), factor).squeeze(-1)
    return torch.where((failed != 0).unsqueeze(-1), torch.nan, solved)
