"""Robust likelihoods: how much a residual counts, from the square to losses that forget an outlier.

Legend: P lanes, B chains, M observations; u = residual / scale is [..., M].

A likelihood is exp(-sum_i rho(u_i)). Samplers need its derivative psi = rho' and the weight w = psi(u) / u, by which
iteratively reweighted least squares turns the loss into a weighted square:

    kind          w(u)                      rho(u)                                  sup |psi|
    squared       1                         u^2 / 2                                 none
    huber         min(1, c / |u|)           u^2 / 2 up to c, then c |u| - c^2 / 2   c
    imq           (1 + u^2/c^2)^(-1/2)      c^2 (sqrt(1 + u^2/c^2) - 1)             c
    imq_squared   (1 + u^2/c^2)^(-1)        (c^2/2) log(1 + u^2/c^2)                c / 2
    cauchy        the same
    welsch        exp(-u^2 / (2 c^2))       c^2 (1 - exp(-u^2 / (2 c^2)))           c e^(-1/2)
    tukey         (1 - u^2/c^2)^2 below c   (c^2/6) (1 - (1 - u^2/c^2)^3)           16 c / (25 sqrt 5)

Weights: Huber (1964), Beaton and Tukey (1974), Holland and Welsch (1977); the inverse multiquadric as in WoLF
(arXiv 2405.05646), which squares it. ``imq`` is the pseudo-Huber loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from .config import Kind, ScaleRule

MAD_TO_SD = 1.4826
"""Standard deviation of a normal variable over its median absolute deviation."""

EFFICIENT_THRESHOLD: dict[Kind, float] = {
    "huber": 1.345,
    "imq": 1.345,
    "imq_squared": 2.385,
    "cauchy": 2.385,
    "welsch": 2.11,
    "tukey": 4.685,
}
"""Thresholds at which the location estimate keeps 95 % of its efficiency on clean normal data, the classical choice."""


def weight(kind: Kind, u: torch.Tensor, threshold: torch.Tensor | float) -> torch.Tensor:
    """w(u) = psi(u) / u, between 0 and 1.

    Args:
        u: standardised residuals, any shape.
        threshold: c, a number or broadcast against ``u``; infinity gives ones.
    """
    squared = (u / threshold).square()
    if kind == "squared":
        return torch.ones_like(u)
    if kind == "huber":
        return (threshold / u.abs()).clamp(max=1.0)
    if kind == "imq":
        return (1 + squared).rsqrt()
    if kind in ("imq_squared", "cauchy"):
        return (1 + squared).reciprocal()
    if kind == "welsch":
        return torch.exp(-squared / 2)
    return (1 - squared).clamp(min=0.0).square()


def psi(kind: Kind, u: torch.Tensor, threshold: torch.Tensor | float) -> torch.Tensor:
    """The derivative of rho."""
    return weight(kind, u, threshold) * u


def rho(kind: Kind, u: torch.Tensor, threshold: torch.Tensor | float) -> torch.Tensor:
    """The loss of one standardised residual; the threshold must be finite."""
    c = torch.as_tensor(threshold, dtype=u.dtype, device=u.device)
    squared = (u / c).square()
    if kind == "squared":
        return u.square() / 2
    if kind == "huber":
        return torch.where(u.abs() <= c, u.square() / 2, c * u.abs() - c.square() / 2)
    if kind == "imq":
        return c.square() * ((1 + squared).sqrt() - 1)
    if kind in ("imq_squared", "cauchy"):
        return c.square() / 2 * torch.log1p(squared)
    if kind == "welsch":
        return -c.square() * torch.expm1(-squared / 2)
    return c.square() / 6 * (1 - (1 - squared).clamp(min=0.0) ** 3)


def largest_psi(kind: Kind, threshold: float) -> float:
    """sup |psi|: what one observation can add to the guidance at most, in standardised units."""
    factors = {
        "squared": math.inf,
        "huber": 1.0,
        "imq": 1.0,
        "imq_squared": 0.5,
        "cauchy": 0.5,
        "welsch": math.exp(-0.5),
        "tukey": 16 / (25 * math.sqrt(5)),
    }
    return factors[kind] * threshold


def largest_rho(kind: Kind, threshold: float) -> float:
    """sup rho: moving one observation anywhere moves the log posterior density by at most twice this."""
    return {"welsch": threshold**2, "tukey": threshold**2 / 6}.get(kind, math.inf)


def student_t(threshold: float, noise: float) -> tuple[float, float]:
    """Degrees of freedom and scale of the Student-t noise whose likelihood ``cauchy`` is.

    (c^2/2) log(1 + r^2 / (c sy)^2) is minus the log density of a Student-t variable with nu + 1 = c^2 and
    nu tau^2 = c^2 sy^2, up to a constant.

    Raises:
        ValueError: no such noise exists at a threshold of 1 or below.
    """
    if threshold <= 1:
        raise ValueError("the loss is Student-t noise only for thresholds above 1")
    freedom = threshold**2 - 1
    return freedom, noise * threshold / math.sqrt(freedom)


@dataclass(frozen=True)
class Likelihood:
    """How residuals count: the loss, its threshold, what they are measured by, and whether entries count alone.

    Attributes:
        kind: the loss.
        threshold: c in standard deviations, a number or [P, 1, 1].
        scale: what a residual is divided by before it is weighed; see :meth:`residual_scale`.
        block: entries that share one weight, by their root mean square; 1 weighs each alone.
        passes: passes of iteratively reweighted least squares where a sampler solves for the residual.
    """

    kind: Kind = "cauchy"
    threshold: torch.Tensor | float = 2.4
    scale: ScaleRule = "annealed"
    block: int = 1
    passes: int = 3

    def plain(self) -> Likelihood:
        """The squared loss with everything else as it is."""
        return replace(self, kind="squared")

    def residual_scale(
        self, residual: torch.Tensor, noise: torch.Tensor | float, predictive: torch.Tensor | float
    ) -> torch.Tensor:
        """What residuals are divided by, broadcast against [..., M].

        ``annealed`` is the residual's standard deviation at the present noise level, so that an early residual is
        not taken for an outlier merely because little is known yet. ``mad`` reads it off the residuals themselves,
        chain by chain, and needs to know nothing of the operator. ``fixed`` is the noise alone.

        Args:
            residual: [..., M].
            noise: standard deviation of the data's noise.
            predictive: standard deviation of what the denoised state still says about each observation, [..., M].
        """
        floor = torch.as_tensor(noise, dtype=residual.dtype, device=residual.device)
        if self.scale == "annealed":
            return (floor.square() + torch.as_tensor(predictive, dtype=residual.dtype).square()).sqrt()
        if self.scale == "mad":
            middle = residual.abs().median(-1, keepdim=True).values
            return torch.maximum(floor, MAD_TO_SD * middle)
        return floor

    def weights(self, residual: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """The weight of every observation, [..., M], cut from any gradient.

        Differentiating through the weights would descend another loss than rho.
        """
        u = (residual / scale).detach()
        if self.block == 1:
            return weight(self.kind, u, self.threshold)
        return self._of_blocks(u)

    def _of_blocks(self, u: torch.Tensor) -> torch.Tensor:
        size, missing = self.block, -u.shape[-1] % self.block
        squares = torch.nn.functional.pad(u.square(), (0, missing)).unflatten(-1, (-1, size))
        counts = torch.nn.functional.pad(torch.ones_like(u[..., :1, :]), (0, missing))
        counts = counts.unflatten(-1, (-1, size)).sum(-1)
        together = (squares.sum(-1) / counts).sqrt()
        shared = weight(self.kind, together, self.threshold)
        return shared.repeat_interleave(size, -1)[..., : u.shape[-1]]

    def loss(self, residual: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """Minus the log likelihood up to a constant, [...], entries weighed alone."""
        return rho(self.kind, residual / scale, self.threshold).sum(-1)
