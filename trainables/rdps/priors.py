"""Priors as samplers see them: a denoiser E[x0 | x0 + s z = x], its derivative, and what is known of the variance.

Legend: B chains (any leading axes), D unknowns, K mixture components, s noise level.

Tweedie's formula ties the denoiser D(x, s) to the score: D = x + s^2 grad log p_s(x). Its Jacobian is the posterior
covariance of x0 over s^2, hence symmetric for an exact denoiser.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch

from .products import apply

Vjp = Callable[[torch.Tensor], torch.Tensor]
"""J' v for v [..., D], at the point it was made for."""


class Prior(Protocol):
    """A denoiser with its derivative.

    Attributes:
        variance: prior variance of one coordinate, averaged over them.
        dtype: what it computes in.
    """

    @property
    def variance(self) -> float: ...
    @property
    def dtype(self) -> torch.dtype: ...

    def denoise(self, x: torch.Tensor, level: float) -> torch.Tensor:
        """D(x, level), shaped like x."""
        ...

    def denoise_vjp(self, x: torch.Tensor, level: float) -> tuple[torch.Tensor, Vjp]:
        """D(x, level), and the product with its transposed Jacobian there."""
        ...


@runtime_checkable
class ExactCovariance(Protocol):
    """A prior that knows Cov[x0 | x_t] in closed form."""

    def covariance(self, x: torch.Tensor, level: float) -> torch.Tensor:
        """[..., D, D]."""
        ...


class AnyDenoiser:
    """A prior from any callable ``denoiser(x, sigma)``, differentiated by autograd.

    Args:
        denoiser: maps [..., D] and a number to [..., D].
        variance: prior variance of one coordinate.
        dtype: what it computes in.
    """

    def __init__(
        self,
        denoiser: Callable[[torch.Tensor, float], torch.Tensor],
        variance: float,
        dtype: torch.dtype = torch.float32,
    ):
        self.denoiser, self.variance, self.dtype = denoiser, variance, dtype

    def denoise(self, x: torch.Tensor, level: float) -> torch.Tensor:
        """D(x, level)."""
        with torch.no_grad():
            return self.denoiser(x, level)

    def denoise_vjp(self, x: torch.Tensor, level: float) -> tuple[torch.Tensor, Vjp]:
        """D(x, level), and the product with its transposed Jacobian there."""
        with torch.enable_grad():
            point = x.detach().requires_grad_()
            denoised = self.denoiser(point, level)

        def vjp(v: torch.Tensor) -> torch.Tensor:
            (gradient,) = torch.autograd.grad(denoised, point, v, retain_graph=True)
            return gradient

        return denoised.detach(), vjp


class GaussianMixture:
    """sum_k w_k N(m_k, C_k), with exact score, denoiser, covariance and posterior under linear data.

    Works in the eigenbasis of every component, so that a noise level costs no factorisation.

    Args:
        weights: [K], positive, of sum 1.
        means: [K, D].
        covariances: [K, D, D].
    """

    def __init__(self, weights: torch.Tensor, means: torch.Tensor, covariances: torch.Tensor):
        self.weights, self.means, self.covariances = weights, means, covariances
        values, vectors = torch.linalg.eigh(covariances)
        self.eigenvalues = values.clamp(min=0.0)  # [K, D]
        self.components, self.unknowns = means.shape
        # [D, K D]: one product takes a state into all eigenbases, its transpose takes them back and adds them up.
        self.bases = vectors.permute(1, 0, 2).reshape(self.unknowns, -1).contiguous()
        self.centres = torch.einsum("kde,kd->ke", vectors, means)  # [K, D], in the eigenbases
        mean = weights @ means
        spread = torch.einsum("k,kd->d", weights, covariances.diagonal(dim1=1, dim2=2) + means.square())
        self.variance = float((spread - mean.square()).mean())

    @property
    def dtype(self) -> torch.dtype:
        """Of its parameters."""
        return self.means.dtype

    def to(self, device: str | torch.device, dtype: torch.dtype | None = None) -> GaussianMixture:
        """The same mixture elsewhere."""
        return GaussianMixture(
            *(value.to(device, dtype) for value in (self.weights, self.means, self.covariances))
        )

    def log_prob(self, x: torch.Tensor, level: float = 0.0) -> torch.Tensor:
        """Log density of x0 + level z at x, [...]."""
        joint, *_ = self._at(x, level)
        return joint.logsumexp(-1) - self.unknowns / 2 * math.log(2 * math.pi)

    def sample(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """[count, D]."""
        chosen = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(count, self.unknowns, generator=generator, dtype=self.dtype)
        roots = self.bases.reshape(self.unknowns, self.components, -1).permute(1, 0, 2)
        drawn = torch.einsum("bde,be->bd", roots[chosen], self.eigenvalues.sqrt()[chosen] * noise)
        return self.means[chosen] + drawn

    def denoise(self, x: torch.Tensor, level: float) -> torch.Tensor:
        """D(x, level)."""
        joint, shrunk, _ = self._at(x, level)
        shares = joint.softmax(-1)
        return self._mixed(shares, shrunk)

    def denoise_vjp(self, x: torch.Tensor, level: float) -> tuple[torch.Tensor, Vjp]:
        """D(x, level), and v to Cov[x0 | x] v / level^2; the Jacobian is symmetric."""
        joint, shrunk, left = self._at(x, level)
        shares = joint.softmax(-1)
        denoised = self._mixed(shares, shrunk)

        def vjp(v: torch.Tensor) -> torch.Tensor:
            within = apply(v, self.bases).unflatten(-1, (self.components, -1))
            # Component k's mean along v, then the law of total covariance.
            along = (shrunk * within).sum(-1) + apply(v, self.means.T)
            inner = shares.unsqueeze(-1) * (left * within + along.unsqueeze(-1) * shrunk)
            total = apply(inner.flatten(-2), self.bases.T) + apply(shares * along, self.means)
            return (total - denoised * (denoised * v).sum(-1, keepdim=True)) / level**2

        return denoised, vjp

    def covariance(self, x: torch.Tensor, level: float) -> torch.Tensor:
        """Cov[x0 | x0 + level z = x], [..., D, D]."""
        joint, shrunk, left = self._at(x, level)
        shares = joint.softmax(-1)
        vectors = self.bases.reshape(self.unknowns, self.components, -1).permute(1, 0, 2)
        inner = (vectors * left.unsqueeze(1)) @ vectors.mT  # [K, D, D]
        # A product per lane and component: lanes together would round otherwise than one alone.
        means = self.means + (shrunk.transpose(-2, -3) @ vectors.mT).transpose(-2, -3)
        away = (means - self._mixed(shares, shrunk).unsqueeze(-2)) * shares.sqrt().unsqueeze(-1)
        within = apply(shares, inner.flatten(1)).unflatten(-1, (self.unknowns, -1))
        return within + away.mT @ away

    def posterior(self, matrix: torch.Tensor, data: torch.Tensor, variance: torch.Tensor) -> GaussianMixture:
        """The mixture given data = matrix x + noise, in closed form.

        Args:
            matrix: [M, D].
            data: [M].
            variance: [M] of the noise; infinity drops an observation.
        """
        kept = variance.isfinite()
        rows, seen, noise = matrix[kept], data[kept], variance[kept]
        image = self.covariances @ rows.T  # [K, D, M]
        spread = rows @ image + torch.diag(noise)
        factor = torch.linalg.cholesky(spread)
        missing = seen - self.means @ rows.T
        gain = torch.cholesky_solve(image.mT, factor).mT  # [K, D, M]
        means = self.means + (gain @ missing.unsqueeze(-1)).squeeze(-1)
        covariances = self.covariances - gain @ image.mT
        half = torch.linalg.solve_triangular(factor, missing.unsqueeze(-1), upper=False).squeeze(-1)
        logs = self.weights.log() - half.square().sum(-1) / 2
        logs = logs - factor.diagonal(dim1=1, dim2=2).log().sum(-1)
        return GaussianMixture(logs.softmax(0), means, (covariances + covariances.mT) / 2)

    def _at(self, x: torch.Tensor, level: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Log of weight times density [..., K]; the mean's way from m_k in the eigenbasis [..., K, D]; the variance
        left there [K, D]."""
        total = self.eigenvalues + level**2
        away = apply(x, self.bases).unflatten(-1, (self.components, -1)) - self.centres
        joint = self.weights.log() - (total.log().sum(-1) + (away.square() / total).sum(-1)) / 2
        return joint, away * (self.eigenvalues / total), self.eigenvalues * level**2 / total

    def _mixed(self, shares: torch.Tensor, shrunk: torch.Tensor) -> torch.Tensor:
        inner = (shares.unsqueeze(-1) * shrunk).flatten(-2)
        return apply(shares, self.means) + apply(inner, self.bases.T)
