"""One-dimensional Darcy flow: log-permeability from pressures, under a mixture of Gaussian processes.

Legend: D cells (32), S sources (3), M observations (S times the cells seen).

-(k p')' = f on [0, 1], p = 0 at both ends, k = exp(x). Between neighbouring cells the resistance is that of the
harmonic mean, h (1/k + 1/k') / 2. The flux through face i is q + F_i, where F_i is what the source has fed in before
it, and p falls by the flux times the resistance; q follows from the pressures at the ends:

    p_j = -sum_{i <= j} (q + F_i) R_i,   q = -sum_i F_i R_i / sum_i R_i

One cumulative sum instead of a linear system, with a derivative as short.
"""

from __future__ import annotations

import math

import torch

from ..operators import NonlinearOperator
from ..priors import GaussianMixture
from .problem import Problem, Truths

CELLS, SEEN, NOISE_SHARE = 32, 15, 0.02


class DarcyFlow(NonlinearOperator):
    """Log-permeability [..., D] to pressures [..., M], all sources one after the other.

    Args:
        cells: D.
        seen: how many cells' pressures are read, evenly spread.
    """

    def __init__(self, cells: int = CELLS, seen: int = SEEN):
        places = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
        sources = torch.stack(
            [
                torch.ones_like(places),
                5 * torch.exp(-((places - 0.3) / 0.1).square() / 2),
                5 * torch.exp(-((places - 0.7) / 0.1).square() / 2),
            ]
        )
        fed = torch.nn.functional.pad(sources.cumsum(-1), (1, 0)) / cells  # [S, D + 1], before every face
        half = torch.zeros(cells + 1, cells, dtype=torch.float64)
        half[:-1] += torch.eye(cells, dtype=torch.float64) / (2 * cells)
        half[1:] += torch.eye(cells, dtype=torch.float64) / (2 * cells)
        self.fed, self.resistances = fed, half
        self.places = torch.linspace(0, cells - 1, seen).round().long()
        self.unknowns, self.observations = cells, len(fed) * seen

    def A(self, x: torch.Tensor) -> torch.Tensor:  # noqa: N802
        """Pressures, [..., M]."""
        _, flux, resistance = self._state(x)
        pressure = -(flux * resistance.unsqueeze(-2)).cumsum(-1)[..., :-1]
        return pressure[..., self.places.to(x.device)].flatten(-2)

    def A_vjp(self, x: torch.Tensor, r: torch.Tensor) -> torch.Tensor:  # noqa: N802
        """J(x)' r."""
        inverse, flux, resistance = self._state(x)
        weights = torch.zeros(*r.shape[:-1], len(self.fed), self.unknowns + 1, dtype=r.dtype, device=r.device)
        weights[..., self.places.to(x.device)] = r.unflatten(-1, (len(self.fed), -1))
        before = (resistance.cumsum(-1) / resistance.sum(-1, keepdim=True)).unsqueeze(-2)
        later = weights.flip(-1).cumsum(-1).flip(-1)
        of_resistance = -(flux * (later - (weights * before).sum(-1, keepdim=True))).sum(-2)
        # R = half (1 / k) and 1 / k = exp(-x).
        return -inverse * (of_resistance @ self.resistances.to(x))

    def jacobian(self, x: torch.Tensor) -> torch.Tensor:
        """[..., M, D]."""
        inverse, flux, resistance = self._state(x)
        places = self.places.to(x.device)
        faces = torch.arange(self.unknowns + 1, device=x.device)
        until = (faces <= places.unsqueeze(-1)).to(x)  # [seen, D + 1]
        share = (resistance.cumsum(-1) / resistance.sum(-1, keepdim=True))[..., places]
        of_resistance = -flux.unsqueeze(-2) * (until - share[..., None, :, None])  # [..., S, seen, D + 1]
        return (of_resistance.flatten(-3, -2) @ self.resistances.to(x)) * -inverse.unsqueeze(-2)

    def _state(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """1/k [..., D], flux through every face [..., S, D + 1], resistance of every face [..., D + 1]."""
        inverse = torch.exp(-x)
        resistance = inverse @ self.resistances.to(x).T
        fed = self.fed.to(x)
        start = -(resistance @ fed.T) / resistance.sum(-1, keepdim=True)
        return inverse, start.unsqueeze(-1) + fed, resistance


def build(name: str) -> Problem:
    """The Darcy problem; its noise is a share of the mean pressure."""
    operator, mixture = DarcyFlow(), permeabilities(CELLS)
    pressures = operator.A(mixture.sample(1000, torch.Generator().manual_seed(0)))
    return Problem(
        name,
        f"one-dimensional Darcy flow: {CELLS} log-permeabilities from {operator.observations} pressures",
        operator,
        NOISE_SHARE * float(pressures.mean()),
        (CELLS,),
        value_range=4 * mixture.variance**0.5,
        truths=Truths(mixture=mixture),
        prior_name="darcy",
    )


def permeabilities(cells: int) -> GaussianMixture:
    """Four Gaussian processes: around nothing, a wave, a step up and a step down."""
    places = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
    means = torch.stack(
        [
            torch.zeros_like(places),
            torch.sin(2 * math.pi * places),
            torch.where(places < 0.5, -1.0, 1.0).double(),
            torch.where(places < 0.35, 1.0, -1.0).double(),
        ]
    )
    distance = (places - places.unsqueeze(1)).square()
    floor = 1e-4 * torch.eye(cells, dtype=torch.float64)
    covariances = [
        variance * torch.exp(-distance / (2 * length**2)) + floor
        for variance, length in ((0.6, 0.2), (0.3, 0.15), (0.15, 0.1), (0.15, 0.1))
    ]
    return GaussianMixture(torch.full((4,), 0.25, dtype=torch.float64), means, torch.stack(covariances))
