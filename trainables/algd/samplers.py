"""How a latent action is drawn from noise: a variance-exploding reverse diffusion, or DDPM with guidance.

    ve    sigma_i = sigma_min (sigma_max / sigma_min)^(i / (K - 1)),  d_i = sigma_i^2 - sigma_(i-1)^2, sigma_(-1) = 0
          x ~ N(0, sigma_max^2);   x <- x + d_i phi(s, x, i) + 1[i > 0] sqrt(d_i) z        for i = K-1 .. 0
    ddpm  betas linear 1e-4 .. 0.02, abar their running product of (1 - beta)   (Ho, Jain and Abbeel, 2020)
          x ~ N(0, 1);   x <- posterior mean of the noise head + 0.05 phi / |phi| + 1[i > 0] posterior noise

Legend: P lanes, K levels, B rows, A action size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

GUIDANCE = 0.05
BETA_FIRST, BETA_LAST = 1e-4, 0.02


@dataclass(frozen=True)
class VarianceExploding:
    """Euler-Maruyama of the reverse diffusion.

    Attributes:
        sigmas: [P, K] noise of every level, ascending.
    """

    sigmas: torch.Tensor

    @classmethod
    def of(cls, smallest: torch.Tensor, largest: torch.Tensor, levels: int) -> VarianceExploding:
        """Geometric levels between two noises [P]; one level is the largest."""
        if levels == 1:
            return cls(largest.unsqueeze(1))
        share = torch.arange(levels, device=largest.device) / (levels - 1)
        return cls(smallest.unsqueeze(1) * (largest / smallest).unsqueeze(1) ** share)

    @cached_property
    def widths(self) -> torch.Tensor:
        """d, [P, K]."""
        squares = self.sigmas.square()
        return torch.cat([squares[:, :1], squares[:, 1:] - squares[:, :-1]], 1)

    @cached_property
    def _of_levels(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """d and its root at every level, [P, 1, 1] each."""
        shaped = self.widths[..., None, None]
        return list(zip(shaped.unbind(1), shaped.sqrt().unbind(1), strict=True))

    def start(self, noise: torch.Tensor) -> torch.Tensor:
        """Latent actions to begin with, from standard normal noise [P, B, A]."""
        return self.sigmas[:, -1, None, None] * noise

    def step(
        self,
        x: torch.Tensor,
        level: int,
        heads: tuple[torch.Tensor, torch.Tensor | None],
        noise: torch.Tensor,
    ) -> torch.Tensor:
        """One step down from ``level``; the last adds no noise."""
        width, root = self._of_levels[level]
        x = torch.addcmul(x, width, heads[0])
        return torch.addcmul(x, root, noise) if level else x


@dataclass(frozen=True)
class Ddpm:
    """Ancestral steps of a discrete diffusion, pushed along the score.

    Attributes:
        kept: [K] abar, the share of the signal's square left at every level.
        betas: [K].
        lanes: P.
    """

    kept: torch.Tensor
    betas: torch.Tensor
    lanes: int

    @classmethod
    def of(cls, levels: int, lanes: int, device: str) -> Ddpm:
        """The usual linear schedule."""
        betas = torch.linspace(BETA_FIRST, BETA_LAST, levels, device=device)
        return cls(torch.cumprod(1 - betas, 0), betas, lanes)

    @property
    def sigmas(self) -> torch.Tensor:
        """Noise of every level, [P, K]."""
        return (1 - self.kept).sqrt().expand(self.lanes, -1)

    def start(self, noise: torch.Tensor) -> torch.Tensor:
        """Latent actions to begin with, from standard normal noise [P, B, A]."""
        return noise

    def step(
        self,
        x: torch.Tensor,
        level: int,
        heads: tuple[torch.Tensor, torch.Tensor | None],
        noise: torch.Tensor,
    ) -> torch.Tensor:
        """One step down from ``level``; the last adds no noise."""
        score, predicted = heads
        assert predicted is not None
        kept, beta = self.kept[level], self.betas[level]
        before = self.kept[level - 1] if level else torch.ones_like(kept)
        clean = (x - (1 - kept).sqrt() * predicted) / kept.sqrt()
        mean = (before.sqrt() * beta * clean + (1 - beta).sqrt() * (1 - before) * x) / (1 - kept)
        mean = mean + GUIDANCE * score / score.norm(dim=-1, keepdim=True).clamp_min(1e-8)
        if level == 0:
            return mean
        return mean + (beta * (1 - before) / (1 - kept)).sqrt() * noise


Sampler = VarianceExploding | Ddpm
