"""Exact answers to hold samplers to: posteriors in closed form, and Gibbs sampling of the robust posterior.

Legend: N chains, K components, D unknowns, M observations.

Student-t noise is Gaussian noise whose precision is itself drawn, once per observation. Given the precisions the
posterior under a Gaussian mixture is a Gaussian mixture, and given the state the precisions are Gamma variables:
alternating the two draws leaves exactly the posterior of the ``cauchy`` loss invariant.
"""

from __future__ import annotations

import torch

from .likelihood import student_t
from .priors import GaussianMixture


def gibbs_student_t(
    mixture: GaussianMixture,
    matrix: torch.Tensor,
    data: torch.Tensor,
    noise: float,
    threshold: float,
    chains: int,
    generator: torch.Generator,
    sweeps: int = 100,
) -> torch.Tensor:
    """[N, D] samples of p0(x) exp(-sum rho(r / noise)) for rho the Cauchy loss, one per chain after ``sweeps``.

    Args:
        mixture: the prior.
        matrix: [M, D]; data: [M].
        noise: what residuals are divided by.
        threshold: of the loss, above 1.
    """
    freedom, scale = student_t(threshold, noise)
    start = mixture.sample(chains, generator)
    components = _Components(mixture)
    for _ in range(sweeps):
        u = (data - start @ matrix.T) / scale
        rate = (freedom + u.square()) / 2
        shape = torch.full_like(rate, (freedom + 1) / 2)
        precision = _gamma(shape, generator) / rate / scale**2  # of every observation
        start = components.draw(matrix, data, precision, generator)
    return start


class _Components:
    """Draws from the posterior of a mixture under precisions that differ from chain to chain."""

    def __init__(self, mixture: GaussianMixture):
        self.mixture = mixture
        self.precision = torch.linalg.inv(mixture.covariances)  # [K, D, D]
        self.pull = (self.precision @ mixture.means.unsqueeze(-1)).squeeze(-1)  # [K, D]
        self.base = mixture.weights.log() + torch.logdet(self.precision) / 2
        self.base = self.base - (mixture.means * self.pull).sum(-1) / 2

    def draw(
        self, matrix: torch.Tensor, data: torch.Tensor, precision: torch.Tensor, generator: torch.Generator
    ) -> torch.Tensor:
        """[N, D] for precisions [N, M]: the component first, then the state."""
        seen = torch.einsum("nm,md,me->nde", precision, matrix, matrix)
        pull = self.pull + ((precision * data) @ matrix).unsqueeze(1)  # [N, K, D]
        factor = torch.linalg.cholesky(self.precision + seen.unsqueeze(1))  # [N, K, D, D]
        half = torch.linalg.solve_triangular(factor, pull.unsqueeze(-1), upper=False)
        logs = self.base + half.square().sum((-1, -2)) / 2 - factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        chosen = torch.multinomial(logs.softmax(-1), 1, generator=generator).squeeze(-1)
        rows = torch.arange(len(chosen))
        noise = torch.randn(half[rows, chosen].shape, generator=generator, dtype=half.dtype)
        upper = factor[rows, chosen].mT
        return torch.linalg.solve_triangular(upper, half[rows, chosen] + noise, upper=True).squeeze(-1)


def _gamma(shape: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Standard Gamma variables by the method of Marsaglia and Tsang (2000), which takes a generator."""
    d = shape - 1 / 3
    c = 1 / (9 * d).sqrt()
    found, open_ = torch.zeros_like(shape), torch.ones_like(shape, dtype=torch.bool)
    while bool(open_.any()):
        x = torch.randn(shape.shape, generator=generator, dtype=shape.dtype)
        u = torch.rand(shape.shape, generator=generator, dtype=shape.dtype)
        v = (1 + c * x) ** 3
        accepted = (v > 0) & (u.log() < x.square() / 2 + d * (1 - v + v.clamp(min=1e-300).log()))
        found = torch.where(open_ & accepted, d * v, found)
        open_ &= ~accepted
    return found
